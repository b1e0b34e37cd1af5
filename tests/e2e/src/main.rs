//! The whole job on real servers, none of them faked: end-to-end tests and a benchmark.
//!
//! Two providers run the servers: `local` builds etcd, kube-apiserver, kube-controller-manager, cert-manager's
//! controllers and Vault from the Go modules that `tests/components/` pins and starts them on loopback; `kind` puts
//! them into a kind cluster. Cases are in `cases/`, one table; `cargo xtask e2e` and `cargo xtask bench` start this
//! program.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]
#![allow(
    clippy::indexing_slicing,
    reason = "JSON is read and written by field: what is missing reads as null, and cases write to objects only"
)]

mod bench;
mod cases;
mod certificates;
mod chaos;
mod grants;
mod issued;
mod pki;
mod report;
mod rights;
mod runner;
mod servers;
mod test_namespace;

use std::env;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use runner::Completion;
use servers::components::Choice;

#[derive(Parser)]
#[command(bin_name = "e2e", about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Bench(bench::Args),
    /// Builds the servers that are not in the cache
    Components(Choice),
    Run(runner::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = env::set_current_dir(xtask::root())
        .map_err(Into::into)
        .and_then(|()| match cli.command {
            Command::Bench(args) => args.run(),
            Command::Components(choice) => runner::build_components(&choice),
            Command::Run(args) => args.run(),
        });
    match outcome {
        Ok(Completion::Done) => ExitCode::SUCCESS,
        Ok(Completion::Skipped) => ExitCode::from(xtask::SKIPPED),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
