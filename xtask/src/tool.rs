//! Go programs that tests run: those of the search path, or of the cache, into which they are built once.
#![allow(clippy::print_stdout, reason = "the output of a tool for the terminal")]

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use crate::cache;
use crate::process::{run, succeeds};

/// Helm.
pub const HELM: Tool = Tool {
    name: "helm",
    package: "helm.sh/helm/v4/cmd/helm@v4.3.1",
    tags: "",
    version: "version",
};

/// A program, and the package and build tags that make it.
pub struct Tool {
    /// The name.
    pub name: &'static str,
    /// The package, with `@` and the version of its module.
    pub package: &'static str,
    /// The build tags, separated by commas.
    pub tags: &'static str,
    /// An argument with which the program succeeds.
    pub version: &'static str,
}

impl Tool {
    /// Returns where the program is; `None` if there is none, and no Go to build it with.
    ///
    /// # Errors
    ///
    /// Fails if the program cannot be built.
    pub fn find(&self) -> anyhow::Result<Option<PathBuf>> {
        let directory = cache::dir()?.join(self.directory()?);
        let cached = directory.join(self.name);
        let found = [PathBuf::from(self.name), cached.clone()]
            .into_iter()
            .find(|program| succeeds(Command::new(program).arg(self.version)));
        if found.is_some() {
            return Ok(found);
        }
        if !succeeds(Command::new("go").arg("version")) {
            return Ok(None);
        }
        println!("building {} (once; minutes)", self.package);
        // To inline calls and to write debug information takes a quarter of the compiler's time, and gains nothing here.
        let mut build = Command::new("go");
        build
            .args([
                "install",
                "-trimpath",
                "-ldflags=-s -w",
                "-gcflags=all=-l -dwarf=false",
                "-tags",
                self.tags,
                self.package,
            ])
            .env("CGO_ENABLED", "0")
            .env("GOBIN", directory);
        run(&mut build)?;
        Ok(Some(cached))
    }

    /// Returns the program's directory below the cache, another one for each version.
    fn directory(&self) -> anyhow::Result<String> {
        let version = self.package.split_once('@').map(|(_, version)| version);
        let version = version.with_context(|| format!("{} has no version", self.package))?;
        Ok(format!("tools/{}-{version}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_directories_of_their_own() {
        let directory = |package| Tool { package, ..HELM }.directory();
        assert_eq!(directory("example.com/helm@v4.3.1").unwrap(), "tools/helm-v4.3.1");
        directory("example.com/helm").unwrap_err();
    }
}
