//! An issuer, and the results of its checks.

use std::sync::Arc;
use std::time::Duration;

use issuer_api::ConditionStatus;
use jiff::Timestamp;

use super::backoff::backoff;
use super::losses::Losses;
use super::observed::ObservedIssuer;
use super::outcome::Outcome;
use super::quota::Size;
use super::recovery::Recovery;
use crate::Now;
use crate::access::{Access, AccessError, RefusedLogin, UnwrappedSecretId, Warning};
use crate::reference::RequestKey;
use crate::vault::{SignError, VaultError};

/// An issuer, and the results of its checks.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Issuer {
    pub(super) observed: ObservedIssuer,
    /// The server that its spec names.
    pub(super) server: Arc<str>,
    pub(super) access: Option<Access>,
    /// The secret ID that a check has unwrapped, which Vault hands out once.
    pub(super) secret_id: Option<UnwrappedSecretId>,
    /// The login that Vault has refused last.
    pub(super) refused: Option<Box<RefusedLogin>>,
    epoch: Epoch,
    readiness: Readiness,
    /// The epoch in which it was last not ready.
    outage: Epoch,
    /// Failed checks in a row.
    failures: u32,
    /// Rate limits hit in a row without a signature in between.
    throttled: u32,
    /// The requests that have lost an answer since the last check: its verdict says whose fault it was.
    unattributed: Vec<LostAnswer>,
    /// The answers that it has lost since it last signed.
    losses: Losses,
    /// The change since the last check that decided something.
    change: Option<Recovery>,
    /// When the first of the CAs expires that are above the certificate signed last.
    pub(super) ca_not_after: Option<Timestamp>,
    /// The state of its condition Ready, where others may write it too.
    pub(super) handover: ReadyHandover,
    /// Its size in memory, which counts for its tenant.
    pub(super) size: Size,
}

/// State of the condition Ready that cert-manager may also write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct ReadyHandover {
    /// When the condition may be written if nobody else has.
    pub(super) write_after: Option<Duration>,
    /// The reason of the last event, where it is not in the condition.
    pub(super) last_event: Option<&'static str>,
    /// Whether an event says that the condition is left to another controller.
    pub(super) left_to_others: bool,
}

/// Counts the suspensions and outages of an issuer: a check that began before the last one decides nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Epoch(u64);

/// A signature that was requested and not answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LostAnswer {
    pub(super) key: RequestKey,
    pub(super) uid: String,
    /// The epoch of the issuer in which the signature was requested.
    pub(super) epoch: Epoch,
    /// The error.
    pub(super) error: String,
}

/// The result of the last check and of the signatures since; [`Phase`] is what follows for requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Readiness {
    /// The last check failed.
    NotReady,
    /// The last check succeeded.
    Ready,
    /// The last check succeeded, but a signature has failed since, and the next check must say whether the issuer did.
    Suspended,
    /// This generation has not been checked.
    Unknown,
    /// Another controller signs for it.
    Withdrawn,
}

/// Whether the requests of an issuer can be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The next check decides; it must be due.
    Checking,
    /// It does not exist, or another controller signs for it.
    Missing,
    /// Its last check failed.
    NotReady,
    /// Its last check succeeded.
    Ready,
}

/// The consequences of the verdict of a check.
#[derive(Debug, PartialEq)]
pub(super) struct Settled {
    pub(super) outcome: Outcome,
    pub(super) next: NextCheck,
    /// The requests whose lost answers are their own fault.
    pub(super) blamed: Vec<LostAnswer>,
    /// Why the backoff of the requests has ended, if it has.
    pub(super) recovery: Option<Recovery>,
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
    /// After the check interval, or when the token must be renewed. The first interval is shorter, by a random part: so
    /// issuers that were first checked together are not checked together again.
    Interval { refresh: Option<Duration>, first: bool },
}

impl Issuer {
    pub(super) fn new(observed: ObservedIssuer, size: Size) -> Self {
        Self {
            server: observed.server(),
            observed,
            access: None,
            secret_id: None,
            refused: None,
            epoch: Epoch::default(),
            readiness: Readiness::Unknown,
            outage: Epoch::default(),
            failures: 0,
            throttled: 0,
            unattributed: Vec::new(),
            losses: Losses::default(),
            change: None,
            ca_not_after: None,
            handover: ReadyHandover::default(),
            size,
        }
    }

    /// Returns `true` if the observed status is `False` although the last check succeeded: the check compared with a
    /// stale status and wrote nothing.
    pub(super) fn status_disagrees(&self) -> bool {
        let observed = self.observed.status.ready().map(|ready| ready.status);
        // A check of a suspended issuer is due already, and may have to wait for Vault's Retry-After.
        let is_others = self.observed.ready_writers.others;
        self.readiness == Readiness::Ready && observed == Some(ConditionStatus::False) && !is_others
    }

    /// Returns what its status says: an issuer is ready until a check fails.
    pub(super) fn is_ready(&self) -> bool {
        // If a suspended issuer counted as not ready, each lost answer would change its condition twice.
        matches!(self.readiness, Readiness::Ready | Readiness::Suspended)
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

    /// Records a signature, and whether its request had lost an answer before; returns `true` if that shows that a fault
    /// of the issuer is over.
    pub(super) fn signed(&mut self, ca_not_after: Option<Timestamp>, had_lost: bool) -> bool {
        self.ca_not_after = ca_not_after;
        self.throttled = 0;
        self.losses.signed(had_lost)
    }

    pub(super) fn phase(&self) -> Phase {
        match self.readiness {
            Readiness::Withdrawn => Phase::Missing,
            Readiness::NotReady => Phase::NotReady,
            Readiness::Ready => Phase::Ready,
            Readiness::Suspended | Readiness::Unknown => Phase::Checking,
        }
    }

    /// Returns what its users should know although its last check succeeded.
    pub(super) fn warning(&self, now: Now) -> Option<Warning> {
        if self.losses.is_worth_a_warning(now.monotonic) {
            return Some(Warning::SignaturesFail);
        }
        self.access.as_ref().and_then(Access::warning)
    }

    /// Returns what a check that begins now is about; it decides nothing if this has changed when it ends.
    pub(super) fn revision(&self) -> (i64, Epoch) {
        (self.observed.generation, self.epoch)
    }

    /// Begins an epoch whose checks blame no answer that was lost before.
    fn end_epoch(&mut self) {
        self.epoch.0 += 1;
        self.outage = self.epoch;
        self.unattributed.clear();
    }

    pub(super) fn change_spec(&mut self) {
        self.server = self.observed.server();
        self.readiness = Readiness::Unknown;
        (self.failures, self.throttled) = (0, 0);
        self.refused = None;
        self.losses.forget();
        self.end_epoch();
        self.change = Some(Recovery::Corrected);
    }

    /// Records the verdict of a check.
    pub(super) fn settle(&mut self, verdict: &Result<(), AccessError>, now: Now) -> Settled {
        match verdict {
            Ok(()) => self.succeed(now),
            Err(error) => self.fail(error),
        }
    }

    fn succeed(&mut self, now: Now) -> Settled {
        let first = !self.is_ready();
        (self.readiness, self.failures) = (Readiness::Ready, 0);
        let refresh = self.access.as_ref().and_then(|access| access.next_refresh(now));
        // An answer that was asked for before the last outage was lost to the outage.
        let unattributed = std::mem::take(&mut self.unattributed).into_iter();
        let outage = self.outage;
        Settled {
            outcome: Outcome::Ready,
            next: NextCheck::Interval { refresh, first },
            blamed: unattributed.filter(|lost| lost.epoch >= outage).collect(),
            recovery: self.change.take(),
        }
    }

    fn fail(&mut self, error: &AccessError) -> Settled {
        // Answers that were lost before this failure were lost to it, and are no request's fault.
        if self.readiness != Readiness::NotReady {
            self.end_epoch();
        }
        self.readiness = Readiness::NotReady;
        self.failures = self.failures.saturating_add(1);
        self.change = self.change.max(Some(Recovery::Recovered));
        Settled {
            outcome: Outcome::NotReady(error.reason()),
            next: NextCheck::after(error, self.failures),
            blamed: Vec::new(),
            recovery: None,
        }
    }

    /// Suspends signing until a check says whether the issuer has failed or only a request; returns how long to wait
    /// before that check, or `None` if it is due already.
    ///
    /// A rate limit is not the fault of one request, and a check at once would run into it too. Another `Retry-After` may be
    /// about this request alone: the check asks for itself.
    pub(super) fn suspend(&mut self, error: &SignError, lost: Option<LostAnswer>) -> Option<Duration> {
        let decided = matches!(
            self.readiness,
            Readiness::NotReady | Readiness::Unknown | Readiness::Withdrawn
        );
        // While the issuer is known to fail, a lost answer says nothing about the request, and no check will decide about one
        // that another controller answers.
        self.unattributed.extend(lost.filter(|_| !decided));
        let is_throttled = matches!(error, SignError::Vault(VaultError::Throttled { .. }));
        if self.readiness != Readiness::Ready && !is_throttled {
            return None;
        }
        // A check that is under way began before this failure, so it must not end the suspension.
        self.epoch.0 += 1;
        if let Some(access) = &mut self.access {
            access.doubt();
            if matches!(error, SignError::Vault(VaultError::Denied)) {
                access.denied();
            }
        }
        if self.readiness == Readiness::Ready {
            self.readiness = Readiness::Suspended;
        }
        if !is_throttled {
            return Some(Duration::ZERO);
        }
        self.throttled = self.throttled.saturating_add(1);
        // `Retry-After` may be missing, or truncated to nothing.
        let own = backoff(self.throttled, Duration::from_secs(1), Duration::from_secs(60));
        Some(error.retry_after().unwrap_or_default().max(own))
    }

    /// Suspends signing until the check that renews or replaces the expired token.
    pub(super) fn expire(&mut self) {
        if self.readiness == Readiness::Ready {
            self.readiness = Readiness::Suspended;
            if let Some(access) = &mut self.access {
                access.demand();
            }
        }
    }

    /// Gives the issuer up to another controller; returns the access to retire.
    pub(super) fn withdraw(&mut self) -> Option<Access> {
        // So that a check that is under way decides nothing.
        self.end_epoch();
        self.readiness = Readiness::Withdrawn;
        self.access.take()
    }

    /// Returns the access if the issuer is ready, unless its token has expired since the last check.
    pub(super) fn access_to_sign(&self, now: Now) -> Option<(Access, Epoch)> {
        let access = self.access.as_ref().filter(|_| self.phase() == Phase::Ready)?;
        access.lease.is_usable(now).then(|| (access.clone(), self.epoch))
    }

    /// Returns the answers that it has lost.
    pub(super) fn losses(&mut self) -> &mut Losses {
        &mut self.losses
    }
}

impl NextCheck {
    fn after(error: &AccessError, failures: u32) -> Self {
        if matches!(error, AccessError::Spec(_)) {
            return Self::OnChange;
        }
        let outage = error.is_outage();
        // The end of an outage should be noticed soon, and its checks cost one request for the health each.
        let (first, most) = if outage { (1, 15) } else { (5, 60) };
        let (first, most) = (Duration::from_secs(first), Duration::from_secs(most));
        Self::Retry {
            backoff: backoff(failures, first, most),
            most: outage.then_some(most),
            retry_after: error.retry_after(),
        }
    }
}
