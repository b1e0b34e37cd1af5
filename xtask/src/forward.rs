//! Commands that build and start the program of another package, so that xtask itself stays small.

use std::process::ExitCode;

use anyhow::Context;
use xtask::process::cargo;

/// The arguments of the other program, passed on as they are.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Passed on; `--help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

impl Args {
    /// Runs `cargo run` with `target`, which selects the program and may begin its arguments, and returns the
    /// program's exit status.
    pub(crate) fn run<const N: usize>(self, target: [&str; N]) -> anyhow::Result<ExitCode> {
        let mut program = cargo(["run", "--quiet", "--locked"]);
        program.args(target).args(self.args);
        let status = program.status().context("cannot run cargo")?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
    }
}
