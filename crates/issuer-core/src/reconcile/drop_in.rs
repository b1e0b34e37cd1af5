//! The differences of cert-manager's own issuers: who writes their status, and that nobody else may sign for them.
//!
//! Everything else is as for our kinds: the driver decodes `spec.vault` to the same spec.

use std::time::Duration;

use issuer_api::RequestCondition;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

use super::observed_request::ObservedRequest;

/// How cert-manager's `Issuer` and `ClusterIssuer` with `spec.vault` are served.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct DropIn {
    /// The namespace of the Secrets and service accounts of ClusterIssuers.
    pub cluster_resource_namespace: String,
    /// Who writes their condition Ready.
    pub issuer_status: IssuerStatusMode,
}

/// Who writes the condition Ready of cert-manager's issuers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IssuerStatusMode {
    /// The controller that already writes it; this one if there is none.
    #[default]
    Auto,
    /// Other controllers write it.
    Leave,
    /// This controller, even if others write it too.
    Own,
}

/// The writers of an issuer's condition Ready, by its managed fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReadyWriters {
    /// This controller has written it.
    pub ours: bool,
    /// Another controller has.
    pub others: bool,
}

/// The field managers of the controllers that sign for the same issuers: the two in cert-manager, and their successor.
const BUILT_IN_MANAGERS: [&str; 3] = [
    "cert-manager-certificaterequests-issuer-vault",
    "cert-manager-certificatesigningrequests-issuer-vault",
    "vault.cert-manager.io",
];

/// How the messages begin that no other controller writes in the condition Ready of a CertificateRequest, or in the condition
/// Failed of a Kubernetes CSR. (That a Secret is missing, cert-manager's controller for Venafi says in the same words: the
/// author of an issuer can change its type, and so choose who answers.) The last one is what the successor writes
/// first of all.
const BUILT_IN_MESSAGES: [&str; 4] = [
    "Failed to initialise vault client for signing: ",
    "Vault failed to sign certificate: ",
    "Vault failed to sign: ",
    "vault.cert-manager.io has started reconciling ",
];

/// How much later than our start a write of a built-in controller must be, since clocks differ: what it wrote before it
/// was switched off means nothing.
const CLOCK_SKEW: Duration = Duration::from_secs(5);

/// How long after our start a leader before us, which stood still past its lease, may still save an answer.
pub(super) const PREDECESSOR: Duration = Duration::from_secs(60);

/// How long an issuer is left to others before its condition Ready is written where nobody has.
pub(super) const READY_GRACE: Duration = Duration::from_secs(10);

/// The reason for no longer serving a kind, or for leaving a request alone.
pub(super) const BUILT_IN_ACTIVE: &str = "BuiltInActive";

impl IssuerStatusMode {
    /// Returns `true` if the condition is this controller's to write, once it has been left to others for a while.
    pub(super) fn writes(self, writers: ReadyWriters) -> bool {
        match self {
            Self::Auto => !writers.others,
            Self::Leave => false,
            Self::Own => true,
        }
    }

    /// Returns `true` if nobody has claimed the condition yet, so that another controller may still be about to.
    pub(super) fn is_open(self, writers: ReadyWriters) -> bool {
        self == Self::Auto && writers == ReadyWriters::default()
    }

    /// Returns `true` if two controllers have written the condition, and this one yields.
    pub(super) fn yields(self, writers: ReadyWriters) -> bool {
        self == Self::Auto && writers.ours && writers.others
    }
}

/// An answer of a built-in controller to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltInAnswer {
    /// When it was written.
    pub at: Timestamp,
    /// The field manager, if the managed fields name it; without one, the status is in its words.
    pub manager: Option<String>,
}

/// Returns the last answer of a built-in controller to a request, as its managed fields or its status show it.
///
/// It is for people, and no reason to stop a kind: managed fields can be forged by those who may create or
/// update a request.
pub fn built_in_answer(request: &ObservedRequest) -> Option<BuiltInAnswer> {
    let shown = shown_write(request).map(|at| (at, None));
    let alleged = writes(request).map(|(at, manager)| (at, Some(manager)));
    let (at, manager) = shown.into_iter().chain(alleged).max()?;
    let manager = manager.map(str::to_owned);
    Some(BuiltInAnswer { at, manager })
}

/// Returns `true` if a field manager, or the source of an event, is a controller that signs for cert-manager's issuers.
pub fn is_built_in(manager: &str) -> bool {
    BUILT_IN_MANAGERS.contains(&manager)
}

/// Returns the built-in controller whose write to the status an entry records; `None` if it is of another program, or of
/// another part of the object.
pub fn built_in_writer(entry: &ManagedFieldsEntry) -> Option<&str> {
    let manager = entry.manager.as_deref()?;
    let is_status = entry.subresource.as_deref() == Some("status");
    (is_status && is_built_in(manager)).then_some(manager)
}

/// Returns when a built-in controller has last written the status of a request, as the managed fields say.
///
/// This proves nothing: managed fields are metadata, and those who may create or update a request can put any entry there
/// (<https://kubernetes.io/docs/reference/using-api/server-side-apply/#clearing-managedfields>).
pub(super) fn alleged_write(request: &ObservedRequest) -> Option<Timestamp> {
    writes(request).map(|(at, _)| at).max()
}

/// Returns the writes of built-in controllers to the status of a request, as the managed fields say.
fn writes(request: &ObservedRequest) -> impl Iterator<Item = (Timestamp, &str)> {
    let entries = request.metadata().managed_fields.iter().flatten();
    entries.filter_map(|entry| Some((entry.time.as_ref()?.0, built_in_writer(entry)?)))
}

/// Returns when a built-in controller has last answered a request, if the status is in its words.
///
/// This is proof: writing the status takes a permission that requesters do not have. But the time stays that of an earlier
/// condition with the same status, and the words of a success are the same as ours.
pub(super) fn shown_write(request: &ObservedRequest) -> Option<Timestamp> {
    let status = request.status().filter(|_| has_built_in_message(request))?;
    let changed = answer_of(request)?.last_transition_time.as_deref();
    let times = [changed, status.failure_time.as_deref()].into_iter().flatten();
    times.filter_map(|time| time.parse().ok()).max()
}

/// Returns the condition that says why a request has no certificate.
fn answer_of(request: &ObservedRequest) -> Option<&RequestCondition> {
    request.condition(match request {
        ObservedRequest::CertManager(_) => "Ready",
        ObservedRequest::Kubernetes(_) => "Failed",
    })
}

/// Returns `true` if the answer to a request is in the words of a built-in controller.
pub(super) fn has_built_in_message(request: &ObservedRequest) -> bool {
    let message = answer_of(request).and_then(|answer| answer.message.as_deref());
    message.is_some_and(|message| BUILT_IN_MESSAGES.iter().any(|begin| message.starts_with(begin)))
}

/// Returns `true` if a write was made since `start`, a time since the Unix epoch.
pub(super) fn is_since(start: Duration, write: Timestamp) -> bool {
    u64::try_from(write.as_second()).is_ok_and(|at| at > (start + CLOCK_SKEW).as_secs())
}
