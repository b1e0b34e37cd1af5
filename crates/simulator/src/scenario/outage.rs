//! Long runs whose cost must stay within promised bounds.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use fake_kube::Kind;
use issuer_core::Operation;

use super::plan::Scheduled;
use super::promised::{API, BEGIN, HOUR, VAULT, check_time, creations, issuance, start_run, valid_requests};
use super::run::Run;
use crate::fixture::IssuerId;
use crate::mutant::Mutant;
use crate::promise::{self, Promise, Violation};
use crate::transition::UserAction;

/// The longest time between two health checks of an unhealthy server.
const HEALTH_INTERVAL: Duration = Duration::from_secs(15);

/// The figures of an outage.
#[derive(Clone, Debug)]
pub struct OutageReport {
    /// The number of waiting requests.
    pub waiting: u16,
    /// The duration of the outage.
    pub sealed: Duration,
    /// The number of issued certificates.
    pub issued: u32,
    /// The number of failed requests.
    pub failed: usize,
    /// The number of requests to Vault in the first hour of the outage, without health checks.
    pub sent: usize,
    /// The number of health checks in that hour.
    pub health_checks: usize,
    /// The largest number of status writes for one request.
    pub writes: u32,
    /// The largest number of events about one request.
    pub events: u32,
    /// The time from the unseal, which came right after a health check, to the next one.
    pub noticed: Duration,
    /// The time from the unseal to the last certificate.
    pub done: Duration,
    /// The limit for that time.
    pub bound: Duration,
    /// The number of logins before, during and after the outage.
    pub logins: u32,
}

impl fmt::Display for OutageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sealed for {} h with {} requests waiting: {} failed, {} issued; in the first hour {} requests to Vault and {} \
             health checks; at most {} writes and {} events per request; noticed {:.1} s and all issued {:.1} s after the \
             unseal (at most {:.1} s); {} logins",
            self.sealed.as_secs() / 3600,
            self.waiting,
            self.failed,
            self.issued,
            self.sent,
            self.health_checks,
            self.writes,
            self.events,
            self.noticed.as_secs_f64(),
            self.done.as_secs_f64(),
            self.bound.as_secs_f64(),
            self.logins,
        )
    }
}

/// Seals Vault while its issuer is ready, creates and approves requests, and unseals Vault at the worst time.
///
/// All must be issued in time: 15 s until a health check finds it unsealed; a check of the issuer, which is four answers of
/// Vault and a Secret; and for each request an answer of Vault, a write and an event, as many at once as there are slots.
///
/// # Errors
///
/// The promise that is broken on the way.
pub fn outage(waiting: u16, sealed: Duration, mutant: Option<Mutant>) -> Result<OutageReport, Violation> {
    let mut agenda = creations(0..waiting, BEGIN);
    agenda.insert(0, (BEGIN, Scheduled::Seal(0)));
    let mut run = start_run(
        &[IssuerId::Team],
        valid_requests(&[IssuerId::Team], waiting),
        agenda,
        mutant,
    );
    let over = BEGIN + sealed;
    run.until(over)?;
    let first = BEGIN..BEGIN + sealed.min(HOUR);
    let (health_checks, sent): (Vec<_>, Vec<_>) =
        sent(&run, first).partition(|operation| *operation == Operation::Health);
    // Right after a health check the next one is as far away as possible.
    let patience = over + HEALTH_INTERVAL * 2;
    while health_check_after(&run, over).is_none() && run.world.now() < patience {
        run.until(run.world.now() + VAULT)?;
    }
    run.until(run.world.now() + VAULT)?;
    let unsealed = run.world.now();
    run.plan(unsealed, Scheduled::Unseal(0));
    let bound = HEALTH_INTERVAL + check_time() + issuance(&run, waiting);
    run.until(unsealed + bound)?;
    let noticed = health_check_after(&run, unsealed).unwrap_or(Duration::MAX);
    let requests = run.world.record().requests.values();
    let published = &run.log().published;
    let published = published
        .iter()
        .filter(|(uid, _)| run.world.record().request(uid).is_some());
    let report = OutageReport {
        waiting,
        sealed,
        issued: run.log().issued.0,
        failed: failed(&run),
        sent: sent.len(),
        health_checks: health_checks.len(),
        writes: requests.map(|request| request.writes).max().unwrap_or_default(),
        events: published.map(|(_, count)| *count).max().unwrap_or_default(),
        noticed: noticed.saturating_sub(unsealed),
        done: run.log().issued.1.saturating_sub(unsealed),
        bound,
        logins: run.world.vault(0).logins(),
    };
    run.converge(HOUR)?;
    report.check()?;
    Ok(report)
}

/// Returns the operations of the requests to Vault in a period.
fn sent(run: &Run, when: Range<Duration>) -> impl Iterator<Item = Operation> {
    let sent = run.log().sent.iter();
    let sent = sent.filter(move |(at, ..)| when.contains(at));
    sent.map(|(.., operation)| *operation)
}

/// Returns the time of the first health check after a time.
fn health_check_after(run: &Run, after: Duration) -> Option<Duration> {
    let sent = run.log().sent.iter().rev().take_while(|(at, ..)| *at >= after);
    let checks = sent.filter(|(.., operation)| *operation == Operation::Health);
    checks.map(|(at, ..)| *at).last()
}

impl OutageReport {
    /// Checks the figures against the promises.
    fn check(&self) -> Result<(), Violation> {
        let quiet = self.failed == 0 && self.sent <= 20 && self.writes <= 3;
        // One health check every 15 s, and a few more at the beginning of the outage.
        let hour = self.sealed.min(HOUR);
        let most = usize::try_from(hour.as_secs() / HEALTH_INTERVAL.as_secs()).unwrap_or_default() + 5;
        if !quiet || self.health_checks > most {
            return Err(promise::OUTAGE_IS_CHEAP.broken(self.to_string()));
        }
        if self.issued != u32::from(self.waiting) || self.noticed > HEALTH_INTERVAL + API {
            return Err(promise::RECOVERY_IS_NOTICED.broken(self.to_string()));
        }
        Ok(())
    }
}

/// Issues a thousand certificates, half of them at once and half over six hours; returns the number of logins.
///
/// # Errors
///
/// The promise that is broken on the way.
pub fn one_login_for_a_thousand() -> Result<u32, Violation> {
    let at = |number: u16| BEGIN + 6 * HOUR * u32::from(number.saturating_sub(500)) / 500;
    let agenda = (0..1000).flat_map(|number| creations(number..number + 1, at(number)));
    let mut run = start_run(
        &[IssuerId::Team],
        valid_requests(&[IssuerId::Team], 1000),
        agenda.collect(),
        None,
    );
    run.until(at(1000))?;
    run.converge(HOUR)?;
    let (logins, issued) = (run.world.vault(0).logins(), run.log().issued.0);
    if logins == 1 && issued == 1000 {
        return Ok(logins);
    }
    Err(promise::ONE_TOKEN.broken(format!("{issued} certificates took {logins} logins")))
}

/// Creates requests for an issuer whose server is sealed, and later as many for another issuer; returns how long the second
/// batch took; the outage must not delay it.
///
/// # Errors
///
/// The promise that is broken on the way.
pub fn outage_of_another_issuer(requests: u16, mutant: Option<Mutant>) -> Result<Duration, Violation> {
    const ISSUERS: [IssuerId; 2] = [IssuerId::Team, IssuerId::Other];
    let created = BEGIN + HOUR;
    let mut agenda = vec![(BEGIN, Scheduled::Seal(0))];
    // Every other request is for the other issuer.
    agenda.extend((0..requests).flat_map(|number| creations(2 * number..2 * number + 1, BEGIN)));
    agenda.extend((0..requests).flat_map(|number| creations(2 * number + 1..2 * number + 2, created)));
    let mut run = start_run(&ISSUERS, valid_requests(&ISSUERS, 2 * requests), agenda, mutant);
    run.until(created + HOUR)?;
    let bound = API + issuance(&run, requests);
    in_time(&run, promise::ISSUERS_ARE_ISOLATED, requests, created, bound)
}

/// Creates requests for an issuer whose server is sealed, then switches it to another server; returns how long they took
/// from then on: a check, without a wait for the next health check of the old server.
///
/// # Errors
///
/// The promise that is broken on the way.
pub fn corrected_server(requests: u16, mutant: Option<Mutant>) -> Result<Duration, Violation> {
    let corrected = BEGIN + HOUR;
    let mut agenda = creations(0..requests, BEGIN);
    agenda.insert(0, (BEGIN, Scheduled::Seal(0)));
    agenda.push((corrected, Scheduled::User(UserAction::MoveIssuer(IssuerId::Team))));
    let mut run = start_run(
        &[IssuerId::Team],
        valid_requests(&[IssuerId::Team], requests),
        agenda,
        mutant,
    );
    run.until(corrected + HOUR)?;
    let bound = API + check_time() + issuance(&run, requests);
    in_time(&run, promise::FIX_IS_TRIED_AT_ONCE, requests, corrected, bound)
}

/// Creates requests for an issuer whose endpoint fails for an hour, though its checks succeed; returns how long they took
/// once it signs again: at most the time until the next attempt.
///
/// # Errors
///
/// The promise that is broken on the way.
pub fn failing_endpoint(requests: u16, mutant: Option<Mutant>) -> Result<Duration, Violation> {
    let repaired = BEGIN + HOUR;
    let mut agenda = creations(0..requests, BEGIN);
    agenda.insert(0, (BEGIN, Scheduled::FailToSign(0, true)));
    agenda.push((repaired, Scheduled::FailToSign(0, false)));
    let mut run = start_run(
        &[IssuerId::Team],
        valid_requests(&[IssuerId::Team], requests),
        agenda,
        mutant,
    );
    run.until(repaired)?;
    let signs = sent(&run, BEGIN..repaired).filter(|operation| *operation == Operation::Sign);
    let (signs, failed) = (signs.count(), failed(&run));
    // Each once, and one more every 15 s.
    let most = usize::from(requests) + 4 * 60 + 5;
    if failed > 0 || signs > most {
        let what = format!("{failed} of {requests} have failed after {signs} requests to sign; the limit is {most}");
        return Err(promise::ENDPOINT_FAILS_NO_REQUEST.broken(what));
    }
    run.until(repaired + HOUR)?;
    let bound = HEALTH_INTERVAL + check_time() + 2 * issuance(&run, requests);
    in_time(&run, promise::RECOVERY_IS_NOTICED, requests, repaired, bound)
}

/// Returns how long after a time the last certificate was issued, if all are issued in time.
fn in_time(run: &Run, promise: Promise, requests: u16, from: Duration, bound: Duration) -> Result<Duration, Violation> {
    let (issued, last) = run.log().issued;
    let took = last.saturating_sub(from);
    if issued == u32::from(requests) && took <= bound {
        return Ok(took);
    }
    Err(promise.broken(format!(
        "{issued} of {requests} are issued after {took:?}; the limit is {bound:?}"
    )))
}

fn failed(run: &Run) -> usize {
    let requests = run.world.cluster().list(Kind::Requests);
    let reason = |request: &issuer_api::CertificateRequest| request.condition("Ready")?.reason.clone();
    let reasons = requests.filter_map(|object| reason(object.request()?));
    reasons.filter(|reason| reason == "Failed").count()
}
