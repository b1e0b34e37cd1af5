//! The configuration of the servers, from which both the model and a real Vault are set up.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::auth::{AppRole, AuthMethod};
use crate::ca::Authority;
use crate::pki::{Pki, Role};
use crate::policy::Capability::Update;
use crate::policy::Policy;
use crate::server::FakeVault;
use crate::token::{TokenParams, TokenType};

/// A call that configures a server.
#[derive(Clone, Debug, PartialEq)]
pub struct SetUp {
    /// The path below `/v1/`; the method is POST.
    pub path: String,
    /// The body.
    pub body: Value,
}

const HOUR: Duration = Duration::from_secs(3_600);

/// Returns the model, configured as [`set_up`] configures a server.
pub fn fake() -> FakeVault {
    let mut vault = FakeVault::default();
    let mount = Pki::new(Authority::root("Conformance Root")).max_lease_ttl(87_600 * HOUR);
    let pki = roles()
        .into_iter()
        .fold(mount, |pki, (name, role)| pki.role(name, role));
    vault.enable_pki("pki", pki);
    vault.enable_pki("empty", Pki::without_issuer());
    vault.set_policy("issuer", policy());
    let app_roles = logins().map(|(name, token)| {
        let role = AppRole::new(&role_id(name), &secret_id(name), token);
        (name.to_owned(), role)
    });
    vault.enable_auth("approle", AuthMethod::AppRole(BTreeMap::from(app_roles)));
    vault
}

/// Returns the calls that configure a new server. They need the root token.
pub fn set_up() -> Vec<SetUp> {
    let call = |path: &str, body: Value| SetUp {
        path: path.to_owned(),
        body,
    };
    let root = json!({ "common_name": "Conformance Root", "key_type": "ec", "ttl": "87600h" });
    let mut calls = vec![
        call("sys/mounts/pki", json!({ "type": "pki" })),
        call("sys/mounts/pki/tune", json!({ "max_lease_ttl": "87600h" })),
        call("pki/root/generate/internal", root),
        call("sys/mounts/empty", json!({ "type": "pki" })),
        call("sys/policies/acl/issuer", json!({ "policy": policy().hcl() })),
        call("sys/auth/approle", json!({ "type": "approle" })),
    ];
    for (name, role) in roles() {
        calls.push(call(&format!("pki/roles/{name}"), role.parameters()));
    }
    for (name, token) in logins() {
        let path = format!("auth/approle/role/{name}");
        calls.push(call(&path, token.parameters()));
        let id = json!({ "role_id": role_id(name) });
        calls.push(call(&format!("{path}/role-id"), id));
        let secret = json!({ "secret_id": secret_id(name) });
        calls.push(call(&format!("{path}/custom-secret-id"), secret));
    }
    calls
}

pub(super) fn role_id(role: &str) -> String {
    format!("role-id-of-{role}")
}

pub(super) fn secret_id(role: &str) -> String {
    format!("secret-id-of-{role}")
}

fn policy() -> Policy {
    Policy::update("pki/sign/+").allow("empty/sign/*", &[Update])
}

fn logins() -> [(&'static str, TokenParams); 2] {
    let token = TokenParams::policies(["issuer"]).ttl(HOUR, 2 * HOUR);
    let kind = TokenType::Batch;
    let batch = TokenParams { kind, ..token.clone() };
    [("batch", batch), ("issuer", token)]
}

#[rustfmt::skip]
fn roles() -> [(&'static str, Role); 5] {
    let web = Role { max_ttl: 720 * HOUR, ..Role::domain("example.com") };
    [
        ("leased", Role { generate_lease: true, ..web.clone() }),
        ("names", Role { use_csr_common_name: false, use_csr_sans: false, ..web.clone() }),
        ("no-ip", Role { allow_ip_sans: false, ..web.clone() }),
        ("strict", Role { allow_any_name: true, ..Role::default() }),
        ("web", web),
    ]
}
