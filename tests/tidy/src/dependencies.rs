//! Every dependency of a package is used.
//!
//! A dependency that is declared for its features only has a comment above it, which says so. cargo-machete finds the
//! same, but would have to be installed on each machine and knows no reasons.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;
use xtask::process::{cargo, read};

use crate::Finding;

/// The manifest of the workspace.
const WORKSPACE: &str = "Cargo.toml";

pub(crate) fn check() -> anyhow::Result<Vec<Finding>> {
    let metadata = read(&mut cargo(["metadata", "--format-version=1", "--no-deps", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let packages = metadata
        .get("packages")
        .context("cargo metadata lists no packages")?
        .as_array()
        .context("cargo metadata lists packages")?;
    let root = format!("{}/", xtask::root().display());
    let mut findings = Vec::new();
    let mut manifests = String::new();
    for package in packages {
        let path = package["manifest_path"].as_str().context("a package has a manifest")?;
        let manifest = fs::read_to_string(path)?;
        let folder = Path::new(path).parent().context("a manifest is in a folder")?;
        let mut sources = String::new();
        read_sources(folder, &mut sources)?;
        for name in unused(&manifest, &sources, package) {
            findings.push(Finding {
                file: path.strip_prefix(&root).unwrap_or(path).into(),
                line: manifest
                    .lines()
                    .position(|line| declares(line, &name))
                    .map_or(1, |at| at + 1),
                rule: format!("{name} is not used"),
            });
        }
        manifests += &manifest;
    }
    findings.extend(unshared(&fs::read_to_string(WORKSPACE)?, &manifests));
    Ok(findings)
}

/// Returns a finding for each dependency of the workspace that no package declares.
fn unshared(workspace: &str, manifests: &str) -> Vec<Finding> {
    let lines = workspace
        .lines()
        .zip(1..)
        .skip_while(|(line, _)| *line != "[workspace.dependencies]")
        .skip(1)
        .take_while(|(line, _)| !line.starts_with('['));
    let names = lines.filter_map(|(line, number)| Some((line.split_once(" = ")?.0, number)));
    let unshared = names.filter(|(name, _)| !manifests.lines().any(|line| declares(line, name)));
    let finding = |(name, line)| Finding {
        file: WORKSPACE.into(),
        line,
        rule: format!("{name} is declared by no package"),
    };
    unshared.map(finding).collect()
}

/// Appends the sources of a package; those of packages below it, such as fuzz targets, are not its own.
fn read_sources(folder: &Path, sources: &mut String) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.extension().is_some_and(|extension| extension == "rs") {
            *sources += &fs::read_to_string(&path)?;
        } else if path.is_dir() && !path.join("Cargo.toml").exists() && name != "target" {
            read_sources(&path, sources)?;
        }
    }
    Ok(())
}

/// Returns the names of the dependencies that no source names.
fn unused(manifest: &str, sources: &str, package: &Value) -> Vec<String> {
    let dependencies = package["dependencies"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let names = dependencies.iter().filter_map(|dependency| {
        let renamed = dependency["rename"].as_str();
        renamed.or_else(|| dependency["name"].as_str())
    });
    let mut unused: Vec<String> = names
        .filter(|name| !is_used(sources, &name.replace('-', "_")) && !has_comment(manifest, name))
        .map(Into::into)
        .collect();
    unused.dedup();
    unused
}

fn is_used(sources: &str, module: &str) -> bool {
    sources.match_indices(module).any(|(at, _)| {
        let before = sources.get(..at).and_then(|before| before.chars().next_back());
        let after = sources.get(at + module.len()..).and_then(|after| after.chars().next());
        let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !is_part(before) && !is_part(after)
    })
}

fn has_comment(manifest: &str, name: &str) -> bool {
    let lines: Vec<&str> = manifest.lines().collect();
    lines
        .windows(2)
        .any(|pair| matches!(pair, [above, line] if declares(line, name) && above.starts_with('#')))
}

fn declares(line: &str, name: &str) -> bool {
    line.strip_prefix(name)
        .is_some_and(|rest| rest.starts_with([' ', '.', '=']))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shared_dependencies_are_declared_somewhere() {
        let workspace = "[workspace.dependencies]\n# Theirs.\na = \"1\"\na-b = { version = \"1\" }\n\n[workspace.lints.rust]\nc = \"deny\"\n";
        let rules = |manifests: &str| -> Vec<(usize, String)> {
            let findings = unshared(workspace, manifests).into_iter();
            findings.map(|finding| (finding.line, finding.rule)).collect()
        };
        assert_eq!(
            rules("[dependencies]\na.workspace = true\na-b = { workspace = true }\n"),
            []
        );
        assert_eq!(
            rules("a-b.workspace = true\n"),
            [(3, "a is declared by no package".into())]
        );
    }

    #[test]
    fn unused_dependencies_are_found() {
        let package = json!({ "dependencies": [
            { "name": "a-b" }, { "name": "c" }, { "name": "d" }, { "name": "e", "rename": "f" }, { "name": "g" },
        ] });
        let manifest = "[dependencies]\na-b.workspace = true\nc = \"1\"\n# Its features only.\nd = \"1\"\n";
        let sources = "use a_b::X; let c_d = f::y(); fn cd() {}";
        assert_eq!(unused(manifest, sources, &package), ["c", "g"]);
    }
}
