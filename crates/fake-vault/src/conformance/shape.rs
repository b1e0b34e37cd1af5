//! The comparable part of a reply.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use http::Response;
use issuer_core::Body;
use serde_json::Value;
use x509_parser::extensions::ParsedExtension;

/// The part of a reply that must be the same for the model and Vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The status.
    pub status: u16,
    /// The JSON types of the fields at the top level, in `data`, `auth` and `wrap_info`, by path. Arrays include their length.
    pub fields: BTreeMap<String, String>,
    /// The known phrases in the errors.
    pub errors: BTreeSet<&'static str>,
    /// The subject, the lifetime, the names and the other extensions of the certificate in `data`, one per line.
    pub certificate: Vec<String>,
}

impl Shape {
    /// Returns the shape of a reply.
    pub fn of(response: &Response<Body>) -> Self {
        let body: Value = serde_json::from_slice(response.body().as_bytes()).unwrap_or_default();
        let mut fields = BTreeMap::new();
        for part in ["", "/data", "/auth", "/wrap_info"] {
            let Some(Value::Object(object)) = body.pointer(part) else {
                continue;
            };
            let prefix = part.trim_start_matches('/');
            for (key, value) in object {
                fields.insert(format!("{prefix}.{key}"), kind(value));
            }
        }
        let text = body.get("errors").map(Value::to_string).unwrap_or_default();
        let errors = PHRASES.into_iter().filter(|phrase| text.contains(phrase)).collect();
        let pem = body.pointer("/data/certificate").and_then(Value::as_str);
        let certificate = pem.and_then(certificate).unwrap_or_default();
        Self {
            status: response.status().as_u16(),
            fields,
            errors,
            certificate,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        for (path, kind) in &self.fields {
            write!(f, " {path}:{kind}")?;
        }
        write!(f, " {:?} {:?}", self.errors, self.certificate)
    }
}

fn kind(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("array of {}", items.len()),
        Value::Bool(_) => "bool".to_owned(),
        Value::Null => "null".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::Object(_) => "object".to_owned(),
        Value::String(_) => "string".to_owned(),
    }
}

/// Describes the first certificate of a PEM text, except its key, issuer and serial number.
fn certificate(pem: &str) -> Option<Vec<String>> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
    let certificate = pem.parse_x509().ok()?;
    let validity = certificate.validity();
    // Vault reads its clock twice for one certificate, and a second may pass in between.
    let lifetime = validity.not_after.timestamp() - validity.not_before.timestamp();
    let lifetime = (lifetime + 5) / 10 * 10;
    let subject = format!("subject {}", certificate.subject());
    let mut lines = vec![subject, format!("lifetime {lifetime} s")];
    for extension in certificate.extensions() {
        let critical = if extension.critical { "critical " } else { "" };
        lines.push(match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(_) => "subject key identifier".to_owned(),
            ParsedExtension::AuthorityKeyIdentifier(_) => "authority key identifier".to_owned(),
            other => format!("{critical}{other:?}"),
        });
    }
    lines.sort();
    Some(lines)
}

/// The phrases that distinguish errors.
const PHRASES: [&str; 56] = [
    "'key' must be",
    "1 error occurred",
    "2 errors occurred",
    "Either ttl or not_after",
    "Field validation failed",
    "IP Subject Alternative Names are not allowed",
    "URI Subject Alternative Names are not allowed",
    "Vault is sealed",
    "already in use",
    "batch tokens cannot be renewed",
    "batch tokens cannot be revoked",
    "beyond the expiration of the CA certificate",
    "cannot provide negative value",
    "cannot unmarshal array",
    "cannot write to a path ending in",
    "certificate request could not be parsed",
    "common name",
    "common_name field is required",
    "could not be found",
    "could not fetch the CA certificate",
    "csr contains no data",
    "determine alias name",
    "email address",
    "error validating wrapping token",
    "error verifying token signature",
    "format",
    "invalid audience",
    "invalid duration",
    "invalid key",
    "invalid role or secret ID",
    "invalid subject",
    "invalid token",
    "is empty",
    "key type",
    "lease is not renewable",
    "malformed JSON",
    "missing role",
    "missing secret_id",
    "missing token",
    "no default issuer",
    "no handler for route",
    "not allowed by this role",
    "one use left",
    "paths must be supplied",
    "permission denied",
    "rate limit quota exceeded",
    "request signature invalid",
    "requires keys of type",
    "serial_number",
    "subject alternate name",
    "token is expired",
    "unhandled critical extension",
    "unknown role",
    "unsupported operation",
    "unsupported path",
    "wrapping token is not valid",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_are_sorted() {
        assert!(PHRASES.is_sorted());
    }
}
