//! The workflows of CI: that they run nothing that others can change.

use std::fs;

use crate::Finding;

const DIRECTORY: &str = ".github/workflows/";

pub(crate) fn check(files: &[String]) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in files.iter().filter(|path| path.starts_with(DIRECTORY)) {
        for (line, number) in fs::read_to_string(path)?.lines().zip(1..) {
            if action(line).is_some_and(|action| !is_pinned(action)) {
                findings.push(Finding {
                    file: path.clone(),
                    line: number,
                    rule: "name an action by its commit, and its version in a comment".into(),
                });
            }
        }
    }
    Ok(findings)
}

/// Returns the action that a line uses.
fn action(line: &str) -> Option<&str> {
    line.trim_start().trim_start_matches("- ").strip_prefix("uses: ")
}

/// Returns `true` for `owner/name@COMMIT # vX.Y.Z`.
fn is_pinned(action: &str) -> bool {
    let Some((commit, version)) = action.split_once('@').and_then(|(_, rest)| rest.split_once(" # v")) else {
        return false;
    };
    commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()) && version.split('.').count() == 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_pinned_by_commit() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        for (line, pinned) in [
            (format!("      - uses: a/b@{commit} # v1.2.3"), true),
            (format!("        uses: a/b@{commit} # v1"), false),
            (format!("        uses: a/b@{commit}"), false),
            ("      - uses: a/b@v1".to_owned(), false),
        ] {
            assert_eq!(is_pinned(action(&line).unwrap()), pinned, "{line}");
        }
        assert_eq!(action("      - run: uses: a"), None);
    }
}
