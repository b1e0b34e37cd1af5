//! Runs the simulator from the command line; `cargo xtask sim` builds and starts it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use simulator::{explorer, scope};

/// States are many small things, which two threads make and let go of for each other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let limit = std::env::args()
        .nth(2)
        .and_then(|n| n.parse().ok())
        .unwrap_or(2_000_000);
    let faults = std::env::args().nth(3).and_then(|n| n.parse().ok());
    let name = std::env::args().nth(1).unwrap_or_default();
    let mut setup = match name.as_str() {
        "pair" => scope::pair(),
        "shared" => scope::shared(),
        _ => scope::single(),
    };
    if let Some(faults) = faults {
        setup.most_faults = faults;
    }
    let begun = Instant::now();
    if let Ok(names) = std::env::var("FAULTS") {
        setup.faults.retain(|fault| names.split(',').any(|name| name == format!("{fault:?}")));
    }
    if let Ok(names) = std::env::var("MISCHIEF") {
        setup.mischief.retain(|act| names.split(',').any(|name| format!("{act:?}").starts_with(&format!("{name}("))));
    }
    if let Ok(n) = std::env::var("LAG") { setup.most_lag = n.parse().unwrap_or(2); }
    if let Ok(n) = std::env::var("IDLE") { setup.most_idle = n.parse().unwrap_or(2); }
    let setup = Arc::new(setup);
    let report = explorer::explore(&setup, limit);
    println!("{name}: {report}; {:.1} s", begun.elapsed().as_secs_f64());
    for (violation, way) in report.violations.values() {
        println!("{}", explorer::as_test(&name, &setup, violation, way));
    }
    if report.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
