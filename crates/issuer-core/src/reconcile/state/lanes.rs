//! Lanes: the groups of tasks that share slots.

use std::sync::Arc;

use crate::reconcile::queue::LaneName;
use crate::reconcile::tenant::Tenant;
use crate::reference::IssuerKey;

/// The number of tasks that sign for the issuers of one tenant, unless one issuer alone may have more.
const TENANT: usize = 32;

/// The number of checks at one server that run at once.
const CHECKS: usize = 16;

/// The number of checks that run at once of the issuers of one namespace, and of all cluster issuers, whatever servers they
/// name. Those who may write cluster issuers are trusted with more.
const TENANT_CHECKS: (usize, usize) = (32, 192);

/// The number of checks, revocations and renewals that run at once, a quarter of it for tenants that run none. With the tasks of
/// all requests these are fewer than the driver's exchanges at once, by a hundred for the first tasks of as many tenants: so
/// none of them waits for room there.
pub(super) const OF_TENANTS: usize = 384;

/// The number of tokens of one tenant that are revoked or renewed at once at one server.
const TOKENS_AT_SERVER: usize = 4;

/// The number of tokens of one tenant that are revoked or renewed at once.
const TOKENS_OF_TENANT: usize = 8;

/// Tasks that share their slots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum LaneKey {
    /// The checks of the issuers of a server: one that does not answer delays no check at another.
    Checks(Arc<str>),
    /// The requests of an issuer.
    Requests(IssuerKey),
    /// The requests that no issuer signs: those that are not approved, or whose issuer has an unknown kind.
    Unassigned,
    /// The tokens that a tenant has at a server.
    Tokens(Tenant, Arc<str>),
}

/// The owner of several lanes, which share a quota of slots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum LaneOwner {
    Checks(Arc<str>),
    Requests(Tenant),
    Unassigned,
    Tokens(Tenant),
}

impl LaneName for LaneKey {
    type Owner = LaneOwner;

    fn owner(&self) -> LaneOwner {
        match self {
            Self::Checks(server) => LaneOwner::Checks(Arc::clone(server)),
            Self::Requests(issuer) => LaneOwner::Requests(Tenant::of(issuer)),
            Self::Unassigned => LaneOwner::Unassigned,
            Self::Tokens(tenant, _) => LaneOwner::Tokens(tenant.clone()),
        }
    }

    fn width(&self, width: usize) -> usize {
        match self {
            Self::Checks(_) => CHECKS,
            Self::Requests(_) | Self::Unassigned => width,
            Self::Tokens(..) => TOKENS_AT_SERVER,
        }
    }

    fn share(&self, width: usize) -> usize {
        match self {
            Self::Checks(_) => CHECKS,
            Self::Requests(_) => TENANT.max(width),
            Self::Unassigned => width,
            Self::Tokens(..) => TOKENS_OF_TENANT,
        }
    }

    fn tenant_share(&self, tenant: &str) -> Option<usize> {
        match self {
            Self::Checks(_) if tenant.is_empty() => Some(TENANT_CHECKS.1),
            Self::Checks(_) => Some(TENANT_CHECKS.0),
            Self::Requests(_) | Self::Unassigned => None,
            Self::Tokens(..) => Some(TOKENS_OF_TENANT),
        }
    }

    /// Signatures that take minutes must not keep an issuer from being checked, nor its token from being renewed.
    fn is_counted(&self) -> bool {
        matches!(self, Self::Requests(_) | Self::Unassigned)
    }
}
