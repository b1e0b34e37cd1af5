//! Parameter constraints of policies:
//! <https://developer.hashicorp.com/vault/docs/concepts/policies#parameter-constraints>.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::fields::Fields;

/// The constraints that a rule puts on the parameters of a request.
///
/// An item of a list of values matches as a whole, or any text if it begins or ends with `*`. An empty list stands for
/// any value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// The parameters that a request may have, with their values; any parameters if empty. The name `*` allows any
    /// other parameter.
    pub allowed: BTreeMap<String, Vec<String>>,
    /// The parameters that a request must not have, with their values. The name `*` denies all parameters.
    pub denied: BTreeMap<String, Vec<String>>,
    /// The parameters that a request must have.
    pub required: Vec<String>,
}

impl Parameters {
    /// Returns the constraint that allows only these parameters.
    pub fn allowed<const N: usize>(names: [&str; N]) -> Self {
        Self {
            allowed: any_value(names),
            ..Self::default()
        }
    }

    /// Returns the constraint that denies these parameters.
    pub fn denied<const N: usize>(names: [&str; N]) -> Self {
        Self {
            denied: any_value(names),
            ..Self::default()
        }
    }

    /// Returns the constraint that requires these parameters.
    pub fn required<const N: usize>(names: [&str; N]) -> Self {
        Self {
            required: names.map(str::to_owned).to_vec(),
            ..Self::default()
        }
    }

    /// Adds the constraints of another policy's rule for the same path.
    pub(super) fn merge(&mut self, other: &Self) {
        for (own, others) in [(&mut self.allowed, &other.allowed), (&mut self.denied, &other.denied)] {
            for (name, values) in others {
                match own.get_mut(name) {
                    // Any value in one of the rules is any value in both.
                    Some(known) if known.is_empty() || values.is_empty() => known.clear(),
                    Some(known) => known.extend(values.iter().cloned()),
                    None => drop(own.insert(name.clone(), values.clone())),
                }
            }
        }
        self.required.extend(other.required.iter().cloned());
    }

    /// Returns `true` if a request with these fields meets the constraints.
    pub(crate) fn admit(&self, fields: &Fields) -> bool {
        if !self
            .required
            .iter()
            .all(|name| fields.get(&name.to_lowercase()).is_some())
        {
            return false;
        }
        let mut fields = fields.iter().peekable();
        if fields.peek().is_none() {
            return true;
        }
        let named = |map: &BTreeMap<String, Vec<String>>, key: &str| map.get(&key.to_lowercase()).cloned();
        let others_allowed = self.allowed.is_empty() || self.allowed.contains_key("*");
        !self.denied.contains_key("*")
            && fields.all(|(key, value)| {
                let denied = named(&self.denied, key).is_some_and(|values| is_among(value, &values, Mode::Any));
                let allowed =
                    named(&self.allowed, key).map_or(others_allowed, |values| is_among(value, &values, Mode::All));
                allowed && !denied
            })
    }

    /// Returns the constraints as lines of a rule in HCL.
    pub(super) fn hcl(&self) -> String {
        let list = |values: &[String]| {
            let quoted: Vec<_> = values.iter().map(|value| format!("{value:?}")).collect();
            format!("[{}]", quoted.join(", "))
        };
        let mut lines = String::new();
        for (name, map) in [
            ("allowed_parameters", &self.allowed),
            ("denied_parameters", &self.denied),
        ] {
            if !map.is_empty() {
                let entries: Vec<_> = map
                    .iter()
                    .map(|(key, values)| format!("{key:?} = {}", list(values)))
                    .collect();
                lines += &format!("  {name} = {{ {} }}\n", entries.join(", "));
            }
        }
        if !self.required.is_empty() {
            lines += &format!("  required_parameters = {}\n", list(&self.required));
        }
        lines
    }
}

fn any_value<const N: usize>(names: [&str; N]) -> BTreeMap<String, Vec<String>> {
    names.map(|name| (name.to_owned(), Vec::new())).into()
}

/// How many elements of a list must be among the values.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    All,
    Any,
}

/// Returns `true` if a value is among those of a constraint. Vault also looks at the elements of an array, and at
/// those of any text with commas.
fn is_among(value: &Value, values: &[String], mode: Mode) -> bool {
    let listed = |text: &str| values.iter().any(|item| matches(item, text));
    let elements: Vec<&str> = match value {
        _ if values.is_empty() => return true,
        Value::String(text) if listed(text) => return true,
        Value::String(text) if text.is_empty() => Vec::new(),
        Value::String(text) => text.split(',').map(str::trim).collect(),
        Value::Array(items) => items.iter().map(|item| item.as_str().unwrap_or_default()).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return false,
    };
    match mode {
        Mode::All => elements.into_iter().all(listed),
        Mode::Any => elements.into_iter().any(listed),
    }
}

/// Matches a value with an item of a constraint. A single `*` is not a wildcard.
fn matches(item: &str, text: &str) -> bool {
    let (open_start, rest) = item.strip_prefix('*').map_or((false, item), |rest| (true, rest));
    let (open_end, inner) = rest.strip_suffix('*').map_or((false, rest), |rest| (true, rest));
    match (open_start, open_end) {
        _ if item.len() < 2 => item == text,
        (true, true) => text.contains(inner),
        (true, false) => text.ends_with(inner),
        (false, true) => text.starts_with(inner),
        (false, false) => item == text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(parameters: &Parameters, body: &str) -> bool {
        parameters.admit(&Fields::parse(body.as_bytes()).unwrap())
    }

    #[test]
    fn constraints_follow_vaults_order() {
        let required = Parameters::required(["csr", "ttl"]);
        let allowed = Parameters::allowed(["csr"]);
        let denied = Parameters::denied(["format"]);
        let nothing = Parameters::denied(["*"]);
        for (parameters, body, admitted) in [
            (&required, "{}", false),
            (&required, r#"{ "csr": "" }"#, false),
            (&required, r#"{ "csr": "", "ttl": null, "x": 1 }"#, true),
            (&allowed, "{}", true),
            (&allowed, r#"{ "CSR": "a" }"#, true),
            (&allowed, r#"{ "csr": "a", "format": "pem" }"#, false),
            (&denied, r#"{ "csr": "a" }"#, true),
            (&denied, r#"{ "format": "" }"#, false),
            (&nothing, "{}", true),
            (&nothing, r#"{ "csr": "a" }"#, false),
        ] {
            assert_eq!(admits(parameters, body), admitted, "{parameters:?} {body}");
        }
    }

    #[test]
    fn values_are_compared_with_elements() {
        let values =
            |values: &[&str]| BTreeMap::from([("a".to_owned(), values.iter().map(|&v| v.to_owned()).collect())]);
        let allowed = |list: &[&str]| Parameters {
            allowed: values(list),
            ..Parameters::default()
        };
        let denied = |list: &[&str]| Parameters {
            denied: values(list),
            ..Parameters::default()
        };
        for (list, value, all, any) in [
            (&["x", "y"][..], r#""x""#, true, true),
            (&["x", "y"], r#""x, y""#, true, true),
            (&["x", "y"], r#""x,z""#, false, true),
            (&["x", "y"], r#"["x", "z"]"#, false, true),
            (&["x", "y"], r#""""#, true, false),
            (&["x"], "1", false, false),
            (&["*.example.com"], r#""www.example.com""#, true, true),
            (&["www*"], r#""www.example.com""#, true, true),
            (&["*example*"], r#""www.example.com""#, true, true),
            (&["*"], r#""x""#, false, false),
        ] {
            let body = format!(r#"{{ "a": {value} }}"#);
            assert_eq!(admits(&allowed(list), &body), all, "allowed {list:?} {body}");
            assert_eq!(admits(&denied(list), &body), !any, "denied {list:?} {body}");
        }
    }

    #[test]
    fn merging_widens_values() {
        let one = |value: &str| Parameters {
            allowed: BTreeMap::from([("ttl".to_owned(), vec![value.to_owned()])]),
            ..Parameters::default()
        };
        let mut merged = one("1h");
        merged.merge(&one("2h"));
        assert!(admits(&merged, r#"{ "ttl": "2h" }"#));
        assert!(!admits(&merged, r#"{ "ttl": "3h" }"#));
        merged.merge(&Parameters::allowed(["ttl"]));
        assert!(admits(&merged, r#"{ "ttl": "3h" }"#));
        merged.merge(&Parameters::required(["csr"]));
        assert!(!admits(&merged, r#"{ "ttl": "3h" }"#));
    }
}
