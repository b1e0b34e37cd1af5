use std::collections::HashSet;
use std::time::Duration;

use super::World;
use crate::cluster::{Kind, Object};
use crate::fixture::Flaw;
use crate::invariants::{self, Violation};
use crate::process::Stage;

/// Nothing is at rest that has something to do so soon.
const SOON: Duration = Duration::from_secs(20);

/// How long a world at rest is watched.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How many steps it may take to come to rest.
const PATIENT: usize = 100_000;

/// How many steps a periodic check may take.
const ROUND: usize = 30;

impl World {
    /// Tells whether everything has come to what it should: every request to its end, or to wait for somebody else;
    /// every issuer to be ready; and no process has anything to do but to check again later.
    pub fn is_at_rest(&self) -> bool {
        let soon = |due: Option<Duration>| due.is_some_and(|due| due < self.now + SOON);
        !self.running().any(|(_, process)| soon(process.due())) && self.is_settled()
    }

    /// Tells whether everything has come to what it should, though an issuer may be about to be checked again.
    pub(crate) fn is_settled(&self) -> bool {
        let works = self.running().next().is_some()
            && self.running().all(|(_, process)| {
                let idle = process.controller.unsaved() == 0 && process.controller.is_retired();
                process.stage == Stage::Working && idle
            });
        works
            && self.is_still()
            && !self.is_sealed()
            && self.done == self.setup.script.len()
            && self
                .cluster
                .list(Kind::Requests)
                .all(|request| self.request_rests(request))
            && [Kind::Issuers, Kind::ClusterIssuers]
                .into_iter()
                .flat_map(|kind| self.cluster.list(kind))
                .all(|issuer| is_ready(issuer))
    }

    /// Leaves the world alone until it is at rest.
    pub fn come_to_rest(&mut self) -> Result<(), Violation> {
        for _ in 0..PATIENT {
            match self.left_alone() {
                Some(event) => self.step(event)?,
                None if self.is_at_rest() => return invariants::check_rest(self),
                None => break,
            }
        }
        Err(Violation {
            number: "L1",
            what: "left alone, it does not come to rest".to_owned(),
        })
    }

    /// Watches a world at rest to be quiet for a day.
    pub fn watch_a_day(&mut self) -> Result<(), Violation> {
        let begun = self.now;
        let mut seen = HashSet::new();
        let mut rounds = 0;
        // What has come around once comes around for ever.
        while self.now < begun + DAY && seen.insert(self.digest_of_rest()) {
            self.watch_one_round()?;
            rounds += 1;
        }
        let least = self.setup.config.check_interval / 2 * rounds / self.parties();
        if rounds > 8 && self.now < begun + least {
            let what = format!(
                "at rest, it looks {rounds} times in {:?}",
                self.now.saturating_sub(begun)
            );
            return Err(Violation { number: "L2", what });
        }
        Ok(())
    }

    /// Lets the next timer of a world at rest run out, and holds what comes of it against what a quiet world does.
    fn watch_one_round(&mut self) -> Result<(), Violation> {
        let before = (self.record.writes, self.record.signs);
        let Some(tick) = self.next_tick() else {
            // Nothing will ever happen.
            self.now += DAY;
            return Ok(());
        };
        self.step(tick)?;
        let noise = |what: &str| Violation {
            number: "L2",
            what: what.to_owned(),
        };
        for _ in 0..ROUND {
            match self.left_alone() {
                // A token that was superseded is revoked a little later.
                Some(event) => self.step(event)?,
                None => {
                    let still = (self.record.writes, self.record.signs) == before;
                    return if still {
                        Ok(())
                    } else {
                        Err(noise("a status is written in a quiet world"))
                    };
                }
            }
        }
        Err(noise("a world at rest is busy"))
    }

    /// Returns how many periodic checks there are: of each process, for each issuer.
    pub(crate) fn parties(&self) -> u32 {
        let issuers = [Kind::Issuers, Kind::ClusterIssuers]
            .into_iter()
            .flat_map(|kind| self.cluster.list(kind))
            .count();
        u32::try_from(self.running().count() * issuers)
            .unwrap_or(u32::MAX)
            .max(1)
    }

    fn request_rests(&self, object: &Object) -> bool {
        let (Some(request), Some(known)) = (object.request(), self.record.request(object.uid())) else {
            return false;
        };
        let ready = request.condition("Ready");
        let reason = ready.and_then(|ready| ready.reason.as_deref());
        if known.want.flaw == Flaw::Foreign {
            return true;
        }
        if request.is("Denied") {
            return matches!(reason, Some("Denied" | "Issued" | "Failed"));
        }
        if !request.is("Approved") {
            return true;
        }
        let waits =
            self.issuer(known.want.issuer).is_none() && reason == Some("Pending") && is_readable(known.want.flaw);
        match reason {
            Some("Issued") => certificate(object).is_some(),
            Some("Failed") => known.want.flaw != Flaw::None || known.refused,
            _ => waits,
        }
    }
}

fn is_readable(flaw: Flaw) -> bool {
    !matches!(flaw, Flaw::BadSignature | Flaw::NoCsr)
}

fn is_ready(issuer: &Object) -> bool {
    let current = issuer.meta().generation;
    issuer
        .ready()
        .is_some_and(|ready| ready.status == issuer_api::ConditionStatus::True && ready.observed_generation == current)
}

/// Returns the certificate that a request's status holds, PEM.
pub(crate) fn certificate(object: &Object) -> Option<Vec<u8>> {
    let pem = object.request()?.status.as_ref()?.certificate.as_ref()?.decode()?;
    (!pem.is_empty()).then_some(pem)
}
