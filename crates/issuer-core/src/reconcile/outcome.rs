//! The keys, results and events of tasks.

use std::time::Duration;

use super::lane::Work;
use crate::reference::{IssuerKey, RequestKey};

/// The object of a task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// An issuer to check.
    Issuer(IssuerKey),
    /// A CertificateRequest to sign or to answer.
    Request(RequestKey),
    /// A token to revoke; the number identifies it within this controller.
    Token(u64),
}

/// The result of a task, as reported in metrics and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// An approval controller denied the request.
    Denied,
    /// The request failed permanently, for this reason.
    Failed(&'static str),
    /// There was nothing to do.
    Idle,
    /// A certificate was signed and saved.
    Issued,
    /// The issuer cannot sign, for this reason.
    NotReady(&'static str),
    /// The request waits, for this reason.
    Pending(&'static str),
    /// The issuer can sign.
    Ready,
    /// A token could not be revoked, for this reason; it is tried again or left to expire.
    NotRevoked(&'static str),
    /// A token was revoked, or Vault does not know it any more.
    Revoked,
    /// A status write failed and will be retried.
    Unsaved,
}

impl Outcome {
    /// Returns the reason, of an outcome that has one.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Failed(reason) | Self::NotReady(reason) | Self::NotRevoked(reason) | Self::Pending(reason) => {
                Some(reason)
            }
            _ => None,
        }
    }

    /// Returns the outcome as a lower-case word, without its reason.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Failed(_) => "failed",
            Self::Idle => "idle",
            Self::Issued => "issued",
            Self::NotReady(_) => "not_ready",
            Self::Pending(_) => "pending",
            Self::Ready => "ready",
            Self::NotRevoked(_) => "not_revoked",
            Self::Revoked => "revoked",
            Self::Unsaved => "unsaved",
        }
    }
}

/// An `events.k8s.io/v1` Event to publish.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// The issuer or request that the event is about.
    pub regarding: Key,
    /// The uid of that object.
    pub uid: String,
    /// Whether the type is `Warning` instead of `Normal`.
    pub warning: bool,
    /// The reason: one of a fixed set of words, in CamelCase.
    pub reason: &'static str,
    /// The message, a sentence for users.
    pub note: String,
}

/// Why a status write failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriteError {
    /// The object has changed since it was read.
    Conflict,
    /// The controller is not allowed to write it.
    Forbidden,
    /// The object does not exist.
    NotFound,
    /// The API server refuses it for now and asks to wait this long before the object is written again, as an admission
    /// webhook may.
    Postponed(Duration),
    /// The API server refuses it, until the object or a policy changes: it is invalid, too large, or not admitted (400, 413,
    /// 422).
    Refused,
    /// The request failed or timed out.
    Unavailable,
}

impl WriteError {
    /// Classifies the HTTP status of a refusal; `None` if no answer came.
    pub fn of(status: Option<u16>) -> Self {
        match status {
            Some(403) => Self::Forbidden,
            Some(404) => Self::NotFound,
            Some(409) => Self::Conflict,
            Some(400 | 413 | 422) => Self::Refused,
            _ => Self::Unavailable,
        }
    }

    /// Returns the shortest time before another attempt to write the object.
    pub(super) fn wait(self) -> Duration {
        match self {
            Self::Postponed(wait) => wait,
            Self::Conflict | Self::Forbidden | Self::NotFound | Self::Refused | Self::Unavailable => Duration::ZERO,
        }
    }
}

impl Work for Key {
    /// Returns the namespace, empty for cluster issuers, Kubernetes CSRs and tokens.
    fn requester(&self) -> &str {
        match self {
            Self::Issuer(key) => &key.namespace,
            Self::Request(key) => &key.namespace,
            Self::Token(_) => "",
        }
    }
}

/// The result of a check: the reason and message of the condition, unless the issuer is ready.
pub(super) type Verdict = Result<(), (&'static str, String)>;

/// The end of a task: its result, and when its key is due again.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Ending {
    pub(super) key: Key,
    pub(super) outcome: Outcome,
    pub(super) again: Again,
}

/// When a key is due again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Again {
    /// At this time, and for a request not before its issuer is ready.
    At(Duration),
    /// When something changes.
    Never,
    /// As soon as the issuer is ready.
    WhenReady,
}

impl From<Option<Duration>> for Again {
    fn from(at: Option<Duration>) -> Self {
        at.map_or(Self::Never, Self::At)
    }
}

impl Ending {
    pub(super) fn new(key: Key, outcome: Outcome, again: impl Into<Again>) -> Self {
        let again = again.into();
        Self { key, outcome, again }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_writes_are_told_apart() {
        for (status, expected) in [
            (400, WriteError::Refused),
            (403, WriteError::Forbidden),
            (404, WriteError::NotFound),
            (409, WriteError::Conflict),
            (413, WriteError::Refused),
            (422, WriteError::Refused),
            (429, WriteError::Unavailable),
            (500, WriteError::Unavailable),
        ] {
            assert_eq!(WriteError::of(Some(status)), expected, "{status}");
        }
        assert_eq!(WriteError::of(None), WriteError::Unavailable);
    }
}
