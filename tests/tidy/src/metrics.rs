//! The metrics in alerts and dashboards exist.

use std::collections::BTreeSet;
use std::fs;

use crate::Finding;

const PREFIX: &str = "vault_issuer_";

/// Suffixes that the text format appends.
const SUFFIXES: [&str; 4] = ["_bucket", "_count", "_sum", "_total"];

pub(crate) fn check(files: &[String]) -> anyhow::Result<Vec<Finding>> {
    let mut known = BTreeSet::new();
    for path in files
        .iter()
        .filter(|path| path.starts_with("crates/") && path.ends_with(".rs"))
    {
        known.extend(fs::read_to_string(path)?.lines().flat_map(names).map(str::to_owned));
    }
    let mut findings = Vec::new();
    let users = ["deploy/alerts/", "deploy/dashboards/"];
    for path in files
        .iter()
        .filter(|path| users.iter().any(|directory| path.starts_with(directory)))
    {
        for (line, number) in fs::read_to_string(path)?.lines().zip(1..) {
            let unknown = names(line).filter(|name| !known.contains(*name) && !known.contains(base(name)));
            findings.extend(unknown.map(|name| Finding {
                file: path.clone(),
                line: number,
                rule: format!("the controller has no metric {name}"),
            }));
        }
    }
    Ok(findings)
}

/// Returns the names of metrics in a line.
fn names(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with(PREFIX))
}

fn base(name: &str) -> &str {
    SUFFIXES
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_prefix() {
        let line = r#""expr": "rate(vault_issuer_a_total{x=\"vault_issuer\"}[5m]) + vault_issuer_b""#;
        assert_eq!(
            names(line).map(base).collect::<Vec<_>>(),
            ["vault_issuer_a", "vault_issuer_b"]
        );
    }
}
