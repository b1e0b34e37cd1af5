//! Runs the simulator from the command line; `cargo xtask sim` builds and starts it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]

use std::fmt::Display;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{ArgGroup, Parser};
use simulator::explorer;
use simulator::invariants::Violation;
use simulator::scenario::{self, outage};
use simulator::scope::{self, Scope};

/// States are many small things, which two threads make and let go of for each other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many lines of what happened are printed of a seed.
const LINES: usize = 200;

const HOUR: Duration = Duration::from_secs(3600);

/// Runs the production state machines in a simulated cluster.
#[derive(Parser)]
#[command(bin_name = "cargo xtask sim", group(ArgGroup::new("what").required(true)))]
struct Args {
    /// Reaches every state there is, in each scope.
    #[arg(long, group = "what")]
    explore: bool,
    /// Explores this scope alone.
    #[arg(long, requires = "explore", value_parser = scope::ALL.map(|scope| scope.name))]
    scope: Option<String>,
    /// Gives a scope up after so many states.
    #[arg(long, requires = "explore", value_name = "STATES", default_value_t = 20_000_000)]
    limit: usize,
    /// Lets the long runs of so many seeds happen, each twice, and those whose figures are promised.
    #[arg(long, group = "what", value_name = "N")]
    seeds: Option<u64>,
    /// Lets the long run of one seed happen, and prints its end.
    #[arg(long, group = "what", value_name = "SEED")]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let kept = match (args.seeds, args.seed) {
        (Some(seeds), _) => many(seeds) & promised(),
        (None, Some(seed)) => one(seed),
        (None, None) => {
            let named = |scope: &&Scope| args.scope.as_ref().is_none_or(|name| name == scope.name);
            let scopes = scope::ALL.iter().filter(named);
            // One that breaks a promise hides no other.
            let broken = scopes.filter(|scope| !explore(scope, args.limit)).count();
            broken == 0
        }
    };
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Lets the runs of many seeds happen; tells whether every promise was kept and each seed made two equal runs.
fn many(seeds: u64) -> bool {
    let begun = Instant::now();
    let report = scenario::run(0..seeds);
    println!("{report}\n  {:.1} s", begun.elapsed().as_secs_f64());
    let again = |seed: u64| println!("  to see it: cargo xtask sim --seed {seed}");
    for (seed, violation) in report.violations() {
        println!("seed {seed}: {violation}");
        again(seed);
    }
    for seed in &report.unequal {
        println!("seed {seed}: its two runs differ");
        again(*seed);
    }
    report.is_good()
}

/// Lets the run of one seed happen; tells whether every promise was kept.
fn one(seed: u64) -> bool {
    let (outcome, told) = scenario::told(seed, LINES);
    told.iter().for_each(|line| println!("{line}"));
    println!("{outcome:#?}");
    outcome.violation.is_none()
}

/// Lets the runs happen whose figures are promised; tells whether they are as promised.
fn promised() -> bool {
    let in_time = |took: Duration| format!("the last of them issued after {:.1} s", took.as_secs_f64());
    let kept = [
        hold("10 000 waiting for 1 h", || outage::outage(10_000, HOUR, None)),
        hold("10 000 waiting for 24 h", || outage::outage(10_000, 24 * HOUR, None)),
        hold("1 000 certificates", || {
            outage::thousand().map(|logins| format!("{logins} login"))
        }),
        hold("100 beside an issuer that is out", || {
            outage::beside(100, None).map(in_time)
        }),
        hold("100 of an issuer that is mended", || {
            outage::mended(100, None).map(in_time)
        }),
    ];
    kept.iter().all(|kept| *kept)
}

fn hold<T: Display>(name: &str, run: impl FnOnce() -> Result<T, Violation>) -> bool {
    let begun = Instant::now();
    let came = run();
    let seconds = begun.elapsed().as_secs_f64();
    match &came {
        Ok(figures) => println!("{name}: {figures}\n  {seconds:.1} s"),
        Err(violation) => println!("{name}: {violation}"),
    }
    came.is_ok()
}

/// Explores a scope; tells whether every state was reached and every promise kept.
fn explore(scope: &Scope, limit: usize) -> bool {
    println!("{}: {}", scope.name, scope.about);
    let begun = Instant::now();
    let setup = Arc::new((scope.setup)());
    let report = explorer::explore(&setup, limit);
    let seconds = begun.elapsed().as_secs_f64();
    println!("  {report}\n  {seconds:.1} s");
    for (violation, way) in report.violations.values() {
        println!("{}", explorer::as_test(scope.name, &setup, violation, way));
    }
    report.complete && report.violations.is_empty()
}
