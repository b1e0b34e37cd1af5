//! The JSON Web Tokens of the table.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::SigningKey;
use serde_json::{Value, json};

use crate::answer::with;
use crate::ca::{KeyType, key};

/// The audience and the subject that may log in.
pub(super) const AUDIENCE: &str = "vault://team/vault";
pub(super) const SUBJECT: &str = "system:serviceaccount:team:login";

/// The end of 2059: a real server compares it with its own clock.
const EXPIRY: u64 = 2_840_140_800;

/// Returns the PEM of the public key that signatures are checked with.
pub(super) fn public_key() -> String {
    key(KeyType::Ed25519, "jwt").public_key_pem()
}

/// Returns a token that may log in, but for the claims of `changes`.
pub(super) fn jwt<const N: usize>(changes: [(&str, Value); N]) -> String {
    let claims = json!({ "sub": SUBJECT, "aud": [AUDIENCE], "iat": 1_700_000_000, "exp": EXPIRY });
    let encode = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
    let header = json!({ "alg": "EdDSA" }).to_string();
    let claims = with(claims, changes).to_string();
    let signed = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
    let signature = key(KeyType::Ed25519, "jwt").sign(signed.as_bytes()).unwrap_or_default();
    format!("{signed}.{}", encode(&signature))
}
