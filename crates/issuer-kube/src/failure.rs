//! Failed lists and watches, described for the log.

use std::fmt;
use std::time::Duration;

use http::Response;
use http::header::RETRY_AFTER;
use http_body_util::{BodyExt, Limited};
use issuer_core::reconcile::WriteError;
use kube::client::Body;
use kube::core::response::Status;

/// The most that is read of a refusal, in bytes.
const REFUSAL: usize = 64 << 10;

/// The most that is quoted of a refusal, in characters.
const QUOTED: usize = 300;

/// The longest wait that a refusal can ask for: a proxy in between may ask for any.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Why the API server did not give a list or a watch.
#[derive(Debug, PartialEq)]
pub(crate) struct Failure {
    /// The status of the refusal, if there was one.
    pub(crate) code: Option<u16>,
    /// The time that the API server asked to wait, at most [`LONGEST_WAIT`].
    pub(crate) retry_after: Option<Duration>,
    /// Whether the refusal is about this request, and not about all that this process sends.
    is_own: bool,
    /// Whether an admission webhook or policy has refused the request.
    is_of_admission: bool,
    cause: String,
}

impl Failure {
    /// Describes a failure other than a refusal.
    pub(crate) fn new(cause: impl fmt::Display) -> Self {
        Self {
            code: None,
            retry_after: None,
            is_own: false,
            is_of_admission: false,
            cause: cause.to_string(),
        }
    }

    /// Describes a refusal by its body and the `Retry-After` of its head.
    pub(crate) async fn refused(response: Response<Body>) -> Self {
        let (head, body) = response.into_parts();
        let seconds = head
            .headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let body = Limited::new(body, REFUSAL).collect().await;
        let bytes = body.map(|body| body.to_bytes()).unwrap_or_default();
        let mut status: Status = serde_json::from_slice(&bytes).unwrap_or_default();
        status.code = head.status.as_u16();
        let refusal = Self::of(&status);
        Self {
            retry_after: seconds.map(wait).or(refusal.retry_after),
            ..refusal
        }
    }

    /// Returns the time for which the API server has asked all its clients, or this process, to send nothing.
    ///
    /// A refusal before a request is looked at, by priority and fairness or a server that shuts down, is plain text.
    /// A Status is the answer to one request, for example of a quota or of an admission webhook: then that request alone
    /// waits, since those who may cause the answer must not stop others.
    /// <https://github.com/kubernetes/kubernetes/blob/v1.34.0/staging/src/k8s.io/apiserver/pkg/server/filters/maxinflight.go>
    pub(crate) fn general_wait(&self) -> Option<Duration> {
        self.retry_after.filter(|_| !self.is_own)
    }

    /// Classifies the refusal of a status.
    ///
    /// Admission refuses with any status that its author likes, often 403, until the object or the policy changes. A missing
    /// permission is another matter: it may be granted while the object stays as it is.
    pub(crate) fn write_error(&self) -> WriteError {
        let error = match WriteError::of(self.code) {
            WriteError::Forbidden if self.is_of_admission => WriteError::Refused,
            error => error,
        };
        match (error, self.retry_after) {
            (WriteError::Refused | WriteError::Unavailable, Some(asked)) if self.is_own => WriteError::Postponed(asked),
            _ => error,
        }
    }

    /// Describes a refusal in a watch that has begun.
    pub(crate) fn of(status: &Status) -> Self {
        let details = status.details.as_ref();
        let seconds = details.map_or(0, |details| details.retry_after_seconds);
        let message: String = status.message.chars().take(QUOTED).collect();
        let cause = match (status.reason.as_str(), message.as_str()) {
            ("", "") => format!("status {}", status.code),
            ("", message) => format!("{message} ({})", status.code),
            (reason, "") => format!("{reason} ({})", status.code),
            (reason, message) => format!("{reason} ({}): {message}", status.code),
        };
        Self {
            code: Some(status.code),
            is_own: status.status.is_some() || !status.reason.is_empty(),
            is_of_admission: is_of_admission(&status.message),
            retry_after: (seconds > 0).then(|| wait(seconds.into())),
            cause,
        }
    }

    /// Returns `true` if the version or the page that was asked for is too old to be served.
    pub(crate) fn is_expired(&self) -> bool {
        self.code == Some(410)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        Self::new(chain(&error))
    }
}

/// Returns how long to wait where a refusal asks for so many seconds.
fn wait(seconds: u64) -> Duration {
    Duration::from_secs(seconds).min(LONGEST_WAIT)
}

/// Returns `true` if a message is in the words of an admission [webhook] or [policy]: the API server begins with these, and
/// quotes what the webhook or the policy says after them. The name before them is that of an object, which has no quotes.
///
/// [webhook]: https://github.com/kubernetes/kubernetes/blob/v1.34.0/staging/src/k8s.io/apiserver/pkg/admission/plugin/webhook/errors/statuserror.go
/// [policy]: https://github.com/kubernetes/kubernetes/blob/v1.34.0/staging/src/k8s.io/apiserver/pkg/admission/plugin/policy/validating/dispatcher.go
fn is_of_admission(message: &str) -> bool {
    let cause = message.split_once("\" is forbidden: ").map(|(_, cause)| cause);
    message.starts_with("admission webhook \"")
        || cause.is_some_and(|cause| cause.starts_with("ValidatingAdmissionPolicy '"))
}

/// Writes an error and its causes, each once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const WAIT: Duration = Duration::from_secs(7);

    /// Returns the error of a status that is refused in this way.
    fn write_error(code: u16, message: &str, seconds: u32) -> WriteError {
        let status = json!({
            "status": "Failure",
            "message": message,
            "code": code,
            "details": { "retryAfterSeconds": seconds },
        });
        Failure::of(&serde_json::from_value(status).unwrap()).write_error()
    }

    #[test]
    fn admission_is_told_from_permission() {
        let web = "certificaterequests.cert-manager.io \"web\" is forbidden: ";
        let quoted = r#"User "x" cannot patch: " is forbidden: ValidatingAdmissionPolicy 'a'"#;
        for (message, expected) in [
            (
                "admission webhook \"a.example\" denied the request: no",
                WriteError::Refused,
            ),
            (
                "admission webhook \"a.example\" denied the request without explanation",
                WriteError::Refused,
            ),
            (
                &*format!("{web}ValidatingAdmissionPolicy 'a' with binding 'b' denied request: no"),
                WriteError::Refused,
            ),
            (
                &*format!("{web}User \"controller\" cannot patch resource"),
                WriteError::Forbidden,
            ),
            (&*format!("{web}{quoted}"), WriteError::Forbidden),
            ("the admission webhook \"a\" is down", WriteError::Forbidden),
            ("", WriteError::Forbidden),
        ] {
            assert_eq!(write_error(403, message, 0), expected, "{message}");
        }
    }

    #[test]
    fn only_a_refusal_can_be_postponed() {
        let denied = "admission webhook \"a.example\" denied the request";
        for (code, expected) in [
            (400, WriteError::Postponed(WAIT)),
            (403, WriteError::Postponed(WAIT)),
            (404, WriteError::NotFound),
            (409, WriteError::Conflict),
            (422, WriteError::Postponed(WAIT)),
            (429, WriteError::Postponed(WAIT)),
            (500, WriteError::Postponed(WAIT)),
        ] {
            assert_eq!(write_error(code, denied, 7), expected, "{code}");
        }
        assert_eq!(write_error(403, "", 7), WriteError::Forbidden);
        assert_eq!(write_error(429, denied, 0), WriteError::Unavailable);
        // Without a Status it is about every request, and pauses all.
        let plain = Failure {
            code: Some(429),
            retry_after: Some(WAIT),
            ..Failure::new("too many requests")
        };
        assert_eq!(
            (plain.write_error(), plain.general_wait()),
            (WriteError::Unavailable, Some(WAIT))
        );
    }
}
