//! Long runs: from one request to ten thousand, for minutes to days of the world's time.
//!
//! A seed says everything about a run: which processes, issuers and requests there are, how their clocks go, what people
//! do, what goes wrong and when. Every promise is checked at every step; then the world is left alone, must come to rest
//! and stay quiet. A hash of everything that happened tells whether two runs were equal to the bit.

mod dice;
mod fate;
mod log;
pub mod outage;
mod plan;
mod random;
mod run;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

pub(crate) use log::Log;

use crate::invariants::Violation;
use crate::mutant::Mutant;
use dice::Dice;
use run::Run;

/// How many runs go on at once.
const THREADS: usize = 2;

/// How long it may take until everything is at rest, and how much longer for each request.
const BOUND: (Duration, Duration) = (Duration::from_secs(1800), Duration::from_secs(2));

/// The longest time that the world is watched to be quiet.
const QUIET: Duration = Duration::from_secs(24 * 3600);

/// What came of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// A hash of everything that happened.
    pub hash: u64,
    /// The requests that there were, of all names and uids.
    pub requests: usize,
    /// The certificates that were saved.
    pub certificates: u32,
    /// The certificates that were signed.
    pub signatures: u32,
    /// The faults: questions that met one, crashes, stops, seals, revocations, watches that broke.
    pub faults: u64,
    /// The logins at both servers.
    pub logins: u32,
    /// The requests to Vault, those to its health among them.
    pub asked: usize,
    /// The writes of a status that were taken.
    pub writes: u32,
    /// How much happened.
    pub events: u64,
    /// How long it went on, by the world's clock.
    pub lasted: Duration,
    /// How long it took to come to rest when it was left alone, by the world's clock.
    pub rest: Duration,
    /// The promise that was broken.
    pub violation: Option<Violation>,
}

/// Lets the run of a seed happen.
pub fn random(seed: u64) -> Outcome {
    random_with(seed, None)
}

/// Lets the run of a seed happen with something wrong with the processes.
pub fn random_with(seed: u64, mutant: Option<Mutant>) -> Outcome {
    live(seed, mutant, 0).0
}

/// Lets the run of a seed happen, and returns the last lines of what happened, too: one for each thing, with its time.
pub fn told(seed: u64, lines: usize) -> (Outcome, Vec<String>) {
    live(seed, None, lines)
}

fn live(seed: u64, mutant: Option<Mutant>, lines: usize) -> (Outcome, Vec<String>) {
    let mut dice = Dice::new(seed);
    let (plan, long) = random::plan(&mut dice, mutant);
    let quiet = dice.magnitude(Duration::from_secs(600), QUIET);
    let mut run = Run::new(seed.rotate_left(32), plan, lines);
    let mut rest = Duration::ZERO;
    let mut live = || {
        run.until(long)?;
        let (most, each) = BOUND;
        let requests = u32::try_from(run.world.setup.wants.len()).unwrap_or(u32::MAX);
        rest = run.rest(most + each * requests)?;
        run.quiet(quiet)
    };
    let violation = live().err();
    let record = run.world.record();
    let outcome = Outcome {
        hash: run.log().value(),
        requests: record.requests.len(),
        certificates: run.log().issued.0,
        signatures: record.signs,
        faults: run.faults,
        logins: [0, 1].map(|host| run.world.vault(host).logins()).iter().sum(),
        asked: run.log().asked.len(),
        writes: record.writes,
        events: run.moves,
        lasted: run.world.now(),
        rest,
        violation,
    };
    (outcome, run.log().tail.iter().cloned().collect())
}

/// What came of many runs.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What came of the first run of each seed.
    pub outcomes: BTreeMap<u64, Outcome>,
    /// The seeds whose second run was another.
    pub unequal: Vec<u64>,
}

impl Report {
    /// Returns the seeds that broke a promise, each with the promise.
    pub fn violations(&self) -> impl Iterator<Item = (u64, &Violation)> {
        let outcomes = self.outcomes.iter();
        outcomes.filter_map(|(seed, outcome)| Some((*seed, outcome.violation.as_ref()?)))
    }

    /// Tells whether no promise was broken, and each seed made two equal runs.
    pub fn is_good(&self) -> bool {
        self.unequal.is_empty() && self.violations().next().is_none()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = || self.outcomes.values();
        let sum = |of: fn(&Outcome) -> u64| all().map(of).sum::<u64>();
        let most = |of: fn(&Outcome) -> Duration| all().map(of).max().unwrap_or_default();
        let hours = |span: Duration| span.as_secs() / 3600;
        let lasted: Duration = all().map(|outcome| outcome.lasted).sum();
        let largest = all().map(|outcome| outcome.requests).max().unwrap_or_default();
        write!(
            f,
            "{} seeds, each run twice: {} requests (most in one run: {largest}), {} certificates of {} signatures, {} \
             faults, {} logins, {} requests to Vault, {} writes, {} events in {} days of virtual time (longest run: {} h; \
             slowest to come to rest: {} s); equal hashes: {} of {}; runs that broke a promise: {}",
            self.outcomes.len(),
            all().map(|outcome| outcome.requests).sum::<usize>(),
            sum(|outcome| outcome.certificates.into()),
            sum(|outcome| outcome.signatures.into()),
            sum(|outcome| outcome.faults),
            sum(|outcome| outcome.logins.into()),
            all().map(|outcome| outcome.asked).sum::<usize>(),
            sum(|outcome| outcome.writes.into()),
            sum(|outcome| outcome.events),
            hours(lasted) / 24,
            hours(most(|outcome| outcome.lasted)),
            most(|outcome| outcome.rest).as_secs(),
            self.outcomes.len() - self.unequal.len(),
            self.outcomes.len(),
            self.violations().count(),
        )
    }
}

/// Lets the runs of many seeds happen, each twice, on two threads.
pub fn run(seeds: Range<u64>) -> Report {
    let next = AtomicU64::new(seeds.start);
    let report = Mutex::new(Report::default());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let (first, second) = (random(seed), random(seed));
                    let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                    if first != second {
                        report.unequal.push(seed);
                    }
                    report.outcomes.insert(seed, first);
                }
            });
        }
    });
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.unequal.sort_unstable();
    report
}
