use http::Response;
use issuer_api::{AppRole, Auth, KubernetesAuth, SecretKeySelector, ServiceAccountRef, VaultSpec};

use super::*;
use crate::reference::{IssuerKey, IssuerKind};
use crate::{Body, Operation, TransportError};

fn target(server: &str, auth: Auth) -> Target {
    let spec = VaultSpec {
        server: server.to_owned(),
        path: "pki/sign/web".to_owned(),
        auth,
        ..VaultSpec::default()
    };
    let key = IssuerKey {
        kind: IssuerKind::Namespaced,
        namespace: "team".to_owned(),
        name: "vault".to_owned(),
    };
    Target::parse(&spec, &key, false).unwrap()
}

fn app_role() -> Auth {
    let app_role = AppRole {
        path: None,
        role_id: "r".to_owned(),
        secret_ref: SecretKeySelector {
            name: "s".to_owned(),
            key: None,
        },
    };
    Auth {
        app_role: Some(app_role),
        ..Auth::default()
    }
}

fn service_account() -> Auth {
    let kubernetes = KubernetesAuth {
        mount_path: None,
        role: "web".to_owned(),
        secret_ref: None,
        service_account_ref: Some(ServiceAccountRef {
            name: "signer".to_owned(),
            audiences: Vec::new(),
        }),
    };
    Auth {
        kubernetes: Some(kubernetes),
        ..Auth::default()
    }
}

/// Runs a check whose requests of one operation are answered with a status, and all others well.
fn check(server: &str, held: Option<Access>, operation: Operation, status: u16) -> Outcome {
    let now = Now::default();
    run(server, held, now, |request| {
        let (good, body) = good(request);
        let status = if request.operation == operation { status } else { good };
        (now, Ok(reply(status, body)))
    })
}

/// Returns a good answer.
fn good(request: &Request) -> (u16, String) {
    let token = format!("hvs.of-{}", request.connect.origin.host());
    let auth = format!(r#"{{"auth":{{"client_token":"{token}","lease_duration":60,"renewable":true}}}}"#);
    match request.operation {
        Operation::Login => (200, auth),
        Operation::Probe => (400, r#"{"errors":["\"csr\" is empty"]}"#.to_owned()),
        _ => (200, r#"{"initialized":true}"#.to_owned()),
    }
}

fn reply(status: u16, body: String) -> Response<Body> {
    let reply = Response::builder().status(status);
    reply.body(Body::from(body.into_bytes())).unwrap()
}

/// Runs a check whose requests are answered so, each at a time.
fn run(server: &str, held: Option<Access>, now: Now, mut answer: impl FnMut(&Request) -> (Now, Reply)) -> Outcome {
    let mut step = begin(target(server, app_role()), "team", held, now);
    loop {
        step = match step {
            Step::ReadSecret(_, waits) => {
                let secret = SecretData {
                    resource_version: "1".to_owned(),
                    data: BTreeMap::from([("secretId".to_owned(), Secret::from("x"))]),
                };
                waits.resume(now, Ok(secret))
            }
            Step::Exchange(request, waits) => {
                let (now, reply) = answer(&request);
                waits.resume(now, reply)
            }
            Step::MintToken(..) => panic!("an AppRole needs no service account"),
            Step::Done(outcome) => return outcome,
        };
    }
}

#[test]
fn a_token_stays_with_the_server_that_made_it_until_another_has_taken_its_place() {
    let first = check("https://a", None, Operation::Revoke, 500);
    assert_eq!(first.verdict, Ok(()));
    let held = first.access.unwrap();
    for operation in [Operation::Health, Operation::Login] {
        let moved = check("https://b", Some(held.clone()), operation, 503);
        assert!(moved.verdict.is_err());
        assert_eq!(
            (moved.access, moved.superseded),
            (Some(held.clone()), None),
            "{operation:?}"
        );
    }
    let moved = check("https://b", Some(held.clone()), Operation::Probe, 403);
    assert!(moved.verdict.is_err());
    assert_eq!(moved.access.unwrap().vault.connect.origin.host(), "b");
    assert_eq!(moved.superseded, Some(held));
}

#[test]
fn a_token_that_ends_while_its_renewal_is_lost_is_replaced() {
    let at = |seconds| Now {
        monotonic: Duration::from_secs(seconds),
        ..Now::default()
    };
    let first = check("https://a", None, Operation::Revoke, 500);
    for (answered, then) in [(50, Operation::Probe), (70, Operation::Login)] {
        let mut asked = Vec::new();
        let renewed = run("https://a", first.access.clone(), at(45), |request| {
            asked.push(request.operation);
            let (status, body) = good(request);
            match request.operation {
                Operation::Health => (at(45), Ok(reply(status, body))),
                Operation::Renew => (at(answered), Err(TransportError::Timeout)),
                _ => (at(answered), Ok(reply(status, body))),
            }
        });
        assert_eq!(renewed.verdict, Ok(()));
        assert_eq!(asked.get(..3), Some(&[Operation::Health, Operation::Renew, then][..]));
    }
}

#[test]
fn a_service_account_without_a_token_is_told_by_its_cause() {
    let now = Now::default();
    for (error, reason, says) in [
        (
            ReadError::Forbidden,
            "TokenForbidden",
            "may not request tokens for ServiceAccount team/signer",
        ),
        (
            ReadError::NotFound,
            "ServiceAccountNotFound",
            "ServiceAccount team/signer does not exist",
        ),
        (ReadError::Unavailable, "TokenUnavailable", "it is tried again"),
    ] {
        let mut step = begin(target("https://a", service_account()), "team", None, now);
        while let Step::Exchange(request, waits) = step {
            let (status, body) = good(&request);
            step = waits.resume(now, Ok(reply(status, body)));
        }
        let Step::MintToken(spec, waits) = step else {
            panic!("no token is asked for");
        };
        assert_eq!(
            (spec.namespace.as_str(), spec.service_account.as_str()),
            ("team", "signer")
        );
        let Step::Done(outcome) = waits.resume(now, Err(error)) else {
            panic!("it goes on without a token");
        };
        let error = outcome.verdict.unwrap_err();
        assert_eq!((error.reason(), error.is_outage()), (reason, false));
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn only_a_server_that_is_out_is_an_outage() {
    let fails = |operation, status| check("https://a", None, operation, status).verdict.unwrap_err();
    let sealed = fails(Operation::Health, 503);
    assert_eq!((sealed.reason(), sealed.is_outage()), ("VaultSealed", true));
    let denied = fails(Operation::Login, 403);
    assert_eq!((denied.reason(), denied.is_outage()), ("LoginDenied", false));
}
