//! A signature algorithm that counts.

use std::cell::Cell;

use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};

use crate::fixture::signatures;

thread_local! {
    /// The number of signatures that this thread has verified with [`Counted`].
    static VERIFIED: Cell<usize> = const { Cell::new(0) };
}

/// Returns the number of signatures that this thread has verified with [`Counted`].
pub(super) fn verified() -> usize {
    VERIFIED.get()
}

/// ECDSA with P-256 and SHA-256, with a count of the signatures that were verified.
#[derive(Debug)]
pub(super) struct Counted;

impl SignatureVerificationAlgorithm for Counted {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        VERIFIED.set(VERIFIED.get() + 1);
        let all = signatures().0.iter();
        let mut fitting = all.filter(|known| {
            known.public_key_alg_id() == self.public_key_alg_id() && known.signature_alg_id() == self.signature_alg_id()
        });
        fitting.next().unwrap().verify_signature(key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P256
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA256
    }
}
