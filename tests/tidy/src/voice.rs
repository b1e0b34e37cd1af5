//! Phrases that make documentation hard to read, for which technical English has better ones.

use std::fs;

use crate::Finding;

/// The phrases and what to write instead. They are split so that this file may name them.
const PHRASES: [(&str, &str); 8] = [
    (concat!("tells ", "whether"), "Returns `true` if"),
    (concat!("come ", "to"), "the noun: result, value, state"),
    (concat!("comes ", "to"), "the noun: result, value, state"),
    (concat!("came ", "of"), "result of"),
    (concat!("for ", "ever"), "forever, permanently"),
    (concat!("who", "ever"), "the user, the caller"),
    (concat!("see ", "to it"), "ensure"),
    (concat!("what is ", "no"), "the noun"),
];

/// Files that are data, or not our text.
const DATA: [&str; 4] = [
    "LICENSE",
    "fuzz/corpus/",
    "tests/components/",
    "tests/integration/cases/",
];

pub(crate) fn check(files: &[String]) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let is_text = |path: &&String| !DATA.iter().any(|data| path.starts_with(data)) && !path.ends_with(".lock");
    for path in files.iter().filter(is_text) {
        if let Ok(text) = String::from_utf8(fs::read(path)?) {
            findings.extend(findings_in(path, &text));
        }
    }
    Ok(findings)
}

fn findings_in(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let doc = ["/// ", "//! "]
            .iter()
            .find_map(|slashes| line.trim_start().strip_prefix(slashes));
        if doc.is_some_and(|doc| doc.starts_with("What ")) {
            findings.push(Finding {
                file: path.into(),
                line: number,
                rule: "a doc that begins with \"What\": say the noun, such as the result, the value, the state".into(),
            });
        }
        let line = line.to_lowercase();
        let found = PHRASES.iter().filter(|(phrase, _)| has_phrase(&line, phrase));
        findings.extend(found.map(|(phrase, better)| Finding {
            file: path.into(),
            line: number,
            rule: format!("\"{phrase}\": say {better}"),
        }));
    }
    findings
}

/// Returns `true` if the phrase is in the line, at the end of a word.
fn has_phrase(line: &str, phrase: &str) -> bool {
    line.match_indices(phrase).any(|(at, _)| {
        let after = line.get(at + phrase.len()..).and_then(|after| after.chars().next());
        !after.is_some_and(char::is_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_are_found() {
        for (phrase, _) in PHRASES {
            assert_eq!(
                findings_in("a.rs", &format!("x\n/// It {} y", phrase.to_uppercase())).len(),
                1
            );
        }
        assert_eq!(findings_in("a.rs", concat!("come ", "together, for ", "every")), []);
    }

    #[test]
    fn docs_begin_with_a_noun() {
        for doc in ["    /// What it is.", "//! What it does."] {
            assert_eq!(findings_in("a.rs", doc).len(), 1, "{doc}");
        }
        assert_eq!(findings_in("a.rs", "/// Returns\n/// what it is.\n// What."), []);
    }
}
