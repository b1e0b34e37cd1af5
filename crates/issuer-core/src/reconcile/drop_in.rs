//! What differs for cert-manager's own issuers: who writes their status, and that nobody else may sign for them.
//!
//! Everything else is as for our kinds: the driver decodes `spec.vault` to the same spec.

use std::time::Duration;

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

/// How the messages of these controllers begin, in a condition Ready.
const BUILT_IN_MESSAGES: [&str; 3] = [
    "Failed to initialise vault client for signing: ",
    "Required secret resource not found: ",
    "Vault failed to sign certificate: ",
];

/// How much later than our start a write of a built-in controller must be, since clocks differ: what it wrote before it
/// was switched off means nothing.
const CLOCK_SKEW: Duration = Duration::from_secs(5);

/// How long an issuer is left to others before its condition Ready is written where nobody has.
pub(super) const COURTESY: Duration = Duration::from_secs(10);

/// The reason for no longer serving a kind.
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

/// Returns the built-in controller that has made a write; `None` if another program has.
///
/// Only writes to the status count: anyone who may create a request can choose the name of the field manager.
pub fn built_in_writer(entry: &ManagedFieldsEntry) -> Option<&str> {
    let manager = entry.manager.as_deref()?;
    let is_status = entry.subresource.as_deref() == Some("status");
    (is_status && BUILT_IN_MANAGERS.contains(&manager)).then_some(manager)
}

/// Returns `true` if a built-in controller has written to a request since `start`, a time since the Unix epoch.
pub(super) fn built_in_wrote(request: &ObservedRequest, start: Duration) -> bool {
    let is_late = |seconds: i64| u64::try_from(seconds).is_ok_and(|at| at > (start + CLOCK_SKEW).as_secs());
    let managed = request.metadata().managed_fields.iter().flatten();
    let manages = |entry: &ManagedFieldsEntry| {
        let at = entry.time.as_ref().filter(|_| built_in_writer(entry).is_some());
        at.is_some_and(|time| is_late(time.0.as_second()))
    };
    let ready = request.condition("Ready");
    let message = ready.and_then(|ready| ready.message.as_deref()).unwrap_or_default();
    let at = ready.and_then(|ready| ready.last_transition_time.as_deref());
    let says_so = || {
        let at = at.and_then(|at| at.parse::<jiff::Timestamp>().ok());
        BUILT_IN_MESSAGES.iter().any(|begin| message.starts_with(begin)) && at.is_some_and(|at| is_late(at.as_second()))
    };
    managed.into_iter().any(manages) || says_so()
}
