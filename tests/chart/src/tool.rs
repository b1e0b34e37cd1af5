//! Go programs that the cases run: those of the search path or of the cache, or built into the cache.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use xtask::cache;
use xtask::process::run;

/// A program, and the package and build tags that make it.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
    pub(crate) tags: &'static str,
    /// An argument with which the program succeeds.
    pub(crate) version: &'static str,
}

impl Tool {
    /// Returns where the program is; `None` if there is none, and no Go to build it with.
    pub(crate) fn find(&self) -> anyhow::Result<Option<PathBuf>> {
        let directory = cache::dir()?.join("tools/bin");
        let cached = directory.join(self.name);
        for program in [PathBuf::from(self.name), cached.clone()] {
            if works(Command::new(&program).arg(self.version)) {
                return Ok(Some(program));
            }
        }
        if !works(Command::new("go").arg("version")) {
            return Ok(None);
        }
        println!("building {} (once; minutes)", self.package);
        let mut build = Command::new("go");
        build
            .args([
                "install",
                "-trimpath",
                "-ldflags=-s -w",
                "-tags",
                self.tags,
                self.package,
            ])
            .env("CGO_ENABLED", "0")
            .env("GOBIN", directory);
        run(&mut build)?;
        Ok(Some(cached))
    }
}

fn works(command: &mut Command) -> bool {
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
