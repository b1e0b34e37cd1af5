//! The controller's interface with the driver: it observes changes, starts tasks and stops.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::issuer::Phase;
use super::observed::{Change, Config};
use super::observed_request::{NamedIssuer, ObservedRequest};
use super::outcome::{Key, WriteError};
use super::report::{Report, Reporter};
use super::sources::SourceEvent;
use super::state::State;
use super::step::{
    AwaitConfigMap, AwaitNamespace, AwaitPublish, AwaitReply, AwaitRequest, AwaitReview, AwaitSecret, AwaitSourceEvent,
    AwaitToken, AwaitWrite, Replied, Step, Written,
};
use super::{check, request, revoke};
use crate::access::{ReadError, SecretData};
use crate::reference::{IssuerKey, IssuerKind, ListScope, RequestKey, RequestKind, SourceRef};
use crate::target::NamespaceLabels;
use crate::{Now, Reply, Secret};

/// The controller: everything it knows, and all its decisions.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Controller {
    state: State,
    /// The lists that have not been seen completely. Before all have, nothing is begun: an issuer or a request that is
    /// missing may only not have been listed yet.
    unlisted: BTreeSet<List>,
    /// Until when the API server has asked its clients to wait.
    paused: Duration,
}

/// The longest time for which the API server can make this process wait.
const PAUSE: Duration = Duration::from_secs(60);

/// The same for a process that stops, which has only seconds left to save what is signed.
const PAUSE_STOPPING: Duration = Duration::from_secs(1);

/// A list of all objects of one kind in one scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum List {
    Issuers(IssuerKind, ListScope),
    Requests(RequestKind, ListScope),
}

/// Returns every list that the driver makes.
fn lists(config: &Config) -> BTreeSet<List> {
    let mut lists = BTreeSet::new();
    for scope in config.namespaces.scopes() {
        lists.extend(config.kinds().map(|kind| List::Issuers(kind, scope.clone())));
        lists.extend(config.request_kinds().map(|kind| List::Requests(kind, scope.clone())));
    }
    lists
}

impl Controller {
    /// Creates a controller that has observed nothing. Equal seeds and inputs lead to equal decisions.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            unlisted: lists(&config),
            state: State::new(config, seed),
            paused: Duration::ZERO,
        }
    }

    /// Records a watch event.
    pub fn observe(&mut self, now: Now, change: Change) {
        let state = &mut self.state;
        match change {
            Change::Issuer(key, observed) => state.observe_issuer(key, observed, now),
            Change::IssuerGone(key) => state.forget_issuer(&key),
            Change::Issuers(kind, scope, all) => {
                state.keep_issuers(kind, &scope, &all);
                self.unlisted.remove(&List::Issuers(kind, scope));
            }
            Change::Request(request) => state.observe_request(request, now),
            Change::RequestGone(key) => state.request_gone(&key),
            Change::Requests(kind, scope, all) => {
                state.keep_requests(kind, &scope, &all);
                self.unlisted.remove(&List::Requests(kind, scope));
            }
        }
    }

    /// Returns `false` if nothing depends on a request with this name, uid and issuer: it need not be observed, nor
    /// decoded. Where cert-manager's issuers are served, most requests are of issuers of other types.
    pub fn needs(&self, key: &RequestKey, uid: &str, issuer: NamedIssuer<'_>) -> bool {
        self.state.needs_request(key, uid, issuer)
    }

    /// Begins no task for a time, at most a minute: the API server, which nearly every task needs, has asked its
    /// clients to wait.
    pub fn pause(&mut self, now: Now, wait: Duration) {
        let most = if self.state.stopping { PAUSE_STOPPING } else { PAUSE };
        self.paused = self.paused.max(now.monotonic + wait.min(most));
    }

    /// Begins the next task that is due, if a slot is free.
    pub fn poll(&mut self, now: Now) -> Option<(Key, Step)> {
        if !self.is_listed() || now.monotonic < self.paused {
            return None;
        }
        self.state.begin_serving(now);
        let key = self.state.next_task(now)?;
        let step = match key.clone() {
            Key::Issuer(issuer) => check::begin(&mut self.state, now, issuer).into(),
            Key::Request(request) => request::begin(&mut self.state, now, request).into(),
            Key::Token(token) => revoke::begin(&mut self.state, now, token).into(),
        };
        Some((key, step))
    }

    /// Returns the [`Now::monotonic`] at which the next task is due if nothing changes; it may be in the past.
    pub fn next_due(&self) -> Option<Duration> {
        // Nothing is begun before the lists are complete, so nothing is due.
        let due = self.state.next_due().filter(|_| self.is_listed())?;
        Some(due.max(self.paused))
    }

    /// Begins to watch a Secret or a ConfigMap, by its name, if one is to be watched. A watch lasts for as long as an
    /// issuer uses the object, so it is no task: nothing waits for it.
    pub fn poll_watch(&mut self, now: Now) -> Option<(SourceRef, AwaitSourceEvent)> {
        if now.monotonic < self.paused {
            return None;
        }
        let source = self.state.next_watch(now)?;
        Some((source.clone(), AwaitSourceEvent(source)))
    }

    /// Returns the [`Now::monotonic`] at which the next watch is due; it may be in the past.
    pub fn next_watch_due(&self) -> Option<Duration> {
        let due = self.state.sources.next().filter(|_| !self.state.stopping)?;
        Some(due.max(self.paused))
    }

    /// Begins no more tasks except those that save signed certificates, which become due at once, and those that
    /// revoke tokens.
    pub fn stop(&mut self, now: Now) {
        // What is signed is lost unless it is saved now, even if the API server has asked to wait.
        self.paused = Duration::ZERO;
        self.state.stop(now);
    }

    /// Returns `true` if every task has ended and every certificate is saved.
    pub fn is_drained(&self) -> bool {
        self.state.is_idle() && self.state.ledger.unsaved() == 0
    }

    /// Retires all tokens, so that the next tasks revoke them. Call it after [`stop`](Self::stop).
    pub fn retire_all(&mut self) {
        self.state.retire_all();
    }

    /// Returns `true` if every retired token has been revoked.
    pub fn is_retired(&self) -> bool {
        self.state.is_retired()
    }

    /// Returns the number of requests that are approved and have not finished.
    pub fn pending(&self) -> usize {
        self.state.requests.open()
    }

    /// Returns the number of requests that have not finished, whether they are approved or not.
    pub fn tracked(&self) -> usize {
        self.state.requests.len()
    }

    /// Returns the number of certificates that are being signed or wait to be saved.
    pub fn unsaved(&self) -> usize {
        self.state.ledger.unsaved()
    }

    /// Returns each issuer and whether it can sign.
    pub fn readiness(&self) -> impl Iterator<Item = (&IssuerKey, bool)> {
        self.state.issuers.readiness()
    }

    /// Adds the next portion to a description of the issuers, of the requests that wait for them and of the queue; returns
    /// the description once it is complete.
    pub fn report_portion(&self, now: Now, reporter: &mut Reporter) -> Option<Report> {
        self.state.report(now, reporter)
    }

    /// Describes the issuers, the requests that wait for them and the queue. Its cost is linear in the number of
    /// issuers and requests.
    pub fn report(&self, now: Now) -> Report {
        let mut reporter = Reporter::default();
        loop {
            if let Some(report) = self.report_portion(now, &mut reporter) {
                return report;
            }
        }
    }

    /// Returns the issuer that a request names, if both exist and the request has not finished.
    pub fn issuer_of(&self, request: &RequestKey) -> Option<&IssuerKey> {
        let issuer = self.state.requests.get(request)?.issuer.as_ref()?;
        self.state.issuers.get(issuer).map(|_| issuer)
    }

    /// Returns `true` if the requests of an issuer are signed as they come; until then they wait for a check of it.
    pub fn can_sign(&self, issuer: &IssuerKey) -> bool {
        let issuer = self.state.issuers.get(issuer);
        issuer.is_some_and(|issuer| issuer.phase() == Phase::Ready)
    }

    /// Returns the namespace of the issuer that a task is for, empty for a cluster issuer: those who may write it choose the
    /// server that is asked, so a driver bounds what each namespace takes of what it has little of.
    pub fn tenant(&self, key: &Key) -> Arc<str> {
        let issuer = match key {
            Key::Issuer(issuer) => Some(issuer),
            Key::Request(request) => {
                let tracked = self.state.requests.get(request);
                tracked.and_then(|tracked| tracked.issuer.as_ref())
            }
            Key::Token(token) => self.state.retired(*token).map(|retired| &retired.issuer),
        };
        issuer.map_or_else(Arc::default, |issuer| Arc::clone(&issuer.namespace))
    }

    /// Returns the kinds of cert-manager's issuers that are no longer served, since another controller signs for them.
    pub fn withdrawn(&self) -> impl Iterator<Item = IssuerKind> {
        self.state.withdrawn.iter().copied()
    }

    fn is_listed(&self) -> bool {
        self.unlisted.is_empty()
    }
}

impl AwaitReply {
    /// Resumes the task with Vault's reply.
    pub fn resume(self, controller: &mut Controller, now: Now, reply: Reply) -> Step {
        let state = &mut controller.state;
        match self.0 {
            Replied::Check(task, access) => task.advance(state, now, access.resume(now, reply)).into(),
            Replied::Revoke(task) => task.resume(state, now, reply).into(),
            Replied::Sign(signing) => signing.resume(state, now, reply).into(),
        }
    }
}

impl AwaitToken {
    /// Resumes the task with the service account token.
    pub fn resume(self, controller: &mut Controller, now: Now, answer: Result<Secret, ReadError>) -> Step {
        let Self(task, access) = self;
        task.advance(&mut controller.state, now, access.resume(now, answer))
            .into()
    }
}

impl AwaitConfigMap {
    /// Resumes the task with the ConfigMap.
    pub fn resume(self, controller: &mut Controller, now: Now, answer: Result<SecretData, ReadError>) -> Step {
        let Self(task, access) = self;
        task.advance(&mut controller.state, now, access.resume(now, answer))
            .into()
    }
}

impl AwaitSecret {
    /// Resumes the task with the Secret.
    pub fn resume(self, controller: &mut Controller, now: Now, answer: Result<SecretData, ReadError>) -> Step {
        let Self(task, access) = self;
        task.advance(&mut controller.state, now, access.resume(now, answer))
            .into()
    }
}

impl AwaitSourceEvent {
    /// Resumes with what the watch shows, or the error by which it has failed. Returns `None` if the watch must be
    /// closed; one that has [ended](SourceEvent::Ended) is opened again otherwise.
    pub fn resume(self, controller: &mut Controller, now: Now, answer: Result<SourceEvent, ReadError>) -> Option<Self> {
        let goes_on = controller.state.observe_source(&self.0, now, answer);
        goes_on.then_some(self)
    }
}

impl AwaitRequest {
    /// Resumes the task with the request.
    pub fn resume(self, controller: &mut Controller, now: Now, answer: Result<ObservedRequest, ReadError>) -> Step {
        self.0.on_read(&mut controller.state, now, answer).into()
    }
}

impl AwaitReview {
    /// Resumes the task with the answer: `true` if the user may.
    pub fn resume(self, controller: &mut Controller, now: Now, answer: Result<bool, ReadError>) -> Step {
        self.0.resume(&mut controller.state, now, answer).into()
    }
}

impl AwaitNamespace {
    /// Resumes the task with the labels of the namespace.
    pub fn resume(self, controller: &mut Controller, now: Now, answer: Result<NamespaceLabels, ReadError>) -> Step {
        self.0.on_namespace(&mut controller.state, now, answer).into()
    }
}

impl AwaitWrite {
    /// Resumes the task with the result of the status write.
    pub fn resume(self, controller: &mut Controller, now: Now, answer: Result<(), WriteError>) -> Step {
        let state = &mut controller.state;
        match self.0 {
            Written::Check(writing) => writing.resume(state, now, answer).into(),
            Written::Request(writing) => writing.resume(state, now, answer).into(),
        }
    }
}

impl AwaitPublish {
    /// Ends the task.
    pub fn resume(self, controller: &mut Controller) -> Step {
        Step::Done(controller.state.end(self.0))
    }
}
