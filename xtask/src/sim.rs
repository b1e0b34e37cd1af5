//! `sim`: the simulator, which is built optimized.

use crate::process::{cargo, run};

/// Runs the production state machines in a simulated cluster: every schedule, or random ones; `sim --help` says more.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// What the simulator is told.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut simulator = cargo([
            "run",
            "--release",
            "--locked",
            "--quiet",
            "--package",
            "simulator",
            "--",
        ]);
        run(simulator.args(self.args))
    }
}
