//! Requests: their kinds and names.

use std::fmt;
use std::sync::Arc;

use issuer_api::{CertificateRequest, CertificateSigningRequest};

/// Which kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestKind {
    /// cert-manager's `CertificateRequest`.
    CertificateRequest,
    /// Kubernetes' `CertificateSigningRequest`, which has no namespace.
    CertificateSigningRequest,
}

impl RequestKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::CertificateRequest, Self::CertificateSigningRequest];

    /// Returns the kind as Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CertificateRequest => "CertificateRequest",
            Self::CertificateSigningRequest => "CertificateSigningRequest",
        }
    }

    /// Returns its API group and version, such as `cert-manager.io/v1`.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::CertificateRequest => "cert-manager.io/v1",
            Self::CertificateSigningRequest => "certificates.k8s.io/v1",
        }
    }

    /// Returns the kind in the plural, as it is in a URL.
    pub fn plural(self) -> &'static str {
        match self {
            Self::CertificateRequest => "certificaterequests",
            Self::CertificateSigningRequest => "certificatesigningrequests",
        }
    }
}

/// Names a request. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey {
    /// Its kind.
    pub kind: RequestKind,
    /// Its namespace; empty for a CertificateSigningRequest.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl RequestKey {
    /// Returns the namespace and name of a CertificateRequest.
    pub fn of(request: &CertificateRequest) -> Self {
        let meta = &request.metadata;
        Self {
            kind: RequestKind::CertificateRequest,
            namespace: meta.namespace.as_deref().unwrap_or_default().into(),
            name: meta.name.as_deref().unwrap_or_default().into(),
        }
    }

    /// Returns the name of a CertificateSigningRequest.
    pub fn of_csr(request: &CertificateSigningRequest) -> Self {
        Self {
            kind: RequestKind::CertificateSigningRequest,
            namespace: Arc::default(),
            name: request.metadata.name.as_deref().unwrap_or_default().into(),
        }
    }
}

impl fmt::Display for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.as_str();
        match self.kind {
            RequestKind::CertificateRequest => write!(f, "{kind} {}/{}", self.namespace, self.name),
            RequestKind::CertificateSigningRequest => write!(f, "{kind} {}", self.name),
        }
    }
}
