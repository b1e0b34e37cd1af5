use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use issuer_core::Operation;
use issuer_core::reconcile::Key;
use serde_json::Value;

use crate::event::{Event, Who};
use crate::fact::{Fact, Replied, Wrote};
use crate::fixture::IssuerId;
use crate::invariants::Violation;

/// All that has happened in a long run: a hash of every bit of it, and the few figures that promises are about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    hasher: DefaultHasher,
    /// Every request to Vault: when, for which issuer, what for.
    pub(crate) asked: Vec<(Duration, IssuerId, Operation)>,
    /// How many certificates were saved, and when the last one was.
    pub(crate) issued: (u32, Duration),
    /// How many events were recorded about each object, by uid.
    pub(crate) told: BTreeMap<String, u32>,
    /// The processes that were asked to stop.
    stopping: Vec<Who>,
    /// A promise that was broken which only a log can tell of.
    pub(crate) breach: Option<Violation>,
    /// What happened last, for people to read.
    pub(crate) tail: VecDeque<String>,
    /// How much of that is kept.
    length: usize,
}

impl Log {
    /// Begins a log that keeps the last lines of what happens.
    pub(crate) fn new(length: usize) -> Self {
        Self {
            length,
            ..Self::default()
        }
    }

    /// Returns the hash of what has happened so far.
    pub(crate) fn value(&self) -> u64 {
        self.hasher.finish()
    }

    /// Notes what the runner lets happen.
    pub(crate) fn move_on(&mut self, now: Duration, what: &(impl Hash + Debug)) {
        (now, what).hash(&mut self.hasher);
        self.tell(now, || format!("{what:?}"));
    }

    fn tell(&mut self, now: Duration, what: impl FnOnce() -> String) {
        if self.length == 0 {
            return;
        }
        if self.tail.len() >= self.length {
            self.tail.pop_front();
        }
        self.tail.push_back(format!("{:12.3} s  {}", now.as_secs_f64(), what()));
    }

    /// Notes an event that the runner lets happen.
    pub(crate) fn event(&mut self, now: Duration, event: Event) {
        match event {
            Event::Stop(who) => self.stopping.push(who),
            Event::Start(who) => self.stopping.retain(|stopping| *stopping != who),
            _ => {}
        }
        self.move_on(now, &event);
    }

    /// Notes what has come of it.
    pub(crate) fn note(&mut self, now: Duration, fact: &Fact, issuer: Option<IssuerId>) {
        now.hash(&mut self.hasher);
        write(fact, &mut self.hasher);
        self.tell(now, || brief(fact));
        match fact {
            Fact::Asks(asks) => {
                self.asked.extend(issuer.map(|issuer| (now, issuer, asks.operation)));
                if asks.operation == Operation::Sign && self.stopping.contains(&asks.who) {
                    let what = format!("{:?} is to stop and has {:?} signed", asks.who, asks.key);
                    self.breach = Some(Violation { number: "L8", what });
                }
            }
            Fact::Tells(_, event) => *self.told.entry(event.uid.clone()).or_default() += 1,
            Fact::Wrote(Wrote {
                patch, after: Ok(_), ..
            }) => {
                let of_request = matches!(patch.of, Key::Request(_));
                if of_request && patch.body.pointer("/status/certificate").is_some() {
                    self.issued = (self.issued.0 + 1, now);
                }
            }
            _ => {}
        }
    }
}

/// Writes everything that a fact says.
fn write(fact: &Fact, state: &mut impl Hasher) {
    match fact {
        Fact::Asks(asks) => {
            (0_u8, asks.who, &asks.key, asks.operation).hash(state);
            (&asks.origin, &asks.token, &asks.body, asks.limit, asks.known).hash(state);
            asks.view.as_ref().map(|view| view.version()).hash(state);
        }
        Fact::Crashed(who, tokens) => (1_u8, who, tokens).hash(state),
        Fact::Done(who, key, outcome) => (2_u8, who, key, outcome).hash(state),
        Fact::Mints(who, key, spec) => (3_u8, who, key, &spec.namespace, &spec.service_account).hash(state),
        Fact::Reads(who, key, secret) => (4_u8, who, key, &secret.namespace, &secret.name).hash(state),
        Fact::Replied(replied) => write_reply(replied, state),
        Fact::Served(served) => {
            let granted = served.granted.as_ref();
            let granted = granted.map(|(grant, host)| (grant.number, &grant.token, grant.at, host));
            (6_u8, served.who, &served.key, served.signed, granted, &served.renewed).hash(state);
        }
        Fact::Started(who) => (7_u8, who).hash(state),
        Fact::Stopped(stopped) => (8_u8, stopped.who, stopped.unsaved, stopped.hindered).hash(state),
        Fact::Tells(who, event) => (9_u8, who, event).hash(state),
        Fact::Wrote(wrote) => {
            let after = wrote.after.as_ref().map(|after| (after.uid(), after.version()));
            (10_u8, wrote.who, &wrote.patch.of, after).hash(state);
            wrote.patch.body.to_string().hash(state);
        }
    }
}

fn write_reply(replied: &Replied, state: &mut impl Hasher) {
    (5_u8, replied.who, &replied.key, replied.operation).hash(state);
    (&replied.url, replied.csr, replied.lost, replied.wrong).hash(state);
    match &replied.reply {
        Ok(reply) => {
            (reply.status().as_u16(), reply.body().as_bytes()).hash(state);
            for (name, value) in reply.headers() {
                (name.as_str(), value.as_bytes()).hash(state);
            }
        }
        Err(error) => error.hash(state),
    }
}

/// Says what a fact is about. No secret is in it.
fn brief(fact: &Fact) -> String {
    match fact {
        Fact::Asks(asks) => format!(
            "  {:?} asks Vault: {} for {}",
            asks.who,
            asks.operation.as_str(),
            name(&asks.key)
        ),
        Fact::Crashed(who, tokens) => format!("  {who:?} is dead, and knew {tokens} tokens"),
        Fact::Done(who, key, outcome) => format!("  {who:?} is done with {}: {outcome:?}", name(key)),
        Fact::Mints(who, key, spec) => format!(
            "  {who:?} asks for a token of {} for {}",
            spec.service_account,
            name(key)
        ),
        Fact::Reads(who, key, secret) => format!("  {who:?} reads Secret {} for {}", secret.name, name(key)),
        Fact::Replied(replied) => {
            let status = replied.reply.as_ref().map(|reply| reply.status().as_u16());
            let (who, operation) = (replied.who, replied.operation.as_str());
            format!(
                "  {who:?} gets Vault's answer: {operation} for {}: {status:?}",
                name(&replied.key)
            )
        }
        Fact::Served(served) => {
            let token = served.granted.as_ref().map(|(grant, host)| (grant.number, host));
            format!(
                "  Vault serves {}: CSR {:?} signed, token {token:?} made",
                name(&served.key),
                served.signed
            )
        }
        Fact::Started(who) => format!("  {who:?} has begun"),
        Fact::Stopped(stopped) => format!("  {:?} has stopped, {} unsaved", stopped.who, stopped.unsaved),
        Fact::Tells(who, event) => format!("  {who:?} tells of {}: {}", name(&event.regarding), event.reason),
        Fact::Wrote(wrote) => {
            let conditions = wrote.patch.body.pointer("/status/conditions").and_then(Value::as_array);
            let ready = conditions.into_iter().flatten().last();
            let said = ready
                .map(|ready| format!("{} {}", ready["type"], ready["reason"]))
                .unwrap_or_default();
            let after = wrote.after.as_ref().map(|after| after.version());
            format!("  {:?} writes {}: {said}: {after:?}", wrote.who, name(&wrote.patch.of))
        }
    }
}

fn name(key: &Key) -> String {
    match key {
        Key::Issuer(issuer) => issuer.to_string(),
        Key::Request(request) => request.to_string(),
        Key::Token(token) => format!("token {token}"),
    }
}
