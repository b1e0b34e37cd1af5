//! The conversation with Vault or OpenBao.
//!
//! Requests carry `X-Vault-Request`, the namespace (but for `sys/health`, which Vault serves in the root namespace
//! only) and the token; sensitive headers are marked so. Replies are JSON: `{"errors": [..]}` from status 400 on, and
//! an envelope with `data` or `auth` below.

mod check;
mod error;
mod health;
mod lease;
mod login;
mod probe;
mod redacted;
mod revoke;
mod sign;

use std::sync::Arc;

use http::{HeaderValue, Method};
use serde::Serialize;

pub use check::{AwaitJwt, Check, CheckError, CheckInput, Checked};
pub use error::{Misbehaviour, VaultError};
pub use health::HealthError;
pub use lease::Lease;
pub use login::Credentials;
pub use probe::ProbeError;
pub use redacted::Redacted;
pub use revoke::Revoke;
pub use sign::{Disposition, SIGN_TIMEOUT, Sign, SignError};

use crate::{Body, Connect, Operation, Request, Secret};

/// One issuer's way to Vault.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Vault {
    /// How to dial for everything but the token's own requests.
    pub connect: Arc<Connect>,
    /// How to dial to log in, renew and revoke. Differs where a certificate logs in that is not the connection's
    /// own: Vault binds the token to the certificate it was made with.
    pub login: Arc<Connect>,
    /// The Vault namespace.
    pub namespace: Option<HeaderValue>,
}

impl Vault {
    fn get(&self, operation: Operation, path: &str, token: Option<&Secret>) -> Request {
        self.request(operation, Method::GET, path, token, Body::default())
    }

    fn post(&self, operation: Operation, path: &str, token: Option<&Secret>, body: &impl Serialize) -> Request {
        // Maps of strings and JSON values always serialize.
        let body = serde_json::to_vec(body).unwrap_or_default();
        self.request(operation, Method::POST, path, token, body.into())
    }

    fn request(&self, operation: Operation, method: Method, path: &str, token: Option<&Secret>, body: Body) -> Request {
        let connect = match operation {
            Operation::Health | Operation::Probe | Operation::Sign => &self.connect,
            Operation::Login | Operation::Lookup | Operation::Renew | Operation::Revoke => &self.login,
        };
        let mut http = http::Request::new(body);
        *http.method_mut() = method;
        // Every path is made of segments that `target` has checked, so the URL parses.
        if let Ok(uri) = connect.origin.url(path).parse() {
            *http.uri_mut() = uri;
        }
        let has_body = !http.body().as_bytes().is_empty();
        let headers = http.headers_mut();
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        if has_body {
            headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let (Some(namespace), false) = (&self.namespace, operation == Operation::Health) {
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
