//! Which crate may depend on which.

use std::fs;

use anyhow::Context;
use serde_json::Value;

use crate::Finding;
use xtask::process::{cargo, read};

/// Our crates, from the lowest upwards, with those that each may depend on. The tests' packages and
/// xtask are free, and so are dev-dependencies.
const ARROWS: [(&str, &[&str]); 9] = [
    ("issuer-api", &[]),
    ("issuer-core", &["issuer-api"]),
    ("issuer-tls", &["issuer-api", "issuer-core"]),
    ("issuer-ureq", &["issuer-api", "issuer-core", "issuer-tls"]),
    ("issuer-kube", &["issuer-api", "issuer-core", "issuer-tls"]),
    (
        "vault-issuer",
        &["issuer-api", "issuer-core", "issuer-tls", "issuer-ureq", "issuer-kube"],
    ),
    ("fake-vault", &["issuer-api", "issuer-core", "issuer-tls"]),
    ("fake-kube", &["issuer-api", "issuer-core"]),
    ("simulator", &["issuer-api", "issuer-core", "fake-kube", "fake-vault"]),
];

const FREE: [&str; 9] = [
    "chart",
    "codegen",
    "e2e",
    "image",
    "integration",
    "micro",
    "properties",
    "tidy",
    "xtask",
];

/// Crates that the tools of the first steps of CI must not pull in.
const SLOW: [&str; 6] = ["aws-lc-", "cc", "k8s-openapi", "kube-", "rcgen", "tokio"];

/// Crates that issuer-core must not pull in: runtimes, sockets, HTTP and Kubernetes clients, TLS, randomness, clocks.
/// A name that ends in `-` matches all names with this prefix.
const IMPURE: [&str; 22] = [
    "async-",
    "aws-lc-",
    "chrono",
    "fastrand",
    "futures-",
    "getrandom",
    "h2",
    "hyper",
    "hyper-",
    "kube-client",
    "kube-runtime",
    "mio",
    "native-tls",
    "rand",
    "reqwest",
    "rustls",
    "signal-hook",
    "smol",
    "socket2",
    "tokio",
    "tokio-",
    "ureq",
];

/// Crates that no package may pull in: the one TLS stack is rustls on aws-lc-rs.
const BANNED: [&str; 4] = ["native-tls", "openssl", "openssl-sys", "ring"];

pub(crate) fn check() -> anyhow::Result<Vec<Finding>> {
    let metadata = read(&mut cargo(["metadata", "--format-version=1", "--no-deps", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let packages = metadata
        .get("packages")
        .and_then(Value::as_array)
        .context("cargo metadata lists packages")?;
    let root = format!("{}/", xtask::root().display());
    let mut findings = Vec::new();
    for package in packages {
        let manifest = package["manifest_path"].as_str().context("a package has a manifest")?;
        let file = manifest.strip_prefix(&root).unwrap_or(manifest);
        let finding = |rule| Finding {
            file: file.into(),
            line: 1,
            rule,
        };
        if !fs::read_to_string(manifest)?.contains("[lints]\nworkspace = true\n") {
            findings.push(finding("does not inherit the workspace's lints".into()));
        }
        findings.extend(arrows(package).into_iter().map(finding));
    }
    let core = tree(&["--package=issuer-core", "--edges=normal", "--target=all"])?;
    findings.extend(matching(&core, &IMPURE).map(|name| Finding {
        file: "crates/issuer-core/Cargo.toml".into(),
        line: 1,
        rule: format!("depends on {name}, so it is not sans-IO"),
    }));
    let tools = ["xtask", "tidy", "codegen"].map(|tool| format!("--package={tool}"));
    let mut args: Vec<&str> = tools.iter().map(String::as_str).collect();
    args.extend(["--edges=normal,build", "--target=all"]);
    let tools = tree(&args)?;
    findings.extend(matching(&tools, &SLOW).map(|name| Finding {
        file: "xtask/Cargo.toml".into(),
        line: 1,
        rule: format!("a tool that must compile within seconds, without a C compiler, depends on {name}"),
    }));
    let all = tree(&["--workspace", "--edges=all", "--target=all"])?;
    findings.extend(matching(&all, &BANNED).map(|name| Finding {
        file: "Cargo.lock".into(),
        line: line_of_package(&fs::read_to_string("Cargo.lock").unwrap_or_default(), name),
        rule: format!("{name} must not be in the tree"),
    }));
    Ok(findings)
}

/// Returns what is wrong with the dependencies of one of our packages: those that point up or sideways.
fn arrows(package: &Value) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or_default();
    if FREE.contains(&name) {
        return Vec::new();
    }
    let Some((_, below)) = ARROWS.iter().find(|(known, _)| *known == name) else {
        return vec!["has no place in the order of crates (tests/tidy/src/graph.rs)".into()];
    };
    let dependencies = package["dependencies"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let ours = dependencies
        .iter()
        .filter(|dependency| dependency["path"].is_string() && dependency["kind"] != "dev");
    let names = ours.filter_map(|dependency| dependency["name"].as_str());
    names
        .filter(|other| !below.contains(other))
        .map(|other| format!("must not depend on {other}"))
        .collect()
}

/// Returns the names in a dependency tree, sorted, each once.
fn tree(args: &[&str]) -> anyhow::Result<Vec<String>> {
    let tree = read(cargo(["tree", "--locked", "--prefix=none"]).args(args))?;
    let mut names: Vec<String> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(Into::into)
        .collect();
    names.sort();
    names.dedup();
    Ok(names)
}

fn matching<'a>(names: &'a [String], patterns: &[&str]) -> impl Iterator<Item = &'a str> {
    let matches =
        move |name: &str, pattern: &str| name == pattern || pattern.ends_with('-') && name.starts_with(pattern);
    names
        .iter()
        .map(String::as_str)
        .filter(move |name| patterns.iter().any(|pattern| matches(name, pattern)))
}

fn line_of_package(lock: &str, name: &str) -> usize {
    let entry = format!("name = \"{name}\"");
    lock.lines().position(|line| line == entry).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(name: &str, dependencies: &[(&str, Option<&str>)]) -> Vec<String> {
        let dependencies = dependencies
            .iter()
            .map(|(name, kind)| json!({ "name": name, "kind": kind, "path": "p" }));
        let package = json!({ "name": name, "dependencies": dependencies.collect::<Vec<_>>() });
        arrows(&package)
    }

    #[test]
    fn arrows_point_down() {
        assert_eq!(
            rules("issuer-core", &[("issuer-api", None), ("fake-vault", Some("dev"))]),
            [""; 0]
        );
        assert_eq!(
            rules("issuer-core", &[("issuer-tls", None)]),
            ["must not depend on issuer-tls"]
        );
        assert_eq!(
            rules("issuer-kube", &[("issuer-ureq", Some("build"))]),
            ["must not depend on issuer-ureq"]
        );
        assert_eq!(
            rules("vault-issuer", &[("fake-vault", None)]),
            ["must not depend on fake-vault"]
        );
        assert_eq!(rules("xtask", &[("fake-vault", None)]), [""; 0]);
        assert_eq!(rules("new", &[]).len(), 1);
    }

    #[test]
    fn trailing_dash_matches_prefix() {
        let names = ["hyper", "hyper-util", "ring", "stringprep"].map(String::from);
        assert_eq!(
            matching(&names, &["hyper-", "ring"]).collect::<Vec<_>>(),
            ["hyper-util", "ring"]
        );
    }

    #[test]
    fn package_has_line_in_lock_file() {
        assert_eq!(
            line_of_package("version = 4\n[[package]]\nname = \"ring\"\n", "ring"),
            3
        );
    }
}
