//! Runs the simulator from the command line; `cargo xtask sim` builds and starts it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::{ArgGroup, Parser};
use simulator::explorer;
use simulator::scope::{self, Scope};

/// States are many small things, which two threads make and let go of for each other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
}

fn main() -> ExitCode {
    let args = Args::parse();
    let named = |scope: &&Scope| args.scope.as_ref().is_none_or(|name| name == scope.name);
    let scopes = scope::ALL.iter().filter(named);
    let kept = scopes.fold(true, |kept, scope| explore(scope, args.limit) && kept);
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
