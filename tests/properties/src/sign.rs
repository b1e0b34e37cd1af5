//! Properties of the verification of Vault's answers.

use issuer_core::vault::Sign;
use issuer_core::{Body, Flow, Step};
use serde_json::json;

use crate::fixture::{LEASE, NOW, PATH, VAULT, pem, sent, signatures, signing_request};
use crate::oracle::assert_sound;
use crate::reply;
use crate::text::assert_shown;

/// The answer to a signing request: only a certificate that matches the request is accepted, and the reason for a
/// refusal is printable.
///
/// An input is a reply, or concatenated DER certificates: the leaf and its chain.
pub fn sign(data: &[u8]) {
    let answer = match data.first() {
        Some(0x30) => certificates(data),
        _ => reply::read(data),
    };
    for is_ca in [false, true] {
        let (_, sign) = sent(Sign::begin(&VAULT, &PATH, &LEASE, signing_request(is_ca), signatures()));
        match sign.resume(NOW, Ok(answer.clone())) {
            Step::Done(Ok(verified)) => {
                assert_eq!(answer.status(), 200);
                assert_sound(&verified, is_ca);
            }
            Step::Done(Err(error)) => assert_shown(&error.to_string()),
            Step::Send(..) => panic!("a signature is one request"),
        }
    }
}

fn certificates(data: &[u8]) -> http::Response<Body> {
    let (leaf, mut rest) = split(data);
    let mut chain = Vec::new();
    while !rest.is_empty() {
        let (next, after) = split(rest);
        chain.push(pem("CERTIFICATE", next));
        rest = after;
    }
    let body = json!({ "data": { "certificate": pem("CERTIFICATE", leaf), "ca_chain": chain } });
    reply::with(200, body.to_string())
}

/// Splits off a DER element with a length of two bytes, as every certificate has, or returns everything.
fn split(data: &[u8]) -> (&[u8], &[u8]) {
    match data {
        [0x30, 0x82, high, low, ..] => {
            let end = 4 + (usize::from(*high) << 8 | usize::from(*low));
            data.split_at(end.min(data.len()))
        }
        _ => (data, &[]),
    }
}
