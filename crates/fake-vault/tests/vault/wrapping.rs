//! Response wrapping.

use std::time::Duration;

use http::{HeaderValue, Method};
use serde_json::{Value, json};

use crate::harness::{Answer, HOUR, Harness, error, request};

const SECRET_ID: &str = "auth/approle/role/issuer/secret-id";

const INVALID: &str = "wrapping token is not valid or does not exist";

/// Asks for a secret ID that is wrapped for this time.
fn wrap(harness: &mut Harness, ttl: &'static str) -> Answer {
    let mut request = request(Method::POST, SECRET_ID, "root", &json!({}));
    request
        .headers_mut()
        .insert("x-vault-wrap-ttl", HeaderValue::from_static(ttl));
    harness.send(request)
}

fn token(answer: &Answer) -> String {
    answer.1["wrap_info"]["token"].as_str().unwrap().to_owned()
}

#[test]
fn unwrapped_secret_id_logs_in() {
    let mut harness = Harness::new();
    let wrapped = wrap(&mut harness, "1m");
    assert_eq!((wrapped.0, &wrapped.1["data"]), (200, &Value::Null));
    assert_eq!(wrapped.1["wrap_info"]["creation_path"], SECRET_ID);
    let lookup = harness.post("sys/wrapping/lookup", "", json!({ "token": token(&wrapped) }));
    assert_eq!(lookup.1["data"]["creation_ttl"], 60);
    let unwrapped = harness.post("sys/wrapping/unwrap", &token(&wrapped), json!({}));
    let data = &unwrapped.1["data"];
    assert_eq!(data["secret_id_accessor"], wrapped.1["wrap_info"]["wrapped_accessor"]);
    let login = json!({ "role_id": "id", "secret_id": data["secret_id"] });
    assert_eq!(harness.post("auth/approle/login", "", login).0, 200);
}

#[test]
fn wrapping_token_ends_once() {
    let pass = |harness: &mut Harness, _: &str| harness.pass(Duration::from_secs(60));
    let unwrap = |harness: &mut Harness, token: &str| drop(harness.post("sys/wrapping/unwrap", token, json!({})));
    let misuse = |harness: &mut Harness, token: &str| assert_eq!(harness.get("auth/token/lookup-self", token).0, 403);
    let revoke = |harness: &mut Harness, token: &str| assert!(harness.vault.revoke_token(token));
    let ends: [fn(&mut Harness, &str); 4] = [pass, unwrap, misuse, revoke];
    for end in ends {
        let mut harness = Harness::new();
        let token = token(&wrap(&mut harness, "60"));
        harness.pass(Duration::from_secs(59));
        let lookup = |harness: &mut Harness| harness.post("sys/wrapping/lookup", "", json!({ "token": token }));
        assert_eq!(lookup(&mut harness).0, 200);
        end(&mut harness, &token);
        for answer in [
            lookup(&mut harness),
            harness.post("sys/wrapping/unwrap", &token, json!({})),
        ] {
            assert_eq!((answer.0, error(&answer)), (400, INVALID));
        }
    }
}

#[test]
fn made_secret_id_expires() {
    let mut harness = Harness::new();
    let roles = |ttl| {
        let token = fake_vault::TokenParams::policies(["issuer"]);
        let mut role = fake_vault::AppRoleRole::new("id", "secret", token);
        role.secret_id_ttl = ttl;
        fake_vault::AuthMethod::AppRole([("issuer".to_owned(), role)].into())
    };
    harness.vault.enable_auth("approle", roles(HOUR));
    let (status, made) = harness.post(SECRET_ID, "root", json!({}));
    assert_eq!((status, &made["data"]["secret_id_ttl"]), (200, &json!(3600)));
    let login = json!({ "role_id": "id", "secret_id": made["data"]["secret_id"] });
    assert_eq!(harness.post("auth/approle/login", "", login.clone()).0, 200);
    harness.pass(HOUR);
    assert_eq!(harness.post("auth/approle/login", "", login).0, 400);
}

#[test]
fn malformed_lifetime_is_refused() {
    let mut harness = Harness::new();
    let answer = wrap(&mut harness, "soon");
    let expected = "error parsing X-Vault-Wrap-TTL header: time: invalid duration \"soon\"";
    assert_eq!((answer.0, error(&answer)), (400, expected));
    // Zero is the same as no header.
    assert!(wrap(&mut harness, "0").1["data"]["secret_id"].is_string());
}

#[test]
fn operator_wraps_secret_ids() {
    let mut harness = Harness::new();
    let wrapped = harness.vault.wrap_secret_id(harness.now, "approle", "issuer", HOUR);
    let unwrapped = harness.post("sys/wrapping/unwrap", &wrapped.unwrap(), json!({}));
    assert!(unwrapped.1["data"]["secret_id"].is_string(), "{unwrapped:?}");
    for (mount, role) in [("approle", "other"), ("other", "issuer")] {
        assert_eq!(harness.vault.wrap_secret_id(harness.now, mount, role, HOUR), None);
    }
}

#[test]
fn rotated_secret_id_is_wrapped() {
    let mut harness = Harness::new();
    let vault = &mut harness.vault;
    let wrapped = vault.rotate_wrapped_secret_id(harness.now, ("approle", "issuer"), "rotated", HOUR);
    let missing = vault.rotate_wrapped_secret_id(harness.now, ("approle", "other"), "rotated", HOUR);
    assert_eq!(missing, None);
    let unwrapped = harness.post("sys/wrapping/unwrap", &wrapped.unwrap(), json!({}));
    assert_eq!(unwrapped.1["data"]["secret_id"], "rotated");
}
