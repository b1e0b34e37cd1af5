//! Health, seals, namespaces and policies.

use fake_vault::{Capability, FakeVault, Health, Policy};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Harness, answer, csr, error, request};

#[test]
fn health_reports_the_node() {
    for (health, status) in [
        (Health::Active, 200),
        (Health::Standby, 429),
        (Health::DrSecondary, 472),
        (Health::PerformanceStandby, 473),
        (Health::HaUnhealthy, 474),
        (Health::Uninitialized, 501),
        (Health::Removed, 530),
    ] {
        let mut harness = Harness::new();
        harness.vault.set_health(health);
        let (got, body) = harness.get("sys/health", "");
        assert_eq!(got, status);
        assert_eq!(body["initialized"], json!(health != Health::Uninitialized));
    }
    let mut harness = Harness::new();
    harness.vault.seal();
    let (status, body) = harness.get("sys/health", "");
    assert_eq!((status, &body["sealed"]), (503, &json!(true)));
    assert_eq!(harness.get("sys/health?sealedcode=200&x=y", "").0, 200);
    let standby = |harness: &mut Harness, query| harness.get(&format!("sys/health{query}"), "").0;
    harness.vault.unseal();
    harness.vault.set_health(Health::Standby);
    assert_eq!(standby(&mut harness, "?standbyok=true"), 200);
    assert_eq!(standby(&mut harness, "?standbycode=299"), 299);
}

#[test]
fn sealed_server_keeps_tokens() {
    let mut harness = Harness::new();
    let token = harness.login();
    harness.vault.restart();
    let refused = harness.sign(&token);
    assert_eq!((refused.0, error(&refused)), (503, "Vault is sealed"));
    assert_eq!(harness.post("sys/unseal", "", json!({ "key": "00".repeat(32) })).0, 400);
    let (status, body) = harness.post("sys/unseal", "", json!({ "key": FakeVault::UNSEAL_KEY }));
    assert_eq!((status, &body["sealed"]), (200, &json!(false)));
    assert_eq!(harness.sign(&token).0, 200);
    assert_eq!(harness.post("sys/seal", &token, Value::Null).0, 403);
    assert_eq!(harness.post("sys/seal", FakeVault::ROOT_TOKEN, Value::Null).0, 204);
    assert_eq!(harness.get("sys/seal-status", "").1["sealed"], json!(true));
}

#[test]
fn dr_secondary_serves_nothing() {
    let mut harness = Harness::new();
    let token = harness.login();
    harness.vault.set_health(Health::DrSecondary);
    assert_eq!(harness.sign(&token).0, 400);
    harness.vault.set_health(Health::Standby);
    assert_eq!(harness.sign(&token).0, 200, "a standby forwards");
}

#[test]
fn namespace_is_required_where_set() {
    let mut harness = Harness::new();
    harness.vault.set_namespace(Some("team-a/"));
    let within = |harness: &mut Harness, namespace: &str, path: &str, token: &str, body| {
        let mut request = request(Method::POST, path, token, &body);
        request
            .headers_mut()
            .insert("X-Vault-Namespace", namespace.parse().unwrap());
        harness.send(request)
    };
    let credentials = json!({ "role_id": "id", "secret_id": "secret" });
    let login = |harness: &mut Harness, namespace: &str| {
        within(harness, namespace, "auth/approle/login", "", credentials.clone())
    };
    assert_eq!(harness.post("auth/approle/login", "", credentials.clone()).0, 403);
    assert_eq!(login(&mut harness, "team-b").0, 403);
    let (status, reply) = login(&mut harness, "/team-a/");
    assert_eq!(status, 200);
    let token = reply["auth"]["client_token"].as_str().unwrap();
    let body = json!({ "csr": csr(&["www.example.com"]) });
    assert_eq!(
        within(&mut harness, "team-a", "pki/sign/web", token, body.clone()).0,
        200
    );
    assert_eq!(
        harness.post("team-a/pki/sign/web", token, body.clone()).0,
        200,
        "as a path prefix"
    );
    assert_eq!(harness.post("pki/sign/web", token, body.clone()).0, 403);
    assert_eq!(harness.post("pki/sign/web", FakeVault::ROOT_TOKEN, body).0, 404);
    assert_eq!(harness.get("auth/token/lookup-self", token).0, 200, "from anywhere");
    let mut health = request(Method::GET, "sys/health", "", &Value::Null);
    assert_eq!(harness.get("sys/health", "").0, 200);
    health
        .headers_mut()
        .insert("X-Vault-Namespace", "team-a".parse().unwrap());
    let refused = harness.send(health);
    assert_eq!(
        (refused.0, error(&refused)),
        (400, "operation unavailable in namespaces")
    );
    let seen: Vec<_> = harness.vault.namespaces_seen().iter().collect();
    assert_eq!(seen, ["team-a", "team-b"]);
}

#[test]
fn auth_methods_may_have_another_namespace() {
    let credentials = json!({ "role_id": "id", "secret_id": "secret" });
    for (auth, other) in [("team", "team/a"), ("", "team")] {
        let mut harness = Harness::new();
        harness.vault.set_namespace(Some("team/a"));
        harness.vault.set_auth_namespace(Some(auth));
        let send = |harness: &mut Harness, namespace: &str, path: &str, token: &str, body: &Value| {
            let mut request = request(Method::POST, path, token, body);
            if !namespace.is_empty() {
                let namespace = namespace.parse().unwrap();
                request.headers_mut().insert("X-Vault-Namespace", namespace);
            }
            harness.send(request)
        };
        assert_eq!(send(&mut harness, other, "auth/approle/login", "", &credentials).0, 403);
        let (status, reply) = send(&mut harness, auth, "auth/approle/login", "", &credentials);
        assert_eq!(status, 200, "{auth}");
        let token = reply["auth"]["client_token"].as_str().unwrap();
        let csr = json!({ "csr": csr(&["www.example.com"]) });
        assert_eq!(send(&mut harness, auth, "pki/sign/web", token, &csr).0, 403);
        assert_eq!(send(&mut harness, "team/a", "pki/sign/web", token, &csr).0, 200);
        for path in ["auth/token/renew-self", "auth/token/revoke-self"] {
            assert_eq!(send(&mut harness, other, path, token, &json!({})).0, 403, "{path}");
            assert!(send(&mut harness, auth, path, token, &json!({})).0 < 300, "{path}");
        }
    }
}

#[test]
fn community_edition_ignores_namespaces() {
    let mut harness = Harness::new();
    let mut health = request(Method::GET, "sys/health", "", &Value::Null);
    health
        .headers_mut()
        .insert("X-Vault-Namespace", "team-a".parse().unwrap());
    let response = harness.vault.handle(harness.now, health);
    assert_eq!(answer(&response).0, 200);
    assert_eq!(response.headers()["X-Vault-Namespace"], "team-a");
}

#[test]
fn policies_grant_capabilities() {
    let mut harness = Harness::new();
    let token = harness.login();
    let path = json!({ "paths": ["pki/sign/web", "pki/issue/web"] });
    let (_, body) = harness.post("sys/capabilities-self", &token, path);
    assert_eq!(body["pki/sign/web"], json!(["update"]));
    assert_eq!(body["data"]["pki/issue/web"], json!(["deny"]));
    harness
        .vault
        .set_policy("issuer", Policy::new().allow("pki/*", &[Capability::Read]));
    let refused = harness.sign(&token);
    assert_eq!(
        (refused.0, error(&refused)),
        (403, "1 error occurred:\n\t* permission denied\n\n")
    );
    harness.vault.remove_policy("issuer");
    assert_eq!(harness.sign(&token).0, 403);
    assert_eq!(
        harness.get("auth/token/lookup-self", &token).0,
        200,
        "by the default policy"
    );
}

#[test]
fn requests_are_counted_by_operation() {
    let mut harness = Harness::new();
    let token = harness.login();
    harness.get("sys/health", "");
    harness.sign(&token);
    harness.post("pki/sign/web", &token, json!({}));
    harness.post("pki/sign/web", &token, json!({ "csr": csr(&["www.example.org"]) }));
    harness.post("auth/approle/login", "", json!({}));
    harness.post("auth/token/renew-self", &token, json!({}));
    harness.get("auth/token/lookup-self", &token);
    harness.post("auth/token/revoke-self", &token, json!({}));
    harness.post("auth/token/renew-self", &token, json!({}));
    let counts = harness.vault.counts();
    assert_eq!(counts.requests, 10);
    assert_eq!((counts.health, counts.probes, counts.lookups), (1, 1, 1));
    assert_eq!((counts.login_attempts, counts.logins), (2, 1));
    assert_eq!(
        (counts.renewal_attempts, counts.renewals, counts.revocations),
        (2, 1, 1)
    );
    assert_eq!((counts.sign_attempts, counts.signs), (2, 1));
    assert_eq!(harness.vault.issued().len(), 1);
}

#[test]
fn seeds_reproduce_and_clones_diverge() {
    let run = || {
        let mut harness = Harness::new();
        let token = harness.login();
        (token.clone(), harness.sign(&token), harness.vault)
    };
    let (first, second) = (run(), run());
    assert_eq!((&first.0, &first.1), (&second.0, &second.1));
    let mut clone = first.2.clone();
    clone.revoke_all();
    clone.remove_role("pki", "web");
    let mut original = Harness {
        vault: first.2,
        ..Harness::new()
    };
    assert_eq!(original.sign(&first.0).0, 200);
    assert!(!format!("{:?}", original.vault).contains(&first.0));
}
