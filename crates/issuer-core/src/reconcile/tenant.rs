//! Tenants: the users among whom slots are shared.

use std::sync::Arc;

use crate::reference::IssuerKey;

/// The authors of issuers, whose work shares slots: those of one namespace, or of one cluster issuer. The authors of
/// requests are not tenants but requesters, who take turns within the lane of an issuer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Tenant {
    /// The owner of a cluster issuer.
    ClusterIssuer(IssuerKey),
    /// The authors of the issuers of a namespace.
    Namespace(Arc<str>),
}

impl Tenant {
    /// Returns the tenant that an issuer belongs to.
    pub(super) fn of(issuer: &IssuerKey) -> Self {
        if issuer.kind.is_cluster() {
            Self::ClusterIssuer(issuer.clone())
        } else {
            Self::Namespace(Arc::clone(&issuer.namespace))
        }
    }

    /// Returns a name for the work on its tokens, which has a share of its own: that of no namespace, since it has a slash.
    pub(super) fn of_tokens(&self) -> Arc<str> {
        match self {
            Self::ClusterIssuer(issuer) => format!("{}/{}/tokens", issuer.kind.plural(), issuer.name).into(),
            Self::Namespace(namespace) => format!("{namespace}/tokens").into(),
        }
    }
}
