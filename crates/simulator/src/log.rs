//! The log of a long run: a hash of everything that happened, and the figures that promises are about.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use issuer_core::Operation;
use issuer_core::reconcile::{Event, Key};
use serde_json::Value;

use crate::fixture::IssuerId;
use crate::login::LoginRequest;
use crate::observation::{Observation, Received, Wrote};
use crate::promise::{self, Violation};
use crate::transition::{ProcessId, Transition};

/// The log of a long run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    hasher: DefaultHasher,
    /// Every request to Vault: time, issuer and operation.
    pub(crate) sent: Vec<(Duration, IssuerId, Operation)>,
    /// The number of certificates that were saved, and the time of the last one.
    pub(crate) issued: (u32, Duration),
    /// When the certificate of each request was saved.
    pub(crate) issued_at: BTreeMap<Key, Duration>,
    /// The number of events published about each object, by uid.
    pub(crate) published: BTreeMap<String, u32>,
    /// The processes that were asked to stop.
    stopping: Vec<ProcessId>,
    /// A violation that only the log can notice.
    pub(crate) violation: Option<Violation>,
    /// The last lines of the readable log.
    pub(crate) tail: VecDeque<String>,
    /// The number of lines to keep.
    length: usize,
}

impl Log {
    /// Returns an empty log that keeps a number of readable lines.
    pub(crate) fn new(length: usize) -> Self {
        Self {
            length,
            ..Self::default()
        }
    }

    /// Returns the hash of everything so far.
    pub(crate) fn value(&self) -> u64 {
        self.hasher.finish()
    }

    /// Logs an action of the runner.
    pub(crate) fn action(&mut self, now: Duration, what: &(impl Hash + Debug)) {
        (now, what).hash(&mut self.hasher);
        self.line(now, || format!("{what:?}"));
    }

    fn line(&mut self, now: Duration, what: impl FnOnce() -> String) {
        if self.length == 0 {
            return;
        }
        if self.tail.len() >= self.length {
            self.tail.pop_front();
        }
        self.tail.push_back(format!("{:12.3} s  {}", now.as_secs_f64(), what()));
    }

    /// Logs a transition.
    pub(crate) fn transition(&mut self, now: Duration, transition: Transition) {
        match transition {
            Transition::Stop(process) => self.stopping.push(process),
            Transition::Start(process) => self.stopping.retain(|stopping| *stopping != process),
            _ => {}
        }
        self.action(now, &transition);
    }

    /// Logs an observation.
    pub(crate) fn note(&mut self, now: Duration, observation: &Observation, issuer: Option<IssuerId>) {
        now.hash(&mut self.hasher);
        write(observation, &mut self.hasher);
        self.line(now, || brief(observation));
        match observation {
            Observation::Sent(sent) => {
                self.sent.extend(issuer.map(|issuer| (now, issuer, sent.operation)));
                if sent.operation == Operation::Sign && self.stopping.contains(&sent.process) {
                    let what = format!("{:?} signs {:?} after it was asked to stop", sent.process, sent.key);
                    self.violation = Some(promise::LEADERSHIP_ENDS_SIGNING.broken(what));
                }
            }
            Observation::Published(_, event) => *self.published.entry(event.uid.clone()).or_default() += 1,
            Observation::Wrote(Wrote {
                patch,
                body,
                after: Ok(_),
                ..
            }) => {
                let of_request = matches!(patch.of, Key::Request(_));
                if of_request && body.pointer("/status/certificate").is_some() {
                    self.issued = (self.issued.0 + 1, now);
                    self.issued_at.insert(patch.of.clone(), now);
                }
            }
            _ => {}
        }
    }
}

/// Hashes an observation with all its fields.
fn write(observation: &Observation, state: &mut impl Hasher) {
    match observation {
        Observation::Sent(sent) => {
            (0_u8, sent.process, &sent.key, sent.operation).hash(state);
            (&sent.origin, &sent.token, &sent.body, sent.limit, sent.known).hash(state);
            sent.view.as_ref().map(|view| view.version()).hash(state);
        }
        Observation::Crashed(process, tokens) => (1_u8, process, tokens).hash(state),
        Observation::Finished(process, key, outcome) => (2_u8, process, key, outcome).hash(state),
        Observation::TokenRequested(process, key, spec) => (
            3_u8,
            process,
            key,
            &spec.namespace,
            &spec.service_account,
            &spec.audiences,
        )
            .hash(state),
        Observation::NamespaceRead(read) => (11_u8, read.process, &read.key, read.request, read.selected).hash(state),
        Observation::SecretRead(process, key, secret) => {
            (4_u8, process, key, &secret.namespace, &secret.name).hash(state)
        }
        Observation::Received(received) => write_reply(received, state),
        Observation::Refused(refused) => {
            (
                12_u8,
                refused.process,
                &refused.key,
                refused.purpose,
                refused.is_for_now,
            )
                .hash(state);
        }
        Observation::Unpublished(process, event) => (13_u8, process, event).hash(state),
        Observation::Served(served) => {
            let granted = served.granted.as_ref();
            let granted = granted.map(|(grant, host)| (grant.number, &grant.token, grant.at, host));
            (
                6_u8,
                served.process,
                &served.key,
                served.signed,
                granted,
                &served.renewed,
                &served.unwrapped,
            )
                .hash(state);
        }
        Observation::Started(process) => (7_u8, process).hash(state),
        Observation::Stopped(stopped) => (8_u8, stopped.process, stopped.unsaved, stopped.hindered).hash(state),
        Observation::Published(process, event) => (9_u8, process, event).hash(state),
        Observation::Wrote(wrote) => {
            let after = wrote.after.as_ref().map(|after| (after.uid(), after.version()));
            (10_u8, wrote.process, &wrote.patch.of, after).hash(state);
            wrote.patch.body.hash(state);
        }
    }
}

fn write_reply(received: &Received, state: &mut impl Hasher) {
    (5_u8, received.process, &received.key, received.operation).hash(state);
    (&received.url, received.csr, received.lost, received.wrong).hash(state);
    match &received.reply {
        Ok(reply) => {
            (reply.status().as_u16(), reply.body().as_bytes()).hash(state);
            for (name, value) in reply.headers() {
                (name.as_str(), value.as_bytes()).hash(state);
            }
        }
        Err(error) => error.hash(state),
    }
}

/// Describes an observation in one line, without secrets.
fn brief(observation: &Observation) -> String {
    match observation {
        Observation::Sent(sent) => {
            let what = sent.login.map(LoginRequest::as_str);
            let what = what.unwrap_or(sent.operation.as_str());
            format!("  {:?} sends {what} for {}", sent.process, key_name(&sent.key))
        }
        Observation::Crashed(process, tokens) => format!("  {process:?} crashed with {tokens} live tokens"),
        Observation::Finished(process, key, outcome) => {
            format!("  {process:?} finished {}: {outcome:?}", key_name(key))
        }
        Observation::TokenRequested(process, key, spec) => format!(
            "  {process:?} requests a token of {} for {}",
            spec.service_account,
            key_name(key)
        ),
        Observation::NamespaceRead(read) => {
            let selected = if read.selected { "selected" } else { "not selected" };
            format!(
                "  {:?} reads the namespace of {}: {selected}",
                read.process,
                key_name(&read.key)
            )
        }
        Observation::SecretRead(process, key, secret) => {
            format!("  {process:?} reads Secret {} for {}", secret.name, key_name(key))
        }
        Observation::Received(received) => {
            let status = received.reply.as_ref().map(|reply| reply.status().as_u16());
            let (process, operation) = (received.process, received.operation.as_str());
            format!(
                "  {process:?} receives {operation} for {}: {status:?}",
                key_name(&received.key)
            )
        }
        Observation::Refused(refused) => format!(
            "  {:?} learns that a status of {} is refused",
            refused.process,
            key_name(&refused.key)
        ),
        Observation::Unpublished(process, event) => told(*process, "cannot publish", event),
        Observation::Served(served) => {
            let token = served.granted.as_ref().map(|(grant, host)| (grant.number, host));
            format!(
                "  Vault served {}: signed CSR {:?}, created token {token:?}",
                key_name(&served.key),
                served.signed
            )
        }
        Observation::Started(process) => format!("  {process:?} started"),
        Observation::Stopped(stopped) => format!("  {:?} stopped, {} unsaved", stopped.process, stopped.unsaved),
        Observation::Published(process, event) => told(*process, "publishes", event),
        Observation::Wrote(wrote) => {
            let conditions = wrote.body.pointer("/status/conditions").and_then(Value::as_array);
            let ready = conditions.into_iter().flatten().last();
            let summary = ready
                .map(|ready| format!("{} {}", ready["type"], ready["reason"]))
                .unwrap_or_default();
            let after = wrote.after.as_ref().map(|after| after.version());
            format!(
                "  {:?} writes {}: {summary}: {after:?}",
                wrote.process,
                key_name(&wrote.patch.of)
            )
        }
    }
}

/// Describes an event that a process publishes or cannot publish.
fn told(process: ProcessId, verb: &str, event: &Event) -> String {
    let about = key_name(&event.regarding);
    format!("  {process:?} {verb} about {about}: {}", event.reason)
}

/// Returns a readable name of a task.
pub(crate) fn key_name(key: &Key) -> String {
    match key {
        Key::Issuer(issuer) => issuer.to_string(),
        Key::Request(request) => request.to_string(),
        Key::Token(token) => format!("token {token}"),
    }
}
