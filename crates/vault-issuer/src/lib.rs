//! The commands of vault-issuer: `controller` runs in a cluster, `check`, `migrate` and `sign` by hand. `completion` writes the
//! completion script of a shell.
//!
//! `check` and `sign` run the core's machines on the blocking driver, `controller` on the async one.

#[cfg(feature = "cluster")]
mod account;
pub mod args;
mod check;
#[cfg(feature = "cluster")]
mod controller;
mod issuer_name;
mod manifest;
mod migrate;
mod proxies;
mod remedy;
#[cfg(feature = "cluster")]
mod serve;
mod sign;
mod source;
#[cfg(feature = "cluster")]
mod telemetry;
#[cfg(feature = "cluster")]
pub mod traces;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use args::{Args, Command};
use clap::{CommandFactory, Parser};
use clap_complete::Shell;

/// Runs the command line `args`, which begins with the program's name.
///
/// Results go to `out`, errors to `err`; the controller logs to the process's stderr. The status
/// is 0, 1 if the command failed, or 2 if it was not understood.
pub fn run<A>(args: impl IntoIterator<Item = A>, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode
where
    A: Into<OsString> + Clone,
{
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => {
            // Help is an error to clap, but not to its reader.
            let (to, code): (&mut dyn Write, _) = if error.use_stderr() { (err, 2) } else { (out, 0) };
            let _ = write!(to, "{}", error.render());
            return ExitCode::from(code);
        }
    };
    let result = match args.command {
        Command::Check(args) => check::run(&args, out),
        Command::Completion(args) => completion(args.shell, out),
        #[cfg(feature = "cluster")]
        Command::Controller(args) => return controller::run(args, err),
        Command::Migrate(args) => migrate::run(&args, out),
        Command::Sign(args) => sign::run(&args, out, err),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(err, "vault-issuer: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Writes the script that completes the command line in `shell`.
fn completion(shell: Shell, out: &mut dyn Write) -> anyhow::Result<()> {
    // Written to memory first: the generator panics if it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "vault-issuer", &mut script);
    Ok(out.write_all(&script)?)
}
