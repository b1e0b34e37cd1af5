//! The algorithms with which CSRs and issued certificates are verified: those of TLS, and those that a CA of Vault may use
//! besides. What Go verifies, and so cert-manager accepts, must not fail here; nothing of this applies to TLS connections.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, RsaParameters,
    UnparsedPublicKey,
};
use issuer_core::Signatures;
use p224::ecdsa::signature::hazmat::PrehashVerifier;
use p224::ecdsa::{Signature, VerifyingKey};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};

/// Returns the signature algorithms that CSRs and issued certificates are verified with.
///
/// Those of rustls (EC P-256, P-384 and P-521, Ed25519, RSA from 2048 bits on), RSA from 1024 bits on, which old roots
/// have, and EC P-224, which Vault offers.
pub fn signatures() -> Signatures {
    static ALL: LazyLock<Vec<&'static dyn SignatureVerificationAlgorithm>> = LazyLock::new(|| {
        let tls = default_provider().signature_verification_algorithms.all.iter().copied();
        // One for each kind of signature: a wrong one would otherwise be verified with each of them.
        let is_other =
            |known: &&dyn SignatureVerificationAlgorithm| !SMALL_RSA.iter().any(|small| is_same(*small, *known));
        tls.filter(is_other).chain(SMALL_RSA).chain(P224).collect()
    });
    Signatures(&ALL)
}

fn is_same(one: &dyn SignatureVerificationAlgorithm, other: &dyn SignatureVerificationAlgorithm) -> bool {
    one.public_key_alg_id() == other.public_key_alg_id() && one.signature_alg_id() == other.signature_alg_id()
}

static SMALL_RSA: [&dyn SignatureVerificationAlgorithm; 2] = [
    &SmallRsa {
        id: alg_id::RSA_PKCS1_SHA256,
        parameters: &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
    },
    &SmallRsa {
        id: alg_id::RSA_PKCS1_SHA512,
        parameters: &RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
    },
];

static P224: [&dyn SignatureVerificationAlgorithm; 3] = [
    &EcdsaP224 {
        id: alg_id::ECDSA_SHA256,
        hash: &digest::SHA256,
    },
    &EcdsaP224 {
        id: alg_id::ECDSA_SHA384,
        hash: &digest::SHA384,
    },
    &EcdsaP224 {
        id: alg_id::ECDSA_SHA512,
        hash: &digest::SHA512,
    },
];

/// RSA with PKCS#1 padding and a key of 1024 to 8192 bits.
#[derive(Debug)]
struct SmallRsa {
    id: AlgorithmIdentifier,
    parameters: &'static RsaParameters,
}

impl SignatureVerificationAlgorithm for SmallRsa {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        UnparsedPublicKey::new(self.parameters, key)
            .verify(message, signature)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.id
    }
}

/// ECDSA with the curve secp224r1, which aws-lc-rs does not offer.
#[derive(Debug)]
struct EcdsaP224 {
    id: AlgorithmIdentifier,
    hash: &'static digest::Algorithm,
}

impl SignatureVerificationAlgorithm for EcdsaP224 {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let invalid = |_| InvalidSignature;
        let key = VerifyingKey::from_sec1_bytes(key).map_err(invalid)?;
        let signature = Signature::from_der(signature).map_err(invalid)?;
        let hash = digest::digest(self.hash, message);
        key.verify_prehash(hash.as_ref(), &signature).map_err(invalid)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        // ecPublicKey (1.2.840.10045.2.1) and secp224r1 (1.3.132.0.33).
        const ID: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x21";
        AlgorithmIdentifier::from_slice(ID)
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_every_key_of_vault() {
        let keys: Vec<_> = signatures().0.iter().map(|known| known.public_key_alg_id()).collect();
        for key in [
            alg_id::ECDSA_P256,
            alg_id::ECDSA_P384,
            alg_id::ECDSA_P521,
            alg_id::ED25519,
            alg_id::RSA_ENCRYPTION,
            P224[0].public_key_alg_id(),
        ] {
            assert!(keys.contains(&key), "{key:?}");
        }
    }

    #[test]
    fn no_signature_is_verified_twice() {
        let all = signatures().0;
        for (at, known) in all.iter().enumerate() {
            assert!(!all[at + 1..].iter().any(|other| is_same(*known, *other)), "{known:?}");
        }
    }

    #[test]
    fn refuses_broken_input() {
        for algorithm in SMALL_RSA.iter().chain(&P224) {
            for (key, signature) in [(&b""[..], &b""[..]), (&[4; 57], &[0x30, 0]), (&[0x30, 0], &[1; 128])] {
                assert!(algorithm.verify_signature(key, b"message", signature).is_err());
            }
        }
    }
}
