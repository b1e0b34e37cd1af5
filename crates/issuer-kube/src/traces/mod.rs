//! Traces: one for each request that is concluded.
//!
//! The questions of a task are noted while it runs, and kept until the request is concluded; only then do the spans begin and
//! end, all at once. So nothing of a request that waits is exported, and a trace is exported as a whole or dropped as a whole.
//! Without traces, a task notes nothing.

mod part;
mod room;
mod spans;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use issuer_core::reconcile::{Change, Controller, Key, Outcome};
use issuer_core::reference::{IssuerKey, RequestKey};
use issuer_core::{Now, Operation, Reply, Request};
use opentelemetry::global::BoxedTracer;

pub(crate) use self::part::ErrorType;
use self::part::Part;
pub use self::room::SpanRoom;
use self::spans::Concluded;
use crate::Transport;

/// Requests that wait at most with what is noted of them; the traces of further ones begin with their last task. A tenant chooses
/// the length of the URLs in it.
const REQUESTS: usize = 1000;

/// Checks that are kept at most, for the requests that have waited for them.
const CHECKS: usize = 256;

/// The most parts of a trace that are kept: its last ones.
const PARTS: usize = 16;

/// Notes what happens to requests, and makes the spans of those that are concluded.
#[derive(Debug)]
pub struct Traces {
    tracer: BoxedTracer,
    room: Arc<SpanRoom>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Approved requests that are not concluded. While a task works on one, it has what was noted before.
    requests: BTreeMap<RequestKey, Record>,
    /// The last check of each issuer that requests have waited for, and when it ended.
    checks: BTreeMap<IssuerKey, (Duration, Part)>,
}

/// The notes on a request or a check.
#[derive(Debug)]
struct Record {
    /// The uid of a request.
    uid: String,
    /// When it was first seen approved, or the check began.
    since: Now,
    /// Since when it has waited.
    idle: Duration,
    parts: Vec<Part>,
    /// The number of parts that are not kept.
    omitted: usize,
}

impl Record {
    fn new(uid: String, since: Now) -> Self {
        Self {
            uid,
            since,
            idle: since.monotonic,
            parts: Vec::new(),
            omitted: 0,
        }
    }

    fn add(&mut self, part: Part) {
        if self.parts.len() == PARTS {
            self.parts.remove(0);
            self.omitted += 1;
        }
        self.parts.push(part);
    }
}

/// The notes on a task; none, unless its trace may be exported.
#[derive(Debug, Default)]
pub(crate) struct TaskTrace(Option<Box<Record>>);

/// A question that has been asked and not answered; `None` if it is not noted.
pub(crate) type OpenPart = Option<Box<Part>>;

impl TaskTrace {
    /// Notes that the API server is asked something.
    pub(crate) fn asks(&self, name: &'static str) -> OpenPart {
        self.0.as_ref()?;
        Some(Box::new(Part::new(name, Transport::now())))
    }

    /// Notes the answer of the API server.
    pub(crate) fn answered<T, E: ErrorType>(&mut self, part: OpenPart, answer: &Result<T, E>) {
        if let (Some(record), Some(mut part)) = (&mut self.0, part) {
            part.end(Transport::now(), answer.as_ref().err().map(ErrorType::error_type));
            record.add(*part);
        }
    }

    /// Notes that a request is sent to Vault.
    pub(crate) fn sends(&self, request: &Request) -> OpenPart {
        self.0.as_ref()?;
        Some(Box::new(Part::of_request(request, Transport::now())))
    }

    /// Notes the reply of Vault.
    pub(crate) fn replied(&mut self, part: OpenPart, operation: Operation, reply: &Reply) {
        if let (Some(record), Some(mut part)) = (&mut self.0, part) {
            part.end_exchange(Transport::now(), operation, reply);
            record.add(*part);
        }
    }
}

impl Traces {
    /// Creates traces whose spans `tracer` makes, as many as there is room for.
    pub fn new(tracer: BoxedTracer, room: Arc<SpanRoom>) -> Self {
        Self {
            tracer,
            room,
            state: Mutex::default(),
        }
    }

    /// Notes a request that is approved, and forgets what is gone or was concluded by others.
    pub(crate) fn observe(&self, now: Now, change: &Change) {
        let mut state = self.state();
        match change {
            Change::Request(request) if request.is_terminal() => drop(state.requests.remove(&request.key())),
            Change::Request(request) if request.is("Approved") => state.note(request.key(), request.uid(), now),
            Change::RequestGone(key) => drop(state.requests.remove(key)),
            Change::Requests(kind, scope, all) => {
                let is_listed = |key: &RequestKey| key.kind == *kind && scope.covers(&key.namespace);
                state.requests.retain(|key, _| !is_listed(key) || all.contains(key));
            }
            Change::IssuerGone(issuer) => drop(state.checks.remove(issuer)),
            Change::Request(_) | Change::Issuer(..) | Change::Issuers(..) => {}
        }
    }

    /// Notes that a task begins: of a request, or of a check that requests have to wait for.
    pub(crate) fn begin(&self, key: &Key, issuer: Option<&IssuerKey>, controller: &Controller, now: Now) -> TaskTrace {
        let record = match key {
            Key::Request(request) => self.state().take(request, issuer, now),
            Key::Issuer(issuer) if !controller.can_sign(issuer) => Record::new(String::new(), now),
            Key::Issuer(_) | Key::Token(_) => return TaskTrace::default(),
        };
        TaskTrace(Some(Box::new(record)))
    }

    /// Makes the spans of a request if the task has concluded it, and keeps what is noted otherwise.
    pub(crate) fn done(&self, key: &Key, issuer: Option<&IssuerKey>, trace: TaskTrace, outcome: Outcome) {
        let (Some(mut record), now) = (trace.0, Transport::now()) else {
            return;
        };
        match (key, outcome) {
            (Key::Request(request), Outcome::Denied | Outcome::Failed(_) | Outcome::Issued) => {
                self.state().requests.remove(request);
                let concluded = Concluded {
                    request,
                    issuer,
                    outcome,
                    record: *record,
                    ended: now,
                };
                concluded.emit(&self.tracer, &self.room);
            }
            (Key::Request(request), _) => {
                record.idle = now.monotonic;
                self.state().put_back(request, *record);
            }
            (Key::Issuer(issuer), outcome) => {
                let mut check = Part::new("check", record.since);
                check.end(now, outcome.reason());
                check.within = record.parts.into();
                self.state().checked(issuer, now.monotonic, check);
            }
            (Key::Token(_), _) => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Notes a request, unless it is known or there is no room.
    fn note(&mut self, key: RequestKey, uid: &str, now: Now) {
        let is_known = self.requests.get(&key).is_some_and(|known| known.uid == uid);
        if !is_known && (self.requests.len() < REQUESTS || self.requests.contains_key(&key)) {
            self.requests.insert(key, Record::new(uid.to_owned(), now));
        }
    }

    /// Takes what is noted of a request, with the check that has ended its wait.
    fn take(&mut self, request: &RequestKey, issuer: Option<&IssuerKey>, now: Now) -> Record {
        let mut record = match self.requests.get_mut(request) {
            Some(noted) => {
                let rest = Record::new(noted.uid.clone(), noted.since);
                mem::replace(noted, rest)
            }
            None => Record::new(String::new(), now),
        };
        let check = issuer.and_then(|issuer| self.checks.get(issuer));
        if let Some((_, check)) = check.filter(|(ended, _)| *ended > record.idle) {
            record.add(check.clone());
        }
        record
    }

    /// Keeps what was taken and noted since, unless the request is gone.
    fn put_back(&mut self, request: &RequestKey, record: Record) {
        if let Some(rest) = self.requests.get_mut(request).filter(|rest| rest.uid == record.uid) {
            *rest = record;
        }
    }

    fn checked(&mut self, issuer: &IssuerKey, ended: Duration, check: Part) {
        if self.checks.len() >= CHECKS && !self.checks.contains_key(issuer) {
            let oldest = self.checks.iter().min_by_key(|(_, (ended, _))| *ended);
            if let Some(oldest) = oldest.map(|(issuer, _)| issuer.clone()) {
                self.checks.remove(&oldest);
            }
        }
        self.checks.insert(issuer.clone(), (ended, check));
    }
}
