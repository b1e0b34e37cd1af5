//! The tokens that are no longer used, until they are revoked.

use std::collections::BTreeMap;
use std::time::Duration;

use super::State;
use crate::access::Access;
use crate::reconcile::backoff::backoff;
use crate::reconcile::issuers::Phase;
use crate::reconcile::lane::Class;
use crate::reconcile::outcome::Key;
use crate::reconcile::recovery::Recovery;
use crate::reference::{IssuerKey, RequestKey};
use crate::vault::Lease;
use crate::{Chain, Now};

/// The number of times that the revocation of a token is tried, within about twenty minutes. A token that cannot be revoked
/// expires by itself.
const ATTEMPTS: u32 = 8;

/// Tokens to be revoked, each with a number.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub(super) struct Tokens {
    by_number: BTreeMap<u64, Retired>,
    last: u64,
}

#[derive(Clone, Debug, PartialEq, Hash)]
struct Retired {
    access: Access,
    /// Failed revocations.
    failures: u32,
}

impl State {
    /// Keeps the token of an access, to revoke it at `at`.
    pub(in crate::reconcile) fn retire(&mut self, access: Option<Access>, at: Duration) {
        let Some(access) = access else {
            return;
        };
        let tokens = &mut self.retired;
        // A check may return a token that was retired while it was under way.
        let mut known = tokens.by_number.values_mut().map(|retired| &mut retired.access);
        if let Some(known) = known.find(|known| known.has_token_of(&access)) {
            return known.adopt(&access);
        }
        tokens.last += 1;
        tokens.by_number.insert(tokens.last, Retired { access, failures: 0 });
        let key = Key::Token(tokens.last);
        self.due(&key, at, Duration::ZERO);
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
        if self.issuers.signed(key, had_lost) {
            self.release(key, Class::Told, Recovery::Recovered, now);
        }
        if let Some(issuer) = self.issuers.get_mut(key) {
            issuer.ca_not_after = chain.ca_not_after;
        }
        let is_ready = self.issuers.phase(key) == Phase::Ready;
        let has_token = |access: &&mut Access| access.lease.token() == lease.token();
        let held = self.issuers.get_mut(key).and_then(|issuer| issuer.access.as_mut());
        if let Some(access) = held.filter(has_token) {
            access.signed(chain.is_leased);
            // A suspended issuer is checked when its suspension ends, which `Retry-After` may decide.
            if let Some(refresh) = access.next_refresh(now).filter(|_| is_ready) {
                self.due(&Key::Issuer(key.clone()), refresh, now.monotonic);
            }
        } else {
            let mut retired = self.retired.by_number.values_mut().map(|retired| &mut retired.access);
            if let Some(access) = retired.find(has_token) {
                access.signed(chain.is_leased);
            }
        }
    }

    /// Keeps a retired token with a new lease.
    pub(in crate::reconcile) fn extend_token(&mut self, token: u64, lease: Lease) {
        if let Some(retired) = self.retired.by_number.get_mut(&token) {
            retired.access.extend(lease);
        }
    }

    /// Counts a failed revocation; returns when to try again, or `None` if the token must be left to expire.
    pub(in crate::reconcile) fn revoke_again(
        &mut self,
        token: u64,
        retry_after: Option<Duration>,
        now: Now,
    ) -> Option<Duration> {
        let retired = self.retired.by_number.get_mut(&token).filter(|_| !self.stopping)?;
        retired.failures += 1;
        if retired.failures >= ATTEMPTS || !retired.access.lease.is_usable(now) {
            return None;
        }
        let wait = backoff(retired.failures, Duration::from_secs(5), Duration::from_secs(300));
        let wait = self.jitter.over(wait).max(retry_after.unwrap_or_default());
        Some(now.monotonic + wait)
    }

    /// Retires the tokens of all issuers, and makes all retired tokens due.
    pub(in crate::reconcile) fn retire_all(&mut self) {
        for key in self.issuers.keys().cloned().collect::<Vec<_>>() {
            self.forget_issuer(&key);
        }
        for token in self.retired.by_number.keys().copied().collect::<Vec<_>>() {
            self.due(&Key::Token(token), Duration::ZERO, Duration::ZERO);
        }
    }

    pub(in crate::reconcile) fn retired(&self, token: u64) -> Option<&Access> {
        self.retired.by_number.get(&token).map(|retired| &retired.access)
    }

    pub(in crate::reconcile) fn forget_token(&mut self, token: u64) {
        self.retired.by_number.remove(&token);
    }

    /// Returns `true` if every retired token has been revoked.
    pub(in crate::reconcile) fn is_retired(&self) -> bool {
        self.queue.is_idle() && self.retired.by_number.is_empty()
    }
}
