//! The rules of the repository that no compiler checks: what lies where, what the sources say, which crate depends on
//! which, which names are taken, and that issuer-core compiles without an operating system.
//!
//! `cargo xtask tidy` starts this program. Each rule is a module with a function `check`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]

mod averages;
mod circles;
mod dependencies;
mod docs;
mod graph;
mod layout;
mod metrics;
mod modules;
mod names;
mod source;
mod text;
mod voice;
mod workflows;

use std::env;
use std::fmt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::ensure;
use xtask::process::{cargo, read, run};

/// A place where a rule does not hold.
#[derive(Debug, PartialEq)]
struct Finding {
    file: String,
    line: usize,
    rule: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.rule)
    }
}

fn main() -> ExitCode {
    match check() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Applies all rules.
fn check() -> anyhow::Result<()> {
    env::set_current_dir(xtask::root())?;
    let files = files()?;
    let mut findings = layout::check(&files)?;
    findings.extend(text::check(&files)?);
    findings.extend(voice::check(&files)?);
    findings.extend(modules::check(&files)?);
    findings.extend(averages::check(&files)?);
    findings.extend(metrics::check(&files)?);
    findings.extend(workflows::check(&files)?);
    findings.extend(docs::check(&files)?);
    findings.extend(graph::check()?);
    findings.extend(dependencies::check()?);
    findings.extend(names::check(&files)?);
    findings.extend(circles::check(&files)?);
    for finding in &findings {
        println!("{finding}");
    }
    ensure!(findings.is_empty(), "{} findings", findings.len());
    println!("{} files are tidy", files.len());
    check_wasm()
}

/// Returns the paths of all files that are tracked or could be.
fn files() -> anyhow::Result<Vec<String>> {
    let mut git = Command::new("git");
    // A checkout may belong to somebody else than the user of a build container; listing its files is harmless.
    git.args(["-c", "safe.directory=*", "ls-files", "-z", "--deduplicate"]);
    git.args(["--cached", "--others", "--exclude-standard"]);
    let files = read(&mut git)?;
    // A file that is deleted but not yet committed is still listed.
    Ok(files
        .split_terminator('\0')
        .filter(|path| Path::new(path).is_file())
        .map(Into::into)
        .collect())
}

/// A target without sockets, threads and clocks is the proof that issuer-core uses none.
fn check_wasm() -> anyhow::Result<()> {
    const TARGET: &str = "wasm32-unknown-unknown";
    let mut rustc = Command::new("rustc");
    let library = read(rustc.args(["--print", "target-libdir", "--target", TARGET]))?;
    if !Path::new(library.trim()).is_dir() {
        println!("skipped: issuer-core for {TARGET}, which is not installed (rustup target add {TARGET})");
        return Ok(());
    }
    run(&mut cargo([
        "check",
        "--quiet",
        "--locked",
        "--package",
        "issuer-core",
        "--target",
        TARGET,
    ]))?;
    println!("issuer-core compiles for {TARGET}");
    Ok(())
}
