//! What a server says of its health, and of a token.

use std::time::Duration;

use http::Response;
use issuer_core::vault::{Check, Checked, Credentials, Lease};
use issuer_core::{Body, Flow, Operation, Reply, Request, Secret, Step};
use serde_json::Value;

use crate::fixture::{LEASE, NOW, VAULT, after, app_role, sent, terms};
use crate::reply;
use crate::text::{assert_hidden, assert_shown};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// `sys/health`: a check goes on only if the answer says that the server is well, and tells the health no credential.
pub fn health(data: &[u8]) {
    let reply = reply::read(data);
    let (request, check) = sent(Check::begin(
        terms(Credentials::Token(Secret::from("t"))),
        None,
        false,
        NOW,
    ));
    assert_eq!(request.operation, Operation::Health);
    assert!(
        request.http.headers().get("x-vault-token").is_none(),
        "health needs no token"
    );
    assert!(
        request.http.headers().get("x-vault-namespace").is_none(),
        "health has no namespace"
    );
    let status = reply.status().as_u16();
    // A struct may also be written as an array. What serde_json reads as no value, such as a number out of range, is
    // left to the other targets.
    let initialized =
        json(&reply).map(|body| body.get("initialized").or_else(|| body.get(0)) == Some(&Value::Bool(true)));
    match check.resume(NOW, Ok(reply)) {
        Step::Send(request, _) => {
            assert_eq!(request.operation, Operation::Lookup);
            let unknown = matches!(status, 400 | 403 | 404);
            let well = matches!(status, 200 | 429 | 473) && initialized != Some(false);
            assert!(unknown || well, "status {status} is taken for a server that is well");
        }
        Step::Done(ended) => {
            assert_eq!(failed(ended), None, "nothing was held");
        }
    }
}

/// The answers to a login, a lookup and a renewal: no token is made of anything else than what Vault grants, none is
/// printed, and how long it lives can be reckoned with, whatever Vault says.
pub fn login(data: &[u8]) {
    let reply = reply::read(data);
    let others = [
        app_role(),
        Credentials::Jwt {
            mount: issuer_core::target::Mount::parse("kubernetes").unwrap(),
            role: "web".to_owned(),
            token: Some(Secret::from("canary")),
        },
        Credentials::Token(Secret::from("canary")),
    ];
    for credentials in others {
        let is_given = matches!(credentials, Credentials::Token(_));
        let (_, check) = sent(Check::begin(terms(credentials), None, false, NOW));
        let (_, check) = sent(check.resume(NOW, reply::healthy()));
        match check.resume(NOW, Ok(reply.clone())) {
            Step::Send(request, check) => {
                assert!(
                    is_given || reply.status() == 200,
                    "a login of status {}",
                    reply.status()
                );
                let granted =
                    json(&reply).and_then(|body| Some(body.pointer("/auth/client_token")?.as_str()?.to_owned()));
                let expected = if is_given { Some("canary".to_owned()) } else { granted };
                assert_token(&request, expected.as_deref());
                assert_hidden(&format!("{request:?} {check:?}"));
                outlive(&good(check), &reply);
            }
            Step::Done(ended) => {
                failed(ended);
            }
        }
    }
    renew(&reply);
}

fn json(reply: &Response<Body>) -> Option<Value> {
    serde_json::from_slice(reply.body().as_bytes()).ok()
}

/// Asserts that a request carries this token if it carries any, and not for everybody to see.
fn assert_token(request: &Request, expected: Option<&str>) {
    assert_eq!(request.operation, Operation::Probe);
    assert_eq!(request.connect, VAULT.connect);
    if let Some(token) = request.http.headers().get("x-vault-token") {
        assert!(token.is_sensitive());
        let expected = expected.map(|token| token.trim().as_bytes());
        assert!(
            expected.is_none_or(|expected| token.as_bytes() == expected),
            "another token is sent"
        );
    }
}

/// Ends a check well; returns the token.
fn good(check: Check) -> Lease {
    match check.resume(NOW, reply::wants_csr()) {
        Step::Done(Checked::Ended { lease, verdict: Ok(()) }) => lease.expect("a token that was probed"),
        other => panic!("{other:?}"),
    }
}

/// Takes how a check failed; returns the token that is held all the same.
fn failed(ended: Checked) -> Option<Lease> {
    let Checked::Ended { lease, verdict } = ended else {
        panic!("no service account is asked for");
    };
    let error = verdict.expect_err("only a probe ends a check well");
    assert_shown(&error.to_string());
    assert!(error.reason().bytes().all(|byte| byte.is_ascii_alphanumeric()));
    if let Some(wait) = error.retry_after() {
        assert!((1..=600).contains(&wait.as_secs()), "{wait:?}");
    }
    lease
}

/// Asks a token at many times whether it is usable, and checks the issuer again then.
fn outlive(lease: &Lease, reply: &Response<Body>) {
    let mut usable = true;
    let mut wait = Duration::from_secs(1);
    while wait < 100 * YEAR {
        let now = after(wait);
        assert!(usable || !lease.is_usable(now), "a token that has ended lives again");
        usable = lease.is_usable(now);
        let terms = terms(Credentials::Token(Secret::from("canary")));
        let (_, check) = sent(Check::begin(terms, Some(lease.clone()), false, now));
        let (next, check) = sent(check.resume(now, reply::healthy()));
        assert!(
            usable || next.operation == Operation::Lookup,
            "a token that has ended is used"
        );
        let _step = check.resume(now, Ok(reply.clone()));
        wait *= 7;
    }
    assert!(lease.refresh_at().is_none_or(|at| at >= NOW.monotonic));
}

/// Renews a token that has lived for two thirds of its life.
fn renew(reply: &Response<Body>) {
    let now = after(Duration::from_secs(70));
    let (_, check) = sent(Check::begin(terms(app_role()), Some(LEASE.clone()), false, now));
    let (renewal, check) = sent(check.resume(now, reply::healthy()));
    assert_eq!(renewal.operation, Operation::Renew);
    let (next, check) = sent(check.resume(now, Ok(reply.clone()) as Reply));
    match next.operation {
        Operation::Login => assert!(!reply.status().is_success(), "a renewed token is replaced"),
        _ => {
            assert_token(&next, Some("hvs.canary"));
            outlive(&good(check), reply);
        }
    }
}
