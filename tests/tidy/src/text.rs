//! Text that no file may contain.

use std::fs;

use crate::Finding;

const LINES_MAX: usize = 500;

/// Marks of unfinished or disabled code; split here so that this file may name them.
const UNFINISHED: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("todo", "!"),
    concat!("unimplemented", "!"),
    concat!("#[", "ignore"),
];

/// Top-level folders of people and build machines.
const MACHINE: [&str; 3] = ["root", "home", "work"];

/// Types and modules with a clock, a socket or a random order; time, bytes and seeds are arguments.
const IMPURE: [&str; 16] = [
    "HashMap",
    "HashSet",
    "Instant",
    "OffsetDateTime::now",
    "RandomState",
    "SystemTime",
    "TcpListener",
    "TcpStream",
    "Timestamp::now",
    "ToSocketAddrs",
    "UdpSocket",
    "Zoned::now",
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
];

/// The crates that decide everything and do no IO.
const PURE: [&str; 2] = ["crates/issuer-api/src/", "crates/issuer-core/src/"];

pub(crate) fn check(files: &[String]) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in files {
        // Corpora and the like are bytes, not text.
        if let Ok(text) = String::from_utf8(fs::read(path)?) {
            findings.extend(findings_in(path, &text));
        }
    }
    Ok(findings)
}

/// Returns `true` if a file is an input of tests, which is as it was found.
fn is_data(path: &str) -> bool {
    path.contains("corpus/") || (path.starts_with("tests/integration/cases/") && !path.ends_with(".rs"))
}

fn findings_in(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |line: usize, rule: String| {
        findings.push(Finding {
            file: path.into(),
            line,
            rule,
        })
    };
    let is_pure = PURE.iter().any(|pure| path.starts_with(pure)) && !is_test(path);
    let mut in_tests = false;
    for (line, number) in text.lines().zip(1..) {
        in_tests |= line.starts_with("#[cfg(test)]");
        if line.ends_with([' ', '\t']) && !is_data(path) {
            found(number, "trailing white space".into());
        }
        if let Some(word) = UNFINISHED.iter().find(|word| has_word(line, word)) {
            found(number, format!("{word} is unfinished business"));
        }
        if let Some(name) = MACHINE.iter().find(|name| has_path(line, name)) {
            found(number, format!("a path under /{name} of some machine"));
        }
        if is_pure
            && !in_tests
            && let Some(name) = IMPURE.iter().find(|name| has_word(line, name))
        {
            found(number, format!("{name} in a crate without clock, IO and randomness"));
        }
    }
    let lines = text.lines().count();
    if path.ends_with(".rs") && lines > LINES_MAX {
        found(LINES_MAX + 1, format!("{lines} lines are more than {LINES_MAX}"));
    }
    findings
}

/// Returns `true` if a file of a crate's `src` has only tests.
fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (
            line.get(..at).unwrap_or_default(),
            line.get(at + word.len()..).unwrap_or_default(),
        );
        !is_part(before.chars().next_back()) && !is_part(after.chars().next())
    })
}

/// Returns `true` if a line has an absolute path under `/name/`; within a URL or a longer path it is another one.
fn has_path(line: &str, name: &str) -> bool {
    line.match_indices(&format!("/{name}/")).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || "-_.~/}*>".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<(usize, String)> {
        findings_in(path, text)
            .into_iter()
            .map(|finding| (finding.line, finding.rule))
            .collect()
    }

    #[test]
    fn words_are_found_as_words() {
        for word in UNFINISHED {
            assert_eq!(
                rules("a.rs", &format!("fine\n{word} x")),
                [(2, format!("{word} is unfinished business"))]
            );
        }
        assert_eq!(rules("a.go", concat!("AUTO", "DOC")), []);
    }

    #[test]
    fn machine_paths_are_absolute() {
        for name in MACHINE {
            assert_eq!(rules("a.md", &format!("see /{name}/x")).len(), 1);
            assert_eq!(rules("a.md", &format!("\"/{name}/x\"")).len(), 1);
            assert_eq!(
                rules(
                    "a.md",
                    &format!("pki/{name}/sign https://example.com/{name}/ {{mount}}/{name}/x")
                ),
                []
            );
        }
    }

    #[test]
    fn pure_crates_have_no_clock() {
        let text = "use std::time::Instant;\nfn instant() {}\n#[cfg(test)]\nmod tests { use std::fs; }";
        let expected = [(1, "Instant in a crate without clock, IO and randomness".into())];
        assert_eq!(rules("crates/issuer-core/src/a.rs", text), expected);
        assert_eq!(rules("crates/issuer-core/src/a/tests.rs", text), []);
        assert_eq!(rules("crates/issuer-kube/src/a.rs", text), []);
    }

    #[test]
    fn long_files_and_trailing_spaces() {
        assert_eq!(rules("crates/a/src/b.rs", &"x\n".repeat(500)), []);
        let expected = [(501, "501 lines are more than 500".into())];
        assert_eq!(rules("crates/a/src/b.rs", &"x\n".repeat(501)), expected);
        assert_eq!(rules("tests/a/b.rs", &"x\n".repeat(501)), expected);
        assert_eq!(rules("deploy/a.md", &"x\n".repeat(501)), []);
        assert_eq!(rules("a.md", "a \nb"), [(1, "trailing white space".into())]);
    }
}
