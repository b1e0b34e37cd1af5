//! Fields of cert-manager's issuers that are not known here.

use serde_json::Value;

/// Returns the fields of `given` that are not in `known`, which was decoded from it, and hold something.
pub(super) fn fields(path: &str, given: &Value, known: &Value) -> Vec<String> {
    let (Some(given), Some(known)) = (given.as_object(), known.as_object()) else {
        return Vec::new();
    };
    let of_field = |(name, given): (&String, &Value)| {
        let path = format!("{path}.{name}");
        match known.get(name) {
            Some(known) => fields(&path, given, known),
            None if is_empty(given) => Vec::new(),
            None => vec![path],
        }
    };
    given.iter().flat_map(of_field).collect()
}

/// Returns `true` if a value is the same as none: Go stores the zero value of some fields that are not set.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Bool(is_set) => !is_set,
        Value::Number(number) => number.as_i64() == Some(0),
    }
}
