//! Tests of the Helm chart: renders it with many values and checks the objects, or that the values are refused.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]
#![allow(
    clippy::indexing_slicing,
    reason = "rendered objects are read by field: what is missing reads as null"
)]

mod cases;
mod helm;
mod objects;

use std::env;
use std::process::ExitCode;

use anyhow::{bail, ensure};
use clap::Parser;
use xtask::{SKIPPED, root};

use crate::cases::CASES;
use crate::helm::Helm;

/// Tests the Helm chart by rendering it, the alerts, the dashboard and the health check for Argo CD. Builds Helm, promtool
/// and a Lua interpreter from the Go module registry if there are none.
#[derive(Parser)]
#[command(bin_name = "cargo xtask chart")]
struct Args {
    /// Runs this case alone
    #[arg(long, value_name = "NAME")]
    case: Option<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = env::set_current_dir(root())
        .map_err(Into::into)
        .and_then(|()| run(&args));
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Some(helm) = Helm::find()? else {
        println!("skipped: neither helm nor go is installed");
        return Ok(ExitCode::from(SKIPPED));
    };
    let chosen = CASES
        .iter()
        .filter(|(name, _)| args.case.as_deref().is_none_or(|case| case == *name));
    let (mut passed, mut failed) = (0, 0);
    for (name, case) in chosen {
        match case(&helm) {
            Ok(()) => {
                println!("{name}: ok");
                passed += 1;
            }
            Err(error) => {
                println!("{name}: FAILED: {error:#}");
                failed += 1;
            }
        }
    }
    if passed + failed == 0 {
        bail!("no such case; there are: {}", CASES.map(|(name, _)| name).join(" "));
    }
    println!("{passed} passed, {failed} failed");
    ensure!(failed == 0, "{failed} cases of the chart failed");
    Ok(ExitCode::SUCCESS)
}
