//! The chart's `values.schema.json` and the table in its README, made from `values.yaml` and its comments.
//!
//! The comment above a value describes it. A line `# @schema {…}` in it adds to the JSON schema that the default value
//! implies, in which `{"format": NAME}` stands for a schema of [`formats`]. A value is a leaf, passed on as it is, unless
//! its default is a map with entries and it has neither a `type` nor a format.

use std::fs;

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use super::{CHART, File, formats};

const TABLE: [&str; 2] = [
    "<!-- values: written by `cargo xtask codegen` from values.yaml -->\n",
    "<!-- /values -->\n",
];

pub(super) fn files() -> anyhow::Result<Vec<File>> {
    let read = |name: &str| {
        let path = format!("{CHART}/{name}");
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    };
    let values = parse(&read("values.yaml")?)?;
    let schema = format!("{:#}\n", schema(&values)?);
    let readme = with_table(&read("README.md")?, &table(&values))?;
    Ok(vec![
        File {
            path: format!("{CHART}/values.schema.json"),
            text: schema,
        },
        File {
            path: format!("{CHART}/README.md"),
            text: readme,
        },
    ])
}

/// A value, or a group of values.
#[derive(Debug, PartialEq)]
struct Entry {
    path: Vec<String>,
    docs: String,
    schema: Map<String, Value>,
    default: Value,
}

impl Entry {
    fn is_group(&self) -> bool {
        !self.schema.contains_key("type") && self.default.as_object().is_some_and(|map| !map.is_empty())
    }

    fn name(&self) -> String {
        self.path.join(".")
    }

    fn schema(&self) -> Value {
        let mut schema = match &self.default {
            _ if self.is_group() => {
                json!({ "type": "object", "additionalProperties": false, "properties": {} })
            }
            Value::Null => json!({}),
            Value::Bool(_) => json!({ "type": "boolean" }),
            Value::Number(_) => json!({ "type": "integer" }),
            Value::String(_) => json!({ "type": "string" }),
            // Lists of texts have an `@schema`.
            Value::Array(_) => json!({ "type": "array", "items": { "type": "object" } }),
            Value::Object(_) => json!({ "type": "object" }),
        };
        if let Some(map) = schema.as_object_mut() {
            if !self.docs.is_empty() {
                map.insert("description".into(), self.docs.clone().into());
            }
            if !self.is_group() {
                map.insert("default".into(), self.default.clone());
            }
            map.extend(self.schema.clone());
        }
        schema
    }
}

/// Reads the values in the order of the file: the lines give order and comments, a YAML parser the defaults.
fn parse(text: &str) -> anyhow::Result<Vec<Entry>> {
    let defaults: Value = serde_saphyr::from_str(text)?;
    let mut entries: Vec<Entry> = Vec::new();
    // The keys that enclose the line: indentation, name, whether it is a group.
    let mut enclosing: Vec<(usize, String, bool)> = Vec::new();
    let mut comment = Vec::new();
    for line in text.lines() {
        let content = line.trim_start();
        if let Some(words) = content.strip_prefix('#') {
            comment.push(words.trim());
            continue;
        }
        let comment = std::mem::take(&mut comment);
        let indentation = line.len() - content.len();
        let Some((key, _)) = content.split_once(':').filter(|_| !content.starts_with('-')) else {
            continue;
        };
        enclosing.retain(|(outer, ..)| *outer < indentation);
        if enclosing.iter().any(|(.., group)| !group) {
            continue;
        }
        let path: Vec<String> = enclosing
            .iter()
            .map(|(_, name, _)| name.clone())
            .chain([key.into()])
            .collect();
        let entry = entry(path, &comment, &defaults)?;
        enclosing.push((indentation, key.into(), entry.is_group()));
        entries.push(entry);
    }
    Ok(entries)
}

fn entry(path: Vec<String>, comment: &[&str], defaults: &Value) -> anyhow::Result<Entry> {
    let name = path.join(".");
    let default = path.iter().try_fold(defaults, |value, key| value.get(key));
    let default = default
        .with_context(|| format!("cannot find the value {name}"))?
        .clone();
    let (mut docs, mut schema) = (Vec::new(), Map::new());
    for line in comment {
        match line.strip_prefix("@schema ") {
            Some(json) => schema = expanded(json, &default).with_context(|| format!("the @schema of {name}"))?,
            None => docs.push(*line),
        }
    }
    let entry = Entry {
        path,
        docs: docs.join(" "),
        schema,
        default,
    };
    if entry.docs.is_empty() && !entry.is_group() {
        bail!("the value {name} has no comment");
    }
    Ok(entry)
}

/// Reads an `@schema`. The format of a value that is empty by default allows it to be.
fn expanded(json: &str, default: &Value) -> anyhow::Result<Map<String, Value>> {
    let mut schema = serde_json::from_str(json)?;
    formats::expand(&mut schema, *default == json!(""))?;
    match schema {
        Value::Object(schema) => Ok(schema),
        _ => bail!("it is no object"),
    }
}

fn schema(values: &[Entry]) -> anyhow::Result<Value> {
    let mut root = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "enabled": { "type": "boolean", "description": "For the charts that include this one, as a condition." },
            "global": { "type": "object", "description": "For the charts that include this one." },
        },
    });
    for value in values {
        let Some((key, groups)) = value.path.split_last() else {
            continue;
        };
        let group = groups
            .iter()
            .fold(String::new(), |pointer, group| format!("{pointer}/properties/{group}"));
        let properties = root
            .pointer_mut(&format!("{group}/properties"))
            .and_then(Value::as_object_mut);
        properties
            .with_context(|| format!("{} is in no group", value.name()))?
            .insert(key.clone(), value.schema());
    }
    root.sort_all_objects();
    Ok(root)
}

fn table(values: &[Entry]) -> String {
    let mut table = String::from("| value | default | |\n| --- | --- | --- |\n");
    for value in values.iter().filter(|value| !value.is_group()) {
        let docs = value.docs.replace('|', "\\|");
        table += &format!("| `{}` | `{}` | {docs} |\n", value.name(), value.default);
    }
    table
}

fn with_table(readme: &str, table: &str) -> anyhow::Result<String> {
    let [begin, end] = TABLE;
    let (head, rest) = readme
        .split_once(begin)
        .with_context(|| format!("the README has no {begin}"))?;
    let (_, tail) = rest
        .split_once(end)
        .with_context(|| format!("the README has no {end}"))?;
    Ok(format!("{head}{begin}\n{table}\n{end}{tail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: &str = r#"# About this file.

# How many.
# @schema {"minimum": 0}
count: 2

app:
  # Where from,
  # in detail.
  hosts:
    - name: a
      port: 1
  # Opaque.
  # @schema {"type": "object"}
  limits:
    memory: 1Mi
  # Whether it runs.
  enabled: false
"#;

    #[test]
    fn values_keep_order_and_comments() {
        let names: Vec<(String, String)> = parse(VALUES)
            .unwrap()
            .iter()
            .map(|entry| (entry.name(), entry.docs.clone()))
            .collect();
        let expected = [
            ("count", "How many."),
            ("app", ""),
            ("app.hosts", "Where from, in detail."),
            ("app.limits", "Opaque."),
            ("app.enabled", "Whether it runs."),
        ];
        assert_eq!(names, expected.map(|(name, docs)| (name.into(), docs.into())));
    }

    #[test]
    fn schema_forbids_unknown_group_values() {
        let schema = schema(&parse(VALUES).unwrap()).unwrap();
        assert_eq!(schema["additionalProperties"], false);
        let properties = &schema["properties"];
        assert_eq!(
            properties["count"],
            json!({ "type": "integer", "minimum": 0, "default": 2, "description": "How many." })
        );
        assert_eq!(properties["app"]["additionalProperties"], false);
        assert_eq!(properties["app"]["properties"]["hosts"]["type"], "array");
        assert_eq!(
            properties["app"]["properties"]["limits"],
            json!({ "type": "object", "default": { "memory": "1Mi" }, "description": "Opaque." })
        );
    }

    #[test]
    fn uncommented_value_is_refused() {
        let error = parse("# Head.\n\na: 1\n").unwrap_err();
        assert_eq!(error.to_string(), "the value a has no comment");
    }

    #[test]
    fn table_replaces_the_text_between_marks() {
        let readme = format!("head\n{}old{}tail\n", TABLE[0], TABLE[1]);
        let once = with_table(&readme, "new\n").unwrap();
        assert_eq!(once, format!("head\n{}\nnew\n\n{}tail\n", TABLE[0], TABLE[1]));
        assert_eq!(with_table(&once, "new\n").unwrap(), once);
    }
}
