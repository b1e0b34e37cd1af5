//! What to do about CertificateRequests and issuers, one question at a time.
//!
//! A driver tells the [`Controller`] what its watches saw, takes tasks from it, and answers the question of each
//! [`Step`] until the task is done:
//!
//! ```text
//! watches --observe--> Controller --poll--> Step --resume(answer)--> Step --> .. --> Done
//!                          ^                                  |
//!                          +------- state, &mut, no IO -------+
//! ```
//!
//! Architecture invariant: which request is sent to Vault, what is written to Kubernetes and when anything is tried
//! again is decided here and nowhere else.

mod backoff;
mod claim;
mod controller;
mod issuer;
mod issuers;
mod ledger;
mod queue;
mod request;
mod requests;
mod status;

use std::time::Duration;

pub use claim::Claim;
pub use controller::{Change, Config, Controller, ObservedIssuer};
pub use status::StatusPatch;

use crate::access::{self, ReadError, SecretData};
use crate::reference::{IssuerKey, RequestKey, SecretRef, TokenSpec};
use crate::vault::Revoke;
use crate::{Flow, Now, Reply, Request, Secret};
use issuer_api::CertificateRequest;

/// What a task is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// An issuer is to be checked.
    Issuer(IssuerKey),
    /// A CertificateRequest is to be brought on.
    Request(RequestKey),
    /// A token that nobody needs any more is to be revoked; the number tells tokens apart.
    Token(u64),
}

/// A question, and the state that awaits its answer.
#[must_use]
#[derive(Clone, Debug)]
pub enum Step {
    /// Send this request to Vault.
    Exchange(Request, AwaitReply),
    /// Request this token of a service account.
    MintToken(TokenSpec, AwaitToken),
    /// Record this event.
    Publish(Event, AwaitPublish),
    /// Read this CertificateRequest from the API server, not from a cache.
    ReadRequest(RequestKey, AwaitRequest),
    /// Read this Secret.
    ReadSecret(SecretRef, AwaitSecret),
    /// Write this status.
    WriteStatus(StatusPatch, AwaitWrite),
    /// The task is over.
    Done(Outcome),
}

/// What a task came to; a label for metrics and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// A request was denied by an approval controller.
    Denied,
    /// A request failed for good, for this reason.
    Failed(&'static str),
    /// There was nothing to do.
    Idle,
    /// A certificate was signed and saved.
    Issued,
    /// An issuer cannot sign, for this reason.
    NotReady(&'static str),
    /// A request waits, for this reason.
    Pending(&'static str),
    /// An issuer can sign.
    Ready,
    /// A token was revoked.
    Revoked,
    /// The API server did not take a status; it is tried again.
    Unsaved,
}

impl Outcome {
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
            Self::Revoked => "revoked",
            Self::Unsaved => "unsaved",
        }
    }
}

/// Something to be recorded for people, as an `events.k8s.io/v1` Event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// What it is about: an issuer or a request.
    pub regarding: Key,
    /// The uid of that.
    pub uid: String,
    /// Whether it is of type `Warning`, not `Normal`.
    pub warning: bool,
    /// A word of a fixed set, in CamelCase.
    pub reason: &'static str,
    /// A sentence for people.
    pub note: String,
}

/// Why a status was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriteError {
    /// The object has changed since.
    Conflict,
    /// The controller may not write it.
    Forbidden,
    /// The object is gone.
    NotFound,
    /// The API server did not say.
    Unavailable,
}

/// Awaits a reply of Vault.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitReply(Replied);

#[derive(Clone, Debug, PartialEq, Hash)]
enum Replied {
    Issuer(issuer::Task, access::AwaitReply),
    Sign(Box<request::Signing>),
    Token(u64, Revoke),
}

impl AwaitReply {
    /// Takes the reply.
    pub fn resume(self, controller: &mut Controller, now: Now, reply: Reply) -> Step {
        match self.0 {
            Replied::Issuer(task, access) => task.advance(controller, now, access.resume(now, reply)),
            Replied::Sign(signing) => signing.resume(controller, now, reply),
            Replied::Token(token, revoke) => match revoke.resume(now, reply) {
                crate::Step::Send(request, revoke) => Step::Exchange(request, Self(Replied::Token(token, revoke))),
                crate::Step::Done(()) => controller.revoked(token),
            },
        }
    }
}

/// Awaits a service account's token.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitToken(issuer::Task, access::AwaitToken);

impl AwaitToken {
    /// Takes the token.
    pub fn resume(self, controller: &mut Controller, now: Now, answer: Result<Secret, ReadError>) -> Step {
        self.0.advance(controller, now, self.1.resume(now, answer))
    }
}

/// Awaits a Secret.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitSecret(issuer::Task, access::AwaitSecret);

impl AwaitSecret {
    /// Takes the Secret.
    pub fn resume(self, controller: &mut Controller, now: Now, answer: Result<SecretData, ReadError>) -> Step {
        self.0.advance(controller, now, self.1.resume(now, answer))
    }
}

/// Awaits a CertificateRequest.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitRequest(request::Task);

impl AwaitRequest {
    /// Takes the CertificateRequest.
    pub fn resume(self, controller: &mut Controller, now: Now, answer: Result<CertificateRequest, ReadError>) -> Step {
        self.0.read(controller, now, answer)
    }
}

/// Awaits that a status is written.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitWrite(Wrote);

#[derive(Clone, Debug, PartialEq, Hash)]
enum Wrote {
    Issuer(issuer::Writing),
    Request(Box<request::Writing>),
}

impl AwaitWrite {
    /// Takes whether it was.
    pub fn resume(self, controller: &mut Controller, now: Now, answer: Result<(), WriteError>) -> Step {
        match self.0 {
            Wrote::Issuer(writing) => writing.resume(controller, now, answer),
            Wrote::Request(writing) => writing.resume(controller, now, answer),
        }
    }
}

/// Awaits that an event is recorded, or not: nothing depends on it.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct AwaitPublish {
    key: Key,
    outcome: Outcome,
    again: Option<Duration>,
}

impl AwaitPublish {
    /// Ends the task.
    pub fn resume(self, controller: &mut Controller) -> Step {
        controller.finish(&self.key, self.outcome, self.again)
    }
}
