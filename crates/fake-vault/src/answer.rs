//! The format of replies.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, STRICT_TRANSPORT_SECURITY};
use http::{HeaderValue, Response, StatusCode};
use issuer_core::Body;
use serde_json::{Map, Value, json};

/// A successful reply of a logical backend.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) data: Option<Map<String, Value>>,
    pub(crate) auth: Option<Value>,
    pub(crate) lease: Option<Lease>,
    pub(crate) warnings: Vec<String>,
    /// The token that stands for the data, which is left out.
    pub(crate) wrap_info: Option<Value>,
    /// The type of the mount that answered.
    pub(crate) mount: &'static str,
    /// Whether the data is repeated at the top level, as in older parts of the system backend.
    pub(crate) injected: bool,
}

/// The lease of a secret.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) id: String,
    pub(crate) seconds: u64,
}

impl Answer {
    pub(crate) fn data(mount: &'static str, data: Map<String, Value>) -> Self {
        Self {
            data: Some(data),
            mount,
            ..Self::default()
        }
    }

    pub(crate) fn auth(mount: &'static str, auth: Value, warnings: Vec<String>) -> Self {
        Self {
            auth: Some(auth),
            warnings,
            mount,
            ..Self::default()
        }
    }

    /// Returns the reply: the envelope, or 204 if it would be empty.
    pub(crate) fn into_response(self, request_id: String) -> Response<Body> {
        if self.data.is_none() && self.auth.is_none() && self.wrap_info.is_none() && self.warnings.is_empty() {
            return reply(StatusCode::NO_CONTENT, Vec::new());
        }
        let lease = self.lease.unwrap_or(Lease {
            id: String::new(),
            seconds: 0,
        });
        let warnings = if self.warnings.is_empty() {
            Value::Null
        } else {
            json!(self.warnings)
        };
        let mut envelope = json!({
            "request_id": request_id,
            "lease_id": lease.id,
            "renewable": false,
            "lease_duration": lease.seconds,
            "data": self.data,
            "wrap_info": self.wrap_info,
            "warnings": warnings,
            "auth": self.auth,
            "mount_type": self.mount,
        });
        if let (true, Some(envelope), Some(data)) = (self.injected, envelope.as_object_mut(), self.data) {
            for (key, value) in data {
                envelope.entry(key).or_insert(value);
            }
        }
        json_reply(StatusCode::OK, &envelope)
    }
}

/// A refusal: a status and Vault's `errors`.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) errors: Vec<String>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            errors: vec![error.into()],
        }
    }

    /// Returns a status without an error text.
    pub(crate) fn bare(status: StatusCode) -> Self {
        Self {
            status,
            errors: Vec::new(),
        }
    }

    /// Returns the 400 of a backend that rejects a request.
    pub(crate) fn bad_request(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// Returns the 500 of an error that a backend returns.
    pub(crate) fn internal(error: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, occurred(&[error]))
    }

    /// Returns this refusal as a 500 if it is a 400.
    pub(crate) fn into_internal(self) -> Self {
        match self.errors.first() {
            Some(error) if self.status == StatusCode::BAD_REQUEST => Self::internal(error),
            _ => self,
        }
    }

    /// Returns the refusal of a request without a token.
    pub(crate) fn no_token() -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission denied")
    }

    /// Returns the refusal of a request that no policy of its token allows.
    pub(crate) fn permission_denied() -> Self {
        Self::new(StatusCode::FORBIDDEN, occurred(&["permission denied"]))
    }

    /// Returns the refusal of a token that is unknown, expired or revoked.
    pub(crate) fn invalid_token() -> Self {
        Self::new(StatusCode::FORBIDDEN, occurred(&["permission denied", "invalid token"]))
    }

    /// Returns the refusal of a wrapping token that is unknown, used or expired.
    pub(crate) fn invalid_wrapping_token() -> Self {
        Self::bad_request("wrapping token is not valid or does not exist")
    }

    pub(crate) fn unsupported_operation() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, occurred(&["unsupported operation"]))
    }

    pub(crate) fn unsupported_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, occurred(&["unsupported path"]))
    }

    /// Returns the refusal of a path below no mount.
    pub(crate) fn no_handler(path: &str) -> Self {
        let error = format!("no handler for route \"{path}\". route entry not found.");
        Self::new(StatusCode::NOT_FOUND, error)
    }

    /// Returns the refusal of a rate limit quota.
    pub(crate) fn rate_limited(path: &str) -> Self {
        let error = format!("request path {path:?}: rate limit quota exceeded");
        Self::new(StatusCode::TOO_MANY_REQUESTS, error)
    }

    pub(crate) fn sealed() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Vault is sealed")
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        json_reply(self.status, &json!({ "errors": self.errors }))
    }
}

/// Formats errors like HashiCorp's `multierror`.
pub(crate) fn occurred(errors: &[&str]) -> String {
    let count = match errors.len() {
        1 => "1 error occurred:".to_owned(),
        n => format!("{n} errors occurred:"),
    };
    let lines: String = errors.iter().map(|error| format!("\n\t* {error}")).collect();
    format!("{count}{lines}\n\n")
}

/// Adds fields to a JSON object.
pub(crate) fn with<const N: usize>(mut object: Value, fields: [(&str, Value); N]) -> Value {
    if let Some(object) = object.as_object_mut() {
        object.extend(fields.map(|(key, value)| (key.to_owned(), value)));
    }
    object
}

/// Returns a reply with a JSON body.
pub(crate) fn json_reply(status: StatusCode, body: &Value) -> Response<Body> {
    reply(status, format!("{body}\n").into_bytes())
}

/// Returns a reply with the headers of every reply.
pub(crate) fn reply(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let transport = HeaderValue::from_static("max-age=31536000; includeSubDomains");
    headers.insert(STRICT_TRANSPORT_SECURITY, transport);
    response
}
