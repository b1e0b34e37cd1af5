//! Requests of both kinds, as watches and reads show them.

use std::borrow::Cow;
use std::time::Duration;

use issuer_api::{
    Base64, CertificateRequest, CertificateRequestStatus, CertificateSigningRequest, IssuerRef, RequestCondition,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::duration;
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

/// How a request names its issuer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NamedIssuer<'a> {
    /// `spec.issuerRef` of a CertificateRequest.
    Reference(&'a IssuerRef),
    /// `spec.signerName` of a Kubernetes CSR.
    Signer(&'a str),
}

impl NamedIssuer<'_> {
    /// Returns the issuer that a request in `namespace` names; `None` if that is of no kind that exists.
    pub(super) fn key(self, namespace: &str) -> Option<IssuerKey> {
        match self {
            Self::Reference(reference) => IssuerKey::of(reference, namespace),
            Self::Signer(name) => IssuerKey::of_signer(name),
        }
    }

    /// Returns `true` if it is of our group, whether it is of a kind that exists or not.
    pub(super) fn is_of_our_group(self) -> bool {
        match self {
            Self::Reference(reference) => reference.group.as_deref() == Some(issuer_api::GROUP),
            Self::Signer(name) => IssuerKey::of_signer(name).is_some_and(|issuer| !issuer.kind.is_drop_in()),
        }
    }
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

    /// Returns `true` if its signer has finished it. A denied one is finished by its approver or, if it is cert-manager's,
    /// by any of its controllers, whatever the type of the issuer.
    pub(super) fn is_answered(&self) -> bool {
        self.is_terminal() && !self.is("Denied")
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
        let namespace = self.metadata().namespace.as_deref().unwrap_or_default();
        self.named_issuer().key(namespace)
    }

    fn named_issuer(&self) -> NamedIssuer<'_> {
        match self {
            Self::CertManager(request) => NamedIssuer::Reference(&request.spec.issuer_ref),
            Self::Kubernetes(request) => NamedIssuer::Signer(&request.spec.signer_name),
        }
    }

    /// Returns the requester of a request without a namespace: the namespace of the service account that has created it, or
    /// else the user, as `user:NAME`. No namespace has a colon.
    ///
    /// It is not the namespace of the issuer: those who may reference one issuer would delay each other. Nobody chooses a
    /// name here and takes the turns of others, since the API server records the user.
    pub(super) fn requester(&self) -> Option<String> {
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
        self.named_issuer().is_of_our_group()
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
    ///
    /// The annotation of a Kubernetes CSR, which cert-manager reads before `expirationSeconds`, can be changed after the
    /// approval, and `expirationSeconds` cannot: where both are given, the annotation may only shorten it.
    pub(super) fn duration(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::CertManager(request) => request.spec.duration.as_deref().map(Cow::Borrowed),
            Self::Kubernetes(request) => {
                let most = request
                    .spec
                    .expiration_seconds
                    .and_then(|seconds| u64::try_from(seconds).ok());
                let exceeds = |asked: &&str| {
                    let most = most.map(Duration::from_secs);
                    // Zero is the role's default, which may be longer.
                    let asked = duration::parse(asked).map(|asked| if asked.is_zero() { Duration::MAX } else { asked });
                    most.zip(asked).is_some_and(|(most, asked)| asked > most)
                };
                let asked = request.annotated_duration().filter(|asked| !exceeds(asked));
                let asked = asked.map(Cow::Borrowed);
                asked.or_else(|| most.map(|seconds| Cow::Owned(format!("{seconds}s"))))
            }
        }
    }

    /// Returns the shortest duration that it may ask for.
    pub(super) fn least_duration(&self) -> Duration {
        match self {
            // cert-manager's API decides.
            Self::CertManager(_) => Duration::ZERO,
            Self::Kubernetes(_) => CertificateSigningRequest::LEAST_DURATION,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotation_only_shortens_expiration_seconds() {
        for (annotation, expiration, expected) in [
            (None, None, None),
            (None, Some(3600), Some("3600s")),
            (Some("896h"), None, Some("896h")),
            (Some("30m"), Some(3600), Some("30m")),
            (Some("1h"), Some(3600), Some("1h")),
            (Some("896h"), Some(3600), Some("3600s")),
            (Some("0s"), Some(3600), Some("3600s")),
            // They are errors later, and not requests for the default.
            (Some(""), Some(3600), Some("")),
            (Some("a year"), Some(3600), Some("a year")),
        ] {
            let mut csr = CertificateSigningRequest::default();
            csr.spec.expiration_seconds = expiration;
            let annotation = annotation.map(|text| (CertificateSigningRequest::DURATION.to_owned(), text.to_owned()));
            csr.metadata.annotations = Some(annotation.into_iter().collect());
            let request = ObservedRequest::from(csr);
            assert_eq!(request.duration().as_deref(), expected, "{request:?}");
        }
    }
}
