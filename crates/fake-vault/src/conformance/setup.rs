//! The configuration of the servers, from which both the model and a real Vault are set up.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::jwt;
use crate::auth::{Accepts, AppRoleRole, AuthMethod, AwsMethod, JwtRole};
use crate::ca::Authority;
use crate::pki::{Pki, Role};
use crate::policy::Capability::Update;
use crate::policy::{Parameters, Policy};
use crate::server::{FakeVault, RateLimit};
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

/// The Vault server that logins with an AWS identity must be for.
pub(super) const AWS_SERVER_ID: &str = "vault.example.com";

/// An AppRole.
struct Login {
    name: &'static str,
    token: TokenParams,
    secret: SecretIds,
}

/// The secret IDs of an AppRole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SecretIds {
    /// None is needed.
    None,
    /// One for a single login.
    Once,
    /// One for any number of logins.
    Unlimited,
}

/// Returns the model, configured as [`set_up`] configures a server.
pub fn fake() -> FakeVault {
    let mut vault = FakeVault::default();
    let mount = Pki::new(Authority::root("Conformance Root")).max_lease_ttl(87_600 * HOUR);
    let pki = roles()
        .into_iter()
        .fold(mount, |pki, (name, role)| pki.role(name, role));
    vault.enable_pki("pki", pki);
    vault.enable_pki("empty", Pki::without_issuer());
    vault.enable_pki("limited", Pki::without_issuer());
    vault.set_rate_limits([quota()]);
    for (name, policy) in policies() {
        vault.set_policy(name, policy);
    }
    let app_roles = logins().map(|login| (login.name.to_owned(), login.app_role()));
    vault.enable_auth("approle", AuthMethod::AppRole(app_roles.into()));
    let aws = AwsMethod {
        server_id: Some(AWS_SERVER_ID.to_owned()),
        ..AwsMethod::default()
    };
    vault.enable_auth("aws", AuthMethod::Aws(aws));
    vault.enable_auth("jwt", AuthMethod::Jwt([("team".to_owned(), jwt_role())].into()));
    vault
}

/// Returns the calls that configure a new server. They need the root token.
pub fn set_up() -> Vec<SetUp> {
    let root = json!({ "common_name": "Conformance Root", "key_type": "ec", "ttl": "87600h" });
    let quota = quota();
    let limit = json!({ "path": quota.path, "rate": quota.rate, "interval": quota.interval.as_secs() });
    let mut calls = vec![
        call("sys/mounts/pki", json!({ "type": "pki" })),
        call("sys/mounts/pki/tune", json!({ "max_lease_ttl": "87600h" })),
        call("pki/root/generate/internal", root),
        call("sys/mounts/empty", json!({ "type": "pki" })),
        call("sys/mounts/limited", json!({ "type": "pki" })),
        call("sys/quotas/rate-limit/limited", limit),
        call("sys/auth/approle", json!({ "type": "approle" })),
        call("sys/auth/aws", json!({ "type": "aws" })),
        call(
            "auth/aws/config/client",
            json!({ "iam_server_id_header_value": AWS_SERVER_ID }),
        ),
        call("sys/auth/jwt", json!({ "type": "jwt" })),
        call(
            "auth/jwt/config",
            json!({ "jwt_validation_pubkeys": [jwt::public_key()] }),
        ),
        call("auth/jwt/role/team", jwt_role_parameters()),
    ];
    for (name, policy) in policies() {
        calls.push(call(
            &format!("sys/policies/acl/{name}"),
            json!({ "policy": policy.hcl() }),
        ));
    }
    for (name, role) in roles() {
        calls.push(call(&format!("pki/roles/{name}"), role.parameters()));
    }
    calls.extend(logins().iter().flat_map(Login::set_up));
    calls
}

fn jwt_role() -> JwtRole {
    let accepts = Accepts::Claims {
        audience: Some(jwt::AUDIENCE.to_owned()),
        subjects: vec![jwt::SUBJECT.to_owned()],
    };
    JwtRole {
        accepts,
        token: TokenParams::policies(["issuer"]).ttl(HOUR, 2 * HOUR),
    }
}

fn jwt_role_parameters() -> Value {
    let bounds = json!({
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": [jwt::AUDIENCE],
        "bound_subject": jwt::SUBJECT,
        "jwt_supported_algs": ["EdDSA"],
    });
    merged(jwt_role().token.parameters(), bounds)
}

fn call(path: &str, body: Value) -> SetUp {
    SetUp {
        path: path.to_owned(),
        body,
    }
}

impl Login {
    fn app_role(&self) -> AppRoleRole {
        let mut role = AppRoleRole::new(&role_id(self.name), &secret_id(self.name), self.token.clone());
        match self.secret {
            SecretIds::None => return AppRoleRole::without_secret_id(&role_id(self.name), self.token.clone()),
            SecretIds::Once => role.secret_ids.values_mut().for_each(|secret| secret.num_uses = 1),
            SecretIds::Unlimited => {}
        }
        role
    }

    fn set_up(&self) -> Vec<SetUp> {
        let path = format!("auth/approle/role/{}", self.name);
        let binding = match self.secret {
            // Vault requires another constraint on such a role.
            SecretIds::None => json!({ "bind_secret_id": false, "token_bound_cidrs": ["127.0.0.0/8"] }),
            SecretIds::Once | SecretIds::Unlimited => json!({ "bind_secret_id": true }),
        };
        let id = json!({ "role_id": role_id(self.name) });
        let mut calls = vec![
            call(&path, merged(self.token.parameters(), binding)),
            call(&format!("{path}/role-id"), id),
        ];
        if self.secret != SecretIds::None {
            let num_uses = u64::from(self.secret == SecretIds::Once);
            let secret = json!({ "secret_id": secret_id(self.name), "num_uses": num_uses });
            calls.push(call(&format!("{path}/custom-secret-id"), secret));
        }
        calls
    }
}

fn merged(mut object: Value, other: Value) -> Value {
    if let (Value::Object(object), Value::Object(other)) = (&mut object, other) {
        object.extend(other);
    }
    object
}

pub(super) fn role_id(role: &str) -> String {
    format!("role-id-of-{role}")
}

pub(super) fn secret_id(role: &str) -> String {
    format!("secret-id-of-{role}")
}

fn policies() -> [(&'static str, Policy); 4] {
    let web = |parameters| Policy::new().allow_with("pki/sign/web", &[Update], parameters);
    let hour = BTreeMap::from([("ttl".to_owned(), vec!["1h".to_owned()])]);
    let denied = Parameters {
        denied: hour,
        ..Parameters::default()
    };
    [
        ("allowed", web(Parameters::allowed(["csr", "common_name", "ttl"]))),
        ("denied", web(denied)),
        ("issuer", Policy::update("pki/sign/+").allow("empty/sign/*", &[Update])),
        ("required", web(Parameters::required(["csr", "common_name"]))),
    ]
}

fn quota() -> RateLimit {
    RateLimit {
        path: "limited/sign/web".to_owned(),
        rate: 1,
        interval: HOUR,
    }
}

fn logins() -> [Login; 10] {
    let token = |policy| TokenParams::policies([policy]).ttl(HOUR, 2 * HOUR);
    let uses = |num_uses| TokenParams {
        num_uses,
        ..token("issuer")
    };
    let batch = TokenParams {
        kind: TokenType::Batch,
        ..token("issuer")
    };
    let login = |name, token, secret| Login { name, token, secret };
    [
        login("allowed", token("allowed"), SecretIds::Unlimited),
        login("batch", batch, SecretIds::Unlimited),
        login("denied", token("denied"), SecretIds::Unlimited),
        login("issuer", token("issuer"), SecretIds::Unlimited),
        login("last", uses(1), SecretIds::Unlimited),
        login("leased", token("issuer"), SecretIds::Unlimited),
        login("once", token("issuer"), SecretIds::Once),
        login("required", token("required"), SecretIds::Unlimited),
        login("unbound", token("issuer"), SecretIds::None),
        login("uses", uses(3), SecretIds::Unlimited),
    ]
}

#[rustfmt::skip]
fn roles() -> [(&'static str, Role); 6] {
    let web = Role { max_ttl: 720 * HOUR, ..Role::domain("example.com") };
    let not_after = "2060-01-01T00:00:00Z".to_owned();
    [
        ("dated", Role { not_after, ..web.clone() }),
        ("leased", Role { generate_lease: true, ..web.clone() }),
        ("names", Role { use_csr_common_name: false, use_csr_sans: false, ..web.clone() }),
        ("no-ip", Role { allow_ip_sans: false, ..web.clone() }),
        ("strict", Role { allow_any_name: true, ..Role::default() }),
        ("web", web),
    ]
}
