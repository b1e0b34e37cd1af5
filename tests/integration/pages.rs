//! The commands and YAML of the pages for users.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

use crate::manifests::issuers_in;

/// A fenced block of a page.
struct Block {
    page: String,
    language: String,
    text: String,
}

impl Block {
    /// Returns the commands of a shell, without prompts, comments and here-documents.
    fn commands(&self) -> Vec<String> {
        if !matches!(&*self.language, "sh" | "console") {
            return Vec::new();
        }
        let mut end = None;
        let mut commands = Vec::new();
        for line in self.text.replace("\\\n", " ").lines() {
            if let Some(word) = &end {
                if line == word {
                    end = None;
                }
                continue;
            }
            end = here_document(line);
            let line = line.trim_start_matches("$ ");
            let command = line.split_once(" #").map_or(line, |(command, _)| command).trim();
            if !command.is_empty() && !command.starts_with('#') {
                commands.push(command.to_owned());
            }
        }
        commands
    }

    /// Returns the YAML: the block, or the here-document in it.
    fn yaml(&self) -> Option<&str> {
        if self.language == "yaml" {
            return Some(&self.text);
        }
        let (_, after) = self.text.split_once("<<'YAML'\n")?;
        after.split_once("\nYAML").map(|(yaml, _)| yaml)
    }
}

/// Returns the word that ends the here-document of a command.
fn here_document(command: &str) -> Option<String> {
    let (_, after) = command.split_once("<<'")?;
    after.split('\'').next().map(str::to_owned)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the blocks of the README and of the pages in `deploy/docs`.
fn blocks() -> Vec<Block> {
    let docs = fs::read_dir(root().join("deploy/docs")).unwrap();
    let files = docs.map(|entry| entry.unwrap().path());
    let pages = files.filter(|file| file.extension().is_some_and(|extension| extension == "md"));
    let blocks: Vec<_> = pages
        .chain([root().join("README.md")])
        .flat_map(|page| fenced(&page))
        .collect();
    assert!(blocks.len() > 10, "{} blocks", blocks.len());
    blocks
}

fn fenced(page: &Path) -> Vec<Block> {
    let text = fs::read_to_string(page).unwrap();
    let block = |fenced: &str| {
        let (language, text) = fenced.split_once('\n').unwrap();
        Block {
            page: page.display().to_string(),
            language: language.to_owned(),
            text: text.to_owned(),
        }
    };
    // Text and blocks alternate.
    text.split("```").skip(1).step_by(2).map(block).collect()
}

fn values() -> Value {
    let values = fs::read_to_string(root().join("deploy/charts/vault-issuer/values.yaml")).unwrap();
    serde_saphyr::from_str(&values).unwrap()
}

/// Returns `true` if the chart has all these values. What is empty by default may hold anything.
fn are_values(known: &Value, given: &Value) -> bool {
    match (known, given) {
        (Value::Object(known), Value::Object(given)) if !known.is_empty() => given
            .iter()
            .all(|(key, given)| known.get(key).is_some_and(|known| are_values(known, given))),
        _ => true,
    }
}

#[test]
fn commands_of_the_binary_are_understood() {
    let mut understood = 0;
    for block in blocks() {
        for command in block.commands() {
            let own = command.rsplit(" -- ").next().unwrap();
            let own = own.split(" > ").next().unwrap();
            if !own.starts_with("vault-issuer ") {
                continue;
            }
            // A flag that does not exist is an error even before `--help`.
            let args = own.split_whitespace().chain(["--help"]);
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let code = vault_issuer::run(args, &mut out, &mut err);
            let err = String::from_utf8(err).unwrap();
            assert_eq!(code, ExitCode::SUCCESS, "{}: {command}\n{err}", block.page);
            understood += 1;
        }
    }
    assert!(understood >= 4, "{understood} commands");
}

#[test]
fn commands_name_files_that_exist() {
    for block in blocks() {
        for command in block.commands() {
            let files = command.split_whitespace().filter(|word| word.starts_with("deploy/"));
            // In a cluster `deploy/` begins the name of a Deployment.
            for file in files.filter(|file| *file != "deploy/vault-issuer") {
                assert!(root().join(file).exists(), "{}: {command}", block.page);
            }
        }
    }
}

#[test]
fn commands_set_values_of_the_chart() {
    let values = values();
    let mut set = 0;
    for block in blocks() {
        for command in block.commands().iter().filter(|command| command.starts_with("helm ")) {
            for assignment in command.split("--set ").skip(1) {
                let assignment = assignment.trim_start_matches('\'');
                let (path, _) = assignment.split_once('=').unwrap();
                let pointer = format!("/{}", path.split('[').next().unwrap().replace('.', "/"));
                assert!(values.pointer(&pointer).is_some(), "{}: {command}", block.page);
                set += 1;
            }
        }
    }
    assert!(set >= 4, "{set} values");
}

#[test]
fn yaml_of_pages_is_known() {
    let (mut issuers, values) = (0, values());
    for block in blocks() {
        let Some(yaml) = block.yaml() else { continue };
        issuers += issuers_in(yaml);
        let objects: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
        for object in objects {
            let reference = &object["spec"]["issuerRef"];
            if reference.is_object() {
                assert_eq!(reference["group"], issuer_api::GROUP, "{}", block.page);
            }
            if object.get("kind").is_none() && object.get("data").is_none() {
                assert!(are_values(&values, &object), "{}: {object}", block.page);
            }
        }
    }
    assert!(issuers >= 1, "{issuers} issuers");
}

#[test]
fn readme_is_short() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.lines().count() <= 150, "longer pages are in deploy/docs");
}
