//! The tokens that are no longer used, until they are revoked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::State;
use super::lanes::Lane;
use crate::access::Access;
use crate::reconcile::backoff::backoff;
use crate::reconcile::issuers::Phase;
use crate::reconcile::lane::Class;
use crate::reconcile::outcome::Key;
use crate::reconcile::recovery::Recovery;
use crate::reconcile::tenant::Tenant;
use crate::reference::{IssuerKey, RequestKey};
use crate::vault::{Lease, Vault};
use crate::{Chain, Now};

/// The number of times that the revocation of a token is tried, within about twenty minutes. A token that cannot be revoked
/// expires by itself.
const ATTEMPTS: u32 = 8;

/// The most tokens that are kept of one issuer, and of the issuers of one tenant. The first of more are left to expire: the
/// token of an issuer may be superseded each second, and its server may extend every one.
const KEPT: (usize, usize) = (8, 256);

/// The shortest time between two renewals of a token that is not used any more: a server chooses its lifetime.
const RENEWAL: Duration = Duration::from_secs(30);

/// Tokens to be revoked, each with a number.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub(super) struct Tokens {
    by_number: BTreeMap<u64, Retired>,
    last: u64,
}

/// What it takes to revoke or to renew a token.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(in crate::reconcile) struct Retired {
    /// The issuer that has used it.
    issuer: IssuerKey,
    pub(in crate::reconcile) vault: Vault,
    pub(in crate::reconcile) lease: Lease,
    /// Failed revocations.
    failures: u32,
}

impl Tokens {
    /// Returns the lane of a token, if it is kept.
    pub(super) fn lane(&self, token: u64) -> Option<Lane> {
        let Retired { issuer, vault, .. } = self.by_number.get(&token)?;
        Some(Lane::Tokens(Tenant::of(issuer), vault.login.origin.to_string()))
    }

    fn with_token_of(&mut self, lease: &Lease) -> Option<&mut Retired> {
        let mut retired = self.by_number.values_mut();
        retired.find(|retired| retired.lease.token() == lease.token())
    }

    /// Records a chain that was signed with the token of `lease`, if it is kept.
    fn signed(&mut self, lease: &Lease, chain: &Chain) {
        let used = self.with_token_of(lease).filter(|_| chain.is_leased);
        if let Some(retired) = used {
            retired.lease.note_lease();
        }
    }

    fn insert(&mut self, issuer: &IssuerKey, access: Access) -> u64 {
        let mut vault = access.vault.for_tokens();
        let mut known = self.by_number.values().map(|retired| &retired.vault);
        if let Some(known) = known.find(|known| known.login == vault.login) {
            // The bundle of a connection may be large, and is kept once.
            vault.connect = Arc::clone(&known.login);
            vault.login = Arc::clone(&known.login);
        }
        self.last += 1;
        let retired = Retired {
            issuer: issuer.clone(),
            vault,
            lease: access.lease,
            failures: 0,
        };
        self.by_number.insert(self.last, retired);
        self.last
    }

    /// Returns the token to drop of an issuer, or of its tenant, if there are more than may be kept.
    fn excess(&self, issuer: &IssuerKey) -> Option<u64> {
        let tenant = Tenant::of(issuer);
        let of_issuer = |other: &IssuerKey| other == issuer;
        let of_tenant = |other: &IssuerKey| tenant.owns(other);
        self.beyond(KEPT.0, of_issuer)
            .or_else(|| self.beyond(KEPT.1, of_tenant))
    }

    fn beyond(&self, most: usize, is_of: impl Fn(&IssuerKey) -> bool) -> Option<u64> {
        let own = || self.by_number.iter().filter(|(_, retired)| is_of(&retired.issuer));
        // With a token that bears leases, certificates are revoked: the others go first.
        let first = own().min_by_key(|(number, retired)| (retired.lease.bears_leases(), **number));
        first.map(|(number, _)| *number).filter(|_| own().count() > most)
    }
}

impl State {
    /// Keeps the token of an access of an issuer, to revoke it at `at`.
    pub(in crate::reconcile) fn retire(&mut self, issuer: &IssuerKey, access: Option<Access>, at: Duration) {
        let Some(access) = access else {
            return;
        };
        // A check may return a token that was retired while it was under way.
        if let Some(known) = self.retired.with_token_of(&access.lease) {
            if access.lease.bears_leases() {
                known.lease.note_lease();
            }
            return;
        }
        let token = self.retired.insert(issuer, access);
        self.due(&Key::Token(token), at, Duration::ZERO);
        // A process that stops retires all at once, and revokes each of them.
        if let Some(first) = self.retired.excess(issuer).filter(|_| !self.stopping) {
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
            self.release(key, Class::Told, Recovery::Recovered, now);
        }
        if let Some(refresh) = refresh {
            self.due(&Key::Issuer(key.clone()), refresh, now.monotonic);
        }
    }

    /// Keeps a retired token with a new lease; returns when to renew it next.
    pub(in crate::reconcile) fn extend_token(&mut self, token: u64, mut lease: Lease, now: Now) -> Option<Duration> {
        let retired = self.retired.by_number.get_mut(&token)?;
        let next = lease.next_refresh(now)?;
        if retired.lease.bears_leases() {
            lease.note_lease();
        }
        retired.lease = lease;
        Some(next.max(now.monotonic + RENEWAL))
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
        if retired.failures >= ATTEMPTS || !retired.lease.is_usable(now) {
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

    pub(in crate::reconcile) fn retired(&self, token: u64) -> Option<&Retired> {
        self.retired.by_number.get(&token)
    }

    pub(in crate::reconcile) fn forget_token(&mut self, token: u64) {
        self.retired.by_number.remove(&token);
    }

    /// Returns `true` if no retired token is left. A check that is under way may hold another.
    pub(in crate::reconcile) fn is_retired(&self) -> bool {
        let is_check = |key: &Key| matches!(key, Key::Issuer(_));
        self.retired.by_number.is_empty() && !self.queue.running().any(is_check)
    }
}
