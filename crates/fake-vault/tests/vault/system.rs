//! Health, seal, namespaces, policies.

use fake_vault::{Capability, FakeVault, Health, Policy};
use http::Method;
use serde_json::{Value, json};

use crate::scene::{Scene, answer, csr, error, request};

#[test]
fn health_says_what_kind_of_node_answers() {
    for (health, status) in [
        (Health::Active, 200),
        (Health::Standby, 429),
        (Health::DrSecondary, 472),
        (Health::PerformanceStandby, 473),
        (Health::HaUnhealthy, 474),
        (Health::Uninitialized, 501),
        (Health::Removed, 530),
    ] {
        let mut scene = Scene::new();
        scene.vault.set_health(health);
        let (got, body) = scene.get("sys/health", "");
        assert_eq!(got, status);
        assert_eq!(body["initialized"], json!(health != Health::Uninitialized));
    }
    let mut scene = Scene::new();
    scene.vault.seal();
    let (status, body) = scene.get("sys/health", "");
    assert_eq!((status, &body["sealed"]), (503, &json!(true)));
    assert_eq!(scene.get("sys/health?sealedcode=200&x=y", "").0, 200);
    let standby = |scene: &mut Scene, query| scene.get(&format!("sys/health{query}"), "").0;
    scene.vault.unseal();
    scene.vault.set_health(Health::Standby);
    assert_eq!(standby(&mut scene, "?standbyok=true"), 200);
    assert_eq!(standby(&mut scene, "?standbycode=299"), 299);
}

#[test]
fn a_sealed_server_says_so_and_keeps_its_tokens() {
    let mut scene = Scene::new();
    let token = scene.login();
    scene.vault.restart();
    let refused = scene.sign(&token);
    assert_eq!((refused.0, error(&refused)), (503, "Vault is sealed"));
    assert_eq!(scene.post("sys/unseal", "", json!({ "key": "00".repeat(32) })).0, 400);
    let (status, body) = scene.post("sys/unseal", "", json!({ "key": FakeVault::UNSEAL_KEY }));
    assert_eq!((status, &body["sealed"]), (200, &json!(false)));
    assert_eq!(scene.sign(&token).0, 200);
    assert_eq!(scene.post("sys/seal", &token, Value::Null).0, 403);
    assert_eq!(scene.post("sys/seal", FakeVault::ROOT_TOKEN, Value::Null).0, 204);
    assert_eq!(scene.get("sys/seal-status", "").1["sealed"], json!(true));
}

#[test]
fn a_standby_of_disaster_recovery_does_nothing() {
    let mut scene = Scene::new();
    let token = scene.login();
    scene.vault.set_health(Health::DrSecondary);
    assert_eq!(scene.sign(&token).0, 400);
    scene.vault.set_health(Health::Standby);
    assert_eq!(scene.sign(&token).0, 200, "a standby forwards");
}

#[test]
fn a_namespace_is_needed_where_there_is_one() {
    let mut scene = Scene::new();
    scene.vault.set_namespace(Some("team-a/"));
    let within = |scene: &mut Scene, namespace: &str, path: &str, token: &str, body| {
        let mut request = request(Method::POST, path, token, &body);
        request
            .headers_mut()
            .insert("X-Vault-Namespace", namespace.parse().unwrap());
        scene.send(request)
    };
    let credentials = json!({ "role_id": "id", "secret_id": "secret" });
    let login =
        |scene: &mut Scene, namespace: &str| within(scene, namespace, "auth/approle/login", "", credentials.clone());
    assert_eq!(scene.post("auth/approle/login", "", credentials.clone()).0, 403);
    assert_eq!(login(&mut scene, "team-b").0, 403);
    let (status, reply) = login(&mut scene, "/team-a/");
    assert_eq!(status, 200);
    let token = reply["auth"]["client_token"].as_str().unwrap();
    let body = json!({ "csr": csr(&["www.example.com"]) });
    assert_eq!(within(&mut scene, "team-a", "pki/sign/web", token, body.clone()).0, 200);
    assert_eq!(
        scene.post("team-a/pki/sign/web", token, body.clone()).0,
        200,
        "as a path prefix"
    );
    assert_eq!(scene.post("pki/sign/web", token, body.clone()).0, 403);
    assert_eq!(scene.post("pki/sign/web", FakeVault::ROOT_TOKEN, body).0, 404);
    assert_eq!(scene.get("auth/token/lookup-self", token).0, 200, "from anywhere");
    let mut health = request(Method::GET, "sys/health", "", &Value::Null);
    assert_eq!(scene.get("sys/health", "").0, 200);
    health
        .headers_mut()
        .insert("X-Vault-Namespace", "team-a".parse().unwrap());
    let refused = scene.send(health);
    assert_eq!(
        (refused.0, error(&refused)),
        (400, "operation unavailable in namespaces")
    );
    let seen: Vec<_> = scene.vault.namespaces_seen().iter().collect();
    assert_eq!(seen, ["team-a", "team-b"]);
}

#[test]
fn a_namespace_means_nothing_to_the_community_edition() {
    let mut scene = Scene::new();
    let mut health = request(Method::GET, "sys/health", "", &Value::Null);
    health
        .headers_mut()
        .insert("X-Vault-Namespace", "team-a".parse().unwrap());
    let response = scene.vault.handle(scene.now, health);
    assert_eq!(answer(&response).0, 200);
    assert_eq!(response.headers()["X-Vault-Namespace"], "team-a");
}

#[test]
fn policies_decide_and_say_so() {
    let mut scene = Scene::new();
    let token = scene.login();
    let path = json!({ "paths": ["pki/sign/web", "pki/issue/web"] });
    let (_, body) = scene.post("sys/capabilities-self", &token, path);
    assert_eq!(body["pki/sign/web"], json!(["update"]));
    assert_eq!(body["data"]["pki/issue/web"], json!(["deny"]));
    scene
        .vault
        .set_policy("issuer", Policy::new().allow("pki/*", &[Capability::Read]));
    let refused = scene.sign(&token);
    assert_eq!(
        (refused.0, error(&refused)),
        (403, "1 error occurred:\n\t* permission denied\n\n")
    );
    scene.vault.remove_policy("issuer");
    assert_eq!(scene.sign(&token).0, 403);
    assert_eq!(
        scene.get("auth/token/lookup-self", &token).0,
        200,
        "by the default policy"
    );
}

#[test]
fn requests_are_counted_by_what_they_are_for() {
    let mut scene = Scene::new();
    let token = scene.login();
    scene.get("sys/health", "");
    scene.sign(&token);
    scene.post("pki/sign/web", &token, json!({}));
    scene.post("pki/sign/web", &token, json!({ "csr": csr(&["www.example.org"]) }));
    scene.post("auth/approle/login", "", json!({}));
    scene.post("auth/token/renew-self", &token, json!({}));
    scene.get("auth/token/lookup-self", &token);
    scene.post("auth/token/revoke-self", &token, json!({}));
    scene.post("auth/token/renew-self", &token, json!({}));
    let counts = scene.vault.counts();
    assert_eq!(counts.requests, 10);
    assert_eq!((counts.health, counts.probes, counts.lookups), (1, 1, 1));
    assert_eq!((counts.login_attempts, counts.logins), (2, 1));
    assert_eq!(
        (counts.renewal_attempts, counts.renewals, counts.revocations),
        (2, 1, 1)
    );
    assert_eq!((counts.sign_attempts, counts.signs), (2, 1));
    assert_eq!(scene.vault.issued().len(), 1);
}

#[test]
fn equal_seeds_make_equal_runs_and_clones_go_their_own_way() {
    let run = || {
        let mut scene = Scene::new();
        let token = scene.login();
        (token.clone(), scene.sign(&token), scene.vault)
    };
    let (first, second) = (run(), run());
    assert_eq!((&first.0, &first.1), (&second.0, &second.1));
    let mut clone = first.2.clone();
    clone.revoke_all();
    clone.remove_role("pki", "web");
    let mut original = Scene {
        vault: first.2,
        ..Scene::new()
    };
    assert_eq!(original.sign(&first.0).0, 200);
    assert!(!format!("{:?}", original.vault).contains(&first.0));
}
