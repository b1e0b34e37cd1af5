//! Requests of both kinds, as watches and reads show them.

use std::borrow::Cow;

use issuer_api::{
    Base64, CertificateRequest, CertificateRequestStatus, CertificateSigningRequest, IssuerRef, RequestCondition,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::reference::{IssuerKey, RequestKey};

/// A request of either kind.
///
/// They differ in how they name their issuer and their duration, in who may ask for a certificate, and in how the status
/// says that a request waits or has failed. The rest is the same.
#[derive(Clone, Debug, PartialEq)]
pub enum ObservedRequest {
    /// cert-manager's.
    CertManager(CertificateRequest),
    /// Kubernetes' own.
    Kubernetes(CertificateSigningRequest),
}

impl From<CertificateRequest> for ObservedRequest {
    fn from(request: CertificateRequest) -> Self {
        Self::CertManager(request)
    }
}

impl From<CertificateSigningRequest> for ObservedRequest {
    fn from(request: CertificateSigningRequest) -> Self {
        Self::Kubernetes(request)
    }
}

impl ObservedRequest {
    /// Returns its kind and name.
    pub fn key(&self) -> RequestKey {
        match self {
            Self::CertManager(request) => RequestKey::of(request),
            Self::Kubernetes(request) => RequestKey::of_csr(request),
        }
    }

    /// Returns `true` if it has finished: it was issued, denied or has failed, and is never written again.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::CertManager(request) => request.is_terminal(),
            Self::Kubernetes(request) => request.is_terminal(),
        }
    }

    /// Returns `metadata.uid`, empty if there is none.
    pub fn uid(&self) -> &str {
        self.metadata().uid.as_deref().unwrap_or_default()
    }

    /// Returns `metadata.resourceVersion`, empty if there is none.
    pub fn version(&self) -> &str {
        self.metadata().resource_version.as_deref().unwrap_or_default()
    }

    /// Returns the issuer that it names; `None` if that is of no kind that exists.
    pub fn issuer(&self) -> Option<IssuerKey> {
        match self {
            Self::CertManager(request) => {
                let namespace = request.metadata.namespace.as_deref().unwrap_or_default();
                IssuerKey::of(&request.spec.issuer_ref, namespace)
            }
            Self::Kubernetes(request) => IssuerKey::of_signer(&request.spec.signer_name),
        }
    }

    /// Returns the tenant whose turns a request takes that has no namespace: that of the service account that has created it,
    /// or else the user, as `user:NAME`. No namespace has a colon.
    ///
    /// It is not the namespace of the issuer: those who may reference one issuer would delay each other. Nobody chooses a
    /// name here and takes the turns of others, since the API server records the user.
    pub(super) fn requesting_tenant(&self) -> Option<String> {
        let Self::Kubernetes(request) = self else {
            return None;
        };
        let user = &request.spec.username;
        let account = user.strip_prefix("system:serviceaccount:");
        Some(match account.and_then(|account| account.split_once(':')) {
            Some((namespace, _)) => namespace.to_owned(),
            None => format!("user:{user}"),
        })
    }

    /// Returns `spec.issuerRef`, which only a CertificateRequest has.
    pub(super) fn issuer_ref(&self) -> Option<&IssuerRef> {
        match self {
            Self::CertManager(request) => Some(&request.spec.issuer_ref),
            Self::Kubernetes(_) => None,
        }
    }

    /// Returns `true` if it names an issuer of our group, whether that is of a kind that exists or not.
    pub(super) fn is_of_our_group(&self) -> bool {
        match self {
            Self::CertManager(request) => request.spec.issuer_ref.group.as_deref() == Some(issuer_api::GROUP),
            Self::Kubernetes(_) => self.issuer().is_some_and(|issuer| !issuer.kind.is_drop_in()),
        }
    }

    /// Returns the metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::CertManager(request) => &request.metadata,
            Self::Kubernetes(request) => &request.metadata,
        }
    }

    /// Returns the status.
    pub fn status(&self) -> Option<&CertificateRequestStatus> {
        match self {
            Self::CertManager(request) => request.status.as_ref(),
            Self::Kubernetes(request) => request.status.as_ref(),
        }
    }

    /// Returns the condition of the given type.
    pub fn condition(&self, kind: &str) -> Option<&RequestCondition> {
        self.status()?
            .conditions
            .iter()
            .find(|condition| condition.kind == kind)
    }

    /// Returns `true` if the condition of the given type is `True`.
    pub fn is(&self, kind: &str) -> bool {
        self.condition(kind).is_some_and(|condition| condition.status == "True")
    }

    pub(super) fn csr(&self) -> &Base64 {
        match self {
            Self::CertManager(request) => &request.spec.request,
            Self::Kubernetes(request) => &request.spec.request,
        }
    }

    /// Forgets the CSR, which may be large.
    pub(super) fn drop_csr(&mut self) {
        *match self {
            Self::CertManager(request) => &mut request.spec.request,
            Self::Kubernetes(request) => &mut request.spec.request,
        } = Base64::default();
    }

    /// Returns the duration that is asked for, as Go writes durations.
    pub(super) fn duration(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::CertManager(request) => request.spec.duration.as_deref().map(Cow::Borrowed),
            Self::Kubernetes(request) => request.duration(),
        }
    }

    pub(super) fn is_ca(&self) -> bool {
        match self {
            Self::CertManager(request) => request.spec.is_ca,
            Self::Kubernetes(request) => request.is_ca(),
        }
    }

    pub(super) fn usages(&self) -> &[String] {
        match self {
            Self::CertManager(request) => &request.spec.usages,
            Self::Kubernetes(request) => &request.spec.usages,
        }
    }
}
