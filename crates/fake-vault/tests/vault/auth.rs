//! Logins and the life of tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fake_vault::{
    Accepts, AppRole, AuthMethod, Authority, CertRole, JwtRole, PeerCertificate, SecretId, TokenParams, TokenType,
    Trusted,
};
use http::Method;
use serde_json::{Value, json};

use crate::scene::{Answer, HOUR, Scene, error, request};

const INVALID: &str = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n";

fn with_app_role(change: impl Fn(&mut AppRole)) -> Scene {
    let mut scene = Scene::new();
    let token = TokenParams::policies(["issuer"]).ttl(HOUR, 3 * HOUR);
    let mut role = AppRole::new("id", "secret", token);
    change(&mut role);
    let roles = BTreeMap::from([("issuer".to_owned(), role)]);
    scene.vault.enable_auth("approle", AuthMethod::AppRole(roles));
    scene
}

fn ttl(answer: &Answer) -> u64 {
    answer.1["data"]["ttl"].as_u64().unwrap()
}

#[test]
fn app_role_logins() {
    let mut scene = Scene::new();
    for (body, status, text) in [
        (json!({ "role_id": "id", "secret_id": "secret" }), 200, ""),
        (json!({ "role_id": " id ", "secret_id": "secret\n" }), 200, ""),
        (
            json!({ "role_id": "id", "secret_id": "other" }),
            400,
            "invalid role or secret ID",
        ),
        (
            json!({ "role_id": "other", "secret_id": "secret" }),
            400,
            "invalid role or secret ID",
        ),
        (json!({ "role_id": "id" }), 400, "missing secret_id"),
        (json!({}), 500, "failed to determine alias name from login request"),
    ] {
        let answer = scene.post("auth/approle/login", "", body.clone());
        assert_eq!((answer.0, error(&answer)), (status, text), "{body}");
    }
    scene.vault.rotate_secret_id("approle", "issuer", "other");
    let (old, new) = (json!("secret"), json!("other"));
    for (secret, status) in [(old, 400), (new, 200)] {
        let body = json!({ "role_id": "id", "secret_id": secret });
        assert_eq!(scene.post("auth/approle/login", "", body).0, status);
    }
}

#[test]
fn secret_ids_wear_out_and_expire() {
    let body = json!({ "role_id": "id", "secret_id": "secret" });
    let limit =
        |secret: SecretId| with_app_role(|role| role.secret_ids = BTreeMap::from([("secret".to_owned(), secret)]));
    let mut worn = limit(SecretId {
        num_uses: 2,
        expires: None,
    });
    for status in [200, 200, 400] {
        assert_eq!(worn.post("auth/approle/login", "", body.clone()).0, status);
    }
    let mut old = limit(SecretId {
        num_uses: 0,
        expires: Some(HOUR),
    });
    assert_eq!(old.post("auth/approle/login", "", body.clone()).0, 200);
    old.pass(HOUR);
    assert_eq!(old.post("auth/approle/login", "", body).0, 400);
}

#[test]
fn tokens_live_by_renewal_until_their_end() {
    let mut scene = Scene::new();
    let token = scene.login();
    for (after, left) in [(HOUR / 2, HOUR), (HOUR / 2, HOUR), (HOUR / 2, HOUR), (HOUR, HOUR / 2)] {
        scene.pass(after.min(HOUR - Duration::from_secs(1)));
        let answer = scene.post("auth/token/renew-self", &token, json!({}));
        assert_eq!(answer.0, 200);
        let lease = answer.1["auth"]["lease_duration"].as_u64().unwrap();
        assert!(lease.abs_diff(left.as_secs()) <= 1, "{lease}");
        assert_eq!(ttl(&scene.get("auth/token/lookup-self", &token)), lease);
    }
    scene.pass(HOUR);
    let refused = scene.post("auth/token/renew-self", &token, json!({}));
    assert_eq!((refused.0, error(&refused)), (403, INVALID));
    assert_eq!(scene.vault.live_tokens(scene.now), Vec::<String>::new());
}

#[test]
fn a_token_ends_when_its_time_is_up_or_someone_ends_it() {
    let mut scene = Scene::new();
    let tokens = [(); 5].map(|()| scene.login());
    assert_eq!(scene.post("auth/token/revoke-self", &tokens[0], Value::Null).0, 204);
    assert!(scene.vault.revoke_token(&tokens[1]));
    assert!(!scene.vault.revoke_token(&tokens[1]));
    assert_eq!(scene.vault.live_tokens(scene.now).len(), 3);
    scene.pass(HOUR - Duration::from_secs(1));
    assert_eq!(scene.sign(&tokens[2]).0, 200);
    scene.pass(Duration::from_secs(1));
    for token in &tokens {
        let refused = scene.sign(token);
        assert_eq!((refused.0, error(&refused)), (403, INVALID));
    }
    let token = scene.login();
    scene.vault.revoke_all();
    assert_eq!(scene.sign(&token).0, 403);
    let token = scene.login();
    scene.vault.disable_auth("approle");
    assert_eq!(scene.sign(&token).0, 403);
}

#[test]
fn a_renewal_can_shorten_a_life() {
    let mut scene = Scene::new();
    let (short, long) = (scene.login(), scene.login());
    let renewed = scene.post("auth/token/renew-self", &short, json!({ "increment": "1m" }));
    assert_eq!(renewed.1["auth"]["lease_duration"], json!(60));
    scene.pass(Duration::from_secs(60));
    assert_eq!(scene.sign(&short).0, 403);
    assert_eq!(scene.sign(&long).0, 200);
}

#[test]
fn periodic_tokens_live_for_ever() {
    let mut scene = with_app_role(|role| {
        role.token = TokenParams {
            period: HOUR,
            ..TokenParams::policies(["issuer"])
        };
    });
    let token = scene.login();
    for _ in 0..2_000 {
        scene.pass(HOUR / 2);
        let renewed = scene.post("auth/token/renew-self", &token, json!({ "increment": "9h" }));
        assert_eq!(renewed.1["auth"]["lease_duration"], json!(3_600));
    }
    assert_eq!(
        scene.get("auth/token/lookup-self", &token).1["data"]["period"],
        json!(3_600)
    );
}

#[test]
fn tokens_that_cannot_be_renewed() {
    let mut scene = with_app_role(|role| role.token.kind = TokenType::Batch);
    let batch = scene.login();
    assert!(batch.starts_with("hvb."));
    let refused = scene.post("auth/token/renew-self", &batch, json!({}));
    assert_eq!((refused.0, error(&refused)), (400, "batch tokens cannot be renewed"));
    let refused = scene.post("auth/token/revoke-self", &batch, json!({}));
    assert_eq!((refused.0, error(&refused)), (400, "batch tokens cannot be revoked"));
    assert_eq!(scene.sign(&batch).0, 200);
    let fixed = TokenParams {
        renewable: false,
        ..TokenParams::policies(["issuer"])
    };
    let fixed = scene.vault.create_token(scene.now, &fixed);
    let lookup = scene.get("auth/token/lookup-self", &fixed);
    assert_eq!(lookup.1["data"]["renewable"], json!(false));
    let refused = scene.post("auth/token/renew-self", &fixed, json!({}));
    assert_eq!((refused.0, error(&refused)), (400, "lease is not renewable"));
}

#[test]
fn tokens_are_good_for_so_many_requests() {
    let mut scene = with_app_role(|role| role.token.num_uses = 3);
    let token = scene.login();
    let uses = |scene: &mut Scene| scene.get("auth/token/lookup-self", &token).1["data"]["num_uses"].clone();
    assert_eq!(uses(&mut scene), json!(2));
    assert_eq!(scene.get("pki/sign/web", &token).0, 403, "a refused request counts");
    assert_eq!(uses(&mut scene), json!(-1));
    assert_eq!(scene.get("auth/token/lookup-self", &token).0, 403);
}

#[test]
fn a_role_that_is_gone_renews_nothing() {
    let mut scene = Scene::new();
    let token = scene.login();
    scene.vault.remove_login_role("approle", "issuer");
    assert_eq!(scene.post("auth/token/renew-self", &token, json!({})).0, 500);
    assert_eq!(scene.sign(&token).0, 200);
}

fn jwt(claims: &Value) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}.{}", part(&json!({ "alg": "RS256" })), part(claims), "c2ln")
}

#[test]
fn kubernetes_and_jwt_logins_look_at_claims() {
    let mut scene = Scene::new();
    let token = TokenParams::policies(["issuer"]);
    let claims = Accepts::Claims {
        audience: Some("vault".to_owned()),
        subjects: vec!["system:serviceaccount:team:issuer".to_owned()],
    };
    let known = Accepts::Known(BTreeSet::from(["known".to_owned()]));
    let roles = BTreeMap::from([
        (
            "web".to_owned(),
            JwtRole {
                accepts: claims,
                token: token.clone(),
            },
        ),
        ("known".to_owned(), JwtRole { accepts: known, token }),
    ]);
    scene
        .vault
        .enable_auth("clusters/a", AuthMethod::Kubernetes(roles.clone()));
    scene.vault.enable_auth("jwt", AuthMethod::Jwt(roles));
    let good = json!({
        "sub": "system:serviceaccount:team:issuer", "aud": ["other", "vault"], "exp": 1_800_000_600,
    });
    let with = |key: &str, value: Value| {
        let mut claims = good.clone();
        claims[key] = value;
        jwt(&claims)
    };
    for (role, jwt, kubernetes, as_jwt) in [
        ("web", jwt(&good), 200, 200),
        ("web", with("aud", json!("vault")), 200, 200),
        ("web", with("aud", json!("other")), 403, 400),
        ("web", with("exp", json!(1_800_000_000)), 403, 400),
        ("web", with("sub", json!("system:serviceaccount:team:other")), 403, 400),
        ("web", "junk".to_owned(), 403, 400),
        ("web", String::new(), 400, 400),
        ("known", "known".to_owned(), 200, 200),
        ("known", "unknown".to_owned(), 403, 400),
        ("nope", jwt(&good), 400, 400),
        ("", jwt(&good), 400, 400),
    ] {
        let body = json!({ "role": role, "jwt": jwt });
        let answer = scene.post("auth/clusters/a/login", "", body.clone());
        assert_eq!(answer.0, kubernetes, "kubernetes {role} {jwt}: {answer:?}");
        let answer = scene.post("auth/jwt/login", "", body);
        assert_eq!(answer.0, as_jwt, "jwt {role} {jwt}: {answer:?}");
    }
    let (_, reply) = scene.post("auth/clusters/a/login", "", json!({ "role": "web", "jwt": jwt(&good) }));
    assert_eq!(reply["auth"]["metadata"]["service_account_name"], json!("issuer"));
    let token = reply["auth"]["client_token"].as_str().unwrap().to_owned();
    assert_eq!(scene.sign(&token).0, 200);
    assert_eq!(scene.get("auth/clusters/a/login", "").0, 405);
}

#[test]
fn certificate_logins_look_at_the_connection() {
    let mut scene = Scene::new();
    let (ca, other) = (Authority::root("clients"), Authority::root("others"));
    let (own, stranger) = (ca.client("issuer"), other.client("issuer"));
    let token = TokenParams::policies(["issuer"]);
    let role = |trusted, names: &[&str]| CertRole {
        trusted,
        allowed_common_names: names.iter().map(|name| (*name).to_owned()).collect(),
        token: token.clone(),
    };
    let roles = BTreeMap::from([
        ("by-ca".to_owned(), role(Trusted::Ca(ca.clone()), &["iss*"])),
        ("by-leaf".to_owned(), role(Trusted::Leaf(stranger.der.clone()), &[])),
    ]);
    scene.vault.enable_auth("cert", AuthMethod::Cert(roles));
    let mut login = |path: &str, token: &str, peer: Option<&[u8]>, name: &str| {
        let mut request = request(Method::POST, path, token, &json!({ "name": name }));
        request.extensions_mut().extend(
            peer.map(|der| PeerCertificate(der.to_vec()))
                .map(extension)
                .unwrap_or_default(),
        );
        scene.send(request)
    };
    let path = "auth/cert/login";
    for (peer, name, status) in [
        (Some(&own.der), "", 200),
        (Some(&own.der), "by-ca", 200),
        (Some(&own.der), "by-leaf", 400),
        (Some(&stranger.der), "", 200),
        (Some(&stranger.der), "by-ca", 400),
        (Some(&ca.client("other").der), "", 400),
        (Some(&own.der), "nope", 400),
        (None, "", 400),
    ] {
        let answer = login(path, "", peer.map(Vec::as_slice), name);
        assert_eq!(answer.0, status, "{name} {answer:?}");
    }
    let reply = login(path, "", Some(&own.der), "").1;
    let token = reply["auth"]["client_token"].as_str().unwrap();
    let renew = "auth/token/renew-self";
    assert_eq!(
        login(renew, token, None, "").0,
        400,
        "the certificate is wanted at renewals too"
    );
    assert_eq!(login(renew, token, Some(&own.der), "").0, 200);
}

fn extension(peer: PeerCertificate) -> http::Extensions {
    let mut extensions = http::Extensions::new();
    extensions.insert(peer);
    extensions
}
