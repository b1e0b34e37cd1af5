//! The tokens that are no longer used, until they are revoked.

use std::time::Duration;

use super::State;
use super::retired::{Retired, RetiredTokens};
use crate::access::Access;
use crate::reconcile::backoff::backoff;
use crate::reconcile::issuer::Phase;
use crate::reconcile::lane::Class;
use crate::reconcile::outcome::Key;
use crate::reconcile::recovery::Recovery;
use crate::reference::{IssuerKey, RequestKey};
use crate::vault::Lease;
use crate::{Chain, Now};

/// The number of times that the revocation of a token is tried, within about twenty minutes. A token that cannot be revoked
/// expires by itself.
const ATTEMPTS: u32 = 8;

/// The shortest time between two renewals of a token that is not used any more: a server chooses its lifetime.
const RENEWAL: Duration = Duration::from_secs(30);

impl RetiredTokens {
    /// Notes that a chain that was signed with the token of `lease` is leased, if the token is kept.
    fn signed(&mut self, lease: &Lease, chain: &Chain) {
        if chain.is_leased
            && let Some(token) = self.find(lease)
        {
            self.change(token, |retired| retired.lease.note_lease());
        }
    }
}

impl State {
    /// Keeps the token of an access of an issuer, to revoke it at `at`.
    pub(in crate::reconcile) fn retire(&mut self, issuer: &IssuerKey, access: Option<Access>, at: Duration) {
        let Some(access) = access else {
            return;
        };
        // A check may return a token that was retired while it was under way.
        if let Some(known) = self.retired.find(&access.lease) {
            if access.lease.bears_leases() {
                self.retired.change(known, |known| known.lease.note_lease());
            }
            return;
        }
        let token = self.retired.insert(issuer, &access.vault, access.lease);
        self.due(&Key::Token(token), at, Duration::ZERO);
        // A process that stops retires all at once, and revokes each of them.
        if let Some(first) = self.retired.excess(token).filter(|_| !self.stopping) {
            self.queue.cancel(&Key::Token(first));
            self.forget_token(first);
        }
    }

    /// Retires the token of an access that another has superseded: at once, unless a request is being signed with it.
    pub(in crate::reconcile) fn supersede(&mut self, issuer: &IssuerKey, superseded: Option<Access>, now: Now) {
        let is_used = self.ledger.is_signing(issuer);
        let timeout = superseded.as_ref().filter(|_| is_used);
        let wait = timeout.map_or(Duration::ZERO, |access| self.sign_timeout(access));
        self.retire(issuer, superseded, now.monotonic + wait);
    }

    /// Returns how long a signature with an access may take.
    pub(in crate::reconcile) fn sign_timeout(&self, access: &Access) -> Duration {
        access.sign_timeout().unwrap_or(self.config.sign_timeout)
    }

    /// Records the chain that was signed for a request with the token of `lease`. From now on the token is replaced before
    /// it expires.
    pub(in crate::reconcile) fn signed(
        &mut self,
        request: &RequestKey,
        key: &IssuerKey,
        (lease, chain): (&Lease, &Chain),
        now: Now,
    ) {
        let had_lost = self
            .requests
            .get(request)
            .is_some_and(|tracked| tracked.lost_at.is_some());
        let Some(issuer) = self.issuers.get_mut(key) else {
            return self.retired.signed(lease, chain);
        };
        let is_over = issuer.signed(chain.ca_not_after, had_lost);
        // A suspended issuer is checked when its suspension ends, which `Retry-After` may decide.
        let is_ready = issuer.phase() == Phase::Ready;
        let has_token = |access: &&mut Access| access.lease.token() == lease.token();
        let refresh = match issuer.access.as_mut().filter(has_token) {
            Some(access) => {
                access.signed(chain.is_leased);
                access.next_refresh(now).filter(|_| is_ready)
            }
            None => {
                self.retired.signed(lease, chain);
                None
            }
        };
        if is_over {
            self.release(key, Class::Reported, Recovery::Recovered, now);
        }
        if let Some(refresh) = refresh {
            self.due(&Key::Issuer(key.clone()), refresh, now.monotonic);
        }
    }

    /// Keeps a retired token with a new lease; returns when to renew it next.
    pub(in crate::reconcile) fn extend_token(&mut self, token: u64, mut lease: Lease, now: Now) -> Option<Duration> {
        let next = lease.next_refresh(now)?;
        self.retired.change(token, |retired| {
            if retired.lease.bears_leases() {
                lease.note_lease();
            }
            retired.lease = lease;
        })?;
        Some(next.max(now.monotonic + RENEWAL))
    }

    /// Counts a failed revocation; returns when to try again, or `None` if the token must be left to expire.
    pub(in crate::reconcile) fn revoke_again(
        &mut self,
        token: u64,
        retry_after: Option<Duration>,
        now: Now,
    ) -> Option<Duration> {
        if self.stopping {
            return None;
        }
        let failures = self.retired.change(token, |retired| {
            retired.failures += 1;
            retired.failures
        })?;
        let is_usable = self.retired(token)?.lease.is_usable(now);
        if failures >= ATTEMPTS || !is_usable {
            return None;
        }
        let wait = backoff(failures, Duration::from_secs(5), Duration::from_secs(300));
        let wait = self.jitter.over(wait).max(retry_after.unwrap_or_default());
        Some(now.monotonic + wait)
    }

    /// Retires the tokens of all issuers, and makes all retired tokens due.
    pub(in crate::reconcile) fn retire_all(&mut self) {
        for key in self.issuers.keys().cloned().collect::<Vec<_>>() {
            self.forget_issuer(&key);
        }
        for token in self.retired.numbers().collect::<Vec<_>>() {
            self.due(&Key::Token(token), Duration::ZERO, Duration::ZERO);
        }
    }

    pub(in crate::reconcile) fn retired(&self, token: u64) -> Option<&Retired> {
        self.retired.get(token)
    }

    pub(in crate::reconcile) fn forget_token(&mut self, token: u64) {
        self.retired.remove(token);
    }

    /// Returns `true` if no retired token is left. A check that is under way may hold another.
    pub(in crate::reconcile) fn is_retired(&self) -> bool {
        let is_check = |key: &Key| matches!(key, Key::Issuer(_));
        self.retired.is_empty() && !self.queue.running().any(is_check)
    }
}
