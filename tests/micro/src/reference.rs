//! The reference for the costs: code that is not ours and hardly changes.

use std::hint::black_box;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::fixture;
use crate::work::{Run, Work};

/// The verification of a P-256 signature by aws-lc: for operations that verify signatures.
pub(crate) static P256: Work = Work {
    name: "p256",
    prepare: verification,
};

/// The parsing of a CertificateRequest by serde_json, to a tree: for all others.
pub(crate) static JSON: Work = Work {
    name: "json",
    prepare: parsing,
};

/// A public key, and its signature of [`MESSAGE`].
const SIGNED: [&str; 2] = [
    "BPcFIhKcYcxQK0PxHOVbM4pCWWkf0SLqDSD5eYTDnpc/ModGOPmfSh4JlP7i9E3rIeL6KO/M88qjTKFfjigoZg8=",
    "MEUCICQzuMWHorETnybkUcMemfqlZvlrBt+dZk4c7IWmpTmzAiEA2ad4x7B0XxXmnTDLsJAlgR1ehtklEz8/mxWcFchVYLU=",
];

/// As long as the signed part of a CSR.
const MESSAGE: [u8; 400] = [b'0'; 400];

fn verification() -> Run {
    let [key, signature] = SIGNED.map(|text| BASE64_STANDARD.decode(text).unwrap());
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key);
    Box::new(move || key.verify(black_box(&MESSAGE), black_box(&signature)).unwrap())
}

fn parsing() -> Run {
    let document = serde_json::to_vec(&fixture::request("web")).unwrap();
    Box::new(move || {
        black_box(serde_json::from_slice::<Value>(black_box(&document)).unwrap());
    })
}
