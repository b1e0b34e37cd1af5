//! A configured server and a client.

use std::collections::BTreeMap;
use std::time::Duration;

use fake_vault::{AppRoleRole, AuthMethod, Authority, FakeVault, KeyType, Pki, Policy, Role, TokenParams, key};
use http::{Method, Request, Response};
use issuer_core::{Body, Now};
use rcgen::{CertificateParams, DistinguishedName, DnType, SanType};
use serde_json::{Value, json};

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// A server with a PKI at `pki`, its role `web`, the AppRole `issuer`, and a clock.
pub(crate) struct Harness {
    pub(crate) vault: FakeVault,
    pub(crate) now: Now,
}

/// A status and a JSON body.
pub(crate) type Answer = (u16, Value);

impl Harness {
    pub(crate) fn new() -> Self {
        Self::with(Pki::new(Authority::root("root").intermediate("int")))
    }

    pub(crate) fn with(pki: Pki) -> Self {
        let mut vault = FakeVault::default();
        let web = Role {
            max_ttl: 720 * HOUR,
            ..Role::domain("example.com")
        };
        vault.enable_pki("pki", pki.role("web", web));
        vault.set_policy("issuer", Policy::update("pki/sign/web"));
        let issuer = TokenParams::policies(["issuer"]).ttl(HOUR, 3 * HOUR);
        let roles = BTreeMap::from([("issuer".to_owned(), AppRoleRole::new("id", "secret", issuer))]);
        vault.enable_auth("approle", AuthMethod::AppRole(roles));
        let unix = Duration::from_secs(1_800_000_000);
        Self {
            vault,
            now: Now {
                monotonic: Duration::ZERO,
                unix,
            },
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now.monotonic += time;
        self.now.unix += time;
    }

    pub(crate) fn send(&mut self, request: Request<Body>) -> Answer {
        answer(&self.vault.handle(self.now, request))
    }

    pub(crate) fn get(&mut self, path: &str, token: &str) -> Answer {
        self.send(request(Method::GET, path, token, &Value::Null))
    }

    pub(crate) fn post(&mut self, path: &str, token: &str, body: Value) -> Answer {
        self.send(request(Method::POST, path, token, &body))
    }

    pub(crate) fn login(&mut self) -> String {
        let credentials = json!({ "role_id": "id", "secret_id": "secret" });
        let (status, reply) = self.post("auth/approle/login", "", credentials);
        assert_eq!(status, 200, "{reply}");
        reply["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    pub(crate) fn sign(&mut self, token: &str) -> Answer {
        self.post("pki/sign/web", token, json!({ "csr": csr(&["www.example.com"]) }))
    }
}

pub(crate) fn request(method: Method, path: &str, token: &str, body: &Value) -> Request<Body> {
    let body = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    let mut request = Request::builder().method(method).uri(format!("/v1/{path}"));
    if !token.is_empty() {
        request = request.header("X-Vault-Token", token);
    }
    request.body(Body::from(body)).unwrap()
}

pub(crate) fn answer(response: &Response<Body>) -> Answer {
    let body = serde_json::from_slice(response.body().as_bytes()).unwrap_or_default();
    (response.status().as_u16(), body)
}

pub(crate) fn error(answer: &Answer) -> &str {
    answer.1["errors"][0].as_str().unwrap_or_default()
}

/// Returns a CSR with these DNS names, the first of them as the common name.
pub(crate) fn csr(names: &[&str]) -> String {
    let names: Vec<_> = names
        .iter()
        .map(|name| SanType::DnsName((*name).try_into().unwrap()))
        .collect();
    csr_with(KeyType::Ec, "www.example.com", names)
}

pub(crate) fn csr_with(kind: KeyType, common_name: &str, names: Vec<SanType>) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if !common_name.is_empty() {
        params.distinguished_name.push(DnType::CommonName, common_name);
    }
    params.subject_alt_names = names;
    params.serialize_request(&key(kind, "a test")).unwrap().pem().unwrap()
}
