//! The replies of the Vault of a scenario.

use std::sync::LazyLock;

use http::header::RETRY_AFTER;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use super::builder::{KEY, params};
use crate::{Body, Operation, Reply};

/// The CA, its key, and its certificate as PEM.
static CA: LazyLock<(CertificateParams, KeyPair, String)> = LazyLock::new(|| {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Test CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_before = rcgen::date_time_ymd(2025, 1, 1);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (params, key, pem)
});

/// How Vault answers.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// As it should.
    Well,
    /// With a certificate for this name.
    Names(&'static str),
    /// With this status and these `errors`.
    Refuses(u16, &'static str),
    /// With this status and this `Retry-After`, in seconds.
    Postpones(u16, u64),
    /// Not at all: the reply is lost.
    Lost,
    /// When [`Scenario::release`](super::scenario::Scenario::release) is called.
    Held,
}

pub(super) fn reply(status: u16, body: &Value) -> Reply {
    let reply = http::Response::builder().status(status);
    Ok(reply.body(Body::from(body.to_string().into_bytes())).unwrap())
}

/// Returns a refusal that asks to wait for so many seconds.
pub(super) fn postponed(status: u16, seconds: u64) -> Reply {
    let mut postponed = reply(status, &json!({ "errors": [] }))?;
    postponed.headers_mut().insert(RETRY_AFTER, seconds.into());
    Ok(postponed)
}

fn refusal(answer: &Answer) -> Option<Reply> {
    match answer {
        Answer::Well | Answer::Names(_) => None,
        Answer::Refuses(status, text) => Some(reply(*status, &json!({ "errors": [text] }))),
        Answer::Postpones(status, seconds) => Some(postponed(*status, *seconds)),
        Answer::Lost => Some(Err(crate::TransportError::Timeout)),
        Answer::Held => panic!("only signatures are held back"),
    }
}

pub(super) fn check_reply(operation: Operation, answer: &Answer, auth: &Value) -> Reply {
    refusal(answer).unwrap_or_else(|| match operation {
        Operation::Probe => reply(400, &json!({ "errors": ["\"csr\" is empty"] })),
        Operation::Health => reply(200, &json!({ "initialized": true, "sealed": false })),
        // What is asked before a login reads `data`.
        Operation::Login | Operation::Renew => reply(200, &json!({ "auth": auth, "data": auth })),
        _ => reply(200, &json!({ "data": { "ttl": 0, "renewable": false } })),
    })
}

pub(super) fn sign_reply(body: &Value, answer: &Answer, leased: bool) -> Reply {
    refusal(answer).unwrap_or_else(|| {
        let name = match answer {
            Answer::Names(name) => name,
            _ => body["alt_names"].as_str().unwrap(),
        };
        let (ca, key, pem) = &*CA;
        let leaf = params(name).signed_by(&*KEY, &Issuer::from_params(ca, key)).unwrap();
        reply(
            200,
            &json!({
                "lease_id": if leased { "pki/sign/web/lease" } else { "" },
                "data": { "certificate": leaf.pem(), "issuing_ca": pem, "ca_chain": [pem] },
            }),
        )
    })
}
