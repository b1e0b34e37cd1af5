//! Verifies the signatures of CSRs and certificates with the driver's algorithms.

use std::fmt;
use std::hash::{Hash, Hasher};

use rustls_pki_types::{SignatureVerificationAlgorithm, alg_id};

use crate::der::{self, Element};

/// The signature algorithms that a driver's crypto library can verify.
///
/// The core has no cryptography of its own. `issuer_tls::signatures()` returns the algorithms of the drivers.
#[derive(Clone, Copy)]
pub struct Signatures(pub &'static [&'static dyn SignatureVerificationAlgorithm]);

impl PartialEq for Signatures {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Hash for Signatures {
    /// Hashes the number of algorithms: a process has one table of them.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.len().hash(state);
    }
}

impl fmt::Debug for Signatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signatures({})", self.0.len())
    }
}

/// The result of verifying a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The key made it.
    Valid,
    /// The key did not make it.
    Wrong,
    /// The algorithm or the kind of key is not among those that can be verified.
    Unsupported,
}

impl Signatures {
    /// Verifies that `key` made `signature` over `message`; `algorithm` is the content of the signature's DER
    /// `AlgorithmIdentifier`.
    pub(crate) fn verify(
        &self,
        key: SubjectPublicKey<'_>,
        algorithm: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Verdict {
        let named = || self.0.iter().filter(|known| *known.signature_alg_id() == *algorithm);
        let mut fitting = named()
            .filter(|known| *known.public_key_alg_id() == *key.algorithm)
            .peekable();
        if fitting.peek().is_some() {
            // The time grows with the square of the size, and libraries may only find out late that they refuse it.
            if key.is_too_large() {
                return Verdict::Unsupported;
            }
            let valid = |known: &&dyn SignatureVerificationAlgorithm| {
                known.verify_signature(key.bits, message, signature).is_ok()
            };
            return match fitting.any(valid) {
                true => Verdict::Valid,
                // A library's refusal of the key's size must not pass for a forged signature.
                false if key.is_too_small() => Verdict::Unsupported,
                false => Verdict::Wrong,
            };
        }
        // An EC key cannot have made an RSA signature; an unknown curve might have made the ECDSA one.
        let same_kind =
            |known: &&&dyn SignatureVerificationAlgorithm| kind(&known.public_key_alg_id()) == kind(key.algorithm);
        let apart = named().next().is_some()
            && self.0.iter().any(|known| same_kind(&known))
            && !named().any(|known| same_kind(&known));
        if apart { Verdict::Wrong } else { Verdict::Unsupported }
    }
}

/// Returns the object identifier of an `AlgorithmIdentifier`'s content.
fn kind(algorithm: &[u8]) -> Option<&[u8]> {
    der::split(algorithm).map(|(identifier, _)| identifier.whole)
}

/// The two parts of a `SubjectPublicKeyInfo`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubjectPublicKey<'a> {
    /// The content of the DER `AlgorithmIdentifier`.
    pub(crate) algorithm: &'a [u8],
    /// The key's bits, without the count of unused ones.
    pub(crate) bits: &'a [u8],
}

impl<'a> SubjectPublicKey<'a> {
    /// Splits a DER `SubjectPublicKeyInfo`.
    pub(crate) fn parse(spki: &'a [u8]) -> Option<Self> {
        let [algorithm, key] = der::elements(der::only(der::SEQUENCE, spki)?)?.try_into().ok()?;
        Some(Self {
            algorithm: der::only(der::SEQUENCE, algorithm.whole)?,
            bits: der::bits(key)?,
        })
    }

    /// Returns `true` for an RSA key of more than 8192 bits, of which no library verifies signatures.
    fn is_too_large(&self) -> bool {
        self.modulus_bits().is_some_and(|bits| bits > 8192)
    }

    /// Returns `true` for an RSA key of less than 2048 bits: libraries refuse it as if the signature were wrong.
    fn is_too_small(&self) -> bool {
        self.modulus_bits().is_some_and(|bits| bits < 2048)
    }

    /// Returns the size of an RSA key; `None` for other keys.
    fn modulus_bits(&self) -> Option<usize> {
        let (modulus, _) = self.rsa()?;
        bits(modulus)
    }

    /// Returns the modulus and the exponent of an RSA key.
    fn rsa(&self) -> Option<(Element<'a>, Element<'a>)> {
        if *self.algorithm != *alg_id::RSA_ENCRYPTION {
            return None;
        }
        let (modulus, rest) = der::split(der::only(der::SEQUENCE, self.bits)?)?;
        let (exponent, _) = der::split(rest)?;
        Some((modulus, exponent))
    }

    /// Returns how long it takes to verify a signature of this key, in units of one of P-256, and rather too much.
    ///
    /// With RSA, the time grows with the square of the size, and with the length of the exponent, which is 65537 almost
    /// everywhere.
    pub(crate) fn cost(&self) -> usize {
        if let Some((modulus, exponent)) = self.rsa() {
            let size = bits(modulus).map_or(1, |bits| bits.div_ceil(2048));
            let is_usual = exponent.content.len() <= 3;
            return size * size * if is_usual { 1 } else { 2 };
        }
        let is_small = [alg_id::ECDSA_P256, alg_id::ED25519]
            .iter()
            .any(|id| **id == *self.algorithm);
        if is_small { 1 } else { 4 }
    }
}

/// Returns the number of bits of a positive integer.
fn bits(integer: Element<'_>) -> Option<usize> {
    let zeros = integer.content.iter().take_while(|byte| **byte == 0).count();
    let first = integer.content.get(zeros)?;
    let bits = (integer.content.len() - zeros) * 8 - usize::try_from(first.leading_zeros()).ok()?;
    (integer.tag == der::INTEGER).then_some(bits)
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PublicKeyData, SigningKey};

    use super::*;
    use crate::fixture::signatures;

    #[test]
    fn distinguishes_wrong_from_unsupported() {
        let ec = KeyPair::generate().unwrap();
        let other = KeyPair::generate().unwrap();
        let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        let made = ec.sign(b"message").unwrap();
        let made_by_rsa = rsa.sign(b"message").unwrap();
        // ecdsa-with-SHA224, and P-224 as a curve: neither is checked.
        let sha224: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 1];
        let p224: &[u8] = &[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 0x21];
        let ec_id: &[u8] = &alg_id::ECDSA_P256;
        let rsa_id: &[u8] = &alg_id::RSA_ENCRYPTION;
        let ecdsa: &[u8] = &alg_id::ECDSA_SHA256;
        let pkcs1: &[u8] = &alg_id::RSA_PKCS1_SHA256;
        type Row<'a> = (&'a [u8], &'a [u8], &'a [u8], &'a [u8], Verdict);
        let table: [Row<'_>; 9] = [
            (ec_id, ec.der_bytes(), ecdsa, &made, Verdict::Valid),
            (rsa_id, rsa.der_bytes(), pkcs1, &made_by_rsa, Verdict::Valid),
            (ec_id, other.der_bytes(), ecdsa, &made, Verdict::Wrong),
            (ec_id, ec.der_bytes(), ecdsa, &made_by_rsa, Verdict::Wrong),
            (ec_id, ec.der_bytes(), pkcs1, &made, Verdict::Wrong),
            (rsa_id, rsa.der_bytes(), ecdsa, &made, Verdict::Wrong),
            (ec_id, ec.der_bytes(), sha224, &made, Verdict::Unsupported),
            (p224, ec.der_bytes(), ecdsa, &made, Verdict::Unsupported),
            (b"", b"", b"", b"", Verdict::Unsupported),
        ];
        for (row, (algorithm, bits, signature_algorithm, signature, verdict)) in table.into_iter().enumerate() {
            let key = SubjectPublicKey { algorithm, bits };
            assert_eq!(
                signatures().verify(key, signature_algorithm, b"message", signature),
                verdict,
                "row {row}"
            );
        }
    }

    /// Encodes an RSA key with a modulus of this many bytes.
    fn rsa(modulus: usize, exponent: &[u8]) -> Vec<u8> {
        let integer = |content: &[u8]| [encoded_length(2, content.len()), content.to_vec()].concat();
        let integers = [integer(&vec![0xff; modulus]), integer(exponent)].concat();
        [encoded_length(0x30, integers.len()), integers].concat()
    }

    fn encoded_length(tag: u8, length: usize) -> Vec<u8> {
        match length {
            ..0x80 => vec![tag, length as u8],
            0x80..0x100 => vec![tag, 0x81, length as u8],
            _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
        }
    }

    #[test]
    fn larger_keys_cost_more() {
        for (modulus, exponent, cost) in [
            (128, &[3][..], 1),
            (256, &[1, 0, 1], 1),
            (257, &[1, 0, 1], 4),
            (512, &[1, 0, 1], 4),
            (512, &[1, 0, 0, 1], 8),
            (1024, &[1, 0, 1], 16),
            (1024, &[1, 0, 0, 0, 1], 32),
        ] {
            let (algorithm, bits) = (&*alg_id::RSA_ENCRYPTION, &*rsa(modulus, exponent));
            assert_eq!(
                SubjectPublicKey { algorithm, bits }.cost(),
                cost,
                "{modulus} {exponent:?}"
            );
        }
        for (algorithm, cost) in [
            (alg_id::ECDSA_P256, 1),
            (alg_id::ED25519, 1),
            (alg_id::ECDSA_P384, 4),
            (alg_id::ECDSA_P521, 4),
        ] {
            let (algorithm, bits) = (&*algorithm, &[][..]);
            assert_eq!(SubjectPublicKey { algorithm, bits }.cost(), cost, "{algorithm:?}");
        }
    }

    #[test]
    fn unusual_rsa_sizes_are_unsupported() {
        for (modulus, verdict) in [
            (128, Verdict::Unsupported),
            (256, Verdict::Wrong),
            (2048, Verdict::Unsupported),
        ] {
            let bits = rsa(modulus, &[1, 0, 1]);
            let key = SubjectPublicKey {
                algorithm: &alg_id::RSA_ENCRYPTION,
                bits: &bits,
            };
            let signature = vec![1; modulus];
            assert_eq!(
                signatures().verify(key, &alg_id::RSA_PKCS1_SHA256, b"message", &signature),
                verdict
            );
        }
    }
}
