//! Answers about the health of a server and about tokens.

use std::time::Duration;

use http::Response;
use issuer_api::Auth;
use issuer_core::access::{Access, AwaitReply, CheckOutcome, Step};
use issuer_core::{Body, Operation, Reply, Request};
use serde_json::Value;

use crate::fixture::{ACCESS, NOW, VAULT, after, app_role, asked, check, kubernetes, token};
use crate::reply;
use crate::text::{assert_hidden, assert_shown};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// `sys/health`: a check continues only if the server is healthy, and the request carries no credential.
pub fn health(data: &[u8]) {
    let reply = reply::read(data);
    let (request, check) = check(token(), None, NOW);
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
    let uninitialized = json(&reply).is_some_and(|body| body == serde_json::json!({ "initialized": false }));
    match check.resume(NOW, Ok(reply)) {
        Step::Exchange(request, _) => {
            assert_eq!(request.operation, Operation::Lookup);
            let unknown = matches!(status, 400 | 403 | 404);
            let well = matches!(status, 201..=299) || matches!(status, 200 | 429 | 473) && !uninitialized;
            assert!(unknown || well, "status {status} is taken for a server that is well");
        }
        Step::Done(outcome) => {
            assert_eq!(failed(outcome), None, "nothing was held");
        }
        other => panic!("{other:?}"),
    }
}

/// The answers to a login, a lookup and a renewal: a token comes only from a grant of Vault, is never printed, and its
/// TTL causes no overflow.
pub fn login(data: &[u8]) {
    let reply = reply::read(data);
    for (auth, is_given) in [(app_role(), false), (kubernetes(), false), (token(), true)] {
        let (_, check) = check(auth.clone(), None, NOW);
        let (_, check) = asked(check.resume(NOW, reply::healthy()));
        match check.resume(NOW, Ok(reply.clone())) {
            Step::Exchange(request, check) => {
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
                outlive(&auth, &good(check), &reply);
            }
            Step::Done(outcome) => ended(&auth, outcome, &reply),
            other => panic!("{other:?}"),
        }
    }
    renew(&reply);
}

fn json(reply: &Response<Body>) -> Option<Value> {
    serde_json::from_slice(reply.body().as_bytes()).ok()
}

/// Asserts that a request carries no other token, and marks it as sensitive.
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

/// Ends a check well; returns the access.
fn good(check: AwaitReply) -> Access {
    match check.resume(NOW, reply::wants_csr()) {
        Step::Done(outcome) if outcome.verdict.is_ok() => outcome.access.expect("a token that was probed"),
        other => panic!("{other:?}"),
    }
}

/// Asserts how a check failed; returns the access that is kept all the same.
fn failed(outcome: CheckOutcome) -> Option<Access> {
    let CheckOutcome { access, verdict, .. } = outcome;
    let error = verdict.expect_err("only a probe ends a check well");
    assert_shown(&error.to_string());
    assert!(error.reason().bytes().all(|byte| byte.is_ascii_alphanumeric()));
    if let Some(wait) = error.retry_after() {
        assert!((1..=600).contains(&wait.as_secs()), "{wait:?}");
    }
    access
}

/// Asserts how a check ended without a probe: it failed, or Vault limits the uses of the token.
fn ended(auth: &Auth, outcome: CheckOutcome, reply: &Response<Body>) {
    match (&outcome.verdict, &outcome.access) {
        (Ok(()), Some(access)) => {
            assert!(access.lease.is_limited(), "a token is taken without a probe");
            outlive(auth, access, reply);
        }
        _ => {
            failed(outcome);
        }
    }
}

/// Checks an issuer at many times with a token: it is never used after its end.
fn outlive(auth: &Auth, access: &Access, reply: &Response<Body>) {
    let lease = &access.lease;
    let mut usable = true;
    let mut wait = Duration::from_secs(1);
    while wait < 100 * YEAR {
        let now = after(wait);
        assert!(usable || !lease.is_usable(now), "a token that has ended lives again");
        usable = lease.is_usable(now);
        let mut held = access.clone();
        held.demand();
        held.doubt();
        let (_, check) = check(auth.clone(), Some(held), now);
        match check.resume(now, reply::healthy()) {
            Step::Exchange(next, check) => {
                assert!(usable, "a token that has ended is used: {:?}", next.operation);
                let _step = check.resume(now, Ok(reply.clone()));
            }
            Step::Done(_) => assert!(usable && lease.is_limited(), "a token that has ended is relied upon"),
            // To log in.
            Step::ReadSecret(..) => {}
            Step::MintToken(..) | Step::ReadConfigMap(..) => panic!("no such object is named"),
        }
        wait *= 7;
    }
    assert!(lease.refresh_at().is_none_or(|at| at >= NOW.monotonic));
}

/// Renews a token after two thirds of its TTL.
fn renew(reply: &Response<Body>) {
    let now = after(Duration::from_secs(70));
    let (_, check) = check(app_role(), Some(ACCESS.clone()), now);
    let (renewal, check) = asked(check.resume(now, reply::healthy()));
    assert_eq!(renewal.operation, Operation::Renew);
    match check.resume(now, Ok(reply.clone()) as Reply) {
        Step::Done(outcome) => {
            assert!(reply.status().is_success(), "a renewal of status {}", reply.status());
            outlive(&app_role(), &outcome.access.expect("the renewed token"), reply);
        }
        // A renewal that is lost leaves the token as it was, which a probe must show.
        Step::Exchange(next, check) => {
            assert_token(&next, Some("hvs.canary"));
            outlive(&app_role(), &good(check), reply);
        }
        // To log in.
        Step::ReadSecret(..) => assert!(!reply.status().is_success(), "a renewed token is replaced"),
        Step::MintToken(..) | Step::ReadConfigMap(..) => panic!("no such object is named"),
    }
}
