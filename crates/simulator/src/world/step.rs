use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fake_kube::{Kind, Object, Verb};
use issuer_core::Request;
use issuer_core::reconcile::{Change, Claim, Controller, Key, ObservedIssuer, Step};
use issuer_core::reference::{IssuerKey, IssuerKind, RequestKey};
use serde_json::Value;

use super::{Down, World};
use crate::event::{Event, Who};
use crate::fact::{Asks, Fact, Stopped};
use crate::fixture;
use crate::invariants::{self, Violation};
use crate::mutant;
use crate::process::{Flight, GRACE, PROMPT, Process, Stage};
use crate::vault;

pub(crate) type Happened = Result<(), Violation>;

impl World {
    /// Lets something happen, and forgets nothing.
    pub(crate) fn happen(&mut self, event: Event) -> Happened {
        if self.costs(event) {
            self.faults = self.faults.saturating_add(1);
        }
        match event {
            Event::Start(who) => self.start(who),
            Event::Crash(who) => self.crash(who),
            Event::Stop(who) => self.on(who, |world, process| world.stop(who, process)),
            Event::Watch(who, kind) => self.on(who, |world, process| world.tell(who, process, kind)),
            Event::Relist(who, kind) => self.on(who, |world, process| {
                world.list(process, kind);
                world.run(who, process)
            }),
            Event::Answer(who, at) => self.answer(who, at),
            Event::Apply(who, at) => self.apply(who, at, None),
            Event::Deliver(who, at) => self.deliver(who, at),
            Event::Fail(who, at, fault) => self.fail(who, at, fault),
            Event::Tick(who) => self.tick(who),
            Event::Unseal => {
                for host in [0, 1]
                    .into_iter()
                    .filter(|host| self.vault(*host).is_sealed())
                    .collect::<Vec<_>>()
                {
                    self.vault_mut(host).set_sealed(false);
                }
                Ok(())
            }
            Event::User(act) => {
                if self.setup.script.get(self.done) == Some(&act) {
                    self.done += 1;
                }
                self.act(act);
                Ok(())
            }
        }
    }

    /// Tells the checks what has happened, then notes it.
    pub(super) fn note(&mut self, fact: &Fact) -> Happened {
        invariants::check_step(self, fact)?;
        let issuer = match fact {
            Fact::Asks(asks) => self.issuer_of(&asks.key),
            Fact::Served(served) => self.issuer_of(&served.key),
            Fact::Replied(replied) => self.issuer_of(&replied.key),
            _ => None,
        };
        let now = self.now;
        if let Some(log) = &mut self.log {
            log.note(now, fact, issuer);
        }
        Arc::make_mut(&mut self.record).note(now, fact, issuer);
        Ok(())
    }

    /// Does something to a process, if it runs.
    pub(super) fn on(&mut self, who: Who, change: impl FnOnce(&mut Self, &mut Process) -> Happened) -> Happened {
        let slot = std::mem::replace(self.slot_mut(who), Err(Down::Stopped));
        let mut process = match slot {
            Ok(process) => process,
            Err(down) => {
                *self.slot_mut(who) = Err(down);
                return Ok(());
            }
        };
        let happened = change(self, Arc::make_mut(&mut process));
        if process.stage == Stage::Ended {
            let waits = process.flights.values().any(|flight| flight.sent + PROMPT < self.now);
            let (unsaved, hindered) = (process.controller.unsaved(), process.hindered || waits);
            happened.and_then(|()| self.note(&Fact::Stopped(Stopped { who, unsaved, hindered })))?;
            return self.lose(who, Arc::unwrap_or_clone(process));
        }
        *self.slot_mut(who) = Ok(process);
        happened
    }

    pub(super) fn start(&mut self, who: Who) -> Happened {
        let clock = self.setup.clocks.get(who.index()).copied().unwrap_or_default();
        let seed = u64::try_from(who.index()).unwrap_or_default();
        let mut config = self.setup.config.clone();
        if self.setup.claims {
            self.starts += 1;
            config.claim = Some(Claim {
                identity: format!("process-{}", self.starts),
            });
        }
        let mut process = Process::new(Controller::new(config, seed), mutant::clock(self, clock));
        let beside = self.running().next().is_some();
        if beside {
            let claims = self.setup.claims;
            let record = Arc::make_mut(&mut self.record);
            record.overlaps += 1;
            if !claims {
                record.requests.values_mut().for_each(|request| request.credit += 1);
            }
        }
        for kind in Kind::ALL {
            self.list(&mut process, kind);
        }
        *self.slot_mut(who) = Ok(Arc::new(process));
        self.note(&Fact::Started(who))?;
        self.on(who, |world, process| world.run(who, process))
    }

    pub(super) fn crash(&mut self, who: Who) -> Happened {
        let held: BTreeSet<u32> = self.process(who).into_iter().flat_map(Process::held).collect();
        let alive = self.vaults.iter().flat_map(|vault| vault.grants());
        let tokens = alive.filter(|grant| held.contains(&grant.number)).count();
        *self.slot_mut(who) = Err(Down::Crashed);
        self.note(&Fact::Crashed(who, u32::try_from(tokens).unwrap_or(u32::MAX)))
    }

    /// Asks a process to stop, as its driver does.
    pub(super) fn stop(&mut self, who: Who, process: &mut Process) -> Happened {
        if !mutant::lingers(self) {
            process.controller.stop(process.clock.now(self.now));
        }
        process.stage = match mutant::drops(self) {
            true => Stage::Ended,
            false => Stage::Draining(self.now + GRACE),
        };
        self.run(who, process)
    }

    /// Lets a process begin all that is due, as its driver does.
    pub(super) fn run(&mut self, who: Who, process: &mut Process) -> Happened {
        loop {
            let now = process.clock.now(self.now);
            while let Some((key, step)) = process.controller.poll(now) {
                self.ask(who, process, key, self.now, step)?;
            }
            process.stage = match process.stage {
                Stage::Draining(end) if process.controller.is_drained() || end <= self.now => {
                    process.controller.retire_all();
                    Stage::Revoking(self.now + GRACE)
                }
                Stage::Revoking(end) if process.controller.is_retired() || end <= self.now => Stage::Ended,
                _ => return Ok(()),
            };
        }
    }

    /// Sends a question on its way.
    pub(super) fn ask(&mut self, who: Who, process: &mut Process, key: Key, begun: Duration, step: Step) -> Happened {
        let step = mutant::ask(self, process, &key, step);
        let fact = match &step {
            Step::Exchange(request, _) => Some(Fact::Asks(self.asks(who, process, &key, begun, request))),
            Step::MintToken(spec, _) => Some(Fact::Mints(who, key.clone(), spec.clone())),
            Step::ReadSecret(secret, _) => Some(Fact::Reads(who, key.clone(), secret.clone())),
            Step::Done(outcome) => Some(Fact::Done(who, key.clone(), *outcome)),
            Step::Publish(..) | Step::ReadRequest(..) | Step::WriteStatus(..) => None,
        };
        if let Some(fact) = fact {
            self.note(&fact)?;
        }
        if let (true, Step::Publish(event, waits)) = (self.setup.brisk, &step) {
            self.note(&Fact::Tells(who, event.clone()))?;
            let next = waits.clone().resume(&mut process.controller);
            return self.ask(who, process, key, begun, next);
        }
        let at_once = self.setup.focus && !matches!(key, Key::Request(_));
        if at_once && !matches!(step, Step::Done(_)) {
            let answer = Some(self.effect(who, process, &key, &step, None)?);
            let flight = Flight {
                step: Arc::new(step),
                sent: self.now,
                begun,
                answer,
                slow: false,
            };
            return self.resume(who, process, key, flight);
        }
        if !matches!(step, Step::Done(_)) {
            let flight = Flight {
                step: Arc::new(step),
                sent: self.now,
                begun,
                answer: None,
                slow: false,
            };
            process.flights.insert(key, flight);
        }
        Ok(())
    }

    pub(super) fn asks(&self, who: Who, process: &Process, key: &Key, begun: Duration, request: &Request) -> Asks {
        let uri = request.http.uri();
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let origin = format!("{}://{authority}", uri.scheme_str().unwrap_or_default());
        let host = fixture::HOSTS.iter().position(|host| origin.contains(host));
        let at = |issuer| host.is_some_and(|host| process.servers.contains(&(issuer, host)));
        let known = self.issuer_of(key).is_none_or(at);
        let view = if let Key::Request(name) = key {
            process.views.get(name).cloned()
        } else {
            None
        };
        Asks {
            who,
            key: key.clone(),
            begun,
            operation: request.operation,
            origin,
            token: vault::token(request),
            body: String::from_utf8_lossy(request.http.body().as_bytes()).into_owned(),
            csr: vault::signed_csr(request),
            limit: request.connect.limits.body,
            view,
            known,
        }
    }

    /// Returns what the question at this place is about.
    pub(crate) fn flight_key(&self, who: Who, at: u8) -> Option<Key> {
        self.process(who)?.flights.keys().nth(usize::from(at)).cloned()
    }

    /// Says what an event is about, where it does not say so itself.
    pub fn describe(&self, event: Event) -> String {
        match event {
            Event::Answer(who, at) | Event::Apply(who, at) | Event::Deliver(who, at) | Event::Fail(who, at, _) => {
                let key = self.flight_key(who, at);
                let flight = key.as_ref().and_then(|key| self.process(who)?.flights.get(key));
                let Some((key, flight)) = key.as_ref().zip(flight) else {
                    return String::new();
                };
                let about = match key {
                    Key::Issuer(issuer) => issuer.to_string(),
                    Key::Request(request) => request.to_string(),
                    Key::Token(token) => format!("token {token}"),
                };
                let what = match &*flight.step {
                    Step::Exchange(request, _) => request.operation.as_str().to_owned(),
                    Step::MintToken(..) => "mint a token".to_owned(),
                    Step::Publish(event, _) => format!("event {}", event.reason),
                    Step::ReadRequest(..) => "read it".to_owned(),
                    Step::ReadSecret(..) => "read its Secret".to_owned(),
                    Step::WriteStatus(patch, _) => {
                        let reasons = patch.body.pointer("/status/conditions").and_then(Value::as_array);
                        let reasons = reasons.into_iter().flatten().filter_map(|c| c.get("reason")?.as_str());
                        format!("write its status: {}", reasons.collect::<Vec<_>>().join(", "))
                    }
                    Step::Done(_) => String::new(),
                };
                format!("{about}: {what}")
            }
            Event::Tick(who) => {
                let at = self.process(who).and_then(Process::wakes).unwrap_or_default();
                format!("{:?} later", at.saturating_sub(self.now))
            }
            Event::Watch(who, kind) => {
                let next = self
                    .process(who)
                    .and_then(|process| self.cluster.watch(kind, process.cursor(kind)).ok()?.next());
                next.map_or_else(String::new, |event| {
                    format!("{:?} {}", event.change, event.object.uid())
                })
            }
            _ => String::new(),
        }
    }

    /// Loses all memory of a process without anybody's noticing.
    pub(super) fn begin_anew(&mut self, process: &mut Process) -> Happened {
        process.flights.clear();
        process.controller = Controller::new(self.setup.config.clone(), 0);
        Kind::ALL.into_iter().for_each(|kind| self.list(process, kind));
        Ok(())
    }

    /// Lets a watch tell one thing.
    pub(super) fn tell(&mut self, who: Who, process: &mut Process, kind: Kind) -> Happened {
        let event = self
            .cluster
            .watch(kind, process.cursor(kind))
            .ok()
            .and_then(|mut events| events.next().cloned());
        let Some(event) = event else {
            return Ok(());
        };
        process.set_cursor(kind, event.revision);
        let change = match event.change {
            Verb::Added | Verb::Modified => {
                self.seen(process, &event.object);
                there(&event.object)
            }
            Verb::Deleted => gone(&event.object),
        };
        self.show(process, change);
        self.run(who, process)
    }

    /// Lets the watches of issuers tell everything, where that is to happen at once.
    pub(super) fn tell_of_issuers(&mut self) -> Happened {
        if !self.setup.focus {
            return Ok(());
        }
        for kind in [Kind::Issuers, Kind::ClusterIssuers] {
            for who in Who::ALL {
                while self.process(who).is_some_and(|process| self.lags(process, kind)) {
                    self.on(who, |world, process| world.tell(who, process, kind))?;
                }
            }
        }
        Ok(())
    }

    /// Lets a watch list everything anew.
    pub(super) fn list(&mut self, process: &mut Process, kind: Kind) {
        let objects: Vec<_> = self.cluster.list(kind).cloned().collect();
        for object in &objects {
            self.seen(process, object);
            self.show(process, there(object));
        }
        self.show(process, all(kind, self.cluster.keys(kind)));
        process.set_cursor(kind, self.cluster.revision());
    }

    pub(super) fn seen(&self, process: &mut Process, object: &Arc<Object>) {
        process.view(object);
        let host = object
            .spec()
            .and_then(|spec| fixture::HOSTS.iter().position(|host| spec.server.contains(host)));
        if let (Some(host), Some(issuer)) = (host, self.issuer_of(&object.key())) {
            process.servers.insert((issuer, host));
        }
    }

    pub(super) fn show(&self, process: &mut Process, change: Change) {
        let now = process.clock.now(self.now);
        if let Some(change) = mutant::shown(self, change) {
            process.controller.observe(now, change);
        }
    }

    pub(super) fn tick(&mut self, who: Who) -> Happened {
        let Some(at) = self.process(who).and_then(Process::wakes) else {
            return Ok(());
        };
        self.advance(at)?;
        for who in Who::ALL {
            while let Some(at) = self.process(who).and_then(|process| process.given_up(self.now)) {
                self.deliver(who, at)?;
            }
        }
        Ok(())
    }

    /// Lets time pass, and everybody do what is due then.
    pub(crate) fn advance(&mut self, to: Duration) -> Happened {
        self.idle = self.idle.saturating_add(1);
        self.now = self.now.max(to);
        for who in Who::ALL {
            self.on(who, |world, process| world.run(who, process))?;
        }
        Ok(())
    }
}

fn there(object: &Arc<Object>) -> Change {
    let key = object.key();
    match (Object::clone(object), key) {
        (Object::ClusterIssuer(issuer), Key::Issuer(key)) => Change::Issuer(key, ObservedIssuer::from(issuer)),
        (Object::Issuer(issuer), Key::Issuer(key)) => Change::Issuer(key, ObservedIssuer::from(issuer)),
        (Object::Request(request), _) => Change::Request(request),
        (Object::ClusterIssuer(_) | Object::Issuer(_), _) => Change::Requests(BTreeSet::new()),
    }
}

fn gone(object: &Object) -> Change {
    match object.key() {
        Key::Issuer(key) => Change::IssuerGone(key),
        Key::Request(key) => Change::RequestGone(key),
        Key::Token(_) => Change::Requests(BTreeSet::new()),
    }
}

fn all(kind: Kind, keys: BTreeSet<Key>) -> Change {
    let issuers = |keys: BTreeSet<Key>| -> BTreeSet<IssuerKey> {
        keys.into_iter()
            .filter_map(|key| if let Key::Issuer(key) = key { Some(key) } else { None })
            .collect()
    };
    match kind {
        Kind::Issuers => Change::Issuers(IssuerKind::Namespaced, issuers(keys)),
        Kind::ClusterIssuers => Change::Issuers(IssuerKind::Cluster, issuers(keys)),
        Kind::Requests => {
            let requests = keys
                .into_iter()
                .filter_map(|key| if let Key::Request(key) = key { Some(key) } else { None });
            Change::Requests(requests.collect::<BTreeSet<RequestKey>>())
        }
    }
}
