//! Changes of issuers, and the work that follows.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{LaneKey, State};
use crate::Now;
use crate::access::AccessError;
use crate::reconcile::issuer::{LostAnswer, NextCheck, Settled};
use crate::reconcile::issuers::Observed;
use crate::reconcile::lane::Class;
use crate::reconcile::losses::Blame;
use crate::reconcile::observed::ObservedIssuer;
use crate::reconcile::outcome::{Key, Outcome};
use crate::reconcile::recovery::Recovery;
use crate::reference::{IssuerKey, IssuerKind, ListScope};
use crate::vault::SignError;

impl State {
    pub(in crate::reconcile) fn observe_issuer(&mut self, key: IssuerKey, observed: ObservedIssuer, now: Now) {
        // A process that stops begins no checks, so a new issuer does not concern it.
        let known = self.issuers.get(&key);
        if self.stopping && known.is_none_or(|known| known.observed.uid != observed.uid) {
            return self.forget_issuer(&key);
        }
        if self.withdrawn.contains(&key.kind) {
            return;
        }
        match self.issuers.observe(key.clone(), observed) {
            Observed::Unchanged => return,
            Observed::CheckNow => {}
            Observed::Replaced(access) => {
                self.queue.cancel(&Key::Issuer(key.clone()));
                self.retire(&key, access, Duration::ZERO);
                // Its requests say that it does not exist, or what the issuer said that it replaces.
                self.release(&key, Class::Unreported, Recovery::Replaced, now);
            }
        }
        self.gate(&key);
        self.check_now(&key, now);
    }

    pub(in crate::reconcile) fn forget_issuer(&mut self, key: &IssuerKey) {
        self.queue.cancel(&Key::Issuer(key.clone()));
        self.sources.forget(key);
        let was_served = self.issuers.get(key).is_some();
        let access = self.issuers.remove(key);
        self.retire(key, access, Duration::ZERO);
        self.gate(key);
        if was_served && key.kind.is_drop_in() {
            self.leave_requests_near(key);
        }
    }

    /// Forgets the issuers of a kind that a complete list covers and does not contain.
    pub(in crate::reconcile) fn keep_issuers(
        &mut self,
        kind: IssuerKind,
        scope: &ListScope,
        listed: &BTreeSet<IssuerKey>,
    ) {
        for key in self.issuers.unlisted(kind, scope, listed) {
            self.forget_issuer(&key);
        }
    }

    /// Returns the only namespace in which an issuer may read Secrets and request tokens.
    pub(in crate::reconcile) fn secret_namespace(&self, key: &IssuerKey) -> String {
        match key.kind {
            IssuerKind::Cluster => self.config.cluster_resource_namespace.clone(),
            IssuerKind::DropInCluster => self.drop_in_namespace(),
            IssuerKind::DropInNamespaced | IssuerKind::Namespaced => key.namespace.to_string(),
        }
    }

    /// Records the verdict of a check; returns its outcome and the time of the next check.
    pub(in crate::reconcile) fn apply_verdict(
        &mut self,
        key: &IssuerKey,
        verdict: &Result<(), AccessError>,
        now: Now,
    ) -> (Outcome, Option<Duration>) {
        let Some(settled) = self.issuers.settle(key, verdict, now) else {
            return (Outcome::Idle, None);
        };
        let Settled {
            outcome,
            next,
            blamed,
            recovery,
        } = settled;
        if let Some(recovery) = recovery {
            self.release(key, Class::Reported, recovery, now);
        }
        for lost in blamed {
            self.blame(key, lost, now);
        }
        self.gate(key);
        let asked = verdict.as_ref().err().and_then(AccessError::retry_after);
        let again = self.next_check(next, now);
        if let (Some(_), Some(again)) = (asked, again) {
            // Something else may have made a check due while this one ran, such as another writer of the status.
            self.postpone_check(key, again);
        }
        (outcome, again)
    }

    fn next_check(&mut self, next: NextCheck, now: Now) -> Option<Duration> {
        match next {
            NextCheck::OnChange => None,
            NextCheck::Interval { refresh, first } => {
                let interval = self.config.check_interval;
                let interval = if first {
                    self.jitter.within(interval)
                } else {
                    self.jitter.over(interval)
                };
                let again = now.monotonic + interval;
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
        }
    }

    /// Suspends signing for an issuer after a failure that may be the issuer's, and schedules the check that decides.
    pub(in crate::reconcile) fn report_sign_failure(
        &mut self,
        key: &IssuerKey,
        error: &SignError,
        lost: Option<LostAnswer>,
        now: Now,
    ) {
        let Some(wait) = self.issuers.suspend(key, error, lost) else {
            return;
        };
        self.gate(key);
        let check = Key::Issuer(key.clone());
        self.queue.cancel(&check);
        let at = now.monotonic + self.jitter.over(wait);
        self.due(&check, at, now.monotonic);
    }

    /// Suspends signing for an issuer whose token has expired before the check that would have renewed it.
    pub(in crate::reconcile) fn report_expiry(&mut self, key: &IssuerKey, now: Now) {
        self.issuers.expire(key);
        self.gate(key);
        self.check_now(key, now);
    }

    pub(super) fn check_now(&mut self, key: &IssuerKey, now: Now) {
        self.due(&Key::Issuer(key.clone()), now.monotonic, now.monotonic);
    }

    /// Postpones the check of an issuer, if one is due, until Vault wants to be asked again.
    pub(in crate::reconcile) fn postpone_check(&mut self, key: &IssuerKey, at: Duration) {
        self.queue.postpone(&Key::Issuer(key.clone()), at);
    }

    /// Ends the backoff of an issuer's requests after its state has changed.
    pub(super) fn release(&mut self, issuer: &IssuerKey, last: Class, recovery: Recovery, now: Now) {
        let lane = LaneKey::Requests(issuer.clone());
        self.queue.release(&lane, last, recovery, now.monotonic);
    }

    /// Counts a lost answer against the request, unless the issuer is to blame.
    ///
    /// The waits grow so that all of them span minutes: an endpoint that fails for a moment although the check succeeds
    /// must not fail a request (S14).
    fn blame(&mut self, issuer: &IssuerKey, lost: LostAnswer, now: Now) {
        let tracked = self.requests.with_uid_mut(&lost.key, &lost.uid);
        let (Some(tracked), Some(losses)) = (tracked, self.issuers.losses(issuer)) else {
            return;
        };
        let before = tracked.lost_at.replace(losses.signatures());
        let key = Key::Request(lost.key);
        if let Blame::Issuer(at) = losses.record(before, now.monotonic) {
            // The time depends on the issuer, not on how often this request was tried.
            (tracked.attempts, tracked.not_before) = (0, at);
            return self.queue.postpone(&key, at);
        }
        tracked.lost_answers = tracked.lost_answers.saturating_add(1);
        tracked.last_error = lost.error;
        if tracked.lost_answers >= self.config.max_lost_answers {
            return self.due(&key, now.monotonic, now.monotonic);
        }
        let wait = Duration::from_secs(15).saturating_mul(8_u32.saturating_pow(tracked.lost_answers - 1));
        let at = now.monotonic + self.jitter.over(wait.min(Duration::from_secs(900)));
        tracked.not_before = at;
        self.queue.postpone(&key, at);
    }
}
