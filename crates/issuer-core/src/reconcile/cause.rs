//! The reasons why a request waits, with the message of each.

use crate::access::ReadError;
use crate::reference::IssuerKey;
use crate::vault::SignError;

/// The reason why a request waits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cause<'a> {
    IssuerMissing(&'a IssuerKey),
    IssuerNotReady(&'a IssuerKey),
    /// `spec.issuerRef.kind` is not a kind of this group.
    KindUnknown(Option<&'a str>),
    /// No object can have the name in `spec.issuerRef.name`.
    NameInvalid,
    /// The controller may not read the namespace, whose labels decide whether the issuer signs.
    NamespaceForbidden(&'a IssuerKey, &'a str),
    /// The API server has not said whether the requester may use the issuer.
    ReferenceUnknown(ReadError),
    SignFailed(&'a SignError),
}

impl Cause<'_> {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::IssuerMissing(_) | Self::KindUnknown(_) | Self::NameInvalid => "IssuerNotFound",
            Self::IssuerNotReady(_) => "IssuerNotReady",
            Self::NamespaceForbidden(..) => "NamespaceForbidden",
            Self::ReferenceUnknown(_) => "ReferenceUnknown",
            Self::SignFailed(error) => error.reason(),
        }
    }

    pub(super) fn message(self) -> String {
        match self {
            Self::IssuerMissing(issuer) => format!("Waiting for the creation of {issuer}"),
            Self::IssuerNotReady(issuer) => format!("Waiting for {issuer} to become ready"),
            Self::KindUnknown(kind) => unknown_kind(kind),
            Self::NameInvalid => {
                "No issuer can have the name in spec.issuerRef.name: lower-case letters, digits, '-' and '.'; use the \
                 name of one in a new request"
                    .to_owned()
            }
            Self::ReferenceUnknown(ReadError::Forbidden) => {
                "Waiting for the right of the controller to ask whether the requester may use the issuer: to create \
                 subjectaccessreviews of authorization.k8s.io"
                    .to_owned()
            }
            Self::ReferenceUnknown(_) => {
                "Waiting for the API server, which did not answer whether the requester may use the issuer".to_owned()
            }
            Self::NamespaceForbidden(issuer, namespace) => format!(
                "{issuer} selects namespaces by labels, and the controller may not read those of namespace {namespace}: \
                 grant it the verb get on namespaces (\"Select namespaces by labels\" in deploy/docs/install.md)"
            ),
            Self::SignFailed(error) => format!("Not signed yet, it is tried again: {error}"),
        }
    }

    pub(super) fn is_warning(self) -> bool {
        // An issuer may be created after its requests, and one that is not ready has a warning of its own.
        matches!(
            self,
            Self::KindUnknown(_)
                | Self::NameInvalid
                | Self::NamespaceForbidden(..)
                | Self::ReferenceUnknown(_)
                | Self::SignFailed(_)
        )
    }
}

/// Names a kind only if it is a word: anyone who may create a request chooses it.
fn unknown_kind(kind: Option<&str>) -> String {
    let is_word = |kind: &str| kind.len() <= 63 && kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let kind = match kind {
        None | Some("") => "Issuer, which an empty spec.issuerRef.kind means".to_owned(),
        Some(kind) if is_word(kind) => kind.to_owned(),
        Some(_) => "of the name in spec.issuerRef.kind".to_owned(),
    };
    let group = issuer_api::GROUP;
    format!("{group} has no kind {kind}: use VaultIssuer or VaultClusterIssuer in a new request")
}
