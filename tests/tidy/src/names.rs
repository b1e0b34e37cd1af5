//! One name, one thing: no two public types of the workspace share a name.

use std::collections::BTreeMap;

use crate::Finding;
use crate::source::Source;

/// Names that recur by design: each level of the sans-IO state machines has a `Step` and its `Await*` states.
fn recurs(name: &str) -> bool {
    name == "Step" || name.starts_with("Await")
}

pub(crate) fn check(files: &[String]) -> anyhow::Result<Vec<Finding>> {
    let mut types: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let is_source = |path: &&String| path.ends_with(".rs") && path.contains("/src/");
    for path in files.iter().filter(is_source) {
        for name in Source::read(path)?.public_types {
            types.entry(name).or_default().push(path.clone());
        }
    }
    Ok(shared(types))
}

fn shared(types: BTreeMap<String, Vec<String>>) -> Vec<Finding> {
    let shared = types.into_iter().filter(|(name, _)| !recurs(name));
    let findings = shared.filter_map(|(name, files)| match files.as_slice() {
        [first, others @ ..] if !others.is_empty() => Some(Finding {
            file: first.clone(),
            line: 1,
            rule: format!("{name} is also the name of a public type in {}", others.join(", ")),
        }),
        _ => None,
    });
    findings.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_names_are_found() {
        let files = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let types = BTreeMap::from([
            ("Step".to_owned(), files(&["a.rs", "b.rs"])),
            ("AwaitReply".to_owned(), files(&["a.rs", "b.rs"])),
            ("Order".to_owned(), files(&["a.rs"])),
            ("Case".to_owned(), files(&["a.rs", "b.rs", "c.rs"])),
        ]);
        let rules: Vec<String> = shared(types).into_iter().map(|finding| finding.rule).collect();
        assert_eq!(rules, ["Case is also the name of a public type in b.rs, c.rs"]);
    }
}
