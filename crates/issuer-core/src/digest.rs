//! Digests of values, by which equal ones are found.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Returns the hash of a value; equal values have equal hashes, for the hasher has no random key.
pub(crate) fn digest(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
