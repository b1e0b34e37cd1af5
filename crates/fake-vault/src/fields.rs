//! The fields of a request's body, and durations as Go writes them.

use std::time::Duration;

use http::StatusCode;
use serde_json::error::Category;
use serde_json::{Map, Value};

use crate::answer::Refusal;

/// The fields of a request's JSON body, read as leniently as Vault reads them.
#[derive(Debug, Default)]
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body. What begins like no JSON object or array is taken for a form, whose fields do not matter here.
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

    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns a field's text; empty where it is absent or no scalar.
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

    /// Refuses what is no text where a text is wanted.
    pub(crate) fn require_texts(&self, keys: &[&str]) -> Result<(), Refusal> {
        let bad = |key: &&&str| matches!(self.0.get(**key), Some(Value::Array(_) | Value::Object(_)));
        match keys.iter().find(bad) {
            Some(key) => Err(invalid(key, "'' expected type 'string', got unconvertible type")),
            None => Ok(()),
        }
    }

    /// Returns a duration, given in seconds or as Go writes it; zero where there is none.
    pub(crate) fn duration(&self, key: &str) -> Result<Duration, Refusal> {
        if let Some(Value::Bool(_) | Value::Array(_) | Value::Object(_)) = self.0.get(key) {
            return Err(invalid(key, "could not parse duration from input"));
        }
        let text = self.text(key);
        match duration(&text) {
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

/// Parses `90`, `90s`, `1h30m` or `2d`.
fn duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(letters)?;
        let number: u64 = number.parse().ok()?;
        let seconds = match unit {
            "d" => number.checked_mul(86_400)?,
            "h" => number.checked_mul(3_600)?,
            "m" => number.checked_mul(60)?,
            "s" => number,
            "ms" => number / 1_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_secs(seconds))?;
        rest = tail;
    }
    Some(total)
}

/// Writes a duration as Go prints it, such as `720h0m0s`.
pub(crate) fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// Writes a duration as Vault's own warnings do, such as `720h`.
pub(crate) fn human_duration(duration: Duration) -> String {
    let text = go_duration(duration);
    let text = match text.strip_suffix("m0s") {
        Some(rest) => format!("{rest}m"),
        None => text,
    };
    text.replace("h0m", "h")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_vault_reads_them() {
        for (text, seconds) in [
            ("0", Some(0)),
            ("90", Some(90)),
            ("90s", Some(90)),
            ("1h30m", Some(5_400)),
            ("2160h0m0s", Some(7_776_000)),
            ("2d", Some(172_800)),
            ("h", None),
            ("5 s", None),
            ("-5s", None),
            ("99999999999999999d", None),
        ] {
            assert_eq!(duration(text), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(go_duration(Duration::from_secs(720 * 3_600)), "720h0m0s");
        assert_eq!(go_duration(Duration::from_secs(61)), "1m1s");
        assert_eq!(human_duration(Duration::from_secs(5 * 3_600)), "5h");
        assert_eq!(human_duration(Duration::from_secs(7_199)), "1h59m59s");
        assert_eq!(human_duration(Duration::from_secs(3_601)), "1h1s");
        assert_eq!(human_duration(Duration::from_secs(600)), "10m");
    }
}
