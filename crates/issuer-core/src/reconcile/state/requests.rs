//! Changes of requests, and the work that follows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::State;
use crate::Now;
use crate::access::Access;
use crate::reconcile::backoff::backoff;
use crate::reconcile::claim::Holder;
use crate::reconcile::issuer::Phase;
use crate::reconcile::ledger::{Account, Conclusion};
use crate::reconcile::observed_request::{NamedIssuer, ObservedRequest};
use crate::reconcile::outcome::Key;
use crate::reconcile::status::{self, StatusPatch};
use crate::reconcile::tracked::{Reported, Tracked};
use crate::reference::{IssuerKey, ListScope, RequestKey, RequestKind};

/// How long a request may wait for approval before an event says so: approval takes a moment even where it is automatic.
const APPROVAL: Duration = Duration::from_secs(10);

impl State {
    pub(in crate::reconcile) fn observe_request(&mut self, request: ObservedRequest, now: Now) {
        let key = request.key();
        let issuer = request.issuer();
        self.yield_to_built_in(&request, issuer.as_ref(), now);
        let is_served = self.serves(issuer.as_ref(), request.is_of_our_group(), request.uid());
        if !is_served || request.is_terminal() {
            self.forget_request(&key);
            self.forget_result(request.uid());
            self.ledger.caught_up(&key);
            return;
        }
        if self.ledger.is_finished(&key, request.uid()) {
            return;
        }
        self.ledger.caught_up(&key);
        // Another uid is another request, although it has the same name: nothing that is known of the old one holds for it.
        if self.requests.with_uid(&key, request.uid()).is_none() {
            self.forget_request(&key);
        }
        let tracked = self.requests.observe(&key, request, issuer);
        let request = &tracked.object;
        // A request that backs off has its own time; that its status was written changes nothing.
        let at = if request.is_denied || (tracked.is_open() && tracked.attempts == 0) {
            Some(now.monotonic)
        } else if tracked.is_open() || request.is_invalid || tracked.announced {
            None
        } else {
            Some(now.monotonic + APPROVAL)
        };
        if let Some(at) = at {
            self.due(&Key::Request(key), at, now.monotonic);
        }
    }

    /// Returns `true` if a request of this issuer is ours to answer: one of our group, or of an issuer of cert-manager's that
    /// signs with Vault, and of a kind that is served. Where that issuer has gone, what was signed before is saved all the
    /// same.
    fn serves(&self, issuer: Option<&IssuerKey>, is_of_our_group: bool, uid: &str) -> bool {
        match issuer {
            Some(issuer) if !self.config.kinds().any(|kind| kind == issuer.kind) => false,
            Some(issuer) if issuer.kind.is_drop_in() => {
                self.issuers.phase(issuer) != Phase::Missing || self.ledger.find(uid).is_some()
            }
            _ => is_of_our_group,
        }
    }

    /// Returns `true` if another controller answers a request now: its issuer is one of cert-manager's and has gone, is of
    /// another type, or was given up to the built-in controller. What is signed is saved all the same.
    fn is_of_others(&self, tracked: &Tracked) -> bool {
        let issuer = tracked.issuer.as_ref().filter(|issuer| issuer.kind.is_drop_in());
        issuer.is_some_and(|issuer| !self.serves(Some(issuer), false, tracked.object.uid()))
    }

    /// Forgets a request if another controller answers it now; returns `true` if so.
    pub(in crate::reconcile) fn leave_to_others(&mut self, key: &RequestKey) -> bool {
        let tracked = self.requests.get(key);
        let is_of_others = tracked.is_some_and(|tracked| self.is_of_others(tracked));
        if is_of_others {
            self.forget_request(key);
        }
        is_of_others
    }

    /// Forgets the requests that other controllers answer now that a kind of issuers is not served any more.
    pub(super) fn leave_requests_to_others(&mut self) {
        for key in self.requests.keys_of(|tracked| self.is_of_others(tracked)) {
            self.forget_request(&key);
        }
    }

    /// Forgets the requests that other controllers answer now that an issuer is gone.
    pub(super) fn leave_requests_near(&mut self, issuer: &IssuerKey) {
        for key in self.requests.keys_near(issuer, |tracked| self.is_of_others(tracked)) {
            self.forget_request(&key);
        }
    }

    /// Returns `true` if a request with this name, uid and issuer changes anything here.
    pub(in crate::reconcile) fn needs_request(&self, key: &RequestKey, uid: &str, issuer: NamedIssuer<'_>) -> bool {
        let named = issuer.key(&key.namespace);
        let is_known = self.requests.get(key).is_some() || self.ledger.awaits_watch(key);
        is_known || self.serves(named.as_ref(), issuer.is_of_our_group(), uid)
    }

    /// A watch has shown that a request does not exist.
    pub(in crate::reconcile) fn request_gone(&mut self, key: &RequestKey) {
        self.forget_request(key);
        self.ledger.caught_up(key);
    }

    /// Forgets the requests of a kind that a complete list covers and does not contain.
    pub(in crate::reconcile) fn keep_requests(
        &mut self,
        kind: RequestKind,
        scope: &ListScope,
        listed: &BTreeSet<RequestKey>,
    ) {
        for key in self.requests.unlisted(kind, scope, listed) {
            self.forget_request(&key);
        }
        self.ledger
            .caught_up_except(|key| key.kind != kind || !scope.covers(&key.namespace) || listed.contains(key));
    }

    pub(in crate::reconcile) fn forget_request(&mut self, key: &RequestKey) {
        if let Some(tracked) = self.requests.remove(key) {
            self.queue.cancel(&Key::Request(key.clone()));
            self.forget_result(tracked.object.uid());
        }
    }

    /// Forgets a request that has finished or is gone, except for its uid, which is kept until the watch shows it too.
    pub(in crate::reconcile) fn finish_request(&mut self, key: &RequestKey, uid: &str) {
        if self.requests.with_uid(key, uid).is_some() {
            self.forget_request(key);
            self.ledger.record_finished(key.clone(), uid);
        }
        self.forget_result(uid);
    }

    /// Counts a failed attempt; returns when to try again: after a second, doubled with each failure up to `most`.
    pub(in crate::reconcile) fn back_off(&mut self, key: &RequestKey, uid: &str, most: Duration, now: Now) -> Duration {
        let attempts = match self.requests.with_uid_mut(key, uid) {
            Some(tracked) => {
                tracked.attempts = tracked.attempts.saturating_add(1);
                tracked.attempts
            }
            None => 1,
        };
        let wait = backoff(attempts, Duration::from_secs(1), most);
        now.monotonic + self.jitter.over(wait)
    }

    /// Returns `true` if a request can be signed now, but its CSR is not at hand.
    pub(in crate::reconcile) fn must_read(&self, key: &RequestKey) -> bool {
        let Some(tracked) = self.requests.get(key).filter(|tracked| tracked.lacks_csr) else {
            return false;
        };
        let can_sign = |issuer: &IssuerKey| self.issuers.phase(issuer) == Phase::Ready && self.has_room(key, issuer);
        let is_recorded = self.ledger.find(tracked.object.uid()).is_some();
        tracked.is_open() && !is_recorded && tracked.issuer.as_ref().is_some_and(can_sign)
    }

    /// Returns the conclusion for a request that has cost too many answers.
    pub(in crate::reconcile) fn lost_answers(&self, key: &RequestKey, uid: &str) -> Option<Conclusion> {
        let tracked = self.requests.with_uid(key, uid)?;
        if tracked.lost_answers < self.config.max_lost_answers {
            return None;
        }
        let message = format!(
            "Not signed: Vault failed {} times to answer this request, and was ready after each; the last time: {}",
            tracked.lost_answers, tracked.last_error
        );
        Some(Conclusion::Failed("AnswersLost", message))
    }

    /// Records that the status of a request says why it waits.
    pub(in crate::reconcile) fn record_reported(&mut self, key: &RequestKey, uid: &str, reason: &'static str) {
        if let Some(tracked) = self.requests.with_uid_mut(key, uid) {
            tracked.reported = Reported::Cause(reason);
        }
    }

    /// Returns `true` once: an event must say that a request waits for approval.
    pub(in crate::reconcile) fn announce(&mut self, key: &RequestKey, uid: &str) -> bool {
        let tracked = self.requests.with_uid_mut(key, uid);
        tracked.is_some_and(|tracked| !std::mem::replace(&mut tracked.announced, true))
    }

    /// Returns who holds the claim on a request; `Us` if claims are disabled.
    pub(in crate::reconcile) fn holder(
        &mut self,
        key: &RequestKey,
        object: &ObservedRequest,
        access: &Access,
        now: Now,
    ) -> Holder {
        let timeout = self.sign_timeout(access);
        let Some(claim) = &self.config.claim else {
            return Holder::Us;
        };
        match self.requests.with_uid_mut(key, object.uid()) {
            Some(tracked) => claim.holder(object, &mut tracked.claim, timeout, now),
            None => Holder::Nobody,
        }
    }

    /// Returns the write that claims a request, if it still exists.
    pub(in crate::reconcile) fn claim(
        &mut self,
        key: &RequestKey,
        object: &ObservedRequest,
        now: Now,
    ) -> Option<StatusPatch> {
        let (condition, seen) = self.config.claim.as_ref()?.make(object, now);
        self.requests.with_uid_mut(key, object.uid())?.claim = Some(seen);
        Some(status::claim(object, condition))
    }

    /// Returns `true` if an issuer may sign a request before others are saved.
    pub(in crate::reconcile) fn has_room(&self, key: &RequestKey, issuer: &IssuerKey) -> bool {
        self.ledger.has_room(issuer) && self.ledger.has_room_for(&self.account(key, issuer))
    }

    fn account(&self, key: &RequestKey, issuer: &IssuerKey) -> Account {
        let tracked = self.requests.get(key);
        Account {
            issuer: issuer.clone(),
            requester: tracked.map_or_else(|| Arc::clone(&key.namespace), |tracked| tracked.requester(key)),
        }
    }

    /// Records that an issuer signs a request.
    pub(in crate::reconcile) fn begin_signing(&mut self, key: &RequestKey, uid: &str, issuer: &IssuerKey) {
        let account = self.account(key, issuer);
        self.ledger.sign(uid, account.clone());
        self.gate(issuer);
        self.limit(&account);
    }

    pub(in crate::reconcile) fn record_conclusion(&mut self, uid: &str, conclusion: Conclusion) {
        let freed = self.ledger.conclude(uid, conclusion);
        self.admit(freed);
    }

    pub(in crate::reconcile) fn forget_result(&mut self, uid: &str) {
        let freed = self.ledger.forget(uid);
        self.admit(freed);
    }

    /// Lets the requests of an account go on, now that it has room for one more.
    fn admit(&mut self, freed: Option<Account>) {
        if let Some(account) = freed {
            self.gate(&account.issuer);
            self.limit(&account);
        }
    }

    /// Returns the number of failed attempts in a row to sign or to save a request.
    pub(in crate::reconcile) fn attempts(&self, key: &RequestKey) -> u32 {
        self.requests.get(key).map_or(0, |tracked| tracked.attempts)
    }

    /// Records that an event says why a request is not finished; returns `true` if none has given this reason yet.
    pub(in crate::reconcile) fn announce_reason(&mut self, key: &RequestKey, uid: &str, reason: &'static str) -> bool {
        let cause = Reported::Cause(reason);
        let tracked = self.requests.with_uid_mut(key, uid);
        tracked.is_some_and(|tracked| std::mem::replace(&mut tracked.reported, cause) != cause)
    }
}
