use std::fmt;

use rustls_pki_types::SignatureVerificationAlgorithm;

/// The signature algorithms that a driver's crypto library can check.
///
/// The core holds no cryptography of its own: it says which key, message and signature belong together, and these
/// answer. `issuer_tls::signatures()` has those of aws-lc-rs.
#[derive(Clone, Copy)]
pub struct Signatures(pub &'static [&'static dyn SignatureVerificationAlgorithm]);

impl fmt::Debug for Signatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signatures({})", self.0.len())
    }
}

impl Signatures {
    /// Tells whether `signature` over `message` was made by `key`: a DER `SubjectPublicKeyInfo` and the content of
    /// the DER `AlgorithmIdentifier` of the signature. An algorithm that is not among these verifies nothing.
    pub(crate) fn verify(
        &self,
        key: SubjectPublicKey<'_>,
        algorithm: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        self.0
            .iter()
            .filter(|known| *known.signature_alg_id() == *algorithm)
            .filter(|known| *known.public_key_alg_id() == *key.algorithm)
            .any(|known| known.verify_signature(key.bits, message, signature).is_ok())
    }
}

/// The two parts of a `SubjectPublicKeyInfo`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubjectPublicKey<'a> {
    /// The content of the DER `AlgorithmIdentifier`.
    pub(crate) algorithm: &'a [u8],
    /// The key's bits, without the count of unused ones.
    pub(crate) bits: &'a [u8],
}
