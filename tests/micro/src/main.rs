//! Micro-benchmarks: what an operation of the controller costs, compared with a reference that is measured in the same run.
//!
//! `cargo xtask micro` builds and starts this program. Each operation has a budget, which is a ratio to its reference and
//! so nearly the same on every machine; the run fails if an operation exceeds it. Instructions are counted where valgrind
//! is installed, since their number hardly differs between runs; elsewhere time is measured. The first line says which.
//!
//! No benchmark library serves: they report figures to people and compare them with those of earlier runs, which a new
//! machine does not have. The processor's own counters do not serve either: virtual machines and containers refuse them.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken fixture ends in a panic"
)]

mod cases;
mod controller;
mod cost;
mod fixture;
mod instructions;
mod memory;
mod reference;
mod work;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use clap::builder::PossibleValuesParser;

use cases::{CASES, Case};
use cost::{Cost, Unit};

/// Measures operations of the controller and checks that each keeps its budget.
#[derive(Parser)]
#[command(bin_name = "cargo xtask micro")]
struct Args {
    /// Measures only these operations.
    #[arg(value_name = "OPERATION", value_parser = PossibleValuesParser::new(names()))]
    operations: Vec<String>,
    /// The unit of measurement; instructions by default, if valgrind is installed.
    #[arg(long, value_name = "UNIT")]
    by: Option<Unit>,
    /// Runs each operation this many times where it counts one, to show that the budgets notice.
    #[arg(long, value_name = "N", default_value_t = 1)]
    slowdown: u32,
}

impl Args {
    fn run(&self) -> anyhow::Result<bool> {
        let can_count = instructions::can_be_counted();
        let unit = self.unit(can_count);
        println!(
            "{}",
            match unit {
                Unit::Instructions => "instructions, counted by valgrind",
                Unit::Seconds if can_count => "time",
                Unit::Seconds => "time, since valgrind is not installed",
            }
        );
        let is_chosen = |name: &str| self.operations.is_empty() || self.operations.iter().any(|chosen| chosen == name);
        let mut counter = instructions::Counter::default();
        let mut good = true;
        for case in CASES.iter().filter(|case| is_chosen(case.work.name)) {
            let cost = match unit {
                Unit::Instructions => counter.cost(case, self.slowdown)?,
                Unit::Seconds => self.time(case),
            };
            println!("{}", row(case, cost));
            good &= cost.keeps(case.budget.of(unit));
        }
        for many in memory::ALL.iter().filter(|many| is_chosen(many.name)) {
            let bytes = many.measure()? * u64::from(self.slowdown);
            println!("{}", many.row(bytes));
            good &= bytes <= many.budget;
        }
        Ok(good)
    }

    /// Returns what is measured.
    fn unit(&self, can_count: bool) -> Unit {
        let default = if can_count { Unit::Instructions } else { Unit::Seconds };
        self.by.unwrap_or(default)
    }

    fn time(&self, case: &Case) -> Cost {
        let begun = Instant::now();
        let mut operation = case.work.slowed(self.slowdown);
        let mut reference = (case.reference.prepare)();
        cost::measure(
            &|| begun.elapsed(),
            &mut operation,
            &mut reference,
            case.budget.of(Unit::Seconds),
        )
    }
}

/// Returns the names of everything that can be measured.
fn names() -> impl Iterator<Item = &'static str> {
    let memory = memory::ALL.iter().map(|many| many.name);
    CASES.iter().map(|case| case.work.name).chain(memory)
}

/// Returns the line of a case: its cost, the ratio to the reference, and the budget.
fn row(case: &Case, cost: Cost) -> String {
    let cost_text = cost.unit.show(cost.operation);
    let budget = case.budget.of(cost.unit);
    let verdict = if cost.keeps(budget) { "kept" } else { "EXCEEDED" };
    format!(
        "{:<10}{cost_text:>14}{:>9.2} x {:<4}  budget {:>7.1}  {verdict:<8}  {}",
        case.work.name,
        cost.ratio(),
        case.reference.name,
        budget,
        case.about
    )
}

fn main() -> ExitCode {
    // What valgrind watches: one operation, a number of times, and nothing else.
    if let Some(job) = instructions::Job::of_environment() {
        return match job.run().context("cannot repeat the operation") {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        };
    }
    if let Some(many) = memory::Many::of_environment() {
        return match many.of_one() {
            Ok(bytes) => {
                println!("{bytes}");
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error),
        };
    }
    match Args::parse().run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_runs() {
        for case in &CASES {
            let mut run = case.work.slowed(2);
            run();
            (case.reference.prepare)()();
        }
    }

    #[test]
    fn time_is_measured_without_valgrind() {
        let unit = |line: &str, can_count| Args::parse_from(line.split(' ')).unit(can_count);
        assert_eq!(unit("micro", false), Unit::Seconds);
        assert_eq!(unit("micro", true), Unit::Instructions);
        assert_eq!(unit("micro --by time", true), Unit::Seconds);
        assert_eq!(unit("micro --by instructions", false), Unit::Instructions);
    }

    #[test]
    fn rows_show_the_verdict() {
        let cost = |operation| Cost {
            operation,
            reference: 0.000_05,
            unit: Unit::Seconds,
        };
        let case = &CASES[0];
        let budget = case.budget.of(Unit::Seconds);
        assert!(row(case, cost(0.000_05 * budget)).contains("kept"));
        let row = row(case, cost(0.000_1 * budget));
        assert!(row.starts_with(case.work.name) && row.contains("EXCEEDED"), "{row}");
    }
}
