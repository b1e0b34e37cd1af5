//! The memory that an issuer may take for Secrets and ConfigMaps.

use std::hash::{Hash, Hasher};

/// How many bytes of Secrets and ConfigMaps a check may keep.
///
/// It depends on what the other issuers of the tenant hold, which takes no part in hashes: states that differ in nothing else
/// are one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Room(pub usize);

impl Room {
    /// The most bytes that the issuers of a namespace, or a cluster issuer, may hold: their specs, and what they keep of
    /// Secrets and ConfigMaps. It takes several times as much memory, since certificates are parsed.
    pub const OF_TENANT: Self = Self(16 << 20);

    /// Returns the mebibytes, rounded down.
    pub(crate) fn mebibytes(self) -> usize {
        self.0 >> 20
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::OF_TENANT
    }
}

impl Hash for Room {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}
