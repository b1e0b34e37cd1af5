//! The issuers that are there, and what their checks found.

use std::time::Duration;

use issuer_api::ConditionStatus;

use super::backoff::backoff;
use super::controller::{Controller, Lane, ObservedIssuer};
use super::{Key, Outcome};
use crate::Now;
use crate::access::{Access, AccessError};
use crate::reference::{IssuerKey, IssuerKind};
use crate::vault::SignError;

/// An issuer, and what its checks found.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Issuer {
    pub(super) observed: ObservedIssuer,
    pub(super) access: Option<Access>,
    /// Counts the times that signing was stopped until a check: a failure of an earlier time stops nothing.
    pub(super) epoch: u64,
    pub(super) readiness: Readiness,
    /// Checks that failed in a row.
    failures: u32,
    /// Times in a row that signing was stopped without a certificate in between.
    trouble: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Readiness {
    /// The last check said no.
    NotReady,
    /// The last check said yes.
    Ready,
    /// Nothing is known about this generation, or a signature has failed since the last check.
    Unknown,
}

impl Issuer {
    /// Tells whether its status says that it is not ready although the last check said yes. That check may have seen an
    /// older status, which needed no change.
    fn is_belied(&self) -> bool {
        let says = self.observed.status.ready().map(|ready| ready.status);
        self.readiness == Readiness::Ready && says == Some(ConditionStatus::False)
    }

    /// Returns what to sign with, if the last check found it good and it still is.
    pub(super) fn access_to_sign(&self, now: Now) -> Option<&Access> {
        let ready = self.readiness == Readiness::Ready;
        self.access
            .as_ref()
            .filter(|access| ready && access.lease.is_usable(now))
    }
}

impl Controller {
    pub(super) fn observe_issuer(&mut self, now: Now, key: IssuerKey, observed: ObservedIssuer) {
        let known = self.issuers.get_mut(&key);
        match known {
            Some(issuer) if issuer.observed.uid == observed.uid => {
                let changed = issuer.observed.generation != observed.generation;
                issuer.observed = observed;
                if changed {
                    issuer.readiness = Readiness::Unknown;
                    (issuer.failures, issuer.trouble) = (0, 0);
                } else if !issuer.is_belied() {
                    return;
                }
            }
            _ => {
                self.forget_issuer(&key);
                if self.stopping {
                    return;
                }
                let issuer = Issuer {
                    observed,
                    access: None,
                    epoch: 0,
                    readiness: Readiness::Unknown,
                    failures: 0,
                    trouble: 0,
                };
                self.issuers.insert(key.clone(), issuer);
                self.wake(&key, now);
            }
        }
        self.queue
            .push(Lane::Check(key.clone()), Key::Issuer(key), now.monotonic);
    }

    pub(super) fn forget_issuer(&mut self, key: &IssuerKey) {
        self.queue.cancel(&Key::Issuer(key.clone()));
        let access = self.issuers.remove(key).and_then(|issuer| issuer.access);
        self.retire(access, Duration::ZERO);
    }

    /// Returns where an issuer may read Secrets and request tokens: there and nowhere else.
    pub(super) fn secret_namespace(&self, key: &IssuerKey) -> String {
        match key.kind {
            IssuerKind::Cluster => self.config.cluster_resource_namespace.clone(),
            IssuerKind::Namespaced => key.namespace.clone(),
        }
    }

    /// Takes what a check found; returns its outcome and when to check again.
    pub(super) fn settle(
        &mut self,
        key: &IssuerKey,
        verdict: &Result<(), AccessError>,
        now: Now,
    ) -> (Outcome, Option<Duration>) {
        let Some(issuer) = self.issuers.get_mut(key) else {
            return (Outcome::Idle, None);
        };
        match verdict {
            Ok(()) => {
                issuer.failures = 0;
                issuer.readiness = Readiness::Ready;
                let refresh = issuer.access.as_ref().and_then(|access| access.lease.next_refresh(now));
                let again = now.monotonic + self.jitter.over(self.config.check_interval);
                self.wake(key, now);
                (
                    Outcome::Ready,
                    Some(refresh.map_or(again, |refresh| refresh.min(again))),
                )
            }
            Err(error) => {
                issuer.failures = issuer.failures.saturating_add(1);
                issuer.readiness = Readiness::NotReady;
                let outage = error.is_outage();
                let (first, most) = if outage { (1, 15) } else { (5, 60) };
                let (first, most) = (Duration::from_secs(first), Duration::from_secs(most));
                let wait = self.jitter.over(backoff(issuer.failures, first, most));
                // A server that is back is noticed within 15 s, and not asked more often.
                let wait = if outage { wait.min(most) } else { wait };
                let least = error.retry_after().map(|least| self.jitter.over(least));
                let again = now.monotonic + least.map_or(wait, |least| least.max(wait));
                let fixable = !matches!(error, AccessError::Spec(_));
                (Outcome::NotReady(error.reason()), fixable.then_some(again))
            }
        }
    }

    /// A signature has failed for a reason that may be the issuer's: no more are asked for until a check says that
    /// it is well. The first failure is checked at once, further ones in a row after a wait. A failure of an earlier time
    /// counts only for how long it asks to wait.
    pub(super) fn suspect(&mut self, key: &IssuerKey, epoch: u64, error: &SignError, now: Now) {
        let Some(issuer) = self.issuers.get_mut(key) else {
            return;
        };
        let current = issuer.epoch == epoch;
        if !current && error.retry_after().is_none() {
            return;
        }
        issuer.epoch += 1;
        issuer.readiness = Readiness::Unknown;
        issuer.trouble = issuer.trouble.saturating_add(current.into());
        let wait = match issuer.trouble {
            1 => Duration::ZERO,
            rounds => backoff(rounds - 1, Duration::from_secs(1), Duration::from_secs(300)),
        };
        let wait = error.retry_after().map_or(wait, |least| least.max(wait));
        let check = Key::Issuer(key.clone());
        self.queue.cancel(&check);
        self.queue
            .push(Lane::Check(key.clone()), check, now.monotonic + self.jitter.over(wait));
    }

    /// A signature has been made.
    pub(super) fn signed(&mut self, key: &IssuerKey, epoch: u64) {
        if let Some(issuer) = self.issuers.get_mut(key).filter(|issuer| issuer.epoch == epoch) {
            issuer.trouble = 0;
        }
    }

    /// Has an issuer checked whose token has ended before its time to be renewed came.
    pub(super) fn check_if_expired(&mut self, key: &IssuerKey, now: Now) {
        if self
            .issuers
            .get(key)
            .is_some_and(|issuer| issuer.readiness == Readiness::Ready)
        {
            self.queue
                .push(Lane::Check(key.clone()), Key::Issuer(key.clone()), now.monotonic);
        }
    }
}

#[cfg(test)]
mod tests;
