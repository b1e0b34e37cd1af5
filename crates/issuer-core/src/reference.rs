//! Names of Kubernetes objects, as the core asks for them.

use std::fmt;

use issuer_api::{CertificateRequest, IssuerRef};

/// Which kind of issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IssuerKind {
    /// `VaultClusterIssuer`, for every namespace.
    Cluster,
    /// `VaultIssuer`, for its own namespace.
    Namespaced,
}

impl IssuerKind {
    /// Returns the kind as Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "VaultClusterIssuer",
            Self::Namespaced => "VaultIssuer",
        }
    }
}

/// Returns `true` if an object may have this name: a DNS subdomain in lower case
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names>).
pub(crate) fn is_object_name(name: &str) -> bool {
    let letter = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let ends = bytes.first().is_some_and(letter) && bytes.last().is_some_and(letter);
        ends && bytes.iter().all(|byte| letter(byte) || *byte == b'-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// Names an issuer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuerKey {
    /// Its kind.
    pub kind: IssuerKind,
    /// Its namespace; empty for a cluster issuer.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl IssuerKey {
    /// Returns the issuer that a request in `namespace` refers to; `None` if its group or kind is not ours.
    ///
    /// An empty group means `cert-manager.io` and an empty kind `Issuer`, so neither is ours.
    pub fn of(reference: &IssuerRef, namespace: &str) -> Option<Self> {
        if reference.group.as_deref() != Some(issuer_api::GROUP) {
            return None;
        }
        let (kind, namespace) = match reference.kind.as_deref() {
            Some("VaultIssuer") => (IssuerKind::Namespaced, namespace),
            Some("VaultClusterIssuer") => (IssuerKind::Cluster, ""),
            _ => return None,
        };
        Some(Self {
            kind,
            namespace: namespace.to_owned(),
            name: reference.name.clone(),
        })
    }

    /// Returns the audience that every token requested for this issuer has, as cert-manager forms it.
    pub fn audience(&self) -> String {
        match self.kind {
            IssuerKind::Cluster => format!("vault://{}", self.name),
            IssuerKind::Namespaced => format!("vault://{}/{}", self.namespace, self.name),
        }
    }
}

impl fmt::Display for IssuerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            IssuerKind::Cluster => write!(f, "VaultClusterIssuer {}", self.name),
            IssuerKind::Namespaced => write!(f, "VaultIssuer {}/{}", self.namespace, self.name),
        }
    }
}

/// Names a CertificateRequest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl RequestKey {
    /// Returns the namespace and name of a request.
    pub fn of(request: &CertificateRequest) -> Self {
        let meta = &request.metadata;
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }
}

impl fmt::Display for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateRequest {}/{}", self.namespace, self.name)
    }
}

/// Names a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Names a key of a Secret in the namespace that an issuer reads from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretKey {
    /// The name of the Secret.
    pub name: String,
    /// The key within.
    pub key: String,
}

/// A token to be requested for a service account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenSpec {
    /// The namespace of the service account.
    pub namespace: String,
    /// The name of the service account.
    pub service_account: String,
    /// Whom the token is for.
    pub audiences: Vec<String>,
    /// How long it shall live, in seconds.
    pub expiration_seconds: i64,
}
