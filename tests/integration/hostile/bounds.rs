//! Huge answers: their cost, and their effect on a status.

use std::time::{Duration, Instant};

use http::StatusCode;
use http::header::{HeaderValue, LOCATION, RETRY_AFTER};
use issuer_core::{Body, Issued, Limits, Operation, Reply, RequestSpec, SigningRequest, VerifyError, verify};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use serde_json::{Value, json};

use super::pure;
use crate::world::BEGIN;

/// The largest body that drivers pass on.
fn limit() -> usize {
    Limits::default().body
}

/// How long any answer may take, in a build without optimization on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest message of a condition. Vault's own words are 256 bytes of it.
const MESSAGE: usize = 512;

fn reply(status: u16, body: Vec<u8>) -> Reply {
    assert!(body.len() <= limit(), "{}", body.len());
    let mut reply = http::Response::new(Body::from(body));
    *reply.status_mut() = StatusCode::from_u16(status).unwrap();
    Ok(reply)
}

/// Repeats a text as often as fits into a body.
fn full_of(text: &str) -> String {
    text.repeat((limit() - 1000) / json!(text).to_string().len())
}

/// The worst bodies for a parser.
fn bodies() -> Vec<Vec<u8>> {
    let certificates = [
        full_of("-----BEGIN CERTIFICATE-----\n"),
        full_of("-----BEGIN "),
        full_of("-----BEGIN -----"),
        full_of("-----"),
        full_of("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"),
        full_of("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"),
        full_of("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"),
        format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            full_of("MIIA")
        ),
        full_of("\n"),
    ];
    let mut bodies: Vec<_> = certificates
        .iter()
        .flat_map(|text| {
            [
                json!({ "data": { "certificate": text } }),
                json!({ "auth": { "client_token": text } }),
                json!({ "errors": [text] }),
            ]
        })
        .collect();
    let each = vec!["-----BEGIN CERTIFICATE-----\n"; limit() / 34];
    bodies.push(json!({ "data": { "certificate": "", "ca_chain": vec![""; limit() / 4] } }));
    bodies.push(json!({ "data": { "certificate": "", "ca_chain": each } }));
    bodies.push(json!({ "errors": each }));
    bodies.push(json!({ "errors": vec![""; limit() / 4] }));
    bodies.push(json!({ "errors": [full_of("1 error occurred: * ")] }));
    bodies.push(json!({ "errors": [full_of("a b\u{7}\u{202e} ")] }));
    bodies.push(json!({ "errors": [full_of("aa.bb-cc_")] }));
    bodies.push(json!({ "auth": { "client_token": "\r\nX-Injected: yes", "lease_duration": u64::MAX } }));
    bodies.push(json!({ "data": { "ttl": u64::MAX }, "auth": { "client_token": "a", "lease_duration": -1 } }));
    let mut bodies: Vec<_> = bodies
        .iter()
        .map(|body: &Value| body.to_string().into_bytes())
        .collect();
    for (open, close) in [
        ("[", "]"),
        ("{\"a\":", "}"),
        ("{\"data\":", "}"),
        ("{\"errors\":[", "]}"),
    ] {
        let depth = limit() / (open.len() + close.len()) - 1;
        bodies.push((open.repeat(depth) + "0" + &close.repeat(depth)).into_bytes());
        bodies.push(open.repeat(depth).into_bytes());
    }
    bodies.push(full_of("{\"data\":{}},").into_bytes());
    bodies.push(format!("{{{}\"data\":0}}", full_of("\"data\":{},")).into_bytes());
    bodies.push(vec![0xff; limit()]);
    bodies.push(Vec::new());
    bodies
}

fn assert_short_and_plain(message: &str) {
    assert!(message.len() <= MESSAGE, "{message}");
    assert!(!message.chars().any(|c| c.is_control() || c == '\u{202e}'), "{message}");
}

#[test]
fn no_answer_is_too_much() {
    let mut vault = pure::vault();
    let access = pure::check(&mut vault, None).unwrap();
    let (sign, _) = pure::sign(&mut vault, &access, "web");
    for (number, body) in bodies().into_iter().enumerate() {
        for status in [200, 400, 503] {
            let start = Instant::now();
            let error = pure::resume(sign.clone(), reply(status, body.clone())).unwrap_err();
            assert_short_and_plain(&error.to_string());
            for operation in [Operation::Login, Operation::Probe] {
                let checked = pure::check(&mut vault, Some((operation, reply(status, body.clone()))));
                if let Err(error) = checked {
                    assert_short_and_plain(&error.to_string());
                }
            }
            let took = start.elapsed();
            assert!(took < PATIENCE, "body {number}, status {status}: {took:?}");
        }
    }
}

/// One user may choose the names of the CSR and, with a server of their own, the common name of the certificate.
#[test]
fn long_common_name_is_read_once() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let uri = |number: usize| SanType::URI(format!("{number:x}").as_str().try_into().unwrap());
    params.subject_alt_names = (0..11_500).map(uri).collect();
    let csr = params.serialize_request(&key).unwrap().pem().unwrap();
    let spec = RequestSpec {
        csr: csr.as_bytes(),
        ..RequestSpec::default()
    };
    let wanted = SigningRequest::parse(spec, &issuer_tls::signatures()).unwrap();
    params.subject_alt_names.clear();
    // Twice in the certificate, as subject and issuer, which may have 27 kB.
    params.distinguished_name.push(DnType::CommonName, "x".repeat(13_000));
    let issued = Issued {
        certificate: params.self_signed(&key).unwrap().pem(),
        ..Issued::default()
    };
    let start = Instant::now();
    let verified = verify(&wanted, &issued, BEGIN, &issuer_tls::signatures().into());
    assert_eq!(verified, Err(VerifyError::CommonName));
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

#[test]
fn no_header_is_too_much() {
    let mut vault = pure::vault();
    let access = pure::check(&mut vault, None).unwrap();
    let (sign, _) = pure::sign(&mut vault, &access, "web");
    let values = [
        "9".repeat(60_000),
        format!("-{}", u64::MAX),
        format!("{}UTC", "UTC".repeat(20_000)),
        "Fri, 31 Dec 9999 23:59:60 GMT".to_owned(),
        "\u{e4}".repeat(30_000),
    ];
    for value in values {
        for status in [307, 400, 403, 412, 429, 500, 503] {
            let mut reply = reply(status, b"{\"errors\":[]}".to_vec()).unwrap();
            for name in [RETRY_AFTER, LOCATION] {
                reply
                    .headers_mut()
                    .insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            let error = pure::resume(sign.clone(), Ok(reply)).unwrap_err();
            let wait = error.retry_after().unwrap_or(Duration::from_secs(1));
            assert!((1..=600).contains(&wait.as_secs()), "{wait:?}");
            assert_short_and_plain(&error.to_string());
        }
    }
}
