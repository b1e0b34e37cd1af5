//! The conversation with Vault or OpenBao.
//!
//! Requests carry `X-Vault-Request`, the token, and the namespace: that of the PKI mount or that of the auth method, and
//! none for `sys/health`, which Vault serves in the root namespace only. Sensitive headers are marked as such. Replies are
//! JSON: `{"errors": [..]}` from status 400 on, and an envelope with `data` or `auth` below.

pub(crate) mod aws;
mod error;
pub(crate) mod health;
mod lease;
pub(crate) mod login;
pub(crate) mod probe;
mod redacted;
mod revoke;
mod sign;
pub(crate) mod wrapping;

use std::sync::Arc;

use http::{HeaderValue, Method};
use serde::Serialize;

pub use aws::{AwsError, AwsKeys};
pub use error::{Misbehavior, VaultError};
pub use health::HealthError;
pub use lease::Lease;
pub use login::Credentials;
pub use probe::ProbeError;
pub use redacted::Redacted;
pub use revoke::{Revocation, Revoke, Upkeep};
pub use sign::{Disposition, SIGN_TIMEOUT, Sign, SignError};
pub use wrapping::WrappingError;

use crate::{Body, Connect, Operation, Request, Secret};

/// How to reach the Vault of one issuer.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Vault {
    /// How to dial for health, probe and signing requests.
    pub connect: Arc<Connect>,
    /// How to dial to log in, look up, renew and revoke. Differs from `connect` if the login uses another client
    /// certificate: Vault binds the token to the certificate that it was issued for.
    pub login: Arc<Connect>,
    /// The Vault namespace of probe and signing requests.
    pub namespace: Option<HeaderValue>,
    /// The Vault namespace to log in, look up, renew and revoke in. A token has its policies from its own namespace, so
    /// one that may renew itself there may not do so elsewhere.
    pub login_namespace: Option<HeaderValue>,
}

impl Vault {
    /// Returns what it takes to renew and to revoke a token.
    pub(crate) fn for_tokens(&self) -> Self {
        Self {
            connect: Arc::clone(&self.login),
            login: Arc::clone(&self.login),
            namespace: None,
            login_namespace: self.login_namespace.clone(),
        }
    }

    fn get(&self, operation: Operation, path: &str, token: Option<&Secret>) -> Request {
        self.request(operation, Method::GET, path, token, Body::default())
    }

    fn post(&self, operation: Operation, path: &str, token: Option<&Secret>, body: &impl Serialize) -> Request {
        self.request(operation, Method::POST, path, token, json(body))
    }

    fn request(&self, operation: Operation, method: Method, path: &str, token: Option<&Secret>, body: Body) -> Request {
        let (connect, namespace) = match operation {
            Operation::Health => (&self.connect, None),
            Operation::Probe | Operation::Sign => (&self.connect, self.namespace.as_ref()),
            Operation::Login | Operation::Lookup | Operation::Renew | Operation::Revoke => {
                (&self.login, self.login_namespace.as_ref())
            }
        };
        let mut http = http::Request::new(body);
        *http.method_mut() = method;
        // The segments of every path were checked by `target`, so the URL parses.
        if let Ok(uri) = connect.origin.url(path).parse() {
            *http.uri_mut() = uri;
        }
        let has_body = !http.body().as_bytes().is_empty();
        let headers = http.headers_mut();
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        if has_body {
            headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(namespace) = namespace {
            headers.insert("x-vault-namespace", namespace.clone());
        }
        let token = token
            .and_then(Secret::expose_str)
            .and_then(|token| HeaderValue::from_str(token).ok());
        if let Some(mut token) = token {
            token.set_sensitive(true);
            headers.insert("x-vault-token", token);
        }
        Request {
            connect: Arc::clone(connect),
            operation,
            http,
            timeout: connect.limits.exchange,
        }
    }
}

/// Serializes a body into a buffer that never grows, since growing would leave unwiped copies of credentials behind.
fn json(body: &impl Serialize) -> Body {
    json_bytes(body).into()
}

/// The same, as bytes.
fn json_bytes(body: &impl Serialize) -> Vec<u8> {
    // Maps of strings and JSON values always serialize.
    let mut length = Length(0);
    serde_json::to_writer(&mut length, body).unwrap_or_default();
    let mut bytes = Vec::with_capacity(length.0);
    serde_json::to_writer(&mut bytes, body).unwrap_or_default();
    bytes
}

/// Counts the bytes that are written.
struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Roots;
    use crate::fixture::vault;

    #[test]
    fn buffers_of_bodies_never_grow() {
        for length in [0, 100, 1000, 100_000] {
            let bytes = json_bytes(&serde_json::json!({ "jwt": "j".repeat(length) }));
            assert_eq!(bytes.len(), length + r#"{"jwt":""}"#.len());
            assert_eq!(bytes.capacity(), bytes.len());
        }
    }

    #[test]
    fn each_operation_has_its_namespace() {
        let vault = Vault {
            namespace: Some(HeaderValue::from_static("team/a")),
            login_namespace: Some(HeaderValue::from_static("team")),
            ..vault("https://vault.example", Roots::System)
        };
        for operation in Operation::ALL {
            let request = vault.get(operation, "path", None);
            let namespace = match operation {
                Operation::Health => None,
                Operation::Probe | Operation::Sign => Some("team/a"),
                _ => Some("team"),
            };
            let sent = request.http.headers().get("x-vault-namespace");
            let sent = sent.map(|value| value.to_str().unwrap());
            assert_eq!(sent, namespace, "{}", operation.as_str());
        }
    }
}
