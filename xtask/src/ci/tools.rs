//! Tools that the steps need, installed into the cache.

use std::env;
use std::ffi::OsString;
use std::iter;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context;
use xtask::cache;
use xtask::process::{cargo, run};

const CARGO_DENY: &str = "0.20.2";

/// Returns where this version of cargo-deny is installed.
fn cargo_deny() -> anyhow::Result<PathBuf> {
    Ok(cache::dir()?.join(format!("tools/cargo-deny-{CARGO_DENY}")))
}

/// Returns the search path, with the tools of the cache at its end.
pub(super) fn path() -> anyhow::Result<OsString> {
    let tools = cargo_deny()?.join("bin");
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(env::split_paths(&path).chain(iter::once(tools))).context("the cache directory's name has a colon")
}

/// Installs cargo-deny into the cache unless there is one.
pub(super) fn install_cargo_deny() -> anyhow::Result<()> {
    let mut version = cargo(["deny", "--version"]);
    let status = version
        .env("PATH", path()?)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if status.success() {
        return Ok(());
    }
    // Without optimization: to compile it takes longer than it ever runs.
    let mut install = cargo([
        "install",
        "--quiet",
        "--debug",
        "--locked",
        "--version",
        CARGO_DENY,
        "cargo-deny",
        "--root",
    ]);
    run(install.arg(cargo_deny()?))
}
