//! The issuers that exist, and the results of their checks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use issuer_api::ConditionStatus;

use super::backoff::backoff;
use super::observed::ObservedIssuer;
use super::outcome::Outcome;
use crate::Now;
use crate::access::{Access, AccessError};
use crate::reference::{IssuerKey, IssuerKind};
use crate::vault::{SignError, VaultError};

/// All issuers. Its methods return what follows from a change and schedule nothing themselves.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub(super) struct Issuers(BTreeMap<IssuerKey, Issuer>);

/// An issuer, and the results of its checks.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Issuer {
    pub(super) observed: ObservedIssuer,
    pub(super) access: Option<Access>,
    epoch: Epoch,
    readiness: Readiness,
    /// Failed checks in a row.
    failures: u32,
    /// Suspensions in a row without a signature in between.
    sign_failures: u32,
}

/// Counts the suspensions of an issuer: a failure of an earlier epoch suspends nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Epoch(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Readiness {
    /// The last check failed.
    NotReady,
    /// The last check succeeded.
    Ready,
    /// This generation has not been checked, or a signature has failed since the last check.
    Unknown,
}

/// What follows from an observed issuer.
#[derive(Debug, PartialEq)]
pub(super) enum Observed {
    /// The issuer must be checked now.
    CheckNow,
    /// The issuer is new and must be checked now; the access of the issuer that it replaces must be retired.
    Replaced(Option<Access>),
    /// Nothing.
    Unchanged,
}

/// What follows from the verdict of a check.
#[derive(Debug, PartialEq)]
pub(super) struct Settled {
    pub(super) outcome: Outcome,
    pub(super) next: NextCheck,
}

/// When an issuer must be checked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextCheck {
    /// When its spec changes.
    OnChange,
    /// After this backoff, but not before Vault's `Retry-After`; an outage is noticed within `most`.
    Retry {
        backoff: Duration,
        most: Option<Duration>,
        retry_after: Option<Duration>,
    },
    /// After the check interval, or when the token must be renewed.
    Interval { refresh: Option<Duration> },
}

/// Why an issuer cannot sign at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unready {
    /// Its token has expired although its last check succeeded.
    Expired,
    /// It does not exist.
    Missing,
    /// It has not been checked, or its last check failed.
    NotReady,
}

impl Issuer {
    fn new(observed: ObservedIssuer) -> Self {
        Self {
            observed,
            access: None,
            epoch: Epoch::default(),
            readiness: Readiness::Unknown,
            failures: 0,
            sign_failures: 0,
        }
    }

    /// Returns `true` if the observed status is `False` although the last check succeeded: the check compared with a
    /// stale status and wrote nothing.
    fn status_disagrees(&self) -> bool {
        let observed = self.observed.status.ready().map(|ready| ready.status);
        self.readiness == Readiness::Ready && observed == Some(ConditionStatus::False)
    }

    /// Keeps the access that a check returned, with what was noted of its token while the check had a copy of it;
    /// returns the superseded access with the same.
    pub(super) fn keep(&mut self, checked: Option<Access>, superseded: Option<Access>) -> Option<Access> {
        let noted = self.access.take();
        let adopt = |access: Option<Access>| {
            access.map(|mut access| {
                if let Some(noted) = noted.as_ref().filter(|noted| noted.has_token_of(&access)) {
                    access.adopt(noted);
                }
                access
            })
        };
        self.access = adopt(checked);
        adopt(superseded)
    }

    /// Returns what a check that begins now is about; it decides nothing if this has changed when it ends.
    pub(super) fn revision(&self) -> (i64, Epoch) {
        (self.observed.generation, self.epoch)
    }
}

impl Issuers {
    pub(super) fn get(&self, key: &IssuerKey) -> Option<&Issuer> {
        self.0.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &IssuerKey) -> Option<&mut Issuer> {
        self.0.get_mut(key)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &IssuerKey> {
        self.0.keys()
    }

    /// Returns each issuer and whether its last check succeeded.
    pub(super) fn readiness(&self) -> impl Iterator<Item = (&IssuerKey, bool)> {
        self.0
            .iter()
            .map(|(key, issuer)| (key, issuer.readiness == Readiness::Ready))
    }

    /// Returns the issuers of a kind that a complete list does not contain.
    pub(super) fn unlisted(&self, kind: IssuerKind, listed: &BTreeSet<IssuerKey>) -> Vec<IssuerKey> {
        let gone = self.keys().filter(|key| key.kind == kind && !listed.contains(key));
        gone.cloned().collect()
    }

    pub(super) fn observe(&mut self, key: IssuerKey, observed: ObservedIssuer) -> Observed {
        match self.0.get_mut(&key) {
            Some(issuer) if issuer.observed.uid == observed.uid => {
                let changed = issuer.observed.generation != observed.generation;
                issuer.observed = observed;
                if changed {
                    issuer.readiness = Readiness::Unknown;
                    (issuer.failures, issuer.sign_failures) = (0, 0);
                }
                if changed || issuer.status_disagrees() {
                    Observed::CheckNow
                } else {
                    Observed::Unchanged
                }
            }
            _ => {
                let replaced = self.0.insert(key, Issuer::new(observed));
                Observed::Replaced(replaced.and_then(|issuer| issuer.access))
            }
        }
    }

    /// Removes an issuer; returns the access to retire.
    pub(super) fn remove(&mut self, key: &IssuerKey) -> Option<Access> {
        self.0.remove(key).and_then(|issuer| issuer.access)
    }

    /// Returns the access to sign with, if the last check succeeded and the token has not expired since.
    pub(super) fn access_to_sign(&self, key: &IssuerKey, now: Now) -> Result<(Access, Epoch), Unready> {
        let issuer = self.get(key).ok_or(Unready::Missing)?;
        if issuer.readiness != Readiness::Ready {
            return Err(Unready::NotReady);
        }
        let usable = issuer.access.as_ref().filter(|access| access.lease.is_usable(now));
        let access = usable.ok_or(Unready::Expired)?;
        Ok((access.clone(), issuer.epoch))
    }

    /// Returns `true` if the last check of an issuer succeeded.
    pub(super) fn is_ready(&self, key: &IssuerKey) -> bool {
        self.get(key).is_some_and(|issuer| issuer.readiness == Readiness::Ready)
    }

    /// Notes a failure that may be the issuer's: the next check probes its endpoint.
    pub(super) fn doubt(&mut self, key: &IssuerKey) {
        if let Some(access) = self.0.get_mut(key).and_then(|issuer| issuer.access.as_mut()) {
            access.doubt();
        }
    }

    /// Records the verdict of a check.
    pub(super) fn settle(&mut self, key: &IssuerKey, verdict: &Result<(), AccessError>, now: Now) -> Option<Settled> {
        let issuer = self.0.get_mut(key)?;
        Some(match verdict {
            Ok(()) => {
                (issuer.readiness, issuer.failures) = (Readiness::Ready, 0);
                let refresh = issuer.access.as_ref().and_then(|access| access.next_refresh(now));
                Settled {
                    outcome: Outcome::Ready,
                    next: NextCheck::Interval { refresh },
                }
            }
            Err(error) => {
                issuer.readiness = Readiness::NotReady;
                issuer.failures = issuer.failures.saturating_add(1);
                Settled {
                    outcome: Outcome::NotReady(error.reason()),
                    next: NextCheck::after(error, issuer.failures),
                }
            }
        })
    }

    /// Suspends signing after a failure that may be the issuer's; returns how long to wait before the check, at least.
    ///
    /// The first failure is checked at once, further ones in a row after a backoff. A failure of an earlier epoch
    /// counts only if Vault asks to wait.
    pub(super) fn suspend(&mut self, key: &IssuerKey, epoch: Epoch, error: &SignError) -> Option<Duration> {
        let issuer = self.0.get_mut(key)?;
        let current = issuer.epoch == epoch;
        if !current && error.retry_after().is_none() {
            return None;
        }
        issuer.epoch.0 += 1;
        if let Some(access) = &mut issuer.access {
            access.doubt();
            if matches!(error, SignError::Vault(VaultError::Denied)) {
                access.denied();
            }
        }
        issuer.readiness = Readiness::Unknown;
        issuer.sign_failures = issuer.sign_failures.saturating_add(current.into());
        let wait = match issuer.sign_failures {
            1 => Duration::ZERO,
            rounds => backoff(rounds - 1, Duration::from_secs(1), Duration::from_secs(300)),
        };
        Some(error.retry_after().map_or(wait, |least| least.max(wait)))
    }

    /// Records a signature.
    pub(super) fn signed(&mut self, key: &IssuerKey, epoch: Epoch) {
        if let Some(issuer) = self.0.get_mut(key).filter(|issuer| issuer.epoch == epoch) {
            issuer.sign_failures = 0;
        }
    }
}

impl NextCheck {
    fn after(error: &AccessError, failures: u32) -> Self {
        if matches!(error, AccessError::Spec(_)) {
            return Self::OnChange;
        }
        let outage = error.is_outage();
        let (first, most) = if outage { (1, 15) } else { (5, 60) };
        let (first, most) = (Duration::from_secs(first), Duration::from_secs(most));
        Self::Retry {
            backoff: backoff(failures, first, most),
            most: outage.then_some(most),
            retry_after: error.retry_after(),
        }
    }
}
