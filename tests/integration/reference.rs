//! The parts of the pages in `deploy/docs` that follow from the code: the flags of each command, and the metrics.
//!
//! `UPDATE_EXPECT=1 cargo test -p integration reference` writes them anew. They are not made by `cargo xtask codegen`, which
//! must compile without the controller.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};
use expect_test::expect_file;
use issuer_kube::METRICS;
use vault_issuer::args::Args;

const BEGIN: &str = "<!-- generated: ";
const END: &str = "<!-- /generated -->\n";

#[test]
fn pages_list_flags_and_metrics() {
    let mut command = Args::command();
    command.build();
    let commands = command.get_subcommands().filter(|command| command.get_name() != "help");
    let mut parts: BTreeMap<&str, String> = commands.map(|command| (command.get_name(), flags(command))).collect();
    parts.insert("metrics", metrics());
    // It has no flags.
    parts.remove("completion");
    for (page, expected) in [
        ("cli.md", expect_file!["../../deploy/docs/cli.md"]),
        ("metrics.md", expect_file!["../../deploy/docs/metrics.md"]),
    ] {
        expected.assert_eq(&with_parts(page, &mut parts));
    }
    assert!(parts.is_empty(), "no page has {:?}", parts.keys());
}

/// Returns a page with the parts that it has marks for, and takes these.
fn with_parts(page: &str, parts: &mut BTreeMap<&str, String>) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/docs");
    let page = fs::read_to_string(docs.join(page)).unwrap();
    let mut pieces = page.split(BEGIN);
    let mut text = pieces.next().unwrap().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once(" -->\n").unwrap();
        let (_, rest) = rest.split_once(END).unwrap();
        let part = parts.remove(name).unwrap();
        write!(text, "{BEGIN}{name} -->\n{part}{END}{rest}").unwrap();
    }
    text
}

/// Returns the table of a command's flags.
fn flags(command: &Command) -> String {
    let mut table = String::from("| flag | variable | default | meaning |\n|---|---|---|---|\n");
    for arg in command.get_arguments().filter(|arg| is_shown(arg)) {
        let variable = arg.get_env().map(|name| format!("`{}`", name.to_str().unwrap()));
        let (default, meaning) = default_and_meaning(arg);
        let cells = [names(arg), variable.unwrap_or_default(), default, meaning];
        row(&mut table, &cells);
    }
    table
}

fn is_shown(arg: &Arg) -> bool {
    !arg.is_positional() && !matches!(arg.get_id().as_str(), "help" | "version")
}

fn names(arg: &Arg) -> String {
    let short = arg.get_short().map(|short| format!("`-{short}`"));
    let long = arg.get_long().map(|long| format!("`--{long}`"));
    short.into_iter().chain(long).collect::<Vec<_>>().join(", ")
}

/// Returns the default, which the help text has in brackets where it is no fixed value, and the meaning.
fn default_and_meaning(arg: &Arg) -> (String, String) {
    let help = arg.get_help().unwrap().to_string();
    let (meaning, named) = help.split_once(" [default: ").unwrap_or((&help, ""));
    let fixed = arg.get_default_values().iter().map(|value| value.to_str().unwrap());
    let fixed: Vec<_> = fixed.map(|value| format!("`{value}`")).collect();
    let default = if fixed.is_empty() {
        markdown(named.trim_end_matches(']'))
    } else {
        fixed.join(", ")
    };
    let values: Vec<_> = arg
        .get_possible_values()
        .iter()
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    let meaning = markdown(meaning);
    if values.is_empty() || values.contains(&"`true`".to_owned()) {
        (default, meaning)
    } else {
        (default, format!("{meaning}: {}", values.join(", ")))
    }
}

/// Returns the table of the metrics.
fn metrics() -> String {
    let mut table = String::from("| metric | type | labels | meaning |\n|---|---|---|---|\n");
    for metric in METRICS {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let cells = [
            format!("`{}`", metric.query_name()),
            metric.kind.as_str().to_owned(),
            labels.join(", "),
            markdown(metric.help),
        ];
        row(&mut table, &cells);
    }
    table
}

fn row(table: &mut String, cells: &[String]) {
    for cell in cells {
        let blank = if cell.is_empty() { "" } else { " " };
        write!(table, "|{blank}{cell} ").unwrap();
    }
    table.push_str("|\n");
}

/// Keeps text from being read as Markdown.
fn markdown(text: &str) -> String {
    text.replace('|', "\\|").replace('*', "\\*").replace('<', "&lt;")
}
