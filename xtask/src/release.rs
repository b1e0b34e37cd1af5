//! `release`: the version of the next release, in every file that names it.

use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};
use xtask::process::{cargo, read, run};

/// Sets the version of the next release, and closes the changelog's section; commits nothing
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The version, such as 0.2.0 or 0.2.0-rc.1
    version: String,
}

/// The version now.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The files in which the version is that of this project wherever it is.
const FILES: [&str; 6] = [
    "README.md",
    "deploy/Dockerfile",
    "deploy/charts/vault-issuer/Chart.yaml",
    "deploy/controller.yaml",
    "deploy/docs/install.md",
    "deploy/kustomization.yaml",
];

/// The manifests of the workspaces, whose other versions are those of dependencies.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "fuzz/Cargo.toml"];

const CHANGELOG: &str = "crates/vault-issuer/CHANGELOG.md";

const UPGRADE: &str = "deploy/docs/upgrade.md";

impl Args {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let new = self.version.trim_start_matches('v');
        ensure!(is_version(new), "{new} is not a version such as 0.2.0 or 0.2.0-rc.1");
        ensure!(new != VERSION, "{new} is the version already");
        for path in FILES {
            edit(path, |text| replaced(text, VERSION, new))?;
        }
        for path in MANIFESTS {
            edit(path, |text| {
                text.replacen(&version_line(VERSION), &version_line(new), 1)
            })?;
        }
        let date = read(Command::new("date").args(["--utc", "+%F"]))?;
        edit(CHANGELOG, |text| closed(text, &format!("## {new} ({})", date.trim())))?;
        edit(UPGRADE, |text| {
            text.replacen("### Unreleased\n", &format!("### {new}\n"), 1)
        })?;
        for path in MANIFESTS {
            run(cargo(["update", "--workspace", "--quiet"]).args(["--manifest-path", path]))?;
        }
        println!("{VERSION} -> {new}; next: review, commit, and push the tag v{new}");
        Ok(())
    }
}

/// Changes a file; fails if nothing changes.
fn edit(path: &str, change: impl FnOnce(&str) -> String) -> anyhow::Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let changed = change(&text);
    ensure!(changed != text, "{path} has no place for the new version");
    fs::write(path, changed).with_context(|| format!("cannot write {path}"))
}

/// Returns `true` for three numbers and perhaps `-rc.` and a fourth.
fn is_version(text: &str) -> bool {
    let is_number = |part: &str| part.parse::<u32>().is_ok_and(|number| number.to_string() == part);
    let (numbers, candidate) = text.split_once("-rc.").unwrap_or((text, "1"));
    numbers.split('.').count() == 3 && numbers.split('.').chain([candidate]).all(is_number)
}

fn version_line(version: &str) -> String {
    format!("\nversion = \"{version}\"\n")
}

/// Replaces a version, but not where it is part of a longer one.
fn replaced(text: &str, old: &str, new: &str) -> String {
    let continues = |c: char| c.is_ascii_digit();
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(old) {
        let is_part = before.ends_with(|c| continues(c) || c == '.') || after.starts_with(continues);
        result += before;
        result += if is_part { old } else { new };
        rest = after;
    }
    result + rest
}

/// Gives what is under the heading Unreleased a heading of its own.
fn closed(changelog: &str, heading: &str) -> String {
    let changelog = changelog.replace("There is no release yet. The first will be 0.1.0.\n\n", "");
    changelog.replacen("## Unreleased\n", &format!("## Unreleased\n\n{heading}\n"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_three_numbers() {
        for version in ["0.1.0", "1.20.3", "2.0.0-rc.1"] {
            assert!(is_version(version), "{version}");
        }
        for other in ["1.0", "1.0.0.0", "01.0.0", "1.0.0-rc", "1.0.0-rc.x", "v1.0.0", ""] {
            assert!(!is_version(other), "{other}");
        }
    }

    #[test]
    fn only_whole_versions_are_replaced() {
        let text = "a:0.1.0 b=10.1.0 c 0.1.01 v0.1.0.";
        assert_eq!(replaced(text, "0.1.0", "0.2.0"), "a:0.2.0 b=10.1.0 c 0.1.01 v0.2.0.");
    }

    #[test]
    fn every_file_names_the_version() {
        let read = |path: &str| fs::read_to_string(xtask::root().join(path)).unwrap();
        for path in FILES {
            assert!(replaced(&read(path), VERSION, "X") != read(path), "{path}");
        }
        for path in MANIFESTS {
            assert!(read(path).contains(&version_line(VERSION)), "{path}");
        }
        assert!(read(CHANGELOG).contains("\n## Unreleased\n"));
    }

    #[test]
    fn changes_get_the_heading_of_the_release() {
        let changelog = "# Changelog\n\n## Unreleased\n\n### Added\n";
        let expected = "# Changelog\n\n## Unreleased\n\n## 0.2.0 (2026-12-01)\n\n### Added\n";
        assert_eq!(closed(changelog, "## 0.2.0 (2026-12-01)"), expected);
    }
}
