//! Vault's refusals, and their classification by status and text.

use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::Redacted;
use crate::{Body, Now, Reply, TransportError};

/// Why Vault did not fulfill a request.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// Status 403: the token is invalid or lacks the permission. Vault distinguishes the two, OpenBao does not.
    #[error("Vault denied permission (403)")]
    Denied,
    /// The reply violates Vault's API.
    #[error("the server's answer is not Vault's: {0}")]
    Misbehaved(Misbehavior),
    /// Status 404: nothing is mounted at the path, or it is not an endpoint.
    #[error("Vault knows no such path (404)")]
    NotFound,
    /// A redirect: a standby that does not forward. It is never followed, since it would send the token elsewhere.
    #[error("the server redirects to another address; point spec.server at the active node or a load balancer")]
    Redirected,
    /// Status 400, 405, 413: Vault refuses this request for the reason given.
    #[error("{reason}")]
    Refused {
        /// The status.
        status: u16,
        /// Vault's reason.
        reason: Redacted,
    },
    /// Status 503 with the text `Vault is sealed`.
    #[error("Vault is sealed")]
    Sealed,
    /// Status 429: a quota.
    #[error("Vault's rate limit is reached (429)")]
    Throttled {
        /// The least time to wait, if Vault named one.
        retry_after: Option<Duration>,
    },
    /// No reply.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Status 412 or 500 and above.
    #[error("Vault is unavailable ({status}){}", reason.after_colon())]
    Unavailable {
        /// The status.
        status: u16,
        /// Vault's reason.
        reason: Redacted,
        /// The least time to wait, if Vault named one.
        retry_after: Option<Duration>,
    },
}

/// How a reply violates Vault's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misbehavior {
    /// A field is missing or has the wrong type.
    #[error("{0} is missing or of the wrong type")]
    Field(&'static str),
    /// The body is not JSON, as from a proxy or a captive portal.
    #[error("it is not JSON")]
    NotJson,
    /// The login requires a second factor, which a controller does not have.
    #[error("the login asks for a second factor (MFA)")]
    SecondFactor,
    /// Vault does not use this status.
    #[error("status {0}")]
    Status(u16),
}

impl From<Misbehavior> for VaultError {
    fn from(misbehavior: Misbehavior) -> Self {
        Self::Misbehaved(misbehavior)
    }
}

impl VaultError {
    /// Returns `true` if the same request may succeed later although nobody has changed the configuration.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Denied | Self::NotFound | Self::Refused { .. } => false,
            Self::Misbehaved(misbehavior) => {
                // A proxy may answer in Vault's place for a while. A wrong field means a wrong server.
                matches!(misbehavior, Misbehavior::NotJson | Misbehavior::Status(_))
            }
            Self::Redirected
            | Self::Sealed
            | Self::Throttled { .. }
            | Self::Transport(_)
            | Self::Unavailable { .. } => true,
        }
    }

    /// Returns the reason for conditions, events and metrics, if the purpose of the request does not decide it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Denied => "PermissionDenied",
            Self::Misbehaved(_) => "VaultMisbehaved",
            Self::NotFound => "PathNotFound",
            Self::Redirected => "VaultRedirects",
            Self::Refused { .. } => "VaultRefused",
            Self::Sealed => "VaultSealed",
            Self::Throttled { .. } => "VaultThrottled",
            Self::Transport(TransportError::Dial(_)) => "InvalidConnection",
            Self::Transport(TransportError::Proxy(_)) => "ProxyFailed",
            Self::Transport(TransportError::Tls(_)) => "TlsFailed",
            Self::Transport(_) => "VaultUnreachable",
            Self::Unavailable { .. } => "VaultUnavailable",
        }
    }

    /// Returns the least time to wait before the next request, if Vault named one.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after } | Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// The body of every error of Vault. A body without `errors` is not Vault's but, for example, a gateway's.
#[derive(Deserialize)]
struct Errors {
    errors: Vec<String>,
}

/// Reads the JSON of a reply with status 200; classifies every other reply.
pub(super) fn read<T: DeserializeOwned>(now: Now, reply: Reply, field: &'static str) -> Result<T, VaultError> {
    let reply = reply?;
    let status = reply.status();
    let body = reply.body().as_bytes();
    if status == StatusCode::OK {
        return serde_json::from_slice(body).map_err(|_| misbehavior(body, field).into());
    }
    Err(refusal(now, &reply))
}

/// Classifies a reply with any status but 200.
pub(super) fn refusal(now: Now, reply: &http::Response<Body>) -> VaultError {
    let status = reply.status();
    let errors = errors(reply.body());
    let reason = Redacted::new(errors.as_ref().map_or(&[], Vec::as_slice));
    let retry_after = retry_after(now, reply);
    let is_empty = reply.body().as_bytes().trim_ascii().is_empty();
    // A page, or a message of another form than Vault's, is that of a gateway: it says nothing about the token or the path.
    if let (StatusCode::FORBIDDEN | StatusCode::NOT_FOUND, Err(misbehavior), false) = (status, &errors, is_empty) {
        return (*misbehavior).into();
    }
    match status {
        StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED | StatusCode::PAYLOAD_TOO_LARGE => match errors {
            // Vault always gives the reason of a 400 or 413.
            Ok(errors) if errors.is_empty() && status != StatusCode::METHOD_NOT_ALLOWED => {
                Misbehavior::Field("errors").into()
            }
            Ok(_) => VaultError::Refused {
                status: status.as_u16(),
                reason,
            },
            Err(misbehavior) => misbehavior.into(),
        },
        StatusCode::FORBIDDEN => VaultError::Denied,
        StatusCode::NOT_FOUND => VaultError::NotFound,
        StatusCode::TOO_MANY_REQUESTS => VaultError::Throttled { retry_after },
        StatusCode::SERVICE_UNAVAILABLE if reason.is("Vault is sealed") || reason.is("namespace is sealed") => {
            VaultError::Sealed
        }
        _ if status.is_redirection() => VaultError::Redirected,
        // 412: a performance standby that has not seen the write that issued the token yet.
        _ if status.is_server_error() || status == StatusCode::PRECONDITION_FAILED => VaultError::Unavailable {
            status: status.as_u16(),
            reason,
            retry_after,
        },
        _ => Misbehavior::Status(status.as_u16()).into(),
    }
}

fn errors(body: &Body) -> Result<Vec<String>, Misbehavior> {
    let body = body.as_bytes();
    let errors = serde_json::from_slice::<Errors>(body).map_err(|_| misbehavior(body, "errors"))?;
    Ok(errors.errors)
}

/// Classifies a body that cannot be read: JSON of another shape is that of a plugin or another version, and no JSON at all, such
/// as `404 page not found`, that of a proxy.
fn misbehavior(body: &[u8], field: &'static str) -> Misbehavior {
    match serde_json::from_slice::<IgnoredAny>(body) {
        Ok(_) => Misbehavior::Field(field),
        Err(_) => Misbehavior::NotJson,
    }
}

/// Reads `Retry-After`, in seconds or as a date (RFC 9110 section 10.2.3), between one second and ten minutes.
///
/// OpenBao truncates to whole seconds and may say 0; older Vault ended the date with `UTC`.
fn retry_after(now: Now, reply: &http::Response<Body>) -> Option<Duration> {
    let value = reply.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            // jiff, which the timestamps need anyway, reads the date of HTTP; `httpdate` would be one more dependency.
            let date = value.replace("UTC", "GMT");
            let date = jiff::fmt::rfc2822::parse(&date).ok()?.timestamp();
            until(now, date)
        }
    };
    // At most ten minutes: a wrong clock on either side must not stop an issuer for hours.
    Some(wait.clamp(Duration::from_secs(1), Duration::from_secs(600)))
}

fn until(now: Now, date: Timestamp) -> Duration {
    let at = Duration::from_secs(u64::try_from(date.as_second()).unwrap_or(0));
    at.saturating_sub(now.unix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> http::Response<Body> {
        let body = Body::from(body.as_bytes().to_vec());
        http::Response::builder().status(status).body(body).unwrap()
    }

    fn unavailable(status: u16, reason: &str) -> VaultError {
        VaultError::Unavailable {
            status,
            reason: Redacted::new(&[reason.to_owned()]),
            retry_after: None,
        }
    }

    #[test]
    fn classifies_every_status() {
        let refused = |status, reason: &str| VaultError::Refused {
            status,
            reason: Redacted::new(&[reason.to_owned()]),
        };
        for (status, body, class) in [
            (301, "", VaultError::Redirected),
            (307, "", VaultError::Redirected),
            (
                400,
                r#"{"errors":["unknown role: x"]}"#,
                refused(400, "unknown role: x"),
            ),
            (400, "<html>", Misbehavior::NotJson.into()),
            (400, r#"{"message":"Bad Request"}"#, Misbehavior::Field("errors").into()),
            (400, r#"{"errors":[]}"#, Misbehavior::Field("errors").into()),
            (400, r#"{"errors":"Bad Request"}"#, Misbehavior::Field("errors").into()),
            (413, r#"{"error":"too large"}"#, Misbehavior::Field("errors").into()),
            (413, "", Misbehavior::NotJson.into()),
            (403, "", VaultError::Denied),
            (403, r#"{"errors":["permission denied"]}"#, VaultError::Denied),
            (403, r#"{"errors":[],"warnings":null}"#, VaultError::Denied),
            (403, "<html>Request blocked</html>", Misbehavior::NotJson.into()),
            (403, r#"{"message":"Forbidden"}"#, Misbehavior::Field("errors").into()),
            (404, r#"{"errors":[]}"#, VaultError::NotFound),
            (404, "\n", VaultError::NotFound),
            (404, "404 page not found\n", Misbehavior::NotJson.into()),
            (
                404,
                r#"{"errors":"no Route matched"}"#,
                Misbehavior::Field("errors").into(),
            ),
            (405, r#"{"errors":[]}"#, refused(405, "")),
            (412, "", unavailable(412, "")),
            (
                413,
                r#"{"errors":["http: request body too large"]}"#,
                refused(413, "http: request body too large"),
            ),
            (418, "", Misbehavior::Status(418).into()),
            (204, "", Misbehavior::Status(204).into()),
            (429, "", VaultError::Throttled { retry_after: None }),
        ] {
            assert_eq!(refusal(Now::default(), &reply(status, body)), class, "{status} {body}");
        }
    }

    #[test]
    fn classifies_server_errors() {
        for (status, body, class) in [
            (500, "boom", unavailable(500, "")),
            (
                500,
                r#"{"errors":["could not fetch the CA certificate (was one set?): x"]}"#,
                unavailable(500, "could not fetch the CA certificate (was one set?): x"),
            ),
            (502, "", unavailable(502, "")),
            (503, r#"{"errors":["Vault is sealed"]}"#, VaultError::Sealed),
            (503, r#"{"errors":["namespace is sealed"]}"#, VaultError::Sealed),
            (
                503,
                r#"{"errors":["no unsealed upstream"]}"#,
                unavailable(503, "no unsealed upstream"),
            ),
            (
                500,
                r#"{"errors":["1 error occurred:\n\t* storage\n\n"]}"#,
                unavailable(500, "storage"),
            ),
            (
                503,
                r#"{"errors":["no active Vault instance found"]}"#,
                unavailable(503, "no active Vault instance found"),
            ),
            (530, "", unavailable(530, "")),
        ] {
            assert_eq!(refusal(Now::default(), &reply(status, body)), class, "{status} {body}");
        }
    }

    #[test]
    fn shows_the_reason_of_a_server_error() {
        let shown = |body: &str| refusal(Now::default(), &reply(500, body)).to_string();
        assert_eq!(
            shown(r#"{"errors":["x509: unhandled critical extension"]}"#),
            "Vault is unavailable (500): x509: unhandled critical extension"
        );
        assert_eq!(shown("<html>"), "Vault is unavailable (500)");
    }

    #[test]
    fn reads_retry_after_in_every_form() {
        let now = Now {
            monotonic: Duration::ZERO,
            unix: Duration::from_secs(1_445_412_480),
        };
        for (value, seconds) in [
            ("7", Some(7)),
            ("0", Some(1)),
            ("99999", Some(600)),
            ("-3", None),
            ("Wed, 21 Oct 2015 07:28:30 GMT", Some(30)),
            ("Wed, 21 Oct 2015 07:28:30 UTC", Some(30)),
            ("Wed, 21 Oct 2015 07:00:00 GMT", Some(1)),
            ("soon", None),
            ("", None),
        ] {
            let mut reply = reply(429, "");
            reply.headers_mut().insert(RETRY_AFTER, value.parse().unwrap());
            assert_eq!(retry_after(now, &reply), seconds.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn rejects_replies_of_a_proxy() {
        let read = |body: &str| read::<Errors>(Now::default(), Ok(reply(200, body)), "errors").err();
        assert_eq!(read("<html>hello</html>"), Some(Misbehavior::NotJson.into()));
        assert_eq!(read(r#"{"errors":"#), Some(Misbehavior::NotJson.into()));
        assert_eq!(read(r#"{"errors":7}"#), Some(Misbehavior::Field("errors").into()));
        assert_eq!(read(&"{\"a\":".repeat(10_000)), Some(Misbehavior::NotJson.into()));
    }
}
