//! Micro-benchmarks: what an operation of the controller costs, compared with a reference that is measured in the same run.
//!
//! `cargo xtask micro` builds and starts this program. Each operation has a budget, which is a ratio to its reference and
//! so the same on every machine; the run fails if an operation exceeds it. `--instructions` counts instructions with
//! valgrind instead of measuring time, which takes longer and hardly differs between runs.
//!
//! No benchmark library serves: they report figures to people and compare them with those of earlier runs, which a new
//! machine does not have.
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
mod reference;
mod work;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;

use cases::{CASES, Case};
use cost::Cost;

/// Measures operations of the controller and checks that each keeps its budget.
#[derive(Parser)]
#[command(bin_name = "cargo xtask micro")]
struct Args {
    /// Measures only these operations.
    #[arg(value_name = "OPERATION", value_parser = CASES.each_ref().map(|case| case.work.name))]
    operations: Vec<String>,
    /// Counts instructions with valgrind instead of measuring time.
    #[arg(long)]
    instructions: bool,
    /// Runs each operation this many times where it counts one, to show that the budgets notice.
    #[arg(long, value_name = "N", default_value_t = 1)]
    slowdown: u32,
}

impl Args {
    fn run(&self) -> anyhow::Result<bool> {
        let is_chosen = |case: &&Case| {
            let mut names = self.operations.iter();
            self.operations.is_empty() || names.any(|name| name == case.work.name)
        };
        let mut good = true;
        for case in CASES.iter().filter(is_chosen) {
            let cost = self.cost(case)?;
            println!("{}", row(case, cost));
            good &= cost.keeps(case.budget);
        }
        Ok(good)
    }

    fn cost(&self, case: &Case) -> anyhow::Result<Cost> {
        if self.instructions {
            return instructions::cost(case, self.slowdown);
        }
        let begun = Instant::now();
        let mut operation = case.work.slowed(self.slowdown);
        let mut reference = (case.reference.prepare)();
        Ok(cost::measure(
            &|| begun.elapsed(),
            &mut operation,
            &mut reference,
            case.budget,
        ))
    }
}

/// Returns the line of a case: its cost, the ratio to the reference, and the budget.
fn row(case: &Case, cost: Cost) -> String {
    let cost_text = cost.unit.show(cost.operation);
    let verdict = if cost.keeps(case.budget) { "kept" } else { "EXCEEDED" };
    format!(
        "{:<10}{cost_text:>14}{:>9.2} x {:<4}  budget {:>7.1}  {verdict:<8}  {}",
        case.work.name,
        cost.ratio(),
        case.reference.name,
        case.budget,
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
    use crate::cost::Unit;

    #[test]
    fn every_operation_runs() {
        for case in &CASES {
            let mut run = case.work.slowed(2);
            run();
            (case.reference.prepare)()();
        }
    }

    #[test]
    fn rows_show_the_verdict() {
        let cost = |operation| Cost {
            operation,
            reference: 0.000_05,
            unit: Unit::Seconds,
        };
        let case = &CASES[0];
        let budget = case.budget;
        assert!(row(case, cost(0.000_05 * budget)).contains("kept"));
        let row = row(case, cost(0.000_1 * budget));
        assert!(row.starts_with(case.work.name) && row.contains("EXCEEDED"), "{row}");
    }
}
