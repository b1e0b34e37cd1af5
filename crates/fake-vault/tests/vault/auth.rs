//! Logins and tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fake_vault::{
    Accepts, AppRoleRole, AuthMethod, Authority, AwsMethod, CertRole, IamPrincipal, JwtRole, PeerCertificate, SecretId,
    TokenParams, TokenType, Trusted,
};
use http::Method;
use issuer_core::Now;
use serde_json::{Value, json};

use crate::harness::{Answer, HOUR, Harness, error, request};

const INVALID: &str = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n";

fn with_app_role(change: impl Fn(&mut AppRoleRole)) -> Harness {
    let mut harness = Harness::new();
    let token = TokenParams::policies(["issuer"]).ttl(HOUR, 3 * HOUR);
    let mut role = AppRoleRole::new("id", "secret", token);
    change(&mut role);
    let roles = BTreeMap::from([("issuer".to_owned(), role)]);
    harness.vault.enable_auth("approle", AuthMethod::AppRole(roles));
    harness
}

fn ttl(answer: &Answer) -> u64 {
    answer.1["data"]["ttl"].as_u64().unwrap()
}

#[test]
fn app_role_logins() {
    let mut harness = Harness::new();
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
        let answer = harness.post("auth/approle/login", "", body.clone());
        assert_eq!((answer.0, error(&answer)), (status, text), "{body}");
    }
    harness.vault.rotate_secret_id("approle", "issuer", "other");
    let (old, new) = (json!("secret"), json!("other"));
    for (secret, status) in [(old, 400), (new, 200)] {
        let body = json!({ "role_id": "id", "secret_id": secret });
        assert_eq!(harness.post("auth/approle/login", "", body).0, status);
    }
}

#[test]
fn secret_ids_are_limited() {
    let body = json!({ "role_id": "id", "secret_id": "secret" });
    let limit =
        |secret: SecretId| with_app_role(|role| role.secret_ids = BTreeMap::from([("secret".to_owned(), secret)]));
    let mut worn = limit(SecretId {
        num_uses: 2,
        expires: None,
    });
    for (status, left) in [(200, Some(1)), (200, None), (400, None)] {
        assert_eq!(worn.post("auth/approle/login", "", body.clone()).0, status);
        assert_eq!(worn.vault.logins_left("approle", "issuer", "secret"), left);
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
fn renewals_extend_tokens_until_max_ttl() {
    let mut harness = Harness::new();
    let token = harness.login();
    for (after, left) in [(HOUR / 2, HOUR), (HOUR / 2, HOUR), (HOUR / 2, HOUR), (HOUR, HOUR / 2)] {
        harness.pass(after.min(HOUR - Duration::from_secs(1)));
        let answer = harness.post("auth/token/renew-self", &token, json!({}));
        assert_eq!(answer.0, 200);
        let lease = answer.1["auth"]["lease_duration"].as_u64().unwrap();
        assert!(lease.abs_diff(left.as_secs()) <= 1, "{lease}");
        assert_eq!(ttl(&harness.get("auth/token/lookup-self", &token)), lease);
    }
    harness.pass(HOUR);
    let refused = harness.post("auth/token/renew-self", &token, json!({}));
    assert_eq!((refused.0, error(&refused)), (403, INVALID));
    assert_eq!(harness.vault.live_tokens(harness.now), Vec::<String>::new());
}

#[test]
fn tokens_expire_and_are_revoked() {
    let mut harness = Harness::new();
    let tokens = [(); 5].map(|()| harness.login());
    assert_eq!(harness.post("auth/token/revoke-self", &tokens[0], Value::Null).0, 204);
    assert!(harness.vault.revoke_token(&tokens[1]));
    assert!(!harness.vault.revoke_token(&tokens[1]));
    assert_eq!(harness.vault.live_tokens(harness.now).len(), 3);
    harness.pass(HOUR - Duration::from_secs(1));
    assert_eq!(harness.sign(&tokens[2]).0, 200);
    harness.pass(Duration::from_secs(1));
    for token in &tokens {
        let refused = harness.sign(token);
        assert_eq!((refused.0, error(&refused)), (403, INVALID));
    }
    let token = harness.login();
    harness.vault.revoke_all();
    assert_eq!(harness.sign(&token).0, 403);
    let token = harness.login();
    harness.vault.disable_auth("approle");
    assert_eq!(harness.sign(&token).0, 403);
}

#[test]
fn renewal_can_shorten_lifetime() {
    let mut harness = Harness::new();
    let (short, long) = (harness.login(), harness.login());
    let renewed = harness.post("auth/token/renew-self", &short, json!({ "increment": "1m" }));
    assert_eq!(renewed.1["auth"]["lease_duration"], json!(60));
    harness.pass(Duration::from_secs(60));
    assert_eq!(harness.sign(&short).0, 403);
    assert_eq!(harness.sign(&long).0, 200);
}

#[test]
fn periodic_tokens_have_no_maximum() {
    let mut harness = with_app_role(|role| {
        role.token = TokenParams {
            period: HOUR,
            ..TokenParams::policies(["issuer"])
        };
    });
    let token = harness.login();
    for _ in 0..2_000 {
        harness.pass(HOUR / 2);
        let renewed = harness.post("auth/token/renew-self", &token, json!({ "increment": "9h" }));
        assert_eq!(renewed.1["auth"]["lease_duration"], json!(3_600));
    }
    assert_eq!(
        harness.get("auth/token/lookup-self", &token).1["data"]["period"],
        json!(3_600)
    );
}

#[test]
fn batch_and_fixed_tokens_stay() {
    let mut harness = with_app_role(|role| role.token.kind = TokenType::Batch);
    let batch = harness.login();
    assert!(batch.starts_with("hvb."));
    let refused = harness.post("auth/token/renew-self", &batch, json!({}));
    assert_eq!((refused.0, error(&refused)), (400, "batch tokens cannot be renewed"));
    let refused = harness.post("auth/token/revoke-self", &batch, json!({}));
    assert_eq!((refused.0, error(&refused)), (400, "batch tokens cannot be revoked"));
    assert_eq!(harness.sign(&batch).0, 200);
    let fixed = TokenParams {
        renewable: false,
        ..TokenParams::policies(["issuer"])
    };
    let fixed = harness.vault.create_token(harness.now, &fixed);
    let lookup = harness.get("auth/token/lookup-self", &fixed);
    assert_eq!(lookup.1["data"]["renewable"], json!(false));
    let refused = harness.post("auth/token/renew-self", &fixed, json!({}));
    assert_eq!((refused.0, error(&refused)), (400, "lease is not renewable"));
}

#[test]
fn limited_tokens_count_requests() {
    let mut harness = with_app_role(|role| role.token.num_uses = 3);
    let token = harness.login();
    let uses = |harness: &mut Harness| harness.get("auth/token/lookup-self", &token).1["data"]["num_uses"].clone();
    assert_eq!(uses(&mut harness), json!(2));
    assert_eq!(harness.get("pki/sign/web", &token).0, 403, "a refused request counts");
    assert_eq!(uses(&mut harness), json!(-1));
    assert_eq!(harness.get("auth/token/lookup-self", &token).0, 403);
}

#[test]
fn removed_role_renews_nothing() {
    let mut harness = Harness::new();
    let token = harness.login();
    harness.vault.remove_login_role("approle", "issuer");
    assert_eq!(harness.post("auth/token/renew-self", &token, json!({})).0, 500);
    assert_eq!(harness.sign(&token).0, 200);
}

fn jwt(claims: &Value) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}.{}", part(&json!({ "alg": "RS256" })), part(claims), "c2ln")
}

#[test]
fn jwt_logins_check_claims() {
    let mut harness = Harness::new();
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
    harness
        .vault
        .enable_auth("clusters/a", AuthMethod::Kubernetes(roles.clone()));
    harness.vault.enable_auth("jwt", AuthMethod::Jwt(roles));
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
        let answer = harness.post("auth/clusters/a/login", "", body.clone());
        assert_eq!(answer.0, kubernetes, "kubernetes {role} {jwt}: {answer:?}");
        let answer = harness.post("auth/jwt/login", "", body);
        assert_eq!(answer.0, as_jwt, "jwt {role} {jwt}: {answer:?}");
    }
    let (_, reply) = harness.post("auth/clusters/a/login", "", json!({ "role": "web", "jwt": jwt(&good) }));
    assert_eq!(reply["auth"]["metadata"]["service_account_name"], json!("issuer"));
    let token = reply["auth"]["client_token"].as_str().unwrap().to_owned();
    assert_eq!(harness.sign(&token).0, 200);
    assert_eq!(harness.get("auth/clusters/a/login", "").0, 405);
}

#[test]
fn certificate_logins_check_the_connection() {
    let mut harness = Harness::new();
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
    harness.vault.enable_auth("cert", AuthMethod::Cert(roles));
    let mut login = |path: &str, token: &str, peer: Option<&[u8]>, name: &str| {
        let mut request = request(Method::POST, path, token, &json!({ "name": name }));
        request.extensions_mut().extend(
            peer.map(|der| PeerCertificate(der.to_vec()))
                .map(extension)
                .unwrap_or_default(),
        );
        harness.send(request)
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
        "renewals need the certificate too"
    );
    assert_eq!(login(renew, token, Some(&own.der), "").0, 200);
}

fn extension(peer: PeerCertificate) -> http::Extensions {
    let mut extensions = http::Extensions::new();
    extensions.insert(peer);
    extensions
}

/// A case of AWS's test suite for Signature Version 4, `post-x-www-form-urlencoded`.
#[test]
fn aws_finds_the_owner_of_the_keys() {
    let identity = IamPrincipal {
        arn: "arn:aws:iam::123456789012:user/web".to_owned(),
        secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
        session_token: None,
    };
    let method = |identity: IamPrincipal| AwsMethod {
        identities: [("AKIDEXAMPLE".to_owned(), identity)].into(),
        ..AwsMethod::default()
    };
    let authorization = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
        SignedHeaders=content-length;content-type;host;x-amz-content-sha256;x-amz-date, \
        Signature=d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b";
    let headers = [
        ("authorization", authorization),
        ("content-length", "13"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("host", "example.amazonaws.com"),
        (
            "x-amz-content-sha256",
            "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e",
        ),
        ("x-amz-date", "20150830T123600Z"),
    ];
    let headers = BTreeMap::from(headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let at = |seconds: u64| Now {
        monotonic: Duration::ZERO,
        unix: Duration::from_secs(seconds),
    };
    let finds = |method: &AwsMethod, seconds: u64, body: &str| {
        let caller = method.caller(at(seconds), headers.clone(), body.into());
        caller.map(|identity| identity.arn.clone())
    };
    let signed = 1_440_938_160;
    let known = method(identity.clone());
    assert_eq!(finds(&known, signed, "Param1=value1"), Some(identity.arn.clone()));
    assert_eq!(finds(&known, signed + 901, "Param1=value1"), None);
    assert_eq!(finds(&known, signed, "Param1=value2"), None);
    let other = IamPrincipal {
        secret: "another".to_owned(),
        ..identity.clone()
    };
    assert_eq!(finds(&method(other), signed, "Param1=value1"), None);
    let temporary = IamPrincipal {
        session_token: Some("session".to_owned()),
        ..identity
    };
    assert_eq!(finds(&method(temporary), signed, "Param1=value1"), None);
}
