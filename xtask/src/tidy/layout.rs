//! What lies in the root of the repository.

use std::collections::BTreeSet;

use super::Finding;

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

/// Returns what is in the root and should not be, or the reverse. Dotfiles are free.
pub(super) fn check(files: &[String]) -> Vec<Finding> {
    let found: BTreeSet<&str> = files.iter().filter_map(|path| path.split('/').next()).collect();
    let strangers = found
        .iter()
        .filter(|name| !name.starts_with('.') && !ROOT.contains(name));
    let strangers = strangers.map(|name| finding(name, "does not belong in the root"));
    let missing = ROOT
        .iter()
        .filter(|name| !found.contains(*name))
        .map(|name| finding(name, "is missing"));
    strangers.chain(missing).collect()
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
    fn the_root_holds_what_it_should_and_dotfiles() {
        let mut files: Vec<String> = ROOT.iter().map(|name| format!("{name}/file")).collect();
        files.push(".github/workflows/ci.yml".into());
        assert_eq!(check(&files), []);
        files.push("notes.md".into());
        files.remove(0);
        assert_eq!(
            check(&files),
            [
                finding("notes.md", "does not belong in the root"),
                finding("Cargo.lock", "is missing")
            ]
        );
    }
}
