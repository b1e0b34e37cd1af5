//! Long runs: up to ten thousand requests and days of virtual time.
//!
//! A seed determines a run: processes, issuers and requests, clocks, actions of users, faults and their times. Every promise
//! is checked at every step. After the last fault the world must converge and stay quiet. A hash of all observations shows
//! that two runs of a seed are equal.

mod dice;
pub mod outage;
mod plan;
pub mod poison;
mod promised;
mod random;
mod run;
mod schedule;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::mutant::Mutant;
use crate::promise::Violation;
use dice::Dice;
use run::Run;

/// The number of concurrent runs.
const THREADS: usize = 2;

/// The longest time until convergence, and the addition for each request.
const BOUND: (Duration, Duration) = (Duration::from_secs(1800), Duration::from_secs(2));

/// The longest time that a converged world is watched.
const QUIET: Duration = Duration::from_secs(24 * 3600);

/// The result of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunReport {
    /// A hash of all observations.
    pub hash: u64,
    /// The number of requests, counted by uid.
    pub requests: usize,
    /// The number of saved certificates.
    pub certificates: u32,
    /// The number of signatures.
    pub signatures: u32,
    /// The number of faults: failed steps, crashes, stops, seals, revocations, broken watches.
    pub faults: u64,
    /// The number of logins at both servers.
    pub logins: u32,
    /// The number of requests to Vault, health checks included.
    pub sent: usize,
    /// The number of accepted status writes.
    pub writes: u32,
    /// The number of actions of the runner.
    pub actions: u64,
    /// The virtual time at the end.
    pub lasted: Duration,
    /// The virtual time from the last fault to convergence.
    pub convergence: Duration,
    /// The broken promise, if any.
    pub violation: Option<Violation>,
}

/// Performs the run of a seed.
pub fn random(seed: u64) -> RunReport {
    random_with(seed, None)
}

/// Performs the run of a seed with a defect.
pub fn random_with(seed: u64, mutant: Option<Mutant>) -> RunReport {
    perform(seed, mutant, 0).0
}

/// Performs the run of a seed; returns the last lines of its log, too.
pub fn random_with_log(seed: u64, lines: usize) -> (RunReport, Vec<String>) {
    perform(seed, None, lines)
}

fn perform(seed: u64, mutant: Option<Mutant>, lines: usize) -> (RunReport, Vec<String>) {
    let mut dice = Dice::new(seed);
    let (plan, long) = random::plan(&mut dice, mutant);
    let quiet = dice.magnitude(Duration::from_secs(600), QUIET);
    let mut run = Run::new(seed.rotate_left(32), plan, lines);
    let mut convergence = Duration::ZERO;
    let mut perform = || {
        run.until(long)?;
        let (most, each) = BOUND;
        let requests = u32::try_from(run.world.setup.requests.len()).unwrap_or(u32::MAX);
        convergence = run.converge(most + each * requests)?;
        run.quiet(quiet)
    };
    let violation = perform().err();
    let record = run.world.record();
    let report = RunReport {
        hash: run.log().value(),
        requests: record.requests.len(),
        certificates: run.log().issued.0,
        signatures: record.signs,
        faults: run.faults,
        logins: [0, 1].map(|host| run.world.vault(host).logins()).iter().sum(),
        sent: run.log().sent.len(),
        writes: record.writes,
        actions: run.actions,
        lasted: run.world.now(),
        convergence,
        violation,
    };
    (report, run.log().tail.iter().cloned().collect())
}

/// The results of the runs of many seeds.
#[derive(Clone, Debug, Default)]
pub struct SeedsReport {
    /// The first run of each seed.
    pub runs: BTreeMap<u64, RunReport>,
    /// The seeds whose second run differs.
    pub unequal: Vec<u64>,
}

impl SeedsReport {
    /// Returns the seeds with a violation.
    pub fn violations(&self) -> impl Iterator<Item = (u64, &Violation)> {
        let runs = self.runs.iter();
        runs.filter_map(|(seed, run)| Some((*seed, run.violation.as_ref()?)))
    }

    /// Returns `true` if no promise was broken, and each seed gave two equal runs.
    pub fn is_good(&self) -> bool {
        self.unequal.is_empty() && self.violations().next().is_none()
    }
}

impl fmt::Display for SeedsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = || self.runs.values();
        let sum = |of: fn(&RunReport) -> u64| all().map(of).sum::<u64>();
        let most = |of: fn(&RunReport) -> Duration| all().map(of).max().unwrap_or_default();
        let hours = |span: Duration| span.as_secs() / 3600;
        let lasted: Duration = all().map(|run| run.lasted).sum();
        let largest = all().map(|run| run.requests).max().unwrap_or_default();
        write!(
            f,
            "{} seeds, each run twice: {} requests (most in one run: {largest}), {} certificates of {} signatures, {} \
             faults, {} logins, {} requests to Vault, {} writes, {} actions in {} days of virtual time (longest run: {} h; \
             slowest convergence: {} s); equal hashes: {} of {}; runs that broke a promise: {}",
            self.runs.len(),
            all().map(|run| run.requests).sum::<usize>(),
            sum(|run| run.certificates.into()),
            sum(|run| run.signatures.into()),
            sum(|run| run.faults),
            sum(|run| run.logins.into()),
            all().map(|run| run.sent).sum::<usize>(),
            sum(|run| run.writes.into()),
            sum(|run| run.actions),
            hours(lasted) / 24,
            hours(most(|run| run.lasted)),
            most(|run| run.convergence).as_secs(),
            self.runs.len() - self.unequal.len(),
            self.runs.len(),
            self.violations().count(),
        )
    }
}

/// Performs the runs of many seeds, each twice, on two threads.
pub fn run(seeds: Range<u64>) -> SeedsReport {
    let next = AtomicU64::new(seeds.start);
    let report = Mutex::new(SeedsReport::default());
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
                    report.runs.insert(seed, first);
                }
            });
        }
    });
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.unequal.sort_unstable();
    report
}
