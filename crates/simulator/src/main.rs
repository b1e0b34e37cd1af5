//! Runs the simulator from the command line; `cargo xtask sim` builds and starts it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use simulator::{explorer, scope};

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
    let setup = Arc::new(setup);
    let report = explorer::explore(&setup, limit);
    println!("{name}: {report}; {:.1} s", begun.elapsed().as_secs_f64());
    if std::env::var_os("DEEPEST").is_some() {
        let none = simulator::invariants::Violation {
            number: "deepest",
            what: String::new(),
        };
        println!("{}", explorer::as_test(&name, &setup, &none, &report.deepest));
    }
    for (violation, way) in report.violations.values() {
        println!("{}", explorer::as_test(&name, &setup, violation, way));
    }
    if report.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
