//! Which work shares its slots.

use crate::reconcile::queue::LaneName;
use crate::reconcile::tenant::Tenant;
use crate::reference::IssuerKey;

/// The number of tasks that sign for the issuers of one tenant, unless one issuer alone may have more.
const TENANT: usize = 32;

/// The number of checks at one server that run at once.
const CHECKS: usize = 16;

/// The number of tokens of one tenant that are revoked or renewed at once, at one server and at all.
const TOKENS: (usize, usize) = (4, 8);

/// Tasks that share their slots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Lane {
    /// The checks of the issuers of a server: one that does not answer delays no check at another.
    Checks(String),
    /// The requests of an issuer.
    Requests(IssuerKey),
    /// The requests that no issuer signs: those that are not approved, or whose issuer is of no kind that exists.
    Unassigned,
    /// The tokens that a tenant has at a server.
    Tokens(Tenant, String),
}

/// Those whose lanes have a common share of the slots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum LaneOwner {
    Checks(String),
    Requests(Tenant),
    Unassigned,
    Tokens(Tenant),
}

impl LaneName for Lane {
    type Owner = LaneOwner;

    fn owner(&self) -> LaneOwner {
        match self {
            Self::Checks(server) => LaneOwner::Checks(server.clone()),
            Self::Requests(issuer) => LaneOwner::Requests(Tenant::of(issuer)),
            Self::Unassigned => LaneOwner::Unassigned,
            Self::Tokens(tenant, _) => LaneOwner::Tokens(tenant.clone()),
        }
    }

    fn width(&self, width: usize) -> usize {
        match self {
            Self::Checks(_) => CHECKS,
            Self::Requests(_) | Self::Unassigned => width,
            Self::Tokens(..) => TOKENS.0,
        }
    }

    fn share(&self, width: usize) -> usize {
        match self {
            Self::Checks(_) => CHECKS,
            Self::Requests(_) => TENANT.max(width),
            Self::Unassigned => width,
            Self::Tokens(..) => TOKENS.1,
        }
    }

    /// Signatures that take minutes must not keep an issuer from being checked, nor its token from being renewed.
    fn is_counted(&self) -> bool {
        matches!(self, Self::Requests(_) | Self::Unassigned)
    }
}
