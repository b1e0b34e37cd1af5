//! `ci`: all that must hold before a change goes in.

use std::env;
use std::ffi::OsString;
use std::iter;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, anyhow, bail, ensure};
use xtask::process::{cargo, run};
use xtask::{SKIPPED, cache};

/// Runs all checks of a change one after the other and stops at the first that fails.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leaves out the end-to-end tests, which build and start the real servers.
    #[arg(long)]
    skip_e2e: bool,
    /// Runs this check alone.
    #[arg(long, value_name = "STEP", conflicts_with = "skip_e2e")]
    only: Option<String>,
}

/// One check: a name and the arguments of cargo.
struct Step {
    name: &'static str,
    args: &'static str,
}

/// How a step without failures ended.
enum Completion {
    Done,
    /// Something that the step needs is missing.
    Skipped,
}

/// The checks, those that fail fastest first.
const STEPS: [Step; 10] = [
    Step {
        name: "fmt",
        args: "fmt --check",
    },
    Step {
        name: "clippy",
        args: "clippy --workspace --all-targets --locked -- -D warnings",
    },
    Step {
        name: "test",
        args: "test --workspace --locked",
    },
    Step {
        name: "doc",
        args: "doc --workspace --no-deps --locked",
    },
    Step {
        name: "codegen",
        args: "xtask codegen --check",
    },
    Step {
        name: "tidy",
        args: "xtask tidy",
    },
    // Advisories come from GitHub, which a machine that builds from a registry mirror alone cannot reach; the workflow
    // in .github checks them.
    Step {
        name: "deny",
        args: "deny --locked check bans licenses sources",
    },
    Step {
        name: "explore",
        args: "xtask sim --explore",
    },
    Step {
        name: "seeds",
        args: "xtask sim --seeds 200",
    },
    Step {
        name: "e2e",
        args: "xtask e2e",
    },
];

const CARGO_DENY: &str = "0.20.2";

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let wanted = |step: &&Step| match &self.only {
            Some(only) => only == step.name,
            None => !(self.skip_e2e && step.name == "e2e"),
        };
        let steps: Vec<&Step> = STEPS.iter().filter(wanted).collect();
        if steps.is_empty() {
            bail!("no such step; there are: {}", STEPS.map(|step| step.name).join(" "));
        }
        let mut table = String::new();
        let (mut passed, mut skipped, mut failure) = (0, 0, None);
        for step in steps {
            println!("\n== {}: cargo {}", step.name, step.args);
            let begun = Instant::now();
            let outcome = step.run();
            let word = match &outcome {
                Err(_) => "failed",
                Ok(Completion::Skipped) => "skipped",
                Ok(Completion::Done) => "passed",
            };
            let seconds = begun.elapsed().as_secs_f64();
            table += &format!("{:<8} {seconds:>7.1} s  {word}\n", step.name);
            match outcome {
                Ok(Completion::Skipped) => skipped += 1,
                Ok(Completion::Done) => passed += 1,
                Err(error) => {
                    let again = format!("to run it again: cargo xtask ci --only {}", step.name);
                    failure = Some(anyhow!("{error:#}; {again}"));
                    break;
                }
            }
        }
        print!("\n{table}");
        let failed = usize::from(failure.is_some());
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        failure.map_or(Ok(()), Err)
    }
}

impl Step {
    fn run(&self) -> anyhow::Result<Completion> {
        let path = path()?;
        if self.name == "deny" {
            install_cargo_deny(&path)?;
        }
        let mut cargo = cargo([]);
        cargo.args(self.args.split(' ')).env("PATH", path);
        if self.name == "doc" {
            cargo.env("RUSTDOCFLAGS", "-D warnings");
        }
        let status = cargo.status().context("cannot run cargo")?;
        if status.code() == Some(SKIPPED.into()) {
            return Ok(Completion::Skipped);
        }
        ensure!(status.success(), "cargo {} ended with {status}", self.args);
        Ok(Completion::Done)
    }
}

/// Returns the search path, with the tools of the cache at its end.
fn path() -> anyhow::Result<OsString> {
    let tools = cache::dir()?.join("tools/bin");
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(env::split_paths(&path).chain(iter::once(tools))).context("the cache directory's name has a colon")
}

/// Installs cargo-deny into the cache unless there is one.
fn install_cargo_deny(path: &OsString) -> anyhow::Result<()> {
    let mut version = cargo(["deny", "--version"]);
    let status = version
        .env("PATH", path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if status.success() {
        return Ok(());
    }
    println!("installing cargo-deny {CARGO_DENY} (once; minutes)");
    let mut install: Command = cargo(["install", "--locked", "--version", CARGO_DENY, "cargo-deny", "--root"]);
    run(install.arg(cache::dir()?.join("tools")))
}
