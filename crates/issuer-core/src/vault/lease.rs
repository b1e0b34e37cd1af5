use std::fmt;
use std::time::Duration;

use crate::{Now, Secret};

/// A Vault token and how long it is good for.
#[derive(Clone, PartialEq, Hash)]
pub struct Lease {
    token: Secret,
    /// When the request that granted or renewed it was sent: a slow reply makes it end early, never late.
    since: Duration,
    ttl: Option<Duration>,
    /// The life that the login granted; a renewal that grants far less runs into the token's maximum.
    full: Option<Duration>,
    renewable: bool,
    /// Whether the token was made by our own login, so that ending it is ours to do.
    made: bool,
}

/// The part of Vault's answer to a login, lookup or renewal that a lease is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    /// Zero means that it never ends.
    pub(super) seconds: u64,
    pub(super) renewable: bool,
}

impl Grant {
    /// The longest life that is reckoned with, a hundred years: a sum of times that Vault chose could overflow.
    const LONGEST: u64 = 100 * 365 * 24 * 60 * 60;

    fn ttl(self) -> Option<Duration> {
        (self.seconds > 0).then(|| Duration::from_secs(self.seconds.min(Self::LONGEST)))
    }
}

impl Lease {
    pub(super) fn made(token: Secret, grant: Grant, sent: Duration) -> Self {
        Self::new(token, grant, sent, true)
    }

    pub(super) fn given(token: Secret, grant: Grant, sent: Duration) -> Self {
        Self::new(token, grant, sent, false)
    }

    fn new(token: Secret, grant: Grant, since: Duration, made: bool) -> Self {
        let ttl = grant.ttl();
        Self {
            token,
            since,
            ttl,
            full: ttl,
            renewable: grant.renewable,
            made,
        }
    }

    /// Returns the lease as a renewal left it.
    ///
    /// Where the renewal granted less than half of the first life, the token nears its maximum: it will not be
    /// renewed again but replaced.
    pub(super) fn renewed(self, grant: Grant, sent: Duration) -> Self {
        let ttl = grant.ttl();
        let dwindling = match (ttl, self.full) {
            (Some(ttl), Some(full)) => ttl < full / 2,
            _ => false,
        };
        Self {
            since: sent,
            ttl,
            renewable: grant.renewable && !dwindling,
            ..self
        }
    }

    pub(crate) fn token(&self) -> &Secret {
        &self.token
    }

    pub(crate) fn is_made(&self) -> bool {
        self.made
    }

    pub(super) fn is_renewable(&self) -> bool {
        self.renewable
    }

    /// Tells whether the token can still be used: it ends a tenth of its life, but at most ten seconds, before
    /// Vault ends it.
    pub fn is_usable(&self, now: Now) -> bool {
        self.ttl.is_none_or(|ttl| {
            let margin = (ttl / 10).min(Duration::from_secs(10));
            now.monotonic < self.since + ttl - margin
        })
    }

    /// Returns when two thirds of the token's life have passed: from then on it is renewed or replaced.
    /// `None` if nothing can be done about it or it never ends.
    pub fn refresh_at(&self) -> Option<Duration> {
        let ttl = self.ttl.filter(|_| self.renewable || self.made)?;
        Some(self.since + ttl * 2 / 3)
    }

    /// Returns when to look after the token next: when two thirds of its life have passed or, where that is over because
    /// a renewal has failed, when a third of what is left has; never sooner than in five seconds then.
    pub fn next_refresh(&self, now: Now) -> Option<Duration> {
        let at = self.refresh_at()?;
        let end = self.since + self.ttl?;
        let again = || now.monotonic + (end.saturating_sub(now.monotonic) / 3).max(Duration::from_secs(5));
        Some(if at > now.monotonic { at } else { again() })
    }

    pub(super) fn is_due(&self, now: Now) -> bool {
        self.refresh_at().is_some_and(|at| at <= now.monotonic)
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("since", &self.since)
            .field("ttl", &self.ttl)
            .field("renewable", &self.renewable)
            .field("made", &self.made)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        Now {
            monotonic: Duration::from_secs(seconds),
            unix: Duration::ZERO,
        }
    }

    fn lease(seconds: u64, renewable: bool) -> Lease {
        let sent = Duration::from_secs(100);
        Lease::made(Secret::from("t"), Grant { seconds, renewable }, sent)
    }

    #[test]
    fn is_refreshed_past_two_thirds_and_dropped_before_its_end() {
        let lease = lease(30, true);
        assert!(!lease.is_due(at(119)) && lease.is_due(at(120)));
        assert!(lease.is_usable(at(126)) && !lease.is_usable(at(127)));
    }

    #[test]
    fn lives_for_ever_with_a_ttl_of_zero() {
        let lease = lease(0, false);
        assert!(lease.is_usable(at(u64::MAX / 4)) && !lease.is_due(at(u64::MAX / 4)));
    }

    #[test]
    fn is_looked_after_ever_sooner_while_renewals_fail_but_not_at_once() {
        let next = |seconds| lease(90, true).next_refresh(at(seconds)).unwrap().as_secs();
        assert_eq!(
            [100, 159, 160, 172, 184, 188, 200].map(next),
            [160, 160, 170, 178, 189, 193, 205]
        );
    }

    #[test]
    fn lives_long_with_any_ttl() {
        let grant = Grant {
            seconds: u64::MAX,
            renewable: true,
        };
        for lease in [lease(u64::MAX, true), lease(30, true).renewed(grant, at(120).monotonic)] {
            assert!(lease.is_usable(at(1_000_000_000)) && !lease.is_due(at(1_000_000_000)));
            assert!(lease.next_refresh(at(0)).is_some());
        }
    }

    #[test]
    fn is_replaced_when_renewals_dwindle() {
        let lease = lease(30, true).renewed(
            Grant {
                seconds: 30,
                renewable: true,
            },
            at(120).monotonic,
        );
        assert!(lease.is_renewable());
        let lease = lease.renewed(
            Grant {
                seconds: 14,
                renewable: true,
            },
            at(140).monotonic,
        );
        assert!(!lease.is_renewable() && lease.is_due(at(150)));
    }

    #[test]
    fn a_given_token_that_cannot_be_renewed_is_left_alone() {
        let grant = Grant {
            seconds: 30,
            renewable: false,
        };
        assert_eq!(
            Lease::given(Secret::from("t"), grant, Duration::ZERO).refresh_at(),
            None
        );
    }

    #[test]
    fn prints_no_token() {
        assert!(
            !format!(
                "{:?}",
                Lease::made(
                    Secret::from("canary"),
                    Grant {
                        seconds: 1,
                        renewable: true
                    },
                    Duration::ZERO
                )
            )
            .contains("canary")
        );
    }
}
