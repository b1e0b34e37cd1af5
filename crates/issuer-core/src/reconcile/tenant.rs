//! Tenants: the users among whom slots are shared.

use crate::reference::IssuerKey;

/// The authors of issuers, whose work shares slots: those of one namespace, or of one cluster issuer. The authors of
/// requests are not tenants but requesters, who take turns within the lane of an issuer.
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
}
