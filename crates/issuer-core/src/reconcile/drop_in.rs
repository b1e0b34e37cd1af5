//! The differences of cert-manager's own issuers: who writes their status, and that nobody else may sign for them.
//!
//! Everything else is as for our kinds: the driver decodes `spec.vault` to the same spec.

use std::time::Duration;

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

/// How the messages begin that no other controller writes in a condition Ready. (That a Secret is missing, cert-manager's
/// controller for Venafi says in the same words: the author of an issuer can change its type, and so choose who answers.)
const BUILT_IN_MESSAGES: [&str; 2] = [
    "Failed to initialise vault client for signing: ",
    "Vault failed to sign certificate: ",
];

/// How much later than our start a write of a built-in controller must be, since clocks differ: what it wrote before it
/// was switched off means nothing.
const CLOCK_SKEW: Duration = Duration::from_secs(5);

/// How long an issuer is left to others before its condition Ready is written where nobody has.
pub(super) const COURTESY: Duration = Duration::from_secs(10);

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

/// Returns the built-in controller whose write to the status an entry records; `None` if it is of another program, or of
/// another part of the object.
pub fn built_in_writer(entry: &ManagedFieldsEntry) -> Option<&str> {
    let manager = entry.manager.as_deref()?;
    let is_status = entry.subresource.as_deref() == Some("status");
    (is_status && BUILT_IN_MANAGERS.contains(&manager)).then_some(manager)
}

/// Returns when a built-in controller has last written the status of a request, as the managed fields say.
///
/// This proves nothing: managed fields are metadata, and those who may create or update a request can put any entry there
/// (<https://kubernetes.io/docs/reference/using-api/server-side-apply/#clearing-managedfields>).
pub(super) fn alleged_write(request: &ObservedRequest) -> Option<Timestamp> {
    let entries = request.metadata().managed_fields.iter().flatten();
    let of_built_in = entries.filter(|entry| built_in_writer(entry).is_some());
    of_built_in.filter_map(|entry| Some(entry.time.as_ref()?.0)).max()
}

/// Returns when a built-in controller has last written the condition Ready of a request, if the condition is in its words.
///
/// This is proof: writing the status takes a permission that requesters do not have. But the time stays that of an earlier
/// condition with the same status, and the words of a success are the same as ours.
pub(super) fn shown_write(request: &ObservedRequest) -> Option<Timestamp> {
    let status = request.status().filter(|_| has_built_in_message(request))?;
    let changed = request.condition("Ready")?.last_transition_time.as_deref();
    let times = [changed, status.failure_time.as_deref()].into_iter().flatten();
    times.filter_map(|time| time.parse().ok()).max()
}

/// Returns `true` if the condition Ready of a request is in the words of a built-in controller.
pub(super) fn has_built_in_message(request: &ObservedRequest) -> bool {
    let message = request.condition("Ready").and_then(|ready| ready.message.as_deref());
    message.is_some_and(|message| BUILT_IN_MESSAGES.iter().any(|begin| message.starts_with(begin)))
}

/// Returns `true` if a write was made since `start`, a time since the Unix epoch.
pub(super) fn is_since(start: Duration, write: Timestamp) -> bool {
    u64::try_from(write.as_second()).is_ok_and(|at| at > (start + CLOCK_SKEW).as_secs())
}
