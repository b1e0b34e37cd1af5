//! Long runs of one kind each, whose figures are promised.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use fake_kube::Kind;
use issuer_core::Operation;

use super::plan::{Deed, Pace, Plan};
use super::run::Run;
use crate::event::{Act, Who};
use crate::fixture::{IssuerId, Want};
use crate::invariants::Violation;
use crate::mutant::Mutant;
use crate::world::Setup;

/// How long Vault takes to answer in these runs.
const VAULT: Duration = Duration::from_millis(10);

/// How long the API server takes to answer, and a watch to tell.
const API: Duration = Duration::from_millis(5);

/// When Vault is sealed, and the requests are made.
const BEGIN: Duration = Duration::from_secs(60);

const HOUR: Duration = Duration::from_secs(3600);

/// The longest time between two looks at the health of a server that is out.
const LOOK: Duration = Duration::from_secs(15);

/// What came of an outage.
#[derive(Clone, Debug)]
pub struct Endured {
    /// How many requests waited.
    pub waiting: u16,
    /// How long Vault was sealed.
    pub sealed: Duration,
    /// How many of them have a certificate.
    pub issued: u32,
    /// How many failed.
    pub failed: usize,
    /// The requests to Vault in the first hour of the outage, but for those to its health.
    pub asked: usize,
    /// The requests to Vault's health in that hour.
    pub looks: usize,
    /// The most writes of a status that one request took.
    pub writes: u32,
    /// The most events that were recorded about one request.
    pub events: u32,
    /// The time from the unseal, which came right after a look, to the next look.
    pub noticed: Duration,
    /// The time from the unseal to the last certificate.
    pub done: Duration,
    /// The longest time that it may have been.
    pub bound: Duration,
    /// How often tokens were made, before, during and after it.
    pub logins: u32,
}

impl fmt::Display for Endured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sealed for {} h with {} requests waiting: {} failed, {} issued; in the first hour {} requests to Vault and {} \
             to its health; at most {} writes and {} events per request; noticed {:.1} s and all issued {:.1} s after the \
             unseal (at most {:.1} s); {} logins",
            self.sealed.as_secs() / 3600,
            self.waiting,
            self.failed,
            self.issued,
            self.asked,
            self.looks,
            self.writes,
            self.events,
            self.noticed.as_secs_f64(),
            self.done.as_secs_f64(),
            self.bound.as_secs_f64(),
            self.logins,
        )
    }
}

/// Seals Vault while its issuer is ready, has requests made and approved, unseals it at the worst time, and waits.
///
/// All must be issued in time: 15 s until a look at its health finds it unsealed; a check, which is four answers of Vault
/// and a Secret; and for each request an answer of Vault, a write and an event, as many at once as there are slots.
pub fn outage(waiting: u16, sealed: Duration, mutant: Option<Mutant>) -> Result<Endured, Violation> {
    let mut agenda = orders(0..waiting, BEGIN);
    agenda.insert(0, (BEGIN, Deed::Seal(0)));
    let mut run = begin(&[IssuerId::Team], waiting, agenda, mutant);
    let over = BEGIN + sealed;
    run.until(over)?;
    let first = BEGIN..BEGIN + sealed.min(HOUR);
    let (looks, asked): (Vec<_>, Vec<_>) = asked(&run, first).partition(|operation| *operation == Operation::Health);
    // Right after a look has found it sealed, the next one is as far away as it can be.
    let patience = over + LOOK * 2;
    while looks_after(&run, over).is_none() && run.world.now() < patience {
        run.until(run.world.now() + VAULT)?;
    }
    run.until(run.world.now() + VAULT)?;
    let unsealed = run.world.now();
    run.plan(unsealed, Deed::Unseal(0));
    let bound = LOOK + check() + turns(&run, waiting);
    run.until(unsealed + bound)?;
    let noticed = looks_after(&run, unsealed).unwrap_or(Duration::MAX);
    let requests = run.world.record().requests.values();
    let told = &run.log().told;
    let told = told.iter().filter(|(uid, _)| run.world.record().request(uid).is_some());
    let endured = Endured {
        waiting,
        sealed,
        issued: run.log().issued.0,
        failed: failed(&run),
        asked: asked.len(),
        looks: looks.len(),
        writes: requests.map(|request| request.writes).max().unwrap_or_default(),
        events: told.map(|(_, count)| *count).max().unwrap_or_default(),
        noticed: noticed.saturating_sub(unsealed),
        done: run.log().issued.1.saturating_sub(unsealed),
        bound,
        logins: run.world.vault(0).logins(),
    };
    run.rest(HOUR)?;
    endured.hold()?;
    Ok(endured)
}

/// Returns what Vault was asked for in a time.
fn asked(run: &Run, when: Range<Duration>) -> impl Iterator<Item = Operation> {
    let asked = run.log().asked.iter();
    let asked = asked.filter(move |(at, ..)| when.contains(at));
    asked.map(|(.., operation)| *operation)
}

/// Returns when Vault was first asked for its health after a time.
fn looks_after(run: &Run, after: Duration) -> Option<Duration> {
    let mut asked = run.log().asked.iter().rev().take_while(|(at, ..)| *at >= after);
    let looks = asked.by_ref().filter(|(.., operation)| *operation == Operation::Health);
    looks.map(|(at, ..)| *at).last()
}

/// How long a check takes, at most: four answers of Vault and a Secret.
fn check() -> Duration {
    4 * VAULT + API
}

/// How long it takes to have so many certificates issued: an answer of Vault, a write and an event for each, as many at
/// once as there are slots.
fn turns(run: &Run, requests: u16) -> Duration {
    let slots = u32::try_from(run.world.setup.config.max_concurrent_reconciles).unwrap_or(u32::MAX);
    (VAULT + 2 * API) * u32::from(requests).div_ceil(slots)
}

impl Endured {
    /// Holds the figures against what is promised.
    fn hold(&self) -> Result<(), Violation> {
        let quiet = self.failed == 0 && self.asked <= 20 && self.writes <= 3;
        // One look every 15 s, and a few sooner while the outage is young.
        let hour = self.sealed.min(HOUR);
        let most = usize::try_from(hour.as_secs() / LOOK.as_secs()).unwrap_or_default() + 5;
        if !quiet || self.looks > most {
            let what = self.to_string();
            return Err(Violation { number: "L3", what });
        }
        if self.issued != u32::from(self.waiting) || self.noticed > LOOK + API {
            let what = self.to_string();
            return Err(Violation { number: "L5", what });
        }
        Ok(())
    }
}

/// Has a thousand certificates issued, half of them at once and half over six hours; returns how many logins that took.
pub fn thousand() -> Result<u32, Violation> {
    let at = |number: u16| BEGIN + 6 * HOUR * u32::from(number.saturating_sub(500)) / 500;
    let agenda = (0..1000).flat_map(|number| orders(number..number + 1, at(number)));
    let mut run = begin(&[IssuerId::Team], 1000, agenda.collect(), None);
    run.until(at(1000))?;
    run.rest(HOUR)?;
    let (logins, issued) = (run.world.vault(0).logins(), run.log().issued.0);
    if logins == 1 && issued == 1000 {
        return Ok(logins);
    }
    let what = format!("{issued} certificates took {logins} logins");
    Err(Violation { number: "S20", what })
}

/// Has requests wait for an issuer that is out, and as many made for another; returns how long those took, which is as
/// long as if there were no others.
pub fn beside(requests: u16, mutant: Option<Mutant>) -> Result<Duration, Violation> {
    let made = BEGIN + HOUR;
    let mut agenda = vec![(BEGIN, Deed::Seal(0))];
    // Every other request is for the other issuer.
    agenda.extend((0..requests).flat_map(|number| orders(2 * number..2 * number + 1, BEGIN)));
    agenda.extend((0..requests).flat_map(|number| orders(2 * number + 1..2 * number + 2, made)));
    let mut run = begin(&[IssuerId::Team, IssuerId::Other], 2 * requests, agenda, mutant);
    run.until(made + HOUR)?;
    let bound = API + turns(&run, requests);
    in_time(&run, "L6", requests, made, bound)
}

/// Has requests wait for an issuer whose server is out, then points it to another server; returns how long they took
/// from then on: a check, and no wait for the next look at the old server.
pub fn mended(requests: u16, mutant: Option<Mutant>) -> Result<Duration, Violation> {
    let mended = BEGIN + HOUR;
    let mut agenda = orders(0..requests, BEGIN);
    agenda.insert(0, (BEGIN, Deed::Seal(0)));
    agenda.push((mended, Deed::Act(Act::MoveIssuer(IssuerId::Team))));
    let mut run = begin(&[IssuerId::Team], requests, agenda, mutant);
    run.until(mended + HOUR)?;
    let bound = API + check() + turns(&run, requests);
    in_time(&run, "L7", requests, mended, bound)
}

/// Returns how long after a time the last certificate was issued, if that was soon enough and all are.
fn in_time(
    run: &Run,
    number: &'static str,
    requests: u16,
    from: Duration,
    bound: Duration,
) -> Result<Duration, Violation> {
    let (issued, last) = run.log().issued;
    let took = last.saturating_sub(from);
    if issued == u32::from(requests) && took <= bound {
        return Ok(took);
    }
    let what = format!("{issued} of {requests} are issued after {took:?}, which may take {bound:?}");
    Err(Violation { number, what })
}

/// Has requests made and approved.
fn orders(numbers: Range<u16>, at: Duration) -> Vec<(Duration, Deed)> {
    numbers
        .map(|number| (at, Deed::Act(Act::CreateApproved(number))))
        .collect()
}

/// A controller whose issuers, in turn those of the requests, are ready before anything else happens, and questions that
/// take their time.
fn begin(
    issuers: &'static [IssuerId],
    requests: u16,
    mut agenda: Vec<(Duration, Deed)>,
    mutant: Option<Mutant>,
) -> Run {
    agenda.push((Duration::ZERO, Deed::Start(Who::A)));
    let of = issuers.iter().cycle().take(requests.into());
    let pace = Pace {
        vault: VAULT,
        api: API,
        watch: API,
        varies: false,
    };
    let plan = Plan {
        setup: Setup {
            issuers,
            mutant,
            ..Setup::new(of.map(|issuer| Want::good(*issuer)).collect())
        },
        pace,
        storms: Vec::new(),
        agenda,
        term: None,
    };
    Run::new(0, plan, 0)
}

fn failed(run: &Run) -> usize {
    let requests = run.world.cluster().list(Kind::Requests);
    let reason = |request: &issuer_api::CertificateRequest| request.condition("Ready")?.reason.clone();
    let reasons = requests.filter_map(|object| reason(object.request()?));
    reasons.filter(|reason| reason == "Failed").count()
}
