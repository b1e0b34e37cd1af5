use crate::reference::IssuerKey;

/// Those who choose the server that is asked, and how it is asked: their work shares slots. For a Kubernetes CSR it is those
/// who have written the issuer, too; among the requests of one issuer it takes the turns of its requester.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Tenant {
    /// The owner of a cluster issuer.
    ClusterIssuer(IssuerKey),
    /// The authors of the issuers of a namespace.
    Namespace(String),
}

impl Tenant {
    /// Returns the tenant that an issuer belongs to.
    pub(super) fn of(issuer: &IssuerKey) -> Self {
        if issuer.kind.is_cluster() {
            Self::ClusterIssuer(issuer.clone())
        } else {
            Self::Namespace(issuer.namespace.clone())
        }
    }

    /// Returns `true` if an issuer belongs to the tenant.
    pub(super) fn owns(&self, issuer: &IssuerKey) -> bool {
        match self {
            Self::ClusterIssuer(own) => own == issuer,
            Self::Namespace(namespace) => !issuer.kind.is_cluster() && *namespace == issuer.namespace,
        }
    }
}
