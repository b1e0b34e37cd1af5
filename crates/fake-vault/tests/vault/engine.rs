//! Engines, policies and proxies that refuse or fail some requests.

use std::collections::BTreeMap;
use std::time::Duration;

use fake_vault::{
    AppRoleRole, AuthMethod, Authority, Capability, CelRole, FakeVault, Fault, Handled, KeyType, Parameters, Pki,
    Policy, RateLimit, Role, TokenParams, key,
};
use http::Method;
use issuer_core::{Limits, Operation};
use rcgen::{CertificateParams, CustomExtension, DnType};
use serde_json::{Value, json};

use crate::harness::{Answer, HOUR, Harness, answer, csr, error, request};

const ROOT: &str = FakeVault::ROOT_TOKEN;

/// Returns a CSR with a critical extension of this object identifier.
fn critical(oid: &[u64]) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "www.example.com");
    let mut extension = CustomExtension::from_oid_content(oid, vec![5, 0]);
    extension.set_criticality(true);
    params.custom_extensions = vec![extension];
    let pair = key(KeyType::Ec, "a test");
    params.serialize_request(&pair).unwrap().pem().unwrap()
}

#[test]
fn unknown_critical_extension_is_a_500() {
    let mut harness = Harness::new();
    let body = json!({ "csr": critical(&[1, 2, 3, 4, 5, 6]), "use_csr_values": true });
    for (path, prefix) in [
        ("pki/sign-verbatim", ""),
        ("pki/sign-verbatim/web", ""),
        ("pki/root/sign-intermediate", "verification of parsed bundle failed: "),
    ] {
        let refused = harness.post(path, ROOT, body.clone());
        let text = format!("1 error occurred:\n\t* {prefix}x509: unhandled critical extension (1.2.3.4.5.6)\n\n");
        assert_eq!((refused.0, error(&refused)), (500, text.as_str()), "{path}");
    }
    assert_eq!(harness.vault.issued().len(), 0);
    assert_eq!(
        harness.post("pki/sign/web", ROOT, body).0,
        200,
        "a role copies no extensions"
    );
    let good = json!({ "csr": csr(&["www.example.com"]) });
    assert_eq!(
        harness.post("pki/sign-verbatim", ROOT, good).0,
        200,
        "others are not affected"
    );
}

#[test]
fn role_not_after_excludes_a_ttl() {
    let mut harness = Harness::new();
    let role = Role {
        not_after: "2030-01-01T00:00:00Z".to_owned(),
        ..Role::domain("example.com")
    };
    harness.vault.set_role("pki", "web", role);
    let body = json!({ "csr": csr(&["www.example.com"]), "ttl": "1h" });
    let refused = harness.post("pki/sign/web", ROOT, body);
    let text = "Either ttl or not_after should be provided. Both should not be provided in the same request.";
    assert_eq!((refused.0, error(&refused)), (400, text));
    let (status, reply) = harness.sign(ROOT);
    assert_eq!((status, &reply["data"]["expiration"]), (200, &json!(1_893_456_000)));
}

#[test]
fn secret_id_is_optional_without_binding() {
    let mut harness = Harness::new();
    let token = TokenParams::policies(["issuer"]);
    let roles = BTreeMap::from([("issuer".to_owned(), AppRoleRole::without_secret_id("id", token))]);
    harness.vault.enable_auth("approle", AuthMethod::AppRole(roles));
    for (body, status) in [
        (json!({ "role_id": "id" }), 200),
        (json!({ "role_id": "id", "secret_id": "" }), 200),
        (json!({ "role_id": "id", "secret_id": "any" }), 200),
        (json!({ "role_id": "other" }), 400),
    ] {
        assert_eq!(harness.post("auth/approle/login", "", body.clone()).0, status, "{body}");
    }
}

#[test]
fn policy_constrains_parameters() {
    let mut harness = Harness::new();
    let token = harness.login();
    let parameters = Parameters {
        required: vec!["csr".to_owned(), "common_name".to_owned()],
        ..Parameters::allowed(["csr", "common_name", "ttl"])
    };
    let policy = Policy::new().allow_with("pki/sign/web", &[Capability::Update], parameters);
    harness.vault.set_policy("issuer", policy);
    let csr = csr(&["www.example.com"]);
    for (body, status) in [
        (json!({}), 403),
        (json!({ "csr": "" }), 403),
        (json!({ "csr": "", "common_name": "" }), 400),
        (json!({ "csr": csr, "common_name": "", "ttl": "1h" }), 200),
        (json!({ "csr": csr, "common_name": "", "format": "pem" }), 403),
    ] {
        assert_eq!(harness.post("pki/sign/web", &token, body.clone()).0, status, "{body}");
    }
    let paths = json!({ "paths": ["pki/sign/web"] });
    let (_, reply) = harness.post("sys/capabilities-self", &token, paths);
    assert_eq!(
        reply["pki/sign/web"],
        json!(["update"]),
        "capabilities ignore parameters"
    );
}

#[test]
fn cel_roles_answer_500_for_every_refusal() {
    let role = CelRole {
        common_name: "*.example.com".to_owned(),
        message: "only example.com".to_owned(),
    };
    let silent = CelRole {
        message: String::new(),
        ..role.clone()
    };
    let pki = Pki::new(Authority::root("root"))
        .cel_role("web", role)
        .cel_role("silent", silent);
    let mut harness = Harness::with(pki);
    let csr = csr(&["www.example.com"]);
    let named = |name: &str| json!({ "csr": csr, "common_name": name });
    for (path, body, text) in [
        ("nope", json!({}), "CEL role not found"),
        (
            "web",
            json!({ "csr": "" }),
            "error evaluating mainProgram: no such key: common_name",
        ),
        ("web", named("www.example.org"), "only example.com"),
        ("silent", named("www.example.org"), "request denied"),
        (
            "web",
            json!({ "csr": "text", "common_name": "a.example.com" }),
            "csr contains no data",
        ),
    ] {
        let refused = harness.post(&format!("pki/cel/sign/{path}"), ROOT, body);
        let text = format!("1 error occurred:\n\t* {text}\n\n");
        assert_eq!((refused.0, error(&refused)), (500, text.as_str()), "{path}");
    }
    assert_eq!(harness.post("pki/cel/sign/web", ROOT, named("www.example.com")).0, 200);
    let plain = Harness::new().post("pki/cel/sign/web", ROOT, json!({}));
    assert_eq!(plain.0, 404, "Vault has no such endpoint");
}

#[test]
fn external_policy_endpoints_sign() {
    let mut harness = Harness::with(Pki::new(Authority::root("root")).external_policy());
    let body = json!({ "csr": csr(&["www.example.org"]) });
    for (path, is_ca) in [
        ("pki/external-policy/sign", false),
        ("pki/external-policy/sign/web", false),
        ("pki/external-policy/sign-intermediate", true),
        ("pki/external-policy/sign-intermediate/web", true),
        ("pki/issuer/default/external-policy/sign/web", false),
    ] {
        let (status, reply) = harness.post(path, ROOT, body.clone());
        assert_eq!(status, 200, "{path} {reply}");
        let (_, pem) =
            x509_parser::pem::parse_x509_pem(reply["data"]["certificate"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(pem.parse_x509().unwrap().is_ca(), is_ca, "{path}");
        assert_eq!(harness.post(path, ROOT, json!({})).0, 400, "{path}");
    }
    assert_eq!(harness.vault.counts().probes, 5);
    let community = Harness::new().post("pki/external-policy/sign", ROOT, body);
    assert_eq!(community.0, 404);
}

#[test]
fn quota_refuses_until_the_next_interval() {
    let mut harness = Harness::new();
    let token = harness.login();
    harness.vault.set_rate_limits([RateLimit {
        path: "pki/sign/*".to_owned(),
        rate: 2,
        interval: HOUR,
    }]);
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(harness.sign(&token).0);
        harness.pass(Duration::from_secs(60));
    }
    assert_eq!(statuses, [200, 200, 429]);
    let refused = harness.sign("");
    let text = "request path \"pki/sign/web\": rate limit quota exceeded";
    assert_eq!((refused.0, error(&refused)), (429, text), "quotas come before tokens");
    assert_eq!(harness.get("auth/token/lookup-self", &token).0, 200, "another path");
    harness.pass(HOUR - Duration::from_secs(180));
    assert_eq!(harness.sign(ROOT).0, 200);
}

fn exchange(harness: &mut Harness, method: Method, path: &str, body: &Value) -> Handled {
    harness.vault.exchange(harness.now, request(method, path, ROOT, body))
}

fn sign(harness: &mut Harness, csr: &str) -> Handled {
    exchange(harness, Method::POST, "pki/sign/web", &json!({ "csr": csr }))
}

fn status(handled: Handled) -> Answer {
    answer(&handled.reply(Limits::default()).unwrap())
}

#[test]
fn poison_csr_fails_alone() {
    let mut harness = Harness::new();
    let (poison, good) = (csr(&["bad.example.com"]), csr(&["www.example.com"]));
    harness.vault.faults_mut().for_csr(&poison, Fault::InternalError);
    for _ in 0..3 {
        assert_eq!(status(sign(&mut harness, &poison)).0, 500);
        assert_eq!(status(sign(&mut harness, &good)).0, 200);
        assert_eq!(status(sign(&mut harness, "")).0, 400);
    }
    harness.vault.faults_mut().clear();
    assert_eq!(status(sign(&mut harness, &poison)).0, 200);
}

#[test]
fn permanent_faults_meet_one_operation() {
    let mut harness = Harness::new();
    let delay = Duration::from_secs(40);
    let faults = harness.vault.faults_mut();
    faults.always(Operation::Sign, Fault::Late(delay));
    faults.always(Operation::Probe, Fault::InternalError);
    faults.always(Operation::Health, Fault::NotJson);
    faults.script(Operation::Sign, Fault::Forbidden);
    let csr = csr(&["www.example.com"]);
    assert_eq!(status(sign(&mut harness, &csr)).0, 403, "the script comes first");
    for _ in 0..2 {
        let signed = sign(&mut harness, &csr);
        assert!(matches!(&signed, Handled::Late(late, reply) if *late == delay && reply.status() == 200));
        assert_eq!(status(sign(&mut harness, "")).0, 500);
        let health = exchange(&mut harness, Method::GET, "sys/health", &Value::Null);
        assert_eq!(status(health), (200, Value::Null));
    }
    assert_eq!(harness.vault.counts().signs, 2);
}
