//! What the costs are compared with: code that is not ours and hardly changes.

use std::hint::black_box;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use fake_vault::{KeyType, key};
use rcgen::{PublicKeyData, SigningKey};
use serde_json::Value;

use crate::fixture;
use crate::work::{Run, Work};

/// The verification of a P-256 signature by aws-lc: for operations that verify signatures.
pub(crate) static P256: Work = Work {
    name: "p256",
    prepare: verification,
};

/// The parsing of a CertificateRequest of 2 kB by serde_json, to a tree: for all others.
pub(crate) static JSON: Work = Work {
    name: "json",
    prepare: parsing,
};

fn verification() -> Run {
    // As long as the signed part of a CSR.
    let message = [0x30; 400];
    let signer = key(KeyType::Ec, "reference");
    let signature = signer.sign(&message).unwrap();
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, signer.der_bytes().to_vec());
    Box::new(move || public.verify(black_box(&message), black_box(&signature)).unwrap())
}

fn parsing() -> Run {
    let document = serde_json::to_vec(&fixture::request("web")).unwrap();
    Box::new(move || {
        black_box(serde_json::from_slice::<Value>(black_box(&document)).unwrap());
    })
}
