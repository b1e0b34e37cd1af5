//! Observations for the checks: every step of a process and its effects.

use std::sync::Arc;
use std::time::Duration;

use fake_kube::{Object, Refusal};
use issuer_core::reconcile::{Event, Key, Outcome, StatusPatch};
use issuer_core::reference::{SecretRef, TokenSpec};
use issuer_core::{Operation, Reply};
use serde_json::Value;

use crate::login::LoginRequest;
use crate::transition::ProcessId;
use crate::vault::Grant;

/// A step of a process, or an effect of one.
#[derive(Clone, Debug)]
pub enum Observation {
    /// A process crashed. The number is that of the live tokens that are lost with it.
    Crashed(ProcessId, u32),
    /// A task finished.
    Finished(ProcessId, Key, Outcome),
    /// An event was published.
    Published(ProcessId, Event),
    /// A reply of Vault arrived.
    Received(Received),
    /// A process received the labels of the namespace of a request.
    NamespaceRead(NamespaceRead),
    /// A process learns that admission has refused a status.
    Refused(Refused),
    /// A process reads a Secret.
    SecretRead(ProcessId, Key, SecretRef),
    /// A process sends a request to Vault.
    Sent(Sent),
    /// Vault handled a request.
    Served(Served),
    /// A process started.
    Started(ProcessId),
    /// A process stopped gracefully.
    Stopped(Stopped),
    /// A process requests a token of a service account.
    TokenRequested(ProcessId, Key, TokenSpec),
    /// An event could not be published, so it is only in the log of its process.
    Unpublished(ProcessId, Event),
    /// The API server accepted or refused a status.
    Wrote(Wrote),
}

/// A request to Vault when it is sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The process.
    pub process: ProcessId,
    /// The key of the task.
    pub key: Key,
    /// The time at which the task began, by the clock of the world.
    pub begun: Duration,
    /// The operation.
    pub operation: Operation,
    /// The kind of the request, if it is of a login.
    pub login: Option<LoginRequest>,
    /// The wrapping token that it is about, in such a request.
    pub wrapping: Option<String>,
    /// The destination: scheme, host and port.
    pub origin: String,
    /// The token in the request.
    pub token: Option<String>,
    /// The body.
    pub body: String,
    /// The number of the CSR, if the request is to sign one.
    pub csr: Option<u32>,
    /// The limit for the size of the reply.
    pub limit: usize,
    /// The newest version of the task's request that the process has seen.
    pub view: Option<Arc<Object>>,
    /// Whether the process has ever seen a spec of its issuer with this server.
    pub known: bool,
    /// Whether the process was asked to stop.
    pub stopping: bool,
    /// Whether the process has seen that the built-in controller signs for cert-manager's issuers too.
    pub beside_built_in: bool,
}

/// The labels of a namespace when they arrive.
#[derive(Clone, Debug)]
pub struct NamespaceRead {
    /// The process.
    pub process: ProcessId,
    /// The key of the task.
    pub key: Key,
    /// The number in the uid of the task's request, as the process has seen it.
    pub request: Option<u32>,
    /// Whether the cluster issuer selects them.
    pub selected: bool,
}

/// The refusal of a status by admission, when a process learns of it.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The process.
    pub process: ProcessId,
    /// The key of the task.
    pub key: Key,
    /// The uid in the patch.
    pub uid: String,
    /// The purpose of the patch.
    pub purpose: Purpose,
    /// Whether it is refused for now only.
    pub is_for_now: bool,
    /// Whether something else becomes due later than if the status had been accepted.
    pub delays_others: bool,
}

/// The reason why a status is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// To save a certificate.
    Certificate,
    /// To claim a request.
    Claim,
    /// To say anything else.
    Condition,
}

impl Purpose {
    /// Returns the purpose of a patch with this body.
    pub(crate) fn of(body: &Value) -> Self {
        let conditions = body.pointer("/status/conditions").and_then(Value::as_array);
        // The condition that a patch is about is the last one.
        let is_claim = conditions
            .and_then(|all| all.last())
            .is_some_and(|last| last["type"] == "Claimed");
        match body.pointer("/status/certificate") {
            Some(_) => Self::Certificate,
            None if is_claim => Self::Claim,
            None => Self::Condition,
        }
    }
}

/// A graceful stop.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// The process.
    pub process: ProcessId,
    /// The number of certificates that were not saved.
    pub unsaved: usize,
    /// Whether a failed write or a slow answer kept the process from saving them.
    pub hindered: bool,
}

/// A request that Vault handled.
#[derive(Clone, Debug)]
pub struct Served {
    /// The process that sent it.
    pub process: ProcessId,
    /// The key of the task.
    pub key: Key,
    /// The number of the CSR that was signed.
    pub signed: Option<u32>,
    /// The token that was created, and the number of the server.
    pub granted: Option<(Grant, usize)>,
    /// The token that was renewed.
    pub renewed: Option<String>,
    /// The wrapping token that was exchanged for a secret ID, and the number of the server.
    pub unwrapped: Option<(Arc<str>, usize)>,
}

/// A reply of Vault when it arrives.
#[derive(Clone, Debug)]
pub struct Received {
    /// The process that receives it.
    pub process: ProcessId,
    /// The key of the task.
    pub key: Key,
    /// The operation of the request.
    pub operation: Operation,
    /// The kind of the request, if it was of a login.
    pub login: Option<LoginRequest>,
    /// The wrapping token that it was about, in such a request.
    pub wrapping: Option<String>,
    /// The URL of the request.
    pub url: String,
    /// The token in the request.
    pub token: Option<String>,
    /// The number of the CSR, if the request was to sign one.
    pub csr: Option<u32>,
    /// Whether a certificate or token was created that the reply does not contain.
    pub lost: bool,
    /// Whether the reply contains a certificate that does not match the request.
    pub wrong: bool,
    /// The reply.
    pub reply: Reply,
}

/// The write of a status.
#[derive(Clone, Debug)]
pub struct Wrote {
    /// The process.
    pub process: ProcessId,
    /// The patch.
    pub patch: StatusPatch,
    /// The body of the patch, decoded.
    pub body: Value,
    /// The object before the write.
    pub before: Option<Arc<Object>>,
    /// The object after the write, or the refusal.
    pub after: Result<Arc<Object>, Refusal>,
}

impl Wrote {
    /// Returns `true` if the write withdraws the warning that a probe was inconclusive. The next signature or login does
    /// that, however long after the last fault.
    pub(crate) fn clears_warning(&self) -> bool {
        let (Some(before), Ok(after)) = (&self.before, &self.after) else {
            return false;
        };
        let inconclusive = before
            .warning()
            .is_some_and(|warning| warning.reason == "ProbeInconclusive");
        inconclusive && after.warning().is_none()
    }
}
