//! Every Rust file begins with a sentence about its contents.

use std::fs;

use crate::Finding;

pub(crate) fn check(files: &[String]) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    // A fuzz target is one line, which names a property.
    let is_module = |path: &&String| path.ends_with(".rs") && !path.starts_with("fuzz/");
    for path in files.iter().filter(is_module) {
        if !has_doc(&fs::read_to_string(path)?) {
            findings.push(Finding {
                file: path.clone(),
                line: 1,
                rule: "has no module documentation (`//!`)".into(),
            });
        }
    }
    Ok(findings)
}

fn has_doc(text: &str) -> bool {
    text.strip_prefix("//! ")
        .is_some_and(|doc| !doc.trim_start().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doc_is_the_first_line() {
        assert!(has_doc("//! Tokens.\n\nuse std::fmt;\n"));
        for text in [
            "",
            "use std::fmt;\n",
            "/// A token.\nstruct Token;\n",
            "// Tokens.\n",
            "//! ",
        ] {
            assert!(!has_doc(text), "{text}");
        }
    }
}
