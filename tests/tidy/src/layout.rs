//! The contents of the root of the repository, and the size of xtask.

use std::collections::BTreeSet;
use std::fs;

use crate::Finding;

const ROOT: [&str; 9] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "crates",
    "deploy",
    "fuzz",
    "tests",
    "xtask",
];

/// The most lines of xtask, which every command compiles first.
const XTASK_LINES: usize = 2000;

pub(crate) fn check(files: &[String]) -> anyhow::Result<Vec<Finding>> {
    let mut findings = root(files);
    let mut lines = 0;
    for path in files
        .iter()
        .filter(|path| path.starts_with("xtask/") && path.ends_with(".rs"))
    {
        lines += fs::read_to_string(path)?.lines().count();
    }
    if lines > XTASK_LINES {
        findings.push(finding("xtask", &format!("{lines} lines are more than {XTASK_LINES}")));
    }
    Ok(findings)
}

/// Returns what does not belong in the root, and what is missing there. Dotfiles are free.
fn root(files: &[String]) -> Vec<Finding> {
    let found: BTreeSet<&str> = files.iter().filter_map(|path| path.split('/').next()).collect();
    let unknown = found
        .iter()
        .filter(|name| !name.starts_with('.') && !ROOT.contains(name));
    let unknown = unknown.map(|name| finding(name, "does not belong in the root"));
    let missing = ROOT
        .iter()
        .filter(|name| !found.contains(*name))
        .map(|name| finding(name, "is missing"));
    unknown.chain(missing).collect()
}

fn finding(name: &str, rule: &str) -> Finding {
    Finding {
        file: name.into(),
        line: 1,
        rule: rule.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_known_entries_and_dotfiles() {
        let mut files: Vec<String> = ROOT.iter().map(|name| format!("{name}/file")).collect();
        files.push(".github/workflows/ci.yml".into());
        assert_eq!(root(&files), []);
        files.push("notes.md".into());
        files.remove(0);
        assert_eq!(
            root(&files),
            [
                finding("notes.md", "does not belong in the root"),
                finding("Cargo.lock", "is missing")
            ]
        );
    }
}
