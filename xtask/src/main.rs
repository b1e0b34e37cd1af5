//! The project's own automation: `cargo xtask <command>`.
//!
//! Each command is a module with an `Args` that clap parses and whose `run` does the work, in the repository's root.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]

mod bench;
mod cache;
mod ci;
mod codegen;
mod demo;
mod e2e;
mod process;
mod sim;
mod tidy;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Bench(bench::Args),
    Ci(ci::Args),
    Codegen(codegen::Args),
    Demo(demo::Args),
    E2e(e2e::Args),
    Sim(sim::Args),
    Tidy(tidy::Args),
}

impl Command {
    fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Bench(args) => args.run(),
            Self::Ci(args) => args.run(),
            Self::Codegen(args) => args.run(),
            Self::Demo(args) => args.run(),
            Self::E2e(args) => args.run(),
            Self::Sim(args) => args.run(),
            Self::Tidy(args) => args.run(),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // What ci says last is the sum of its steps, and it times each of them.
    let timed = !matches!(cli.command, Command::Ci(_));
    let begun = Instant::now();
    let outcome = env::set_current_dir(root())
        .map_err(Into::into)
        .and_then(|()| cli.command.run());
    if timed {
        eprintln!("xtask: {:.1} s", begun.elapsed().as_secs_f64());
    }
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the root of the repository.
fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}
