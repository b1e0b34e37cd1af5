//! Signatures between CA certificates that need not be verified again.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The largest number of signatures that are remembered.
const SIGNATURES: usize = 32;

/// The largest CA certificate and key that are remembered, in bytes together.
const SIZE: usize = 8 << 10;

/// Signatures of CA certificates that were verified and are valid: Vault returns the same CA chain with every certificate.
///
/// [`verify`](crate::verify()) takes this as a value and returns it with what it has verified. It is bounded; the
/// oldest signature is forgotten first. A signature is identified by the whole certificate and the whole key, so
/// another one never passes for it. The signature of an issued certificate is never in it.
///
/// It affects nothing but the time that a verification takes, so all values are equal and have the same hash.
#[derive(Clone, Default)]
pub struct KnownSignatures(Arc<Vec<Known>>);

/// A certificate, DER, and the DER `SubjectPublicKeyInfo` of the key that signed it.
#[derive(Clone, PartialEq)]
struct Known {
    certificate: Box<[u8]>,
    key: Box<[u8]>,
}

impl KnownSignatures {
    pub(crate) fn contains(&self, certificate: &[u8], key: &[u8]) -> bool {
        let mut known = self.0.iter();
        known.any(|known| *known.certificate == *certificate && *known.key == *key)
    }

    /// Remembers that `key` made the signature of `certificate`.
    pub(crate) fn insert(&mut self, certificate: &[u8], key: &[u8]) {
        if certificate.len() + key.len() > SIZE || self.contains(certificate, key) {
            return;
        }
        let signatures = Arc::make_mut(&mut self.0);
        // Linear, but in a list of a few: to find one by a hash would mean to hash whole certificates.
        if signatures.len() >= SIGNATURES {
            signatures.remove(0);
        }
        signatures.push(Known {
            certificate: certificate.into(),
            key: key.into(),
        });
    }

    /// Adds the signatures of another value.
    pub(crate) fn extend(&mut self, other: &Self) {
        if !Arc::ptr_eq(&self.0, &other.0) {
            for known in other.0.iter() {
                self.insert(&known.certificate, &known.key);
            }
        }
    }
}

impl PartialEq for KnownSignatures {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Hash for KnownSignatures {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl fmt::Debug for KnownSignatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownSignatures")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_certificate_is_not_known() {
        let mut known = KnownSignatures::default();
        known.insert(b"certificate", b"key");
        assert!(known.contains(b"certificate", b"key"));
        for (certificate, key) in [
            (&b"certificate"[..], &b"yek"[..]),
            (b"certificatek", b"ey"),
            (b"", b"key"),
        ] {
            assert!(!known.contains(certificate, key));
        }
    }

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut known = KnownSignatures::default();
        let number = |number: usize| number.to_be_bytes();
        for at in 0..=SIGNATURES {
            known.insert(&number(at), b"key");
            known.insert(&number(at), b"key");
        }
        assert!(!known.contains(&number(0), b"key"));
        assert!((1..=SIGNATURES).all(|at| known.contains(&number(at), b"key")));
        assert_eq!(known.0.len(), SIGNATURES);
    }

    #[test]
    fn nothing_large_is_kept() {
        let mut known = KnownSignatures::default();
        known.insert(&[0; SIZE], b"key");
        assert_eq!(known.0.len(), 0);
    }

    #[test]
    fn values_are_joined() {
        let (mut one, mut other) = (KnownSignatures::default(), KnownSignatures::default());
        one.insert(b"a", b"key");
        other.insert(b"a", b"key");
        other.insert(b"b", b"key");
        one.extend(&other);
        assert!(one.contains(b"b", b"key"));
        assert_eq!(one.0.len(), 2);
    }
}
