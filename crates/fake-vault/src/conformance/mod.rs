//! One table of requests that the model and a real Vault must answer alike.
//!
//! A real server is configured by sending the calls of [`set_up`] with its root token, the model by [`fake`]; both
//! are made from the same values. Then [`run`] sends the cases of [`cases`] to either and returns the shapes of the
//! replies, which must be equal.

mod cases;
mod setup;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use http::{HeaderValue, Method, Request, Response};
use issuer_core::{Body, Now};
use serde_json::{Value, json};
use x509_parser::extensions::ParsedExtension;

use crate::FakeVault;

pub use cases::cases;
pub use setup::{fake, set_up};

/// A request of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What the case is about.
    pub name: &'static str,
    /// When it is sent.
    pub stage: Stage,
    /// The method.
    pub method: Method,
    /// The path below `/v1/`.
    pub path: &'static str,
    /// Whose token it carries.
    pub token: TokenKind,
    /// The body; empty for none.
    pub body: String,
    /// The status that Vault 1.21 answers with.
    pub status: u16,
}

/// When a case is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Before the server is sealed.
    Unsealed,
    /// After it.
    Sealed,
}

/// Whose token a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenKind {
    /// A batch token of the role `batch`.
    Batch,
    /// A token of the role `issuer` that is revoked.
    Dead,
    /// A token of the role `issuer` that is used only once.
    Fresh,
    /// The token of the role `issuer` that all such cases share.
    Issuer,
    /// None.
    None,
    /// The root token.
    Root,
}

/// A call that configures a server.
#[derive(Clone, Debug, PartialEq)]
pub struct SetUp {
    /// The path below `/v1/`; the method is POST.
    pub path: String,
    /// The body.
    pub body: Value,
}

/// What of a reply must be the same everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The status.
    pub status: u16,
    /// The JSON types of the fields at the top level and of those in `data` and `auth`, by path. Lists carry their
    /// length.
    pub fields: BTreeMap<String, String>,
    /// Which of the known phrases the errors have.
    pub errors: BTreeSet<&'static str>,
    /// The subject, the lifetime, the names and the other extensions of the certificate in `data`, one a line.
    pub certificate: Vec<String>,
}

impl Shape {
    /// Returns the shape of a reply.
    pub fn of(response: &Response<Body>) -> Self {
        let body: Value = serde_json::from_slice(response.body().as_bytes()).unwrap_or_default();
        let mut fields = BTreeMap::new();
        for part in ["", "/data", "/auth"] {
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

/// Describes the first certificate of a PEM text, but for its key, its issuer and its serial number.
fn certificate(pem: &str) -> Option<Vec<String>> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
    let certificate = pem.parse_x509().ok()?;
    let validity = certificate.validity();
    // Vault reads its clock twice, so a second may pass in between.
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

/// The phrases by which errors are told apart.
const PHRASES: [&str; 44] = [
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
    "could not fetch the CA certificate",
    "csr contains no data",
    "determine alias name",
    "email address",
    "format",
    "invalid duration",
    "invalid key",
    "invalid role or secret ID",
    "invalid token",
    "is empty",
    "key type",
    "lease is not renewable",
    "malformed JSON",
    "missing secret_id",
    "no default issuer",
    "no handler for route",
    "not allowed by this role",
    "paths must be supplied",
    "permission denied",
    "request signature invalid",
    "requires keys of type",
    "serial_number",
    "subject alternate name",
    "unknown role",
    "unsupported operation",
    "unsupported path",
];

/// Sends every case, and seals the server in between. `exchange` gets requests without an origin. The server stays
/// sealed.
pub fn run(root_token: &str, exchange: &mut dyn FnMut(Request<Body>) -> Response<Body>) -> Vec<(&'static str, Shape)> {
    let mut tokens = BTreeMap::from([(TokenKind::Root, root_token.to_owned())]);
    let roles = [
        (TokenKind::Batch, "batch"),
        (TokenKind::Dead, "issuer"),
        (TokenKind::Issuer, "issuer"),
    ];
    tokens.extend(roles.map(|(kind, role)| (kind, login(role, exchange))));
    let dead = tokens.get(&TokenKind::Dead).cloned();
    exchange(request(&Method::POST, "auth/token/revoke-self", dead.as_deref(), ""));
    let mut stage = Stage::Unsealed;
    let mut shapes = Vec::new();
    for case in cases() {
        if case.stage != stage {
            stage = case.stage;
            exchange(request(&Method::PUT, "sys/seal", Some(root_token), ""));
        }
        if case.token == TokenKind::Fresh {
            tokens.insert(TokenKind::Fresh, login("issuer", exchange));
        }
        let token = tokens.get(&case.token).map(String::as_str);
        let response = exchange(request(&case.method, case.path, token, &case.body));
        shapes.push((case.name, Shape::of(&response)));
    }
    shapes
}

/// Returns the shapes that the model gives, at whatever time.
pub fn expected(now: Now) -> Vec<(&'static str, Shape)> {
    let mut vault = fake();
    run(FakeVault::ROOT_TOKEN, &mut |request| vault.handle(now, request))
}

/// Logs in and returns the token; an empty one where the login fails.
fn login(role: &str, exchange: &mut dyn FnMut(Request<Body>) -> Response<Body>) -> String {
    let credentials = json!({ "role_id": setup::role_id(role), "secret_id": setup::secret_id(role) });
    let login = request(&Method::POST, "auth/approle/login", None, &credentials.to_string());
    let body = exchange(login).into_body();
    let reply: Value = serde_json::from_slice(body.as_bytes()).unwrap_or_default();
    reply
        .pointer("/auth/client_token")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn request(method: &Method, path: &str, token: Option<&str>, body: &str) -> Request<Body> {
    let mut request = Request::new(Body::from(body.as_bytes().to_vec()));
    *request.method_mut() = method.clone();
    *request.uri_mut() = format!("/v1/{path}").parse().unwrap_or_default();
    if let Some(Ok(mut token)) = token.map(HeaderValue::try_from) {
        token.set_sensitive(true);
        request.headers_mut().insert("x-vault-token", token);
    }
    request
        .headers_mut()
        .insert("x-vault-request", HeaderValue::from_static("true"));
    request
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn names_are_unique_and_phrases_are_sorted() {
        let names: Vec<_> = cases().into_iter().map(|case| case.name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        assert!(PHRASES.is_sorted());
    }

    #[test]
    fn the_model_gives_every_case_the_status_that_vault_gave() {
        let unix = Duration::from_secs(1_795_507_843);
        let shapes = expected(Now { unix, ..Now::default() });
        assert_eq!(shapes.len(), cases().len());
        for ((name, shape), case) in shapes.iter().zip(cases()) {
            assert_eq!((*name, shape.status), (case.name, case.status), "{shape}");
        }
    }
}
