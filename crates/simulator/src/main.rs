//! Runs the simulator from the command line; `cargo xtask sim` builds and starts it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]

use std::fmt::Display;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{ArgGroup, Parser};
use simulator::explorer;
use simulator::fixture::Flaw;
use simulator::promise::Violation;
use simulator::scenario::poison::poison;
use simulator::scenario::{self, outage};
use simulator::scope::{self, Scope};

/// States consist of many small allocations, which two threads make and free for each other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The number of log lines that are printed for a seed.
const LINES: usize = 200;

const HOUR: Duration = Duration::from_secs(3600);

/// Runs the production controller in a simulated cluster.
#[derive(Parser)]
#[command(bin_name = "cargo xtask sim", group(ArgGroup::new("what").required(true)))]
struct Args {
    /// Reaches every state of each scope.
    #[arg(long, group = "what")]
    explore: bool,
    /// Explores only this scope; may be given several times.
    #[arg(long, requires = "explore", value_parser = scope::ALL.map(|scope| scope.name))]
    scope: Vec<String>,
    /// Explores all scopes but this one; may be given several times.
    #[arg(long, requires = "explore", conflicts_with = "scope", value_parser = scope::ALL.map(|scope| scope.name))]
    skip: Vec<String>,
    /// Explores up to this number of faults in place of the scope's own.
    #[arg(long, requires = "explore", value_name = "N")]
    faults: Option<u8>,
    /// Stops after this number of states.
    #[arg(long, requires = "explore", value_name = "STATES", default_value_t = 20_000_000)]
    limit: usize,
    /// Performs the long runs of this number of seeds, each twice, and those with promised figures.
    #[arg(long, group = "what", value_name = "N")]
    seeds: Option<u64>,
    /// Performs the long run of one seed and prints the end of its log.
    #[arg(long, group = "what", value_name = "SEED")]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let good = match (args.seeds, args.seed) {
        (Some(seeds), _) => many(seeds) & promised(),
        (None, Some(seed)) => one(seed),
        (None, None) => {
            let is_among = |names: &[String], scope: &Scope| names.iter().any(|name| name == scope.name);
            let scopes = scope::ALL.iter().filter(|scope| match args.scope.as_slice() {
                [] => !is_among(&args.skip, scope),
                names => is_among(names, scope),
            });
            // All scopes are explored, even if one breaks a promise.
            let broken = scopes.filter(|scope| !explore(scope, &args)).count();
            broken == 0
        }
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Performs the runs of many seeds; returns `true` if no promise was broken, and each seed gave two equal runs.
fn many(seeds: u64) -> bool {
    let begun = Instant::now();
    let report = scenario::run(0..seeds);
    println!("{report}\n  {:.1} s", begun.elapsed().as_secs_f64());
    let again = |seed: u64| println!("  to reproduce: cargo xtask sim --seed {seed}");
    for (seed, violation) in report.violations() {
        println!("seed {seed}: {violation}");
        again(seed);
    }
    for seed in &report.unequal {
        println!("seed {seed}: two runs differ");
        again(*seed);
    }
    report.is_good()
}

/// Performs the run of one seed; returns `true` if no promise was broken.
fn one(seed: u64) -> bool {
    let (report, lines) = scenario::random_with_log(seed, LINES);
    lines.iter().for_each(|line| println!("{line}"));
    println!("{report:#?}");
    report.violation.is_none()
}

/// Performs the runs with promised figures; returns `true` if no promise was broken.
fn promised() -> bool {
    let in_time = |took: Duration| format!("the last one issued after {:.1} s", took.as_secs_f64());
    let longest = |took: Duration| format!("each issued within {:.3} s", took.as_secs_f64());
    let good = [
        report("10 000 waiting for 1 h", || outage::outage(10_000, HOUR, None)),
        report("10 000 waiting for 24 h", || outage::outage(10_000, 24 * HOUR, None)),
        report("1 000 certificates", || {
            outage::one_login_for_a_thousand().map(|logins| format!("{logins} login"))
        }),
        report("100 beside an issuer with an outage", || {
            outage::outage_of_another_issuer(100, None).map(in_time)
        }),
        report("60 beside 300 that Vault cannot sign", || {
            poison(Flaw::Broken, 300, None).map(longest)
        }),
        report("60 beside 300 that would outlive the CA", || {
            poison(Flaw::Expires, 300, None).map(longest)
        }),
        report("60 beside 300 that Vault signs too slowly", || {
            poison(Flaw::SlowSigner, 300, None).map(longest)
        }),
        report("100 at an endpoint that fails for 1 h beside good checks", || {
            outage::failing_endpoint(100, None).map(in_time)
        }),
        report("100 of a corrected issuer", || {
            outage::corrected_server(100, None).map(in_time)
        }),
    ];
    good.iter().all(|good| *good)
}

fn report<T: Display>(name: &str, run: impl FnOnce() -> Result<T, Violation>) -> bool {
    let begun = Instant::now();
    let result = run();
    let seconds = begun.elapsed().as_secs_f64();
    match &result {
        Ok(figures) => println!("{name}: {figures}\n  {seconds:.1} s"),
        Err(violation) => println!("{name}: {violation}"),
    }
    result.is_ok()
}

/// Explores a scope; returns `true` if every state was reached, these are as many as expected, and no promise was broken.
fn explore(scope: &Scope, args: &Args) -> bool {
    println!("{}: {}", scope.name, scope.about);
    let begun = Instant::now();
    let mut setup = (scope.setup)();
    let faults = setup.max_faults;
    setup.max_faults = args.faults.unwrap_or(faults);
    let setup = Arc::new(setup);
    let report = explorer::explore(&setup, args.limit);
    let seconds = begun.elapsed().as_secs_f64();
    println!("  {report}\n  {seconds:.1} s");
    for (violation, path) in report.violations.values() {
        println!("{}", explorer::as_test(scope.name, &setup, violation, path));
    }
    let good = report.complete && report.violations.is_empty();
    if !good || setup.max_faults != faults {
        return good;
    }
    let expected = scope.expect(report.total());
    if let Err(difference) = &expected {
        println!("  {difference}");
    }
    expected.is_ok()
}
