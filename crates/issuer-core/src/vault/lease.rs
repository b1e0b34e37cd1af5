//! A Vault token and when to renew it.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use crate::{Now, Secret};

/// The shortest time between two renewals of a token.
const PAUSE: Duration = Duration::from_secs(5);

/// A Vault token and its lifetime.
#[derive(Clone, PartialEq, Hash)]
pub struct Lease {
    token: Secret,
    /// When the request that granted or renewed it was sent: a slow reply ends it early, never late.
    since: Duration,
    ttl: Option<Duration>,
    /// The lifetime that the login granted. A renewal that grants far less has reached the token's maximum.
    full: Option<Duration>,
    renewable: bool,
    /// How often the token may be used (`num_uses`); `None` without a limit.
    uses: Option<NonZeroU64>,
    /// Whether our own login made the token, so that we revoke it.
    made: bool,
    /// Whether a certificate that the token signed has a lease.
    bears_leases: bool,
}

/// The part of Vault's answer to a login, lookup or renewal that makes a lease.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Grant {
    /// The lifetime; zero means unlimited.
    pub(super) seconds: u64,
    pub(super) renewable: bool,
    /// How often the token may be used; zero means unlimited.
    pub(super) uses: u64,
}

impl Grant {
    /// A hundred years: a sum of times that Vault chose could overflow.
    const LONGEST: u64 = 100 * 365 * 24 * 60 * 60;

    fn ttl(self) -> Option<Duration> {
        (self.seconds > 0).then(|| Duration::from_secs(self.seconds.min(Self::LONGEST)))
    }
}

impl Lease {
    pub(super) fn made(token: Secret, grant: Grant, sent: Duration) -> Self {
        Self::new(token, grant, sent, true)
    }

    /// Returns the lease of a given token whose lifetime is unknown: it counts as unlimited, and is never renewed.
    pub(crate) fn of_unknown_ttl(token: Secret) -> Self {
        Self::new(token, Grant::default(), Duration::ZERO, false)
    }

    /// Returns the lease of a given token after a lookup.
    pub(super) fn looked_up(self, grant: Grant, sent: Duration) -> Self {
        Self::new(self.token, grant, sent, false)
    }

    fn new(token: Secret, grant: Grant, since: Duration, made: bool) -> Self {
        let ttl = grant.ttl();
        Self {
            token,
            since,
            ttl,
            full: ttl,
            renewable: grant.renewable,
            uses: NonZeroU64::new(grant.uses),
            made,
            bears_leases: false,
        }
    }

    /// Returns the lease after a renewal.
    pub(super) fn renewed(self, grant: Grant, sent: Duration) -> Self {
        Self {
            // `full` stays that of the login: compared with it, a renewal shows that the maximum is near.
            since: sent,
            ttl: grant.ttl(),
            renewable: grant.renewable,
            ..self
        }
    }

    pub(crate) fn token(&self) -> &Secret {
        &self.token
    }

    pub(crate) fn is_made(&self) -> bool {
        self.made
    }

    /// Returns `true` if Vault limits how often the token is used. Then only signatures may use it.
    pub fn is_limited(&self) -> bool {
        self.uses.is_some()
    }

    /// Returns `true` if a certificate that the token signed has a lease. Vault revokes the leases of a token together
    /// with the token, and a PKI lease's revocation revokes its certificate, so such a token must not be revoked.
    pub fn bears_leases(&self) -> bool {
        self.bears_leases
    }

    /// Notes that a certificate that the token signed has a lease.
    pub fn note_lease(&mut self) {
        self.bears_leases = true;
    }

    /// Returns `true` if Vault renews the token, and a renewal does not use up a limited token.
    pub(crate) fn is_renewable(&self) -> bool {
        self.renewable && !self.is_limited()
    }

    /// Returns `true` if the token is better renewed than replaced. If a renewal granted less than half of the first
    /// lifetime, the token approaches its maximum and is replaced.
    pub(crate) fn is_worth_renewing(&self) -> bool {
        let dwindling = match (self.ttl, self.full) {
            (Some(ttl), Some(full)) => ttl < full / 2,
            _ => false,
        };
        self.is_renewable() && !dwindling
    }

    /// Returns `true` if the token can still be used. A token counts as expired a tenth of its lifetime, but at most
    /// ten seconds, before Vault expires it.
    pub fn is_usable(&self, now: Now) -> bool {
        self.ttl.is_none_or(|ttl| {
            // A request takes time to arrive: sent at the last moment, it would be denied as with a revoked token.
            let margin = (ttl / 10).min(Duration::from_secs(10));
            now.monotonic < self.since + ttl - margin
        })
    }

    /// Returns when Vault expires the token; `None` if it never does, or if that is not known.
    pub fn expires_at(&self) -> Option<Duration> {
        self.ttl.map(|ttl| self.since + ttl)
    }

    /// Returns when two thirds of the token's lifetime have passed: from then on it is renewed or replaced. `None` if
    /// it can be neither renewed nor replaced, or never expires.
    pub fn refresh_at(&self) -> Option<Duration> {
        let ttl = self.ttl.filter(|_| self.is_renewable() || self.made)?;
        // Late enough to be rare, and early enough for several attempts if Vault is out. The server chooses the lifetime:
        // one of a second must not make a login each second.
        Some(self.since + (ttl * 2 / 3).max(PAUSE))
    }

    /// Returns when to renew or replace the token next: at two thirds of its lifetime; after that, at every third of
    /// the remaining time, at least five seconds apart.
    pub fn next_refresh(&self, now: Now) -> Option<Duration> {
        let at = self.refresh_at()?;
        let end = self.since + self.ttl?;
        // The thirds become ever shorter; without the minimum they would follow each other at once.
        let again = || now.monotonic + (end.saturating_sub(now.monotonic) / 3).max(PAUSE);
        Some(if at > now.monotonic { at } else { again() })
    }

    pub(crate) fn is_due(&self, now: Now) -> bool {
        self.refresh_at().is_some_and(|at| at <= now.monotonic)
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("since", &self.since)
            .field("ttl", &self.ttl)
            .field("renewable", &self.renewable)
            .field("uses", &self.uses)
            .field("made", &self.made)
            .field("bears_leases", &self.bears_leases)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::at;

    fn grant(seconds: u64, renewable: bool) -> Grant {
        Grant {
            seconds,
            renewable,
            uses: 0,
        }
    }

    fn lease(seconds: u64, renewable: bool) -> Lease {
        let sent = Duration::from_secs(100);
        Lease::made(Secret::from("t"), grant(seconds, renewable), sent)
    }

    #[test]
    fn lease_is_due_at_two_thirds() {
        let lease = lease(30, true);
        assert!(!lease.is_due(at(119)) && lease.is_due(at(120)));
        assert!(lease.is_usable(at(126)) && !lease.is_usable(at(127)));
    }

    #[test]
    fn ttl_of_zero_never_expires() {
        let lease = lease(0, false);
        assert!(lease.is_usable(at(u64::MAX / 4)) && !lease.is_due(at(u64::MAX / 4)));
    }

    #[test]
    fn failing_renewals_are_repeated_sooner() {
        let next = |seconds| lease(90, true).next_refresh(at(seconds)).unwrap().as_secs();
        assert_eq!(
            [100, 159, 160, 172, 184, 188, 200].map(next),
            [160, 160, 170, 178, 189, 193, 205]
        );
        assert_eq!(lease(1, true).next_refresh(at(100)), Some(Duration::from_secs(105)));
    }

    #[test]
    fn any_ttl_can_be_added() {
        let longest = grant(u64::MAX, true);
        for lease in [
            lease(u64::MAX, true),
            lease(30, true).renewed(longest, at(120).monotonic),
        ] {
            assert!(lease.is_usable(at(1_000_000_000)) && !lease.is_due(at(1_000_000_000)));
            assert!(lease.next_refresh(at(0)).is_some());
        }
    }

    #[test]
    fn replaced_when_renewals_dwindle() {
        let lease = lease(30, true).renewed(grant(30, true), at(120).monotonic);
        assert!(lease.is_worth_renewing());
        let lease = lease.renewed(grant(14, true), at(140).monotonic);
        assert!(!lease.is_worth_renewing() && lease.is_renewable() && lease.is_due(at(150)));
    }

    #[test]
    fn given_token_without_renewal_is_never_due() {
        let lease = Lease::of_unknown_ttl(Secret::from("t")).looked_up(grant(30, false), Duration::ZERO);
        assert_eq!(lease.refresh_at(), None);
    }

    #[test]
    fn limited_token_is_not_renewed() {
        let grant = Grant {
            uses: 10,
            ..grant(30, true)
        };
        let lease = Lease::made(Secret::from("t"), grant, Duration::ZERO);
        assert!(lease.is_limited() && !lease.is_renewable());
        let given = Lease::of_unknown_ttl(Secret::from("t")).looked_up(grant, Duration::ZERO);
        assert_eq!(given.refresh_at(), None);
    }

    #[test]
    fn renewal_keeps_leases_and_limit() {
        let mut lease = lease(30, true);
        assert!(!lease.bears_leases());
        lease.note_lease();
        assert!(lease.renewed(grant(30, true), Duration::ZERO).bears_leases());
    }

    #[test]
    fn prints_no_token() {
        let lease = Lease::made(Secret::from("canary"), grant(1, true), Duration::ZERO);
        assert!(!format!("{lease:?}").contains("canary"));
    }
}
