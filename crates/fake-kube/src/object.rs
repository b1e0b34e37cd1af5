//! The objects that the controller watches.

use std::hash::{DefaultHasher, Hash, Hasher};

use issuer_api::{
    CertificateRequest, CertificateRequestStatus, CertificateSigningRequest, Condition, IssuerStatus, RequestCondition,
    VaultClusterIssuer, VaultIssuer, VaultSpec,
};
use issuer_core::reconcile::{Key, ObservedRequest};
use issuer_core::reference::{IssuerKey, IssuerKind, RequestKey, RequestKind};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

/// A value for each kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct PerKind<T>([T; 5]);

impl<T> PerKind<T> {
    /// Returns the value for a kind.
    pub fn get(&self, kind: Kind) -> &T {
        let [issuers, cluster_issuers, drop_in_issuers, requests, csrs] = &self.0;
        match kind {
            Kind::Issuers => issuers,
            Kind::ClusterIssuers => cluster_issuers,
            Kind::DropInIssuers => drop_in_issuers,
            Kind::Requests => requests,
            Kind::Csrs => csrs,
        }
    }

    /// Returns the value for a kind, to be changed.
    pub fn get_mut(&mut self, kind: Kind) -> &mut T {
        let [issuers, cluster_issuers, drop_in_issuers, requests, csrs] = &mut self.0;
        match kind {
            Kind::Issuers => issuers,
            Kind::ClusterIssuers => cluster_issuers,
            Kind::DropInIssuers => drop_in_issuers,
            Kind::Requests => requests,
            Kind::Csrs => csrs,
        }
    }
}

/// A kind that can be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `VaultIssuer`.
    Issuers,
    /// `VaultClusterIssuer`.
    ClusterIssuers,
    /// cert-manager's `Issuer`.
    DropInIssuers,
    /// `CertificateRequest`.
    Requests,
    /// `CertificateSigningRequest`.
    Csrs,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::Issuers,
        Self::ClusterIssuers,
        Self::DropInIssuers,
        Self::Requests,
        Self::Csrs,
    ];

    /// Returns the kind of the object of this key. Tokens are not objects; they count as requests.
    pub fn of(key: &Key) -> Self {
        match key {
            Key::Issuer(IssuerKey {
                kind: IssuerKind::Namespaced,
                ..
            }) => Self::Issuers,
            Key::Issuer(IssuerKey {
                kind: IssuerKind::DropInNamespaced,
                ..
            }) => Self::DropInIssuers,
            Key::Issuer(_) => Self::ClusterIssuers,
            Key::Request(request) if request.kind == RequestKind::CertificateSigningRequest => Self::Csrs,
            Key::Request(_) | Key::Token(_) => Self::Requests,
        }
    }
}

/// An object of a watched kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A `VaultClusterIssuer`.
    ClusterIssuer(VaultClusterIssuer),
    /// An `Issuer` of cert-manager's, whose `spec.vault` is the spec here.
    DropInIssuer(VaultIssuer),
    /// A `VaultIssuer`.
    Issuer(VaultIssuer),
    /// A `CertificateRequest`.
    Request(CertificateRequest),
    /// A `CertificateSigningRequest`.
    Csr(CertificateSigningRequest),
}

impl From<ObservedRequest> for Object {
    fn from(request: ObservedRequest) -> Self {
        match request {
            ObservedRequest::CertManager(request) => Self::Request(request),
            ObservedRequest::Kubernetes(csr) => Self::Csr(csr),
        }
    }
}

impl Object {
    /// Returns the kind, namespace and name of the object.
    pub fn key(&self) -> Key {
        let meta = self.meta();
        let issuer = |kind| {
            let namespace = meta.namespace.as_deref().unwrap_or_default();
            Key::Issuer(IssuerKey::new(
                kind,
                namespace,
                meta.name.as_deref().unwrap_or_default(),
            ))
        };
        match self {
            Self::ClusterIssuer(_) => issuer(IssuerKind::Cluster),
            Self::DropInIssuer(_) => issuer(IssuerKind::DropInNamespaced),
            Self::Issuer(_) => issuer(IssuerKind::Namespaced),
            Self::Request(request) => Key::Request(RequestKey::of(request)),
            Self::Csr(csr) => Key::Request(RequestKey::of_csr(csr)),
        }
    }

    /// Returns the metadata.
    pub fn meta(&self) -> &ObjectMeta {
        match self {
            Self::ClusterIssuer(issuer) => &issuer.metadata,
            Self::DropInIssuer(issuer) | Self::Issuer(issuer) => &issuer.metadata,
            Self::Request(request) => &request.metadata,
            Self::Csr(csr) => &csr.metadata,
        }
    }

    pub(crate) fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::ClusterIssuer(issuer) => &mut issuer.metadata,
            Self::DropInIssuer(issuer) | Self::Issuer(issuer) => &mut issuer.metadata,
            Self::Request(request) => &mut request.metadata,
            Self::Csr(csr) => &mut csr.metadata,
        }
    }

    /// Returns the uid, or an empty string.
    pub fn uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }

    /// Returns the resourceVersion, or an empty string.
    pub fn version(&self) -> &str {
        self.meta().resource_version.as_deref().unwrap_or_default()
    }

    /// Returns the request, of either kind, as a watch shows it; `None` if the object is an issuer.
    pub fn observed(&self) -> Option<ObservedRequest> {
        match self {
            Self::Request(request) => Some(request.clone().into()),
            Self::Csr(csr) => Some(csr.clone().into()),
            Self::ClusterIssuer(_) | Self::DropInIssuer(_) | Self::Issuer(_) => None,
        }
    }

    /// Returns the CertificateRequest; `None` if the object is of another kind.
    pub fn request(&self) -> Option<&CertificateRequest> {
        if let Self::Request(request) = self {
            Some(request)
        } else {
            None
        }
    }

    /// Returns the signed certificate of the request; `None` if there is none, or the object is an issuer.
    pub fn certificate(&self) -> Option<Vec<u8>> {
        let pem = self.request_status()?.certificate.as_ref()?.decode()?;
        (!pem.is_empty()).then_some(pem)
    }

    /// Returns the spec of the issuer; `None` if the object is a request.
    pub fn spec(&self) -> Option<&VaultSpec> {
        match self {
            Self::ClusterIssuer(issuer) => Some(&issuer.spec),
            Self::DropInIssuer(issuer) | Self::Issuer(issuer) => Some(&issuer.spec),
            Self::Request(_) | Self::Csr(_) => None,
        }
    }

    /// Returns the condition `Ready` of the issuer; `None` if the object is a request.
    pub fn ready(&self) -> Option<&Condition> {
        self.issuer_status()?.ready()
    }

    /// Returns the condition `Warning` of the issuer; `None` if it has none, or if the object is a request.
    pub fn warning(&self) -> Option<&Condition> {
        self.issuer_status()?.condition("Warning")
    }

    /// Returns the conditions of the issuer; none if the object is a request.
    pub(crate) fn conditions(&self) -> &[Condition] {
        self.issuer_status().map_or(&[], |status| &status.conditions)
    }

    fn issuer_status(&self) -> Option<&IssuerStatus> {
        match self {
            Self::ClusterIssuer(issuer) => issuer.status.as_ref(),
            Self::DropInIssuer(issuer) | Self::Issuer(issuer) => issuer.status.as_ref(),
            Self::Request(_) | Self::Csr(_) => None,
        }
    }

    fn request_status(&self) -> Option<&CertificateRequestStatus> {
        match self {
            Self::Request(request) => request.status.as_ref(),
            Self::Csr(csr) => csr.status.as_ref(),
            Self::ClusterIssuer(_) | Self::DropInIssuer(_) | Self::Issuer(_) => None,
        }
    }

    pub(crate) fn clear_status(&mut self) {
        match self {
            Self::ClusterIssuer(issuer) => issuer.status = None,
            Self::DropInIssuer(issuer) | Self::Issuer(issuer) => issuer.status = None,
            Self::Request(request) => request.status = None,
            Self::Csr(csr) => csr.status = None,
        }
    }

    pub(crate) fn same_spec(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Request(a), Self::Request(b)) => a.spec == b.spec,
            (Self::Csr(a), Self::Csr(b)) => a.spec == b.spec,
            (a, b) => a.spec() == b.spec(),
        }
    }

    /// Returns the object with a merge patch applied to its status; `None` if the result does not fit the schema.
    pub(crate) fn with_status(&self, patch: &Value) -> Option<Self> {
        let status = |current: serde_json::Result<Value>| {
            let mut status = current.ok()?;
            merge(&mut status, patch);
            Some(status)
        };
        let mut next = self.clone();
        match &mut next {
            Self::ClusterIssuer(issuer) => {
                issuer.status = serde_json::from_value(status(serde_json::to_value(&issuer.status))?).ok()?;
            }
            Self::DropInIssuer(issuer) | Self::Issuer(issuer) => {
                issuer.status = serde_json::from_value(status(serde_json::to_value(&issuer.status))?).ok()?;
            }
            Self::Request(request) => {
                request.status = serde_json::from_value(status(serde_json::to_value(&request.status))?).ok()?;
            }
            Self::Csr(csr) => {
                csr.status = serde_json::from_value(status(serde_json::to_value(&csr.status))?).ok()?;
            }
        }
        Some(next)
    }

    /// Returns the object with a merge patch applied to all but its status; `None` if the result does not fit the schema.
    pub(crate) fn with_patch(&self, patch: &Value) -> Option<Self> {
        let mut patch = patch.clone();
        let fields = patch.as_object_mut()?;
        fields.remove("status");
        let value = |current: serde_json::Result<Value>| {
            let mut value = current.ok()?;
            merge(&mut value, &patch);
            Some(value)
        };
        Some(match self {
            Self::ClusterIssuer(issuer) => {
                Self::ClusterIssuer(serde_json::from_value(value(serde_json::to_value(issuer))?).ok()?)
            }
            Self::DropInIssuer(issuer) => {
                Self::DropInIssuer(serde_json::from_value(value(serde_json::to_value(issuer))?).ok()?)
            }
            Self::Issuer(issuer) => Self::Issuer(serde_json::from_value(value(serde_json::to_value(issuer))?).ok()?),
            Self::Request(request) => {
                Self::Request(serde_json::from_value(value(serde_json::to_value(request))?).ok()?)
            }
            Self::Csr(csr) => Self::Csr(serde_json::from_value(value(serde_json::to_value(csr))?).ok()?),
        })
    }

    /// Sets a resourceVersion that no other state of an object of this name has.
    ///
    /// Clients must not interpret it. A simulator may: it consists of the number of the name, the number of writes, and a
    /// digest of the contents and managers without times and annotations, so that states which differ only in their past
    /// compare equal.
    pub(crate) fn set_version(&mut self, name: usize, writes: u64, managers: u64) {
        let content = digest(&(self.content(), managers));
        self.meta_mut().resource_version = Some(format!("rv{name}.{writes}.{content:016x}"));
    }

    fn content(&self) -> u64 {
        match self {
            Self::Request(_) | Self::Csr(_) => {
                let status = self.request_status();
                let conditions = status.map(|status| {
                    let parts = |c: &RequestCondition| digest(&(&c.kind, &c.status, &c.reason, &c.message));
                    status.conditions.iter().map(parts).collect::<Vec<_>>()
                });
                // The bytes of a certificate depend on the time; its presence does not.
                let certificate = status.is_some_and(|status| status.certificate.is_some());
                let failed = status.is_some_and(|status| status.failure_time.is_some());
                digest(&(conditions, certificate, failed))
            }
            Self::ClusterIssuer(_) | Self::DropInIssuer(_) | Self::Issuer(_) => {
                let conditions = self.issuer_status().map(|status| {
                    let parts = |c: &Condition| {
                        let is = c.status as u8;
                        digest(&(&c.kind, is, &c.reason, &c.message, c.observed_generation))
                    };
                    status.conditions.iter().map(parts).collect::<Vec<_>>()
                });
                let spec = self.spec().map(|spec| (&spec.server, &spec.path));
                digest(&(conditions, spec, self.meta().generation))
            }
        }
    }
}

/// Returns a digest that is equal in every run of one build.
pub(crate) fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Applies a merge patch to a value (RFC 7386).
pub(crate) fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        value.clone_from(patch);
        return;
    };
    if !value.is_object() {
        *value = Value::Object(serde_json::Map::new());
    }
    if let Value::Object(value) = value {
        for (key, part) in patch {
            if part.is_null() {
                value.remove(key);
            } else {
                merge(value.entry(key).or_insert(Value::Null), part);
            }
        }
    }
}
