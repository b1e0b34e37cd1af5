//! The fields of a request's body.

use std::time::Duration;

use http::StatusCode;
use serde_json::error::Category;
use serde_json::{Map, Value};

use crate::answer::Refusal;
use crate::duration;

/// The fields of a request's JSON body, read as leniently as Vault reads them.
#[derive(Debug, Default)]
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// Parses a body. Vault reads a body that does not begin like a JSON object or array as a form; a form's
    /// fields are not modeled.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        match body.trim_ascii_start().first() {
            Some(b'{') => serde_json::from_slice(body).map(Self).map_err(|error| {
                let text = match error.classify() {
                    Category::Eof => "malformed JSON, unclosed containers",
                    _ => "invalid character in JSON",
                };
                Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, text)
            }),
            Some(b'[') => {
                let cause = "failed to parse JSON input: json: cannot unmarshal array";
                Err(Refusal::bad_request(format!("error parsing JSON: {cause}")))
            }
            _ => Ok(Self::default()),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Returns a field's text; empty if it is absent or not a scalar.
    pub(crate) fn text(&self, key: &str) -> String {
        self.0.get(key).map(scalar).unwrap_or_default()
    }

    /// Returns a comma-separated text or an array of texts.
    pub(crate) fn list(&self, key: &str) -> Vec<String> {
        let items = match self.0.get(key) {
            Some(Value::Array(items)) => items.iter().map(scalar).collect(),
            Some(other) => scalar(other).split(',').map(|item| item.trim().to_owned()).collect(),
            None => Vec::new(),
        };
        items.into_iter().filter(|item: &String| !item.is_empty()).collect()
    }

    pub(crate) fn flag(&self, key: &str) -> bool {
        matches!(self.text(key).as_str(), "true" | "True" | "TRUE" | "t" | "1")
    }

    /// Refuses lists and objects in these fields.
    pub(crate) fn require_texts(&self, keys: &[&str]) -> Result<(), Refusal> {
        let bad = |key: &&&str| matches!(self.0.get(**key), Some(Value::Array(_) | Value::Object(_)));
        match keys.iter().find(bad) {
            Some(key) => Err(invalid(key, "'' expected type 'string', got unconvertible type")),
            None => Ok(()),
        }
    }

    /// Returns a duration, in seconds or in Go's notation; zero if the field is absent.
    pub(crate) fn duration(&self, key: &str) -> Result<Duration, Refusal> {
        if let Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) = self.0.get(key) {
            return Err(invalid(key, "could not parse duration from input"));
        }
        let text = self.text(key);
        match duration::parse(&text) {
            _ if text.is_empty() => Ok(Duration::ZERO),
            Some(duration) => Ok(duration),
            None if text.starts_with('-') => Err(invalid(key, &format!("cannot provide negative value '{text}'"))),
            None => Err(invalid(key, &format!("time: invalid duration {text:?}"))),
        }
    }
}

fn invalid(key: &str, cause: &str) -> Refusal {
    let field = format!("error converting input for field {key:?}: {cause}");
    Refusal::bad_request(format!("Field validation failed: {field}"))
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => String::new(),
    }
}
