//! The controller's settings and the changes that the driver reports.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use issuer_api::{IssuerStatus, VaultClusterIssuer, VaultIssuer, VaultSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::claim::Claim;
use super::drop_in::{DropIn, ReadyWriters};
use super::observed_request::ObservedRequest;
use crate::reference::{IssuerKey, IssuerKind, ListScope, Namespaces, RequestKey, RequestKind};
use crate::target::{self, Admission, AllowedServers, IssuerPolicy, NamespaceLabels};
use crate::{Origin, Proxy, VerifyOptions, proxy};

/// The longest condition that is kept of an issuer without room, in bytes of reason and message: more than this controller
/// writes.
const CONDITION: usize = 4 << 10;

/// The most conditions that are kept of it.
const CONDITIONS: usize = 8;

/// The settings of a [`Controller`](super::Controller).
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Config {
    /// How requests are claimed before they are signed; `None` disables claims.
    pub claim: Option<Claim>,
    /// The time between two checks of an issuer that is ready.
    pub check_interval: Duration,
    /// The namespace of the Secrets and service accounts of cluster issuers.
    pub cluster_resource_namespace: String,
    /// How cert-manager's own issuers are served; `None` if they are not.
    pub drop_in: Option<DropIn>,
    /// The number of events per second, on average, that say no more than that a request was signed; a burst may be
    /// ten times as large. All other events are published.
    pub event_rate: u32,
    /// Whether Kubernetes' CertificateSigningRequests are signed, besides CertificateRequests.
    pub kubernetes_csrs: bool,
    /// The namespaces that are served.
    pub namespaces: Namespaces,
    /// The number of requests of one issuer that are worked on at once.
    pub max_concurrent_reconciles: usize,
    /// The number of answers lost to timeouts or server errors after which a request fails, if its issuer passes its
    /// checks.
    pub max_lost_answers: u32,
    /// The timeout of a request to sign, unless the issuer sets its own.
    pub sign_timeout: Duration,
    /// The operator's policy for issuers.
    pub policy: IssuerPolicy,
    /// How certificates are verified.
    pub verify: VerifyOptions,
}

impl Config {
    /// Returns the kinds of issuer that are served.
    pub fn kinds(&self) -> impl Iterator<Item = IssuerKind> {
        let drop_in = self.drop_in.is_some();
        let cluster = self.namespaces == Namespaces::All;
        let serves = move |kind: &IssuerKind| (drop_in || !kind.is_drop_in()) && (cluster || !kind.is_cluster());
        IssuerKind::ALL.into_iter().filter(serves)
    }

    /// Returns the kinds of request that are served. A CertificateSigningRequest is in no namespace, so watching them
    /// takes a right in the whole cluster.
    pub fn request_kinds(&self) -> impl Iterator<Item = RequestKind> {
        let csrs = self.kubernetes_csrs && self.namespaces == Namespaces::All;
        let serves = move |kind: &RequestKind| csrs || *kind != RequestKind::CertificateSigningRequest;
        RequestKind::ALL.into_iter().filter(serves)
    }
}

/// A watch event.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An issuer was added or modified.
    Issuer(IssuerKey, ObservedIssuer),
    /// An issuer was deleted.
    IssuerGone(IssuerKey),
    /// A list has ended: these are all the issuers of a kind that it covers.
    Issuers(IssuerKind, ListScope, BTreeSet<IssuerKey>),
    /// A request was added or modified.
    Request(ObservedRequest),
    /// A request was deleted.
    RequestGone(RequestKey),
    /// A list has ended: these are all the requests of a kind that it covers.
    Requests(RequestKind, ListScope, BTreeSet<RequestKey>),
}

/// An issuer of either kind, as a watch shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedIssuer {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// The spec.
    pub spec: VaultSpec,
    /// The status.
    pub status: IssuerStatus,
    /// The writers of its condition Ready; noted of cert-manager's issuers only.
    pub ready_writers: ReadyWriters,
}

impl Hash for ObservedIssuer {
    /// Hashes uid and version, which determine the rest.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.uid, &self.resource_version).hash(state);
    }
}

impl ObservedIssuer {
    /// Returns the server that its checks ask, and the proxy that it names; empty if the server is no URL. The path below
    /// which the API is served makes no other server.
    pub(super) fn server(&self) -> Arc<str> {
        let Some(origin) = Origin::parse(&self.spec.server) else {
            return Arc::default();
        };
        let url = self.spec.proxy.as_deref().unwrap_or_default();
        proxy::server_through(Proxy::parse(url, AllowedServers::All).as_ref(), &origin).into()
    }

    /// Returns the size of spec and status as JSON, which is about what they take in memory.
    pub(super) fn size(&self) -> usize {
        serde_json::to_vec(&(&self.spec, &self.status)).map_or(0, |text| text.len())
    }

    /// Forgets the spec, and of the status all that is large.
    pub(super) fn clear(&mut self) {
        self.spec = VaultSpec::default();
        let conditions = &mut self.status.conditions;
        conditions.retain(|condition| condition.reason.len() + condition.message.len() <= CONDITION);
        conditions.truncate(CONDITIONS);
        conditions.shrink_to_fit();
    }

    /// Returns whether the issuer signs requests of this namespace, whose labels may be known.
    pub(super) fn admission(&self, namespace: &str, labels: Option<&NamespaceLabels>) -> Admission {
        let allowed = self.spec.allowed_namespaces.as_ref();
        allowed.map_or(Admission::Granted, |allowed| {
            target::admission(allowed, namespace, labels)
        })
    }

    fn new(meta: ObjectMeta, spec: VaultSpec, status: Option<IssuerStatus>) -> Self {
        Self {
            uid: meta.uid.unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            resource_version: meta.resource_version.unwrap_or_default(),
            spec,
            status: status.unwrap_or_default(),
            ready_writers: ReadyWriters::default(),
        }
    }
}

impl From<VaultIssuer> for ObservedIssuer {
    fn from(issuer: VaultIssuer) -> Self {
        Self::new(issuer.metadata, issuer.spec, issuer.status)
    }
}

impl From<VaultClusterIssuer> for ObservedIssuer {
    fn from(issuer: VaultClusterIssuer) -> Self {
        Self::new(issuer.metadata, issuer.spec, issuer.status)
    }
}
