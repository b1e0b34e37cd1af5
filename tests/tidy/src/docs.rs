//! The pages for users: their links, and that they name the flags, reasons and log messages of the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Finding;

/// Where the flags of the binary are defined, documented, and used by the chart.
const FLAGS: [&str; 3] = [
    "crates/vault-issuer/src/args/",
    "deploy/docs/cli.md",
    "deploy/charts/vault-issuer/templates/deployment.yaml",
];

/// The crates that log.
const LOGGING: [&str; 2] = ["crates/issuer-kube/src/", "crates/vault-issuer/src/"];

const REASONS: &str = "deploy/docs/troubleshooting.md";

pub(crate) fn check(files: &[String]) -> anyhow::Result<Vec<Finding>> {
    let [defined, documented, used] = FLAGS;
    let mut flags = BTreeSet::new();
    for path in files {
        if path.starts_with(defined) {
            flags.extend(flags_defined(&fs::read_to_string(path)?));
        }
    }
    let page = fs::read_to_string(documented)?;
    let mut findings = missing(documented, &flags, &words(&page, "--"));
    findings.extend(missing(defined, &words(&rows(&page), "--"), &flags));
    findings.extend(missing(defined, &words(&fs::read_to_string(used)?, "--"), &flags));

    let mut reasons = BTreeSet::new();
    for path in files
        .iter()
        .filter(|path| path.ends_with(".rs") && !path.contains("tests"))
    {
        let text = fs::read_to_string(path)?;
        if path.starts_with("crates/issuer-core/src/") {
            reasons.extend(reasons_returned(&text));
        }
    }
    findings.extend(missing(REASONS, &reasons, &words(&fs::read_to_string(REASONS)?, "")));

    let sources = sources(files)?;
    for path in files.iter().filter(|path| path.ends_with(".md")) {
        findings.extend(dead_links(path)?);
        findings.extend(unlogged(path, &fs::read_to_string(path)?, &sources));
    }
    Ok(findings)
}

/// Returns the sources of the programs that log.
fn sources(files: &[String]) -> anyhow::Result<String> {
    let mut sources = String::new();
    let is_source = |path: &&String| path.ends_with(".rs") && LOGGING.iter().any(|prefix| path.starts_with(prefix));
    for path in files.iter().filter(is_source) {
        sources += &fs::read_to_string(path)?;
    }
    Ok(sources)
}

/// Returns a finding for each log message of a page that begins no text of the code.
fn unlogged(path: &str, page: &str, sources: &str) -> Vec<Finding> {
    let is_logged = |message: &str| {
        // The rest may be a placeholder.
        let mut starts = message.match_indices(' ').filter_map(|(at, _)| message.get(..=at));
        sources.contains(&format!("\"{message}")) || starts.any(|start| sources.contains(&format!("\"{start}{{")))
    };
    let messages = log_messages(page).into_iter();
    let unlogged = messages.filter(|(message, _)| !is_logged(message));
    let finding = |(message, line)| Finding {
        file: path.into(),
        line,
        rule: format!("nothing logs \"{message}\""),
    };
    unlogged.map(finding).collect()
}

/// Returns the log messages that a page quotes, with their lines: after "logged", and in tables of log messages.
fn log_messages(page: &str) -> Vec<(&str, usize)> {
    let mut messages = Vec::new();
    let mut in_table = false;
    for (line, number) in page.lines().zip(1..) {
        in_table = line.starts_with("| log message |") || (in_table && line.starts_with('|'));
        let (text, most) = if in_table {
            (line.split('|').nth(1), usize::MAX)
        } else {
            let after = line.split_once("logged ").map(|(_, after)| after);
            (after.filter(|after| after.starts_with('`')), 1)
        };
        let quoted = text.into_iter().flat_map(|text| text.split('`').skip(1).step_by(2));
        messages.extend(quoted.take(most).map(|message| (message, number)));
    }
    messages
}

/// Returns a finding in `file` for each name that it should have and has not.
fn missing(file: &str, wanted: &BTreeSet<String>, found: &BTreeSet<String>) -> Vec<Finding> {
    let names = wanted.difference(found);
    let finding = |name: &String| Finding {
        file: file.into(),
        line: 1,
        rule: format!("{name} is missing"),
    };
    names.map(finding).collect()
}

/// Returns the words with a prefix: what is between characters that no flag and no name has.
fn words(text: &str, prefix: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
    let long = words.filter(|word| word.len() > prefix.len() && word.starts_with(prefix));
    long.map(Into::into).collect()
}

/// Returns the first cells of the tables of a page.
fn rows(page: &str) -> String {
    let cells = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split('|').next());
    cells.collect::<Vec<_>>().join("\n")
}

/// Returns the flags that clap derives from fields with `long`.
fn flags_defined(source: &str) -> BTreeSet<String> {
    let mut flags = BTreeSet::new();
    for (attribute, rest) in source
        .split("#[arg(")
        .skip(1)
        .filter_map(|text| text.split_once(")]\n"))
    {
        let mut parts = attribute.split([',', '\n']).map(str::trim);
        let Some(long) = parts.find(|part| *part == "long" || part.starts_with("long = ")) else {
            continue;
        };
        let field = rest
            .trim_start()
            .strip_prefix("pub ")
            .and_then(|rest| rest.split(':').next());
        let name = long
            .strip_prefix("long = ")
            .map(|name| name.trim_matches('"').to_owned());
        let name = name.or_else(|| field.map(|field| field.replace('_', "-")));
        flags.extend(name.map(|name| format!("--{name}")));
    }
    flags
}

/// Returns the texts of the functions `reason`.
fn reasons_returned(source: &str) -> BTreeSet<String> {
    let bodies = source.split("fn reason(").skip(1);
    let bodies = bodies.filter_map(|text| text.split("\n    }\n").next());
    let texts = bodies.flat_map(|body| body.split('"').skip(1).step_by(2));
    texts.filter(|text| !text.is_empty()).map(Into::into).collect()
}

fn dead_links(path: &str) -> anyhow::Result<Vec<Finding>> {
    let directory = Path::new(path).parent().unwrap_or_else(|| Path::new(""));
    let mut findings = Vec::new();
    for (line, number) in fs::read_to_string(path)?.lines().zip(1..) {
        for link in links(line) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                PathBuf::from(path)
            } else {
                directory.join(file)
            };
            let is_dead = match target.extension() {
                Some(extension) if extension == "md" && !anchor.is_empty() => {
                    let page = fs::read_to_string(&target).unwrap_or_default();
                    !page.lines().any(|line| line.starts_with('#') && slug(line) == anchor)
                }
                _ => !target.exists(),
            };
            if is_dead {
                findings.push(Finding {
                    file: path.into(),
                    line: number,
                    rule: format!("the link {link} is dead"),
                });
            }
        }
    }
    Ok(findings)
}

/// Returns the links of a line of Markdown that lead into the repository.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|text| text.split(')').next());
    targets.filter(|target| !target.contains(':'))
}

/// Returns the anchor that GitHub gives a heading.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    text.chars()
        .filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_')
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.into()).collect()
    }

    #[test]
    fn flags_are_fields_with_long() {
        let source = "#[arg(long, env = \"A\")]\n    pub log_level: String,\n    #[arg(\n        short = 'f',\n        \
                      long = \"filename\",\n    )]\n    pub files: Vec<PathBuf>,\n    #[arg(required = true)]\n    pub x: X,\n";
        assert_eq!(flags_defined(source), set(&["--filename", "--log-level"]));
    }

    #[test]
    fn documented_flags_are_in_tables() {
        let page = "Run `helm --set x`.\n\n| `-o`, `--output` | for `--help` |\n";
        assert_eq!(words(&rows(page), "--"), set(&["--output"]));
    }

    #[test]
    fn reasons_are_texts() {
        let source = "    fn reason(&self) -> R {\n        A => \"ReasonA\",\n    }\n    fn other() { \"Other\" }\n";
        assert_eq!(reasons_returned(source), set(&["ReasonA"]));
    }

    #[test]
    fn quoted_log_messages_are_in_the_code() {
        let page =
            "It has logged `began` since.\n\n| log message | cause |\n|---|---|\n| `a`, `b c` | `d` |\n\n| `e` | |\n";
        assert_eq!(log_messages(page), [("began", 1), ("a", 5), ("b c", 5)]);
        let rules = |sources: &str| -> Vec<String> {
            let findings = unlogged("a.md", page, sources).into_iter();
            findings.map(|finding| finding.rule).collect()
        };
        for c in ["b c: {error}", "b {verb}"] {
            let sources = format!("info!(\"began\"); warn!(\"a\"); warn!(\"{c}\")");
            assert_eq!(rules(&sources), Vec::<String>::new());
        }
        assert_eq!(
            rules("// a, b c\ninfo!(\"began\"); warn!(\"b c\")"),
            [r#"nothing logs "a""#]
        );
    }

    #[test]
    fn links_into_the_repository_are_checked() {
        let line = "[a](b.md#c) [d](https://example.com/) [e](../f)";
        assert_eq!(links(line).collect::<Vec<_>>(), ["b.md#c", "../f"]);
        assert_eq!(slug("## Private CAs, networks"), "private-cas-networks");
        assert_eq!(slug("### `check` it's"), "check-its");
    }
}
