//! A run with empty caches, which does everything that a new machine does.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use xtask::process::{cargo, run};

/// Runs `cargo xtask ci` with `args` and empty caches.
pub(super) fn ci(args: &[&str]) -> anyhow::Result<()> {
    let caches = Caches::create()?;
    let mut ci = cargo(["xtask", "ci"]);
    caches.apply(&mut ci);
    run(ci.args(args))
}

/// Folders for all caches, removed on drop.
struct Caches {
    root: PathBuf,
}

impl Caches {
    /// Creates empty folders.
    fn create() -> anyhow::Result<Self> {
        let root = env::temp_dir().join(format!("vault-issuer-cold-{}", std::process::id()));
        fs::create_dir(&root).with_context(|| format!("cannot create {}", root.display()))?;
        let caches = Self { root };
        let cargo = caches.root.join("cargo");
        fs::create_dir(&cargo)?;
        // The registries that are configured stay; what was downloaded from them does not.
        let home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
        for file in ["config.toml", "config"] {
            if let Some(found) = home.as_ref().map(|home| home.join(file)).filter(|path| path.is_file()) {
                symlink(found, cargo.join(file))?;
            }
        }
        Ok(caches)
    }

    /// Makes `command` and its children use the folders.
    fn apply(&self, command: &mut Command) {
        for (variable, folder) in [
            ("CARGO_HOME", "cargo"),
            ("CARGO_TARGET_DIR", "target"),
            ("GOCACHE", "go-build"),
            ("GOMODCACHE", "go-mod"),
            ("XDG_CACHE_HOME", "cache"),
        ] {
            command.env(variable, self.root.join(folder));
        }
    }
}

impl Drop for Caches {
    fn drop(&mut self) {
        // Go makes the files of its module cache read-only.
        let _ = run(Command::new("chmod").args(["-R", "u+w"]).arg(&self.root));
        let _ = fs::remove_dir_all(&self.root);
    }
}
