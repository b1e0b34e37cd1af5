//! Runs a world without faults until it has converged, and checks that it then stays quiet.

use std::collections::HashSet;
use std::time::Duration;

use fake_kube::{CONTROLLER, Kind, Object, ready_managers};
use issuer_api::CertificateSigningRequest;
use issuer_core::reconcile::IssuerStatusMode;

use super::{Checked, World};
use crate::fixture::{self, Flaw, IssuerId};
use crate::process::Phase;
use crate::promise;
use crate::record::RequestRecord;

/// A converged world has no timer sooner than this.
const SOON: Duration = Duration::from_secs(20);

/// How long a converged world is watched.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The maximum number of steps until convergence.
const MAX_STEPS: usize = 100_000;

/// The maximum number of steps of a periodic check.
const MAX_CHECK_STEPS: usize = 30;

impl World {
    /// Returns `true` if the world has converged: every request is finished or waits for a user, every issuer is ready, nobody
    /// else is about to act, and processes only wait for their next periodic check.
    pub fn is_converged(&self) -> bool {
        let soon = |due: Option<Duration>| due.is_some_and(|due| due < self.now + SOON);
        !self.running().any(|(_, process)| soon(process.due())) && self.is_settled()
    }

    /// Returns `true` if the world has converged, except that a periodic check may be due soon.
    pub(crate) fn is_settled(&self) -> bool {
        let works = self.running().next().is_some()
            && self.running().all(|(_, process)| {
                let idle = process.controller.is_drained() && process.controller.is_retired();
                process.phase == Phase::Working && idle
            });
        works
            && self.is_quiescent()
            && !self.is_sealed()
            && self.done == self.setup.script.len()
            && self.requests().all(|request| self.is_finished(request))
            && self.issuers().all(|issuer| self.is_settled_issuer(issuer))
            && self.responses().next().is_none()
    }

    /// Runs the undisturbed world until it has converged.
    ///
    /// # Errors
    ///
    /// The promise that is broken on the way.
    pub fn converge(&mut self) -> Checked {
        for _ in 0..MAX_STEPS {
            match self.undisturbed() {
                Some(transition) => self.step(transition)?,
                None if self.is_converged() => return self.check_converged(),
                None => {
                    let message = format!("the undisturbed world stands still: {}", self.unsettled());
                    return Err(promise::CONVERGES.broken(message));
                }
            }
        }
        let message = format!("the undisturbed world does not converge: {}", self.unsettled());
        Err(promise::CONVERGES.broken(message))
    }

    /// Returns the objects that keep the world from convergence, and their Ready conditions.
    fn unsettled(&self) -> String {
        let unfinished = self
            .requests()
            .filter(|request| !self.is_finished(request))
            .map(|object| {
                let ready = object.request().and_then(|request| request.condition("Ready"));
                let message = ready.and_then(|ready| ready.message.as_deref());
                format!("{} ({})", object.uid(), message.unwrap_or("no message"))
            });
        let unready = self.issuers().filter(|issuer| !self.is_settled_issuer(issuer));
        let unready = unready.map(|issuer| format!("{} is not ready", issuer.uid()));
        unfinished.chain(unready).collect::<Vec<_>>().join("; ")
    }

    /// Runs a converged world for a day.
    ///
    /// # Errors
    ///
    /// L2 if anything but periodic checks happens, or another promise that is broken.
    pub fn stay_quiet(&mut self) -> Checked {
        let begun = self.now;
        let mut seen = HashSet::new();
        let mut rounds = 0;
        // The future of a state that occurs twice is periodic.
        while self.now < begun + DAY && seen.insert(self.digest_without_record()) {
            self.run_timer()?;
            rounds += 1;
        }
        let least = self.setup.config.check_interval / 2 * rounds / self.periodic_checks();
        if rounds > 8 && self.now < begun + least {
            let span = self.now.saturating_sub(begun);
            return Err(promise::STAYS_QUIET.broken(format!("{rounds} checks in {span:?} after convergence")));
        }
        Ok(())
    }

    /// Runs the next timer of a converged world and its consequences.
    fn run_timer(&mut self) -> Checked {
        let before = (self.record.writes, self.record.signs);
        let Some(tick) = self.next_tick() else {
            // Without a timer nothing ever happens.
            self.now += DAY;
            return Ok(());
        };
        self.step(tick)?;
        for _ in 0..MAX_CHECK_STEPS {
            match self.undisturbed() {
                // A replaced token is revoked a little later.
                Some(transition) => self.step(transition)?,
                None if (self.record.writes, self.record.signs) == before => return Ok(()),
                None => return Err(promise::STAYS_QUIET.broken("a status write after convergence")),
            }
        }
        Err(promise::STAYS_QUIET.broken("a periodic check does not end"))
    }

    /// Returns the number of things that each process does periodically: it checks each issuer, and tries each request again
    /// that stays pending.
    pub(crate) fn periodic_checks(&self) -> u32 {
        let records = self.requests().filter_map(|request| self.record.request(request.uid()));
        let pending = records.filter(|record| record.fixture.flaw.may_stay_pending()).count();
        u32::try_from(self.running().count() * (self.issuers().count() + pending))
            .unwrap_or(u32::MAX)
            .max(1)
    }

    fn issuers(&self) -> impl Iterator<Item = &Object> {
        let kinds = [Kind::Issuers, Kind::ClusterIssuers, Kind::DropInIssuers].into_iter();
        kinds.flat_map(|kind| self.cluster.list(kind)).map(|issuer| &**issuer)
    }

    /// Returns `true` if an issuer is ready, by a condition of the controller that should write it.
    fn is_settled_issuer(&self, issuer: &Object) -> bool {
        let is_others = ready_managers(issuer.meta()).any(|manager| manager != CONTROLLER);
        let drop_in = self.setup.config.drop_in.as_ref();
        let mode = drop_in.filter(|_| matches!(issuer, Object::DropInIssuer(_)));
        let of_others = |issuer: &Object| issuer.ready().is_some_and(|ready| ready.message == fixture::VERIFIED);
        match mode.map(|drop_in| drop_in.issuer_status) {
            None => is_ready(issuer),
            Some(IssuerStatusMode::Auto) => is_others || is_ready(issuer),
            Some(IssuerStatusMode::Leave) => true,
            Some(IssuerStatusMode::Own) => is_ready(issuer) && !of_others(issuer),
        }
    }

    /// Returns `true` if a request is finished or waits for a user.
    fn is_finished(&self, object: &Object) -> bool {
        let Some(known) = self.record.request(object.uid()) else {
            return false;
        };
        let request = match object {
            Object::Request(request) => request,
            Object::Csr(csr) => return self.is_csr_finished(object, csr, known),
            Object::ClusterIssuer(_) | Object::DropInIssuer(_) | Object::Issuer(_) => return false,
        };
        let ready = request.condition("Ready");
        let reason = ready.and_then(|ready| ready.reason.as_deref());
        if known.fixture.flaw == Flaw::Foreign {
            return true;
        }
        if request.is("Denied") {
            return matches!(reason, Some("Denied" | "Issued" | "Failed"));
        }
        if !request.is("Approved") {
            return true;
        }
        let orphan = self.issuer(known.fixture.issuer).is_none();
        // It may be an issuer of another type by now, whose controller answers.
        if orphan && known.fixture.issuer == IssuerId::DropIn {
            return true;
        }
        // A forger has left it to a controller that does not exist.
        let is_forged = fixture::forged_write(object).is_some();
        let waits = is_forged || (orphan && reason == Some("Pending"));
        match reason {
            Some("Issued") => object.certificate().is_some(),
            Some("Failed") => may_fail(known) || known.unselected,
            Some("Pending") if known.fixture.flaw.may_stay_pending() => true,
            _ => waits,
        }
    }

    /// Returns `true` if a Kubernetes CSR is finished or waits for a user.
    fn is_csr_finished(&self, object: &Object, csr: &CertificateSigningRequest, known: &RequestRecord) -> bool {
        let conditions = csr.status.iter().flat_map(|status| &status.conditions);
        let is = |kind: &str| conditions.clone().any(|condition| condition.kind == kind);
        let is_issued = csr.status.as_ref().is_some_and(|status| status.certificate.is_some());
        let is_failure_of_others = fixture::built_in_failure(csr).is_some();
        let may_fail = may_fail(known) || is_failure_of_others;
        let is_forged = fixture::forged_write(object).is_some();
        let waits = self.issuer(known.fixture.issuer).is_none() || known.fixture.flaw.may_stay_pending() || is_forged;
        is("Denied") || !is("Approved") || is_issued || (is("Failed") && may_fail) || (!is("Failed") && waits)
    }
}

/// Returns `true` if a request of either kind may have failed.
fn may_fail(known: &RequestRecord) -> bool {
    known.fixture.flaw != Flaw::None || known.refused || known.unadmitted || known.unanswered > 0
}

fn is_ready(issuer: &Object) -> bool {
    let current = issuer.meta().generation;
    issuer
        .ready()
        .is_some_and(|ready| ready.status == issuer_api::ConditionStatus::True && ready.observed_generation == current)
}
