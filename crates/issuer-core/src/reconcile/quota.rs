//! The memory that the issuers of one tenant take.

use std::hash::{Hash, Hasher};

use super::tally::Tally;
use super::tenant::Tenant;
use crate::access::Room;
use crate::reference::IssuerKey;

/// The size of the issuers of each tenant, in bytes: specs and statuses, and the parts of Secrets and ConfigMaps that are kept.
///
/// The API server limits an object, and the operator its number, if with a ResourceQuota; but a thousand issuers may name
/// one ConfigMap with a large bundle, and each needs its own connections.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Quotas(Tally<Tenant>);

impl Hash for Quotas {
    /// Hashes nothing: it follows from the issuers.
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Quotas {
    /// Returns how much an issuer may hold that holds `own` bytes now.
    pub(super) fn room(&self, issuer: &IssuerKey, own: usize) -> usize {
        let all = self.0.get(&Tenant::of(issuer));
        Room::OF_TENANT.0.saturating_sub(all.saturating_sub(own))
    }

    /// Records that an issuer holds `after` bytes in place of `before`.
    pub(super) fn charge(&mut self, issuer: &IssuerKey, before: usize, after: usize) {
        let tenant = Tenant::of(issuer);
        self.0.subtract(&tenant, before);
        self.0.add(tenant, after);
    }
}

/// The size of an issuer in memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Size {
    /// The object.
    pub(super) object: usize,
    /// All that has been charged to its tenant.
    pub(super) charged: usize,
    /// Whether its spec was not kept, since its tenant has no room.
    pub(super) is_beyond: bool,
}

impl Hash for Size {
    /// Hashes what is not determined by the object.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.is_beyond.hash(state);
    }
}
