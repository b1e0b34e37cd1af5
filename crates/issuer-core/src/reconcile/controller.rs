use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use issuer_api::{CertificateRequest, IssuerStatus, VaultClusterIssuer, VaultIssuer, VaultSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::backoff::{Jitter, backoff};
use super::ledger::{Entry, Ledger};
use super::queue::Queue;
use super::{AwaitReply, Key, Outcome, Replied, Step, issuer, request, status};
use crate::reference::{IssuerKey, IssuerKind, RequestKey};
use crate::session::{Access, SessionError};
use crate::vault::{Revoke, SignError};
use crate::{Now, Signatures};

/// What the controller is told at its start.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Config {
    /// Whether http servers are allowed.
    pub allow_http: bool,
    /// How long an issuer that is ready is left alone before it is checked again.
    pub check_interval: Duration,
    /// Where cluster issuers have their Secrets and service accounts.
    pub cluster_resource_namespace: String,
    /// How many requests of one issuer are worked on at once.
    pub max_concurrent_reconciles: usize,
    /// What signatures can be checked.
    pub signatures: Signatures,
}

/// What a watch saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An issuer is there, or has changed.
    Issuer(IssuerKey, ObservedIssuer),
    /// An issuer is gone.
    IssuerGone(IssuerKey),
    /// These are all the issuers of a kind.
    Issuers(IssuerKind, BTreeSet<IssuerKey>),
    /// A request is there, or has changed.
    Request(CertificateRequest),
    /// A request is gone.
    RequestGone(RequestKey),
    /// These are all the requests.
    Requests(BTreeSet<RequestKey>),
}

/// An issuer of either kind, as a watch shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedIssuer {
    /// Its uid.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// Its version.
    pub resource_version: String,
    /// Its spec.
    pub spec: VaultSpec,
    /// Its status.
    pub status: IssuerStatus,
}

impl Hash for ObservedIssuer {
    /// The version stands for all of it.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.uid, &self.resource_version).hash(state);
    }
}

impl ObservedIssuer {
    fn new(meta: ObjectMeta, spec: VaultSpec, status: Option<IssuerStatus>) -> Self {
        Self {
            uid: meta.uid.unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            resource_version: meta.resource_version.unwrap_or_default(),
            spec,
            status: status.unwrap_or_default(),
        }
    }
}

impl From<VaultIssuer> for ObservedIssuer {
    fn from(issuer: VaultIssuer) -> Self {
        Self::new(issuer.metadata, issuer.spec, issuer.status)
    }
}

impl From<VaultClusterIssuer> for ObservedIssuer {
    fn from(issuer: VaultClusterIssuer) -> Self {
        Self::new(issuer.metadata, issuer.spec, issuer.status)
    }
}

/// Everything the controller knows, and all its decisions.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Controller {
    pub(super) config: Config,
    pub(super) issuers: BTreeMap<IssuerKey, Issuer>,
    pub(super) jitter: Jitter,
    pub(super) ledger: Ledger,
    pub(super) requests: BTreeMap<RequestKey, Tracked>,
    queue: Queue<Lane, Key>,
    /// The unfinished requests of each issuer.
    orders: BTreeMap<IssuerKey, BTreeSet<RequestKey>>,
    /// Tokens that nobody needs any more, to be revoked.
    retired: BTreeMap<u64, Access>,
    tokens: u64,
    /// Which lists have been seen whole: nothing is done before all have.
    listed: (bool, BTreeSet<IssuerKind>),
    stopping: bool,
}

/// Work that shares its slots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Lane {
    Check(IssuerKey),
    Requests(IssuerKey),
    Tokens,
}

/// A request that is not finished.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Tracked {
    pub(super) object: Arc<CertificateRequest>,
    issuer: IssuerKey,
    attempts: u32,
    /// Whether it waits for its issuer and nothing else.
    parked: bool,
}

/// An issuer, and what its checks found.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Issuer {
    pub(super) observed: ObservedIssuer,
    pub(super) access: Option<Access>,
    /// Counts the times that signing was stopped until a check: a failure of an earlier time stops nothing.
    pub(super) epoch: u64,
    standing: Standing,
    /// Checks that failed in a row.
    failures: u32,
    /// Times in a row that signing was stopped without a certificate in between.
    trouble: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Standing {
    /// The last check said no.
    NotReady,
    /// The last check said yes.
    Ready,
    /// Nothing is known about this generation, or a signature has failed since the last check.
    Unchecked,
}

impl Issuer {
    /// Returns what to sign with, if the last check found it good and it still is.
    pub(super) fn access_to_sign(&self, now: Now) -> Option<&Access> {
        let ready = self.standing == Standing::Ready;
        self.access.as_ref().filter(|access| ready && access.lease.is_usable(now))
    }
}

impl Controller {
    /// Starts with nothing known. Equal seeds and equal inputs make equal decisions.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            queue: Queue::new(config.max_concurrent_reconciles),
            config,
            issuers: BTreeMap::new(),
            jitter: Jitter::new(seed),
            ledger: Ledger::default(),
            requests: BTreeMap::new(),
            orders: BTreeMap::new(),
            retired: BTreeMap::new(),
            tokens: 0,
            listed: (false, BTreeSet::new()),
            stopping: false,
        }
    }

    /// Takes what a watch saw.
    pub fn observe(&mut self, now: Now, change: Change) {
        match change {
            Change::Issuer(key, observed) => self.observe_issuer(now, key, observed),
            Change::IssuerGone(key) => self.forget_issuer(&key),
            Change::Issuers(kind, all) => {
                let gone = self.issuers.keys().filter(|key| key.kind == kind && !all.contains(key));
                for key in gone.cloned().collect::<Vec<_>>() {
                    self.forget_issuer(&key);
                }
                self.listed.1.insert(kind);
            }
            Change::Request(request) => self.observe_request(now, request),
            Change::RequestGone(key) => self.drop_request(&key),
            Change::Requests(all) => {
                let gone = self.requests.keys().filter(|key| !all.contains(key));
                for key in gone.cloned().collect::<Vec<_>>() {
                    self.drop_request(&key);
                }
                self.listed.0 = true;
            }
        }
    }

    /// Takes the next task that is due, if there is one and a slot for it.
    pub fn poll(&mut self, now: Now) -> Option<(Key, Step)> {
        if !self.is_listed() {
            return None;
        }
        while let Some(key) = self.queue.pop(now.monotonic) {
            if self.stopping && !self.is_owed(&key) {
                self.queue.finish(&key);
                continue;
            }
            let step = match &key {
                Key::Issuer(issuer) => issuer::begin(self, now, issuer.clone()),
                Key::Request(request) => request::begin(self, now, request.clone()),
                Key::Token(token) => self.revoke(*token),
            };
            return Some((key, step));
        }
        None
    }

    /// Returns the [`Now::monotonic`] at which there will be a task, if nothing changes; it may have passed.
    pub fn next_due(&self) -> Option<Duration> {
        self.queue.next().filter(|_| self.is_listed())
    }

    /// Stops to begin anything but what is owed: to save what is signed, at once, and to revoke tokens.
    pub fn stop(&mut self, now: Now) {
        self.stopping = true;
        let keys = self.requests.iter().map(|(key, tracked)| (tracked.issuer.clone(), Key::Request(key.clone())));
        for (issuer, key) in keys.filter(|(_, key)| self.is_owed(key)).collect::<Vec<_>>() {
            self.queue.push(Lane::Requests(issuer), key, now.monotonic);
        }
    }

    /// Tells whether every task has ended and every certificate is saved.
    pub fn is_drained(&self) -> bool {
        self.queue.is_idle() && self.ledger.unsaved() == 0
    }

    /// Lets go of all tokens, so that the next tasks revoke them. To be called when it has stopped.
    pub fn retire_all(&mut self) {
        for key in self.issuers.keys().cloned().collect::<Vec<_>>() {
            self.forget_issuer(&key);
        }
        for token in self.retired.keys() {
            self.queue.push(Lane::Tokens, Key::Token(*token), Duration::ZERO);
        }
    }

    /// Tells whether every token that was let go of is revoked.
    pub fn is_retired(&self) -> bool {
        self.queue.is_idle() && self.retired.is_empty()
    }

    /// Returns how many requests wait to be finished.
    pub fn pending(&self) -> usize {
        self.requests.len()
    }

    /// Returns how many certificates are being signed or wait to be saved.
    pub fn unsaved(&self) -> usize {
        self.ledger.unsaved()
    }

    /// Returns each issuer and whether it can sign.
    pub fn standings(&self) -> impl Iterator<Item = (&IssuerKey, bool)> {
        self.issuers.iter().map(|(key, issuer)| (key, issuer.standing == Standing::Ready))
    }

    fn is_listed(&self) -> bool {
        self.listed.0 && self.listed.1.len() == 2
    }

    fn is_owed(&self, key: &Key) -> bool {
        match key {
            Key::Issuer(_) => false,
            Key::Request(key) => {
                let tracked = self.requests.get(key);
                tracked.is_some_and(|tracked| self.ledger.find(request::uid(&tracked.object)).is_some())
            }
            Key::Token(_) => true,
        }
    }

    fn observe_issuer(&mut self, now: Now, key: IssuerKey, observed: ObservedIssuer) {
        let known = self.issuers.get_mut(&key);
        match known {
            Some(issuer) if issuer.observed.uid == observed.uid => {
                let changed = issuer.observed.generation != observed.generation;
                issuer.observed = observed;
                if !changed {
                    return;
                }
                issuer.standing = Standing::Unchecked;
                (issuer.failures, issuer.trouble) = (0, 0);
            }
            _ => {
                self.forget_issuer(&key);
                let issuer = Issuer {
                    observed,
                    access: None,
                    epoch: 0,
                    standing: Standing::Unchecked,
                    failures: 0,
                    trouble: 0,
                };
                self.issuers.insert(key.clone(), issuer);
                self.wake(&key, now);
            }
        }
        self.queue.push(Lane::Check(key.clone()), Key::Issuer(key), now.monotonic);
    }

    fn forget_issuer(&mut self, key: &IssuerKey) {
        self.queue.cancel(&Key::Issuer(key.clone()));
        let access = self.issuers.remove(key).and_then(|issuer| issuer.access);
        self.retire(access, Duration::ZERO);
    }

    fn observe_request(&mut self, now: Now, request: CertificateRequest) {
        let key = request::key(&request);
        let issuer = IssuerKey::of(&request.spec.issuer_ref, &key.namespace);
        let Some(issuer) = issuer.filter(|_| !status::is_terminal(&request)) else {
            self.drop_request(&key);
            self.ledger.forget(request::uid(&request));
            return;
        };
        let (mut attempts, mut parked) = (0, false);
        match self.tracked(&key, request::uid(&request)) {
            Some(tracked) => (attempts, parked) = (tracked.attempts, tracked.parked),
            None => self.drop_request(&key),
        }
        self.orders.entry(issuer.clone()).or_default().insert(key.clone());
        // A request that waits has its own time; that its status was written changes nothing about it.
        let waits = (parked || attempts > 0) && !request.is("Denied");
        let tracked = Tracked { object: Arc::new(request), issuer: issuer.clone(), attempts, parked };
        self.requests.insert(key.clone(), tracked);
        if !waits {
            self.queue.push(Lane::Requests(issuer), Key::Request(key), now.monotonic);
        }
    }

    /// Returns the request of this name if it still is the one with this uid.
    fn tracked(&mut self, key: &RequestKey, uid: &str) -> Option<&mut Tracked> {
        self.requests.get_mut(key).filter(|tracked| request::uid(&tracked.object) == uid)
    }

    fn drop_request(&mut self, key: &RequestKey) {
        let Some(tracked) = self.requests.remove(key) else {
            return;
        };
        if let Some(orders) = self.orders.get_mut(&tracked.issuer) {
            orders.remove(key);
            if orders.is_empty() {
                self.orders.remove(&tracked.issuer);
            }
        }
        self.queue.cancel(&Key::Request(key.clone()));
        self.ledger.forget(request::uid(&tracked.object));
    }

    /// Forgets a request that is finished.
    pub(super) fn forget_request(&mut self, key: &RequestKey, uid: &str) {
        if self.tracked(key, uid).is_some() {
            self.drop_request(key);
        }
        self.ledger.forget(uid);
    }

    /// Takes the request as the API server has it now.
    pub(super) fn refresh(&mut self, key: &RequestKey, object: &Arc<CertificateRequest>) {
        if let Some(tracked) = self.tracked(key, request::uid(object)) {
            tracked.object = Arc::clone(object);
        }
    }

    /// A terminal status has been written: no more than the uid is kept, until the watch shows it.
    pub(super) fn saved(&mut self, key: &RequestKey, uid: &str) {
        if self.tracked(key, uid).is_some() {
            self.drop_request(key);
            self.ledger.set(uid, Entry::Saved);
        }
    }

    /// Counts a failed attempt, and returns how many there are.
    pub(super) fn failed_attempt(&mut self, key: &RequestKey, uid: &str) -> u32 {
        let Some(tracked) = self.tracked(key, uid) else {
            return 1;
        };
        tracked.attempts = tracked.attempts.saturating_add(1);
        tracked.attempts
    }

    /// Notes whether a request waits for nothing but its issuer.
    pub(super) fn park(&mut self, key: &RequestKey, uid: &str, parked: bool) {
        if let Some(tracked) = self.tracked(key, uid) {
            tracked.parked = parked;
        }
    }

    /// Makes the requests that wait for nothing but this issuer due.
    fn wake(&mut self, issuer: &IssuerKey, now: Now) {
        let orders = self.orders.get(issuer).into_iter().flatten();
        for key in orders {
            if let Some(tracked) = self.requests.get_mut(key).filter(|tracked| tracked.parked) {
                tracked.parked = false;
                let lane = Lane::Requests(issuer.clone());
                self.queue.push(lane, Key::Request(key.clone()), now.monotonic);
            }
        }
    }

    /// Returns where an issuer may read Secrets and request tokens: there and nowhere else.
    pub(super) fn secret_namespace(&self, key: &IssuerKey) -> String {
        match key.kind {
            IssuerKind::Cluster => self.config.cluster_resource_namespace.clone(),
            IssuerKind::Namespaced => key.namespace.clone(),
        }
    }

    /// Takes what a check found; returns its outcome and when to check again.
    pub(super) fn settle(
        &mut self,
        key: &IssuerKey,
        verdict: &Result<(), SessionError>,
        now: Now,
    ) -> (Outcome, Option<Duration>) {
        let Some(issuer) = self.issuers.get_mut(key) else {
            return (Outcome::Idle, None);
        };
        match verdict {
            Ok(()) => {
                issuer.failures = 0;
                issuer.standing = Standing::Ready;
                let refresh = issuer.access.as_ref().and_then(|access| access.lease.refresh_at());
                let again = now.monotonic + self.jitter.over(self.config.check_interval);
                self.wake(key, now);
                (Outcome::Ready, Some(refresh.map_or(again, |refresh| refresh.min(again))))
            }
            Err(error) => {
                issuer.failures = issuer.failures.saturating_add(1);
                issuer.standing = Standing::NotReady;
                let (first, most) = if error.is_outage() { (1, 15) } else { (5, 60) };
                let wait = backoff(issuer.failures, Duration::from_secs(first), Duration::from_secs(most));
                let wait = error.retry_after().map_or(wait, |least| least.max(wait));
                let again = now.monotonic + self.jitter.over(wait);
                let fixable = !matches!(error, SessionError::Spec(_));
                (Outcome::NotReady(error.reason()), fixable.then_some(again))
            }
        }
    }

    /// A signature has failed for a reason that may be the issuer's: no more are asked for until a check says that
    /// it is well. The first failure is checked at once, further ones in a row after a wait.
    pub(super) fn suspect(&mut self, key: &IssuerKey, epoch: u64, error: &SignError, now: Now) {
        let Some(issuer) = self.issuers.get_mut(key).filter(|issuer| issuer.epoch == epoch) else {
            return;
        };
        issuer.epoch += 1;
        issuer.standing = Standing::Unchecked;
        issuer.trouble = issuer.trouble.saturating_add(1);
        let wait = match issuer.trouble {
            1 => Duration::ZERO,
            rounds => backoff(rounds - 1, Duration::from_secs(1), Duration::from_secs(300)),
        };
        let wait = error.retry_after().map_or(wait, |least| least.max(wait));
        let check = Key::Issuer(key.clone());
        self.queue.cancel(&check);
        self.queue.push(Lane::Check(key.clone()), check, now.monotonic + self.jitter.over(wait));
    }

    /// A signature has been made.
    pub(super) fn signed(&mut self, key: &IssuerKey, epoch: u64) {
        if let Some(issuer) = self.issuers.get_mut(key).filter(|issuer| issuer.epoch == epoch) {
            issuer.trouble = 0;
        }
    }

    /// Has an issuer checked whose token has ended before its time to be renewed came.
    pub(super) fn check_if_expired(&mut self, key: &IssuerKey, now: Now) {
        if self.issuers.get(key).is_some_and(|issuer| issuer.standing == Standing::Ready) {
            self.queue.push(Lane::Check(key.clone()), Key::Issuer(key.clone()), now.monotonic);
        }
    }

    /// Keeps a token that nobody needs any more, to revoke it at `at`.
    pub(super) fn retire(&mut self, access: Option<Access>, at: Duration) {
        if let Some(access) = access {
            self.tokens += 1;
            self.retired.insert(self.tokens, access);
            self.queue.push(Lane::Tokens, Key::Token(self.tokens), at);
        }
    }

    fn revoke(&mut self, token: u64) -> Step {
        let step = match self.retired.get(&token) {
            Some(access) => Revoke::begin(&access.vault, &access.lease),
            None => crate::Step::Done(()),
        };
        match step {
            crate::Step::Send(request, revoke) => {
                Step::Exchange(request, AwaitReply(Replied::Token(token, revoke)))
            }
            crate::Step::Done(()) => self.revoked(token),
        }
    }

    pub(super) fn revoked(&mut self, token: u64) -> Step {
        self.retired.remove(&token);
        self.finish(&Key::Token(token), Outcome::Revoked, None)
    }

    /// Ends a task, which is due again at `again`.
    pub(super) fn finish(&mut self, key: &Key, outcome: Outcome, again: Option<Duration>) -> Step {
        self.queue.finish(key);
        if let Some((lane, at)) = self.lane(key).zip(again) {
            self.queue.push(lane, key.clone(), at);
        }
        Step::Done(outcome)
    }

    fn lane(&self, key: &Key) -> Option<Lane> {
        match key {
            Key::Issuer(issuer) => self.issuers.contains_key(issuer).then(|| Lane::Check(issuer.clone())),
            Key::Request(request) => {
                self.requests.get(request).map(|tracked| Lane::Requests(tracked.issuer.clone()))
            }
            Key::Token(_) => Some(Lane::Tokens),
        }
    }
}
