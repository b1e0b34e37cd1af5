//! Everything that the controller knows, and when each key is due.
//!
//! The queue is private to this file. Tasks and watch events change the state through its methods, which decide what
//! becomes due, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use issuer_api::CertificateRequest;

use super::backoff::Jitter;
use super::claim::Holder;
use super::issuers::{Epoch, Issuers, NextCheck, Observed};
use super::ledger::Ledger;
use super::observed::{Config, ObservedIssuer};
use super::outcome::{Ending, Key, Outcome};
use super::queue::Queue;
use super::requests::Requests;
use super::servers::Servers;
use super::status::{self, StatusPatch};
use crate::Now;
use crate::access::{Access, AccessError};
use crate::reference::{IssuerKey, IssuerKind, RequestKey};
use crate::vault::{Lease, SignError};

/// The state that all tasks share.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct State {
    pub(super) config: Config,
    pub(super) issuers: Issuers,
    pub(super) ledger: Ledger,
    pub(super) servers: Servers,
    pub(super) requests: Requests,
    pub(super) stopping: bool,
    pub(super) jitter: Jitter,
    queue: Queue<Lane, Key>,
    /// Tokens to be revoked.
    retired: BTreeMap<u64, Access>,
    /// The number of tokens retired so far.
    tokens: u64,
}

/// Tasks that share their slots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Lane {
    Check(IssuerKey),
    Requests(IssuerKey),
    Tokens,
}

impl State {
    pub(super) fn new(config: Config, seed: u64) -> Self {
        Self {
            queue: Queue::new(config.max_concurrent_reconciles),
            config,
            issuers: Issuers::default(),
            jitter: Jitter::new(seed),
            ledger: Ledger::default(),
            servers: Servers::default(),
            requests: Requests::default(),
            retired: BTreeMap::new(),
            tokens: 0,
            stopping: false,
        }
    }

    /// Takes the next key that is due. A state that is stopping returns only what is owed.
    pub(super) fn next_task(&mut self, now: Now) -> Option<Key> {
        while let Some(key) = self.queue.pop(now.monotonic) {
            if !self.stopping || self.is_owed(&key) {
                return Some(key);
            }
            self.queue.finish(&key);
        }
        None
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.queue.next()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_idle()
    }

    /// Ends a task.
    pub(super) fn end(&mut self, ending: Ending) -> Outcome {
        let Ending { key, outcome, again } = ending;
        self.queue.finish(&key);
        if let Some(at) = again {
            self.due(&key, at);
        }
        outcome
    }

    /// Begins no tasks from now on but those that are owed: to save what is signed, at once, and to revoke tokens.
    pub(super) fn stop(&mut self, now: Now) {
        self.stopping = true;
        let keys = self.requests.iter().map(|(key, _)| Key::Request(key.clone()));
        for key in keys.filter(|key| self.is_owed(key)).collect::<Vec<_>>() {
            self.due(&key, now.monotonic);
        }
    }

    /// Makes a key due at `at`, or earlier if it already is; nothing if its object does not exist.
    fn due(&mut self, key: &Key, at: Duration) {
        let lane = match key {
            Key::Issuer(issuer) => self.issuers.get(issuer).map(|_| Lane::Check(issuer.clone())),
            Key::Request(request) => {
                let tracked = self.requests.get(request);
                tracked.map(|tracked| Lane::Requests(tracked.issuer.clone()))
            }
            Key::Token(_) => Some(Lane::Tokens),
        };
        if let Some(lane) = lane {
            self.queue.push(lane, key.clone(), at);
        }
    }

    fn is_owed(&self, key: &Key) -> bool {
        match key {
            Key::Issuer(_) => false,
            Key::Request(key) => {
                let tracked = self.requests.get(key);
                tracked.is_some_and(|tracked| self.ledger.find(tracked.object.uid()).is_some())
            }
            Key::Token(_) => true,
        }
    }
}

/// Issuers.
impl State {
    pub(super) fn observe_issuer(&mut self, key: IssuerKey, observed: ObservedIssuer, now: Now) {
        let issuer = Key::Issuer(key.clone());
        // A process that stops begins no checks, so a new issuer does not concern it.
        if self.stopping
            && self
                .issuers
                .get(&key)
                .is_none_or(|known| known.observed.uid != observed.uid)
        {
            return self.forget_issuer(&key);
        }
        match self.issuers.observe(key.clone(), observed) {
            Observed::Unchanged => {}
            Observed::CheckNow => self.due(&issuer, now.monotonic),
            Observed::Replaced(access) => {
                self.queue.cancel(&issuer);
                self.retire(access, Duration::ZERO);
                self.requeue_waiting(&key, now);
                self.due(&issuer, now.monotonic);
            }
        }
    }

    pub(super) fn forget_issuer(&mut self, key: &IssuerKey) {
        self.queue.cancel(&Key::Issuer(key.clone()));
        let access = self.issuers.remove(key);
        self.retire(access, Duration::ZERO);
    }

    /// Forgets the issuers of a kind that a complete list does not contain.
    pub(super) fn keep_issuers(&mut self, kind: IssuerKind, listed: &BTreeSet<IssuerKey>) {
        for key in self.issuers.unlisted(kind, listed) {
            self.forget_issuer(&key);
        }
    }

    /// Returns the only namespace in which an issuer may read Secrets and request tokens.
    pub(super) fn secret_namespace(&self, key: &IssuerKey) -> String {
        match key.kind {
            IssuerKind::Cluster => self.config.cluster_resource_namespace.clone(),
            IssuerKind::Namespaced => key.namespace.clone(),
        }
    }

    /// Records the verdict of a check; returns its outcome and the time of the next check.
    pub(super) fn apply_verdict(
        &mut self,
        key: &IssuerKey,
        verdict: &Result<(), AccessError>,
        now: Now,
    ) -> (Outcome, Option<Duration>) {
        let was_ready = self.issuers.is_ready(key);
        let Some(settled) = self.issuers.settle(key, verdict, now) else {
            return (Outcome::Idle, None);
        };
        // Requests that waited for a token, and now for the issuer, get a status that says so.
        if verdict.is_ok() || was_ready {
            self.requeue_waiting(key, now);
        }
        let again = match settled.next {
            NextCheck::OnChange => None,
            NextCheck::Interval { refresh } => {
                let again = now.monotonic + self.jitter.over(self.config.check_interval);
                Some(refresh.map_or(again, |refresh| refresh.min(again)))
            }
            NextCheck::Retry {
                backoff,
                most,
                retry_after,
            } => {
                let wait = self.jitter.over(backoff);
                let wait = most.map_or(wait, |most| wait.min(most));
                let least = retry_after.map(|least| self.jitter.over(least));
                Some(now.monotonic + least.map_or(wait, |least| least.max(wait)))
            }
        };
        (settled.outcome, again)
    }

    /// Suspends signing for an issuer after a failure that may be the issuer's, and schedules a check.
    pub(super) fn report_sign_failure(&mut self, key: &IssuerKey, epoch: Epoch, error: &SignError, now: Now) {
        let Some(wait) = self.issuers.suspend(key, epoch, error) else {
            return;
        };
        let check = Key::Issuer(key.clone());
        self.queue.cancel(&check);
        let at = now.monotonic + self.jitter.over(wait);
        self.due(&check, at);
    }

    /// Schedules a check of an issuer whose token has expired, for a request that needs one.
    pub(super) fn demand_token(&mut self, key: &IssuerKey, now: Now) {
        if let Some(access) = self.issuers.get_mut(key).and_then(|issuer| issuer.access.as_mut()) {
            access.demand();
        }
        self.due(&Key::Issuer(key.clone()), now.monotonic);
    }

    /// Records a signature that was made with the token of `lease`, and whether the certificate has a lease. From now on
    /// the token is replaced before it expires.
    pub(super) fn signed(&mut self, key: &IssuerKey, epoch: Epoch, lease: &Lease, leased: bool, now: Now) {
        self.issuers.signed(key, epoch);
        let has_token = |access: &&mut Access| access.lease.token() == lease.token();
        let held = self.issuers.get_mut(key).and_then(|issuer| issuer.access.as_mut());
        if let Some(access) = held.filter(has_token) {
            access.signed(leased);
            if let Some(refresh) = access.next_refresh(now) {
                self.due(&Key::Issuer(key.clone()), refresh);
            }
        } else if let Some(access) = self.retired.values_mut().find(has_token) {
            access.signed(leased);
        }
    }

    /// Postpones the check of an issuer, if one is due, until Vault wants to be asked again.
    pub(super) fn postpone_check(&mut self, key: &IssuerKey, at: Duration) {
        self.queue.postpone(&Key::Issuer(key.clone()), at);
    }

    /// Makes the requests due that wait for nothing but this issuer.
    fn requeue_waiting(&mut self, issuer: &IssuerKey, now: Now) {
        for key in self.requests.take_waiting(issuer) {
            self.due(&Key::Request(key), now.monotonic);
        }
    }
}

/// Requests.
impl State {
    pub(super) fn observe_request(&mut self, request: CertificateRequest, now: Now) {
        let key = RequestKey::of(&request);
        let issuer = IssuerKey::of(&request.spec.issuer_ref, &key.namespace);
        let Some(issuer) = issuer.filter(|_| !request.is_terminal()) else {
            self.forget_request(&key);
            self.ledger.forget(request.uid());
            self.ledger.caught_up(&key);
            return;
        };
        if self.ledger.is_finished(&key, request.uid()) {
            return;
        }
        self.ledger.caught_up(&key);
        if self.requests.with_uid(&key, request.uid()).is_none() {
            self.forget_request(&key);
        }
        if !self.requests.observe(&key, request, issuer).waits() {
            self.due(&Key::Request(key), now.monotonic);
        }
    }

    /// A watch has shown that a request does not exist.
    pub(super) fn request_gone(&mut self, key: &RequestKey) {
        self.forget_request(key);
        self.ledger.caught_up(key);
    }

    /// Forgets the requests that a complete list does not contain.
    pub(super) fn keep_requests(&mut self, listed: &BTreeSet<RequestKey>) {
        for key in self.requests.unlisted(listed) {
            self.forget_request(&key);
        }
        self.ledger.caught_up_but(|key| listed.contains(key));
    }

    fn forget_request(&mut self, key: &RequestKey) {
        if let Some(tracked) = self.requests.remove(key) {
            self.queue.cancel(&Key::Request(key.clone()));
            self.ledger.forget(tracked.object.uid());
        }
    }

    /// Forgets a request that has finished or is gone, except for its uid, which is kept until the watch shows it too.
    pub(super) fn finish_request(&mut self, key: &RequestKey, uid: &str) {
        if self.requests.with_uid(key, uid).is_some() {
            self.forget_request(key);
            self.ledger.finish(key.clone(), uid);
        }
        self.ledger.forget(uid);
    }

    /// Counts a failed attempt; returns the number of failures in a row.
    pub(super) fn count_attempt(&mut self, key: &RequestKey, uid: &str) -> u32 {
        let Some(tracked) = self.requests.with_uid(key, uid) else {
            return 1;
        };
        tracked.attempts = tracked.attempts.saturating_add(1);
        tracked.attempts
    }

    /// Records whether a request waits for its issuer and for nothing else.
    pub(super) fn wait_for_issuer(&mut self, key: &RequestKey, uid: &str, waits: bool) {
        if let Some(tracked) = self.requests.with_uid(key, uid) {
            tracked.waits_for_issuer = waits;
        }
    }

    /// Returns who holds the claim on a request; `Us` if claims are disabled.
    pub(super) fn holder(&mut self, key: &RequestKey, object: &CertificateRequest, now: Now) -> Holder {
        let Some(claim) = &self.config.claim else {
            return Holder::Us;
        };
        match self.requests.with_uid(key, object.uid()) {
            Some(tracked) => claim.holder(object, &mut tracked.claim, now),
            None => Holder::Nobody,
        }
    }

    /// Returns the write that claims a request, if it still exists.
    pub(super) fn claim(
        &mut self,
        key: &RequestKey,
        object: &Arc<CertificateRequest>,
        now: Now,
    ) -> Option<StatusPatch> {
        let (condition, seen) = self.config.claim.as_ref()?.make(object, now);
        self.requests.with_uid(key, object.uid())?.claim = Some(seen);
        Some(status::claim(object, condition))
    }
}

/// Tokens that are no longer used.
impl State {
    /// Keeps the token of an access, to revoke it at `at`.
    pub(super) fn retire(&mut self, access: Option<Access>, at: Duration) {
        let Some(access) = access else {
            return;
        };
        // A check may return a token that was retired while it was under way.
        if let Some(known) = self.retired.values_mut().find(|known| known.has_token_of(&access)) {
            return known.adopt(&access);
        }
        self.tokens += 1;
        self.retired.insert(self.tokens, access);
        self.due(&Key::Token(self.tokens), at);
    }

    /// Keeps a retired token with a new lease.
    pub(super) fn extend_token(&mut self, token: u64, lease: Lease) {
        if let Some(access) = self.retired.get_mut(&token) {
            access.extend(lease);
        }
    }

    /// Retires the tokens of all issuers, and makes all retired tokens due.
    pub(super) fn retire_all(&mut self) {
        for key in self.issuers.keys().cloned().collect::<Vec<_>>() {
            self.forget_issuer(&key);
        }
        for token in self.retired.keys().copied().collect::<Vec<_>>() {
            self.due(&Key::Token(token), Duration::ZERO);
        }
    }

    pub(super) fn retired(&self, token: u64) -> Option<&Access> {
        self.retired.get(&token)
    }

    pub(super) fn forget_token(&mut self, token: u64) {
        self.retired.remove(&token);
    }

    /// Returns `true` if every retired token has been revoked.
    pub(super) fn is_retired(&self) -> bool {
        self.queue.is_idle() && self.retired.is_empty()
    }
}
