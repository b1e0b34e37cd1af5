use http::Response;
use issuer_api::{AppRole, Auth, SecretKeySelector, VaultSpec};

use super::*;
use crate::reference::{IssuerKey, IssuerKind};
use crate::{Body, Operation};

fn target(server: &str) -> Target {
    let app_role = AppRole {
        path: None,
        role_id: "r".to_owned(),
        secret_ref: SecretKeySelector {
            name: "s".to_owned(),
            key: None,
        },
    };
    let spec = VaultSpec {
        server: server.to_owned(),
        path: "pki/sign/web".to_owned(),
        namespace: None,
        server_name: None,
        ca_bundle: None,
        ca_bundle_secret_ref: None,
        client_cert_secret_ref: None,
        client_key_secret_ref: None,
        auth: Auth {
            app_role: Some(app_role),
            ..Auth::default()
        },
    };
    let key = IssuerKey {
        kind: IssuerKind::Namespaced,
        namespace: "team".to_owned(),
        name: "vault".to_owned(),
    };
    Target::parse(&spec, &key, false).unwrap()
}

/// Runs a check whose requests of one operation are answered with a status, and all others well.
fn check(server: &str, held: Option<Access>, operation: Operation, status: u16) -> Outcome {
    let now = Now::default();
    let mut step = begin(target(server), "team", held, now);
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
                let token = format!("hvs.of-{}", request.connect.origin.host());
                let (good, body) = match request.operation {
                    Operation::Login => (200, format!(r#"{{"auth":{{"client_token":"{token}"}}}}"#)),
                    Operation::Probe => (400, r#"{"errors":["\"csr\" is empty"]}"#.to_owned()),
                    _ => (200, r#"{"initialized":true}"#.to_owned()),
                };
                let status = if request.operation == operation { status } else { good };
                let reply = Response::builder().status(status);
                waits.resume(now, Ok(reply.body(Body::from(body.into_bytes())).unwrap()))
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
