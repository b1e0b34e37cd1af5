//! The project's own automation: `cargo xtask <command>`.
//!
//! The commands that need Kubernetes, TLS or the simulator are programs of other packages, which [`forward`] builds and
//! starts; the others are modules here. All of them run in the repository's root.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]

mod ci;
mod forward;
mod release;

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use xtask::root;

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compares the controller with cert-manager's built-in Vault issuer and the servers' limit, on the servers of e2e
    Bench(forward::Args),
    /// Tests the Helm chart by rendering it, and the alerts
    Chart(forward::Args),
    Ci(ci::Args),
    /// Writes the generated files of deploy/, or compares them
    Codegen(forward::Args),
    /// Issues a certificate with nothing but this repository: no cluster, no Vault
    Demo(forward::Args),
    /// Runs the end-to-end tests on real servers
    E2e(forward::Args),
    /// Builds the controller's image without a container engine
    Image(forward::Args),
    /// Measures operations of the controller, each against its budget
    Micro(forward::Args),
    Release(release::Args),
    /// Runs the controller in a simulated cluster: every schedule, or random ones
    Sim(forward::Args),
    /// Checks the rules of the repository that no compiler checks
    Tidy(forward::Args),
}

impl Command {
    fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Bench(args) => args.run(["--package", "e2e", "--", "bench"]),
            Self::Chart(args) => args.run(["--package", "chart", "--"]),
            Self::Ci(args) => args.run().map(|()| ExitCode::SUCCESS),
            Self::Codegen(args) => args.run(["--package", "codegen", "--"]),
            Self::Demo(args) => args.run([
                "--profile",
                "quick",
                "--package",
                "vault-issuer",
                "--no-default-features",
                "--example",
                "demo",
                "--",
            ]),
            Self::E2e(args) => args.run(["--package", "e2e", "--", "run"]),
            Self::Image(args) => args.run(["--package", "image", "--"]),
            Self::Micro(args) => args.run(["--profile", "optimized", "--package", "micro", "--"]),
            Self::Release(args) => args.run().map(|()| ExitCode::SUCCESS),
            Self::Sim(args) => args.run(["--profile", "optimized", "--package", "simulator", "--"]),
            Self::Tidy(args) => args.run(["--package", "tidy", "--"]),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The table of ci ends with the sum of its steps.
    let timed = !matches!(cli.command, Command::Ci(_));
    let begun = Instant::now();
    let outcome = env::set_current_dir(root())
        .map_err(Into::into)
        .and_then(|()| cli.command.run());
    if timed {
        eprintln!("xtask: {:.1} s", begun.elapsed().as_secs_f64());
    }
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
