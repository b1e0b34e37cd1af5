//! The interface with Vault: a flow sends one request after the other, and a driver answers each.

use std::sync::Arc;
use std::time::Duration;

use crate::{Body, Connect, Now, TransportError};

/// A conversation that waits for the reply to the one request it has sent.
///
/// A value exists only while a request is outstanding, so there is no unstarted or finished state to misuse.
/// A driver is this loop, with or without `.await`:
///
/// ```
/// # use issuer_core::{Flow, Now, Reply, Request, Step};
/// fn drive<F: Flow>(mut step: Step<F>, now: impl Fn() -> Now, call: impl Fn(Request) -> Reply) -> F::Output {
///     loop {
///         match step {
///             Step::Send(request, flow) => {
///                 let reply = call(request);
///                 step = flow.resume(now(), reply);
///             }
///             Step::Done(output) => return output,
///         }
///     }
/// }
/// ```
pub trait Flow: Sized {
    /// The result of the conversation.
    type Output;

    /// Resumes the conversation with the reply to the outstanding request.
    fn resume(self, now: Now, reply: Reply) -> Step<Self>;
}

/// A question and the state that awaits its answer, or the end of the conversation.
#[must_use]
#[derive(Debug)]
pub enum Step<F: Flow> {
    /// Send this request and resume the conversation with the reply.
    Send(Request, F),
    /// The conversation is over.
    Done(F::Output),
}

/// A request to Vault: what to send, and how to dial.
///
/// The URI is absolute and lies within the origin of `connect`. A driver sends it once, follows no redirect and
/// adds nothing but `Host`, `Content-Length` and `User-Agent`.
#[derive(Clone, Debug)]
pub struct Request {
    /// How to reach the server.
    pub connect: Arc<Connect>,
    /// The purpose of the request.
    pub operation: Operation,
    /// The request itself.
    pub http: http::Request<Body>,
    /// Time from the start of the request to the end of the reply, connecting included.
    pub timeout: Duration,
}

impl Request {
    /// Returns the most bytes that the body of the reply may have.
    pub fn body_limit(&self) -> usize {
        self.connect.limits.body.min(self.operation.body_limit())
    }
}

/// The result of a request.
///
/// Every status is an `Ok`; a body over the [limit](Request::body_limit) is [`TransportError::TooLarge`].
pub type Reply = Result<http::Response<Body>, TransportError>;

/// The purpose of a request to Vault; a label of metrics and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Reads whether the server is initialized, unsealed and active.
    Health,
    /// Exchanges credentials for a token, or for other credentials that Vault accepts.
    Login,
    /// Looks up the lifetime of a given token.
    Lookup,
    /// Checks the right to sign with a request that lacks the CSR.
    Probe,
    /// Extends the token's lifetime.
    Renew,
    /// Revokes the token.
    Revoke,
    /// Signs a certificate.
    Sign,
}

impl Operation {
    /// Every operation, in the order of the enum.
    pub const ALL: [Self; 7] = [
        Self::Health,
        Self::Login,
        Self::Lookup,
        Self::Probe,
        Self::Renew,
        Self::Revoke,
        Self::Sign,
    ];

    /// Returns the most bytes that the body of a reply may have: only certificates are long.
    fn body_limit(self) -> usize {
        match self {
            Self::Sign => usize::MAX,
            Self::Health | Self::Login | Self::Lookup | Self::Probe | Self::Renew | Self::Revoke => 64 << 10,
        }
    }

    /// Returns the operation as a lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Login => "login",
            Self::Lookup => "lookup",
            Self::Probe => "probe",
            Self::Renew => "renew",
            Self::Revoke => "revoke",
            Self::Sign => "sign",
        }
    }
}
