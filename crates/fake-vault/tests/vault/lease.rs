//! Leases of certificates, and tokens with limited uses.

use std::collections::BTreeMap;

use fake_vault::{AppRoleRole, AuthMethod, Authority, FakeVault, Pki, Policy, Role, TokenParams, TokenType};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{HOUR, Harness, csr, error, request};

const ROOT: &str = FakeVault::ROOT_TOKEN;

/// A server whose role `web` attaches leases, for tokens with these parameters.
fn leased(token: TokenParams) -> Harness {
    let mut harness = Harness::new();
    let role = Role {
        generate_lease: true,
        ..Role::domain("example.com")
    };
    harness.vault.set_role("pki", "web", role);
    let roles = BTreeMap::from([("issuer".to_owned(), AppRoleRole::new("id", "secret", token))]);
    harness.vault.enable_auth("approle", AuthMethod::AppRole(roles));
    harness
}

fn issuer() -> TokenParams {
    TokenParams::policies(["issuer"]).ttl(HOUR, 3 * HOUR)
}

/// Signs for a day, and returns the reply.
fn sign(harness: &mut Harness, token: &str) -> Value {
    let body = json!({ "csr": csr(&["www.example.com"]), "ttl": "24h" });
    let (status, reply) = harness.post("pki/sign/web", token, body);
    assert_eq!(status, 200, "{reply}");
    reply
}

fn serial(reply: &Value) -> String {
    reply["data"]["serial_number"].as_str().unwrap().to_owned()
}

fn list(harness: &mut Harness) -> (u16, Value) {
    harness.send(request(
        Method::from_bytes(b"LIST").unwrap(),
        "pki/certs/revoked",
        ROOT,
        &Value::Null,
    ))
}

#[test]
fn lease_ids_begin_with_the_path() {
    let mut harness = leased(issuer());
    let token = harness.login();
    let reply = sign(&mut harness, &token);
    assert!(reply["lease_id"].as_str().unwrap().starts_with("pki/sign/web/"));
    assert_eq!(reply["lease_duration"], json!(24 * 3_600));
    assert_eq!(reply["renewable"], json!(false));
    let mut plain = Harness::new();
    let token = plain.login();
    assert_eq!(plain.sign(&token).1["lease_id"], json!(""));
}

#[test]
fn revocation_revokes_leased_certificates() {
    let mut harness = leased(issuer());
    let (first, second) = (harness.login(), harness.login());
    let mut serials = [sign(&mut harness, &first), sign(&mut harness, &first)].map(|reply| serial(&reply));
    serials.sort();
    let kept = serial(&sign(&mut harness, &second));
    assert_eq!(list(&mut harness).0, 404);
    assert_eq!(harness.post("auth/token/revoke-self", &first, Value::Null).0, 204);
    assert_eq!(harness.vault.revoked(harness.now), serials);
    let (status, reply) = list(&mut harness);
    assert_eq!((status, &reply["data"]["keys"]), (200, &json!(serials)));
    assert!(!serials.contains(&kept));
}

#[test]
fn every_end_of_a_token_revokes() {
    type End = fn(&mut Harness, &str);
    let ends: [(&str, End); 5] = [
        ("expiry", |harness, _| harness.pass(HOUR)),
        ("revocation", |harness, token| {
            assert!(harness.vault.revoke_token(token))
        }),
        ("all revoked", |harness, _| harness.vault.revoke_all()),
        ("method removed", |harness, _| harness.vault.disable_auth("approle")),
        ("renewed once", |harness, token| {
            harness.pass(HOUR / 2);
            harness.post("auth/token/renew-self", token, json!({}));
            assert_eq!(harness.vault.revoked(harness.now), [""; 0]);
            harness.pass(HOUR);
        }),
    ];
    for (name, end) in ends {
        let mut harness = leased(issuer());
        let token = harness.login();
        let serial = serial(&sign(&mut harness, &token));
        assert_eq!(harness.vault.revoked(harness.now), [""; 0], "{name}");
        end(&mut harness, &token);
        assert_eq!(harness.vault.revoked(harness.now), [serial], "{name}");
    }
}

#[test]
fn batch_token_bounds_its_leases() {
    let mut harness = leased(TokenParams {
        kind: TokenType::Batch,
        ..issuer()
    });
    let token = harness.login();
    harness.pass(HOUR / 2);
    let reply = sign(&mut harness, &token);
    assert_eq!(reply["lease_duration"], json!(1_800));
    harness.pass(HOUR / 2);
    assert_eq!(harness.vault.revoked(harness.now), [serial(&reply)]);
}

#[test]
fn root_keeps_its_leases() {
    let mut harness = leased(issuer());
    sign(&mut harness, ROOT);
    harness.pass(1_000 * HOUR);
    assert_eq!(harness.vault.revoked(harness.now), [""; 0]);
}

#[test]
fn last_use_revokes_its_own_certificate() {
    let mut harness = leased(TokenParams {
        num_uses: 2,
        ..issuer()
    });
    let token = harness.login();
    let first = serial(&sign(&mut harness, &token));
    let body = json!({ "csr": csr(&["www.example.com"]) });
    let refused = harness.post("pki/sign/web", &token, body);
    let text = "Secret cannot be returned; token had one use left, so leased credentials were immediately revoked.";
    assert_eq!((refused.0, error(&refused)), (400, text));
    let revoked = harness.vault.revoked(harness.now);
    assert_eq!((revoked.len(), revoked.contains(&first)), (2, true));
}

#[test]
fn login_reports_limited_uses() {
    let mut harness = leased(TokenParams {
        num_uses: 3,
        ..issuer()
    });
    let credentials = json!({ "role_id": "id", "secret_id": "secret" });
    let (_, reply) = harness.post("auth/approle/login", "", credentials);
    assert_eq!(reply["auth"]["num_uses"], json!(3));
    let token = reply["auth"]["client_token"].as_str().unwrap();
    harness.get("auth/token/lookup-self", token);
    assert_eq!(harness.vault.uses_left(token), Some(2));
    assert_eq!(harness.vault.uses_left(ROOT), None);
    assert_eq!(harness.post("pki/sign/web", token, json!({})).0, 400, "a probe counts");
    harness.vault.set_role("pki", "web", Role::domain("example.com"));
    assert_eq!(harness.sign(token).0, 200, "the last use without a lease is answered");
    assert_eq!(harness.sign(token).0, 403);
}

#[test]
fn mounts_list_their_own_certificates() {
    let mut harness = leased(issuer());
    let role = Role {
        generate_lease: true,
        ..Role::domain("example.com")
    };
    harness
        .vault
        .enable_pki("other", Pki::new(Authority::root("other")).role("web", role));
    harness.vault.set_policy("issuer", Policy::update("+/sign/web"));
    let token = harness.login();
    let body = json!({ "csr": csr(&["www.example.com"]) });
    assert_eq!(harness.post("other/sign/web", &token, body).0, 200);
    harness.vault.revoke_token(&token);
    assert_eq!(list(&mut harness).0, 404);
    assert_eq!(harness.vault.revoked(harness.now).len(), 1);
}
