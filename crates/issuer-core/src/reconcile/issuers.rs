//! The issuers that exist.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use super::issuer::{Epoch, Issuer, LostAnswer, Phase, Settled};
use super::losses::Losses;
use super::observed::ObservedIssuer;
use super::quota::Quotas;
use crate::Now;
use crate::access::{Access, AccessError};
use crate::reference::{IssuerKey, IssuerKind, ListScope};
use crate::vault::SignError;

/// All issuers. Its methods return what follows from a change and schedule nothing themselves.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub(super) struct Issuers {
    /// In boxes, since the nodes of such a map are half empty.
    pub(super) by_key: BTreeMap<IssuerKey, Box<Issuer>>,
    /// Their size in memory, by tenant.
    pub(super) quotas: Quotas,
}

/// The consequence of an observed issuer.
#[derive(Debug, PartialEq)]
pub(super) enum Observed {
    /// The issuer must be checked now.
    CheckNow,
    /// The issuer is new and must be checked now; the access of the issuer that it replaces must be retired.
    Replaced(Option<Access>),
    /// Nothing.
    Unchanged,
}

impl Issuers {
    pub(super) fn get(&self, key: &IssuerKey) -> Option<&Issuer> {
        self.by_key.get(key).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, key: &IssuerKey) -> Option<&mut Issuer> {
        self.by_key.get_mut(key).map(Box::as_mut)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &IssuerKey> {
        self.by_key.keys()
    }

    /// Returns the issuers that follow a key, or all.
    pub(super) fn after(&self, last: Option<&IssuerKey>) -> impl Iterator<Item = (&IssuerKey, &Issuer)> {
        let first = last.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.by_key.range::<IssuerKey, _>((first, Bound::Unbounded));
        rest.map(|(key, issuer)| (key, issuer.as_ref()))
    }

    /// Returns each issuer and whether it is ready.
    pub(super) fn readiness(&self) -> impl Iterator<Item = (&IssuerKey, bool)> {
        self.by_key.iter().map(|(key, issuer)| (key, issuer.is_ready()))
    }

    pub(super) fn phase(&self, key: &IssuerKey) -> Phase {
        self.get(key).map_or(Phase::Missing, Issuer::phase)
    }

    /// Returns the issuers of a kind that a complete list covers and does not contain.
    pub(super) fn unlisted(&self, kind: IssuerKind, scope: &ListScope, listed: &BTreeSet<IssuerKey>) -> Vec<IssuerKey> {
        let is_covered = |key: &&IssuerKey| key.kind == kind && scope.covers(&key.namespace);
        let gone = self.keys().filter(is_covered).filter(|key| !listed.contains(key));
        gone.cloned().collect()
    }

    pub(super) fn observe(&mut self, key: IssuerKey, mut observed: ObservedIssuer) -> Observed {
        let size = self.fit(&key, &mut observed);
        let follows = match self.by_key.get_mut(&key) {
            Some(issuer) if issuer.observed.uid == observed.uid => {
                let is_kept_as_before = issuer.size.is_beyond == size.is_beyond;
                let changed = issuer.observed.generation != observed.generation || !is_kept_as_before;
                issuer.observed = observed;
                issuer.size = size;
                if changed {
                    issuer.change_spec();
                }
                if changed || issuer.status_disagrees() {
                    Observed::CheckNow
                } else {
                    Observed::Unchanged
                }
            }
            _ => {
                // Another uid is another issuer: nothing that was learned of the old one holds.
                let replaced = self.by_key.insert(key.clone(), Box::new(Issuer::new(observed, size)));
                Observed::Replaced(replaced.and_then(|issuer| issuer.access))
            }
        };
        self.measure(&key);
        follows
    }

    /// Gives an issuer up to another controller; returns the access to retire.
    pub(super) fn withdraw(&mut self, key: &IssuerKey) -> Option<Access> {
        self.by_key.get_mut(key)?.withdraw()
    }

    /// Removes an issuer; returns the access to retire.
    pub(super) fn remove(&mut self, key: &IssuerKey) -> Option<Access> {
        let issuer = self.by_key.remove(key)?;
        self.discharge(key, issuer.size);
        issuer.access
    }

    /// Returns the access of a ready issuer, unless its token has expired since the last check.
    pub(super) fn access_to_sign(&self, key: &IssuerKey, now: Now) -> Option<(Access, Epoch)> {
        self.get(key)?.access_to_sign(now)
    }

    /// Notes a failure that may be the issuer's: the next check probes its endpoint.
    pub(super) fn doubt(&mut self, key: &IssuerKey) {
        if let Some(access) = self.by_key.get_mut(key).and_then(|issuer| issuer.access.as_mut()) {
            access.doubt();
        }
    }

    /// Records the verdict of a check.
    pub(super) fn settle(&mut self, key: &IssuerKey, verdict: &Result<(), AccessError>, now: Now) -> Option<Settled> {
        Some(self.by_key.get_mut(key)?.settle(verdict, now))
    }

    /// Suspends signing until a check says whether an issuer has failed or only a request; returns how long to wait before
    /// that check, or `None` if it is due already.
    pub(super) fn suspend(&mut self, key: &IssuerKey, error: &SignError, lost: Option<LostAnswer>) -> Option<Duration> {
        self.by_key.get_mut(key)?.suspend(error, lost)
    }

    /// Suspends signing until the check that renews or replaces an expired token.
    pub(super) fn expire(&mut self, key: &IssuerKey) {
        if let Some(issuer) = self.by_key.get_mut(key) {
            issuer.expire();
        }
    }

    /// Returns the answers that an issuer has lost.
    pub(super) fn losses(&mut self, key: &IssuerKey) -> Option<&mut Losses> {
        self.get_mut(key).map(Issuer::losses)
    }
}
