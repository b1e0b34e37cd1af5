//! The table itself, and what it is sent to.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use rcgen::{CertificateParams, DistinguishedName, DnType, SanType};
use serde_json::{Value, json};

use super::TokenKind::{self, Batch, Dead, Fresh, Issuer, None as Nobody, Root};
use super::{Case, SetUp, Stage};
use crate::{
    AppRole, AuthMethod, Authority, FakeVault, KeyType, Pki, Policy, Role, TokenParams, TokenType,
    key,
};

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
        (
            name.to_owned(),
            AppRole::new(&role_id(name), &secret_id(name), token),
        )
    });
    vault.enable_auth("approle", AuthMethod::AppRole(BTreeMap::from(app_roles)));
    vault
}

/// Returns the calls, all to be sent with the root token, that configure a new server.
pub fn set_up() -> Vec<SetUp> {
    let call = |path: &str, body: Value| SetUp {
        path: path.to_owned(),
        body,
    };
    let mut calls = vec![
        call("sys/mounts/pki", json!({ "type": "pki" })),
        call("sys/mounts/pki/tune", json!({ "max_lease_ttl": "87600h" })),
        call(
            "pki/root/generate/internal",
            json!({ "common_name": "Conformance Root", "key_type": "ec", "ttl": "87600h" }),
        ),
        call("sys/mounts/empty", json!({ "type": "pki" })),
        call(
            "sys/policies/acl/issuer",
            json!({ "policy": policy().hcl() }),
        ),
        call("sys/auth/approle", json!({ "type": "approle" })),
    ];
    for (name, role) in roles() {
        calls.push(call(&format!("pki/roles/{name}"), role.parameters()));
    }
    for (name, token) in logins() {
        let path = format!("auth/approle/role/{name}");
        calls.push(call(&path, token.parameters()));
        calls.push(call(
            &format!("{path}/role-id"),
            json!({ "role_id": role_id(name) }),
        ));
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
    use crate::Capability::Update;
    Policy::update("pki/sign/+").allow("empty/sign/*", &[Update])
}

fn logins() -> [(&'static str, TokenParams); 2] {
    let token = TokenParams::policies(["issuer"]).ttl(HOUR, 2 * HOUR);
    let batch = TokenParams {
        kind: TokenType::Batch,
        ..token.clone()
    };
    [("batch", batch), ("issuer", token)]
}

fn roles() -> [(&'static str, Role); 5] {
    let web = Role {
        max_ttl: 720 * HOUR,
        ..Role::domain("example.com")
    };
    [
        (
            "leased",
            Role {
                generate_lease: true,
                ..web.clone()
            },
        ),
        (
            "names",
            Role {
                use_csr_common_name: false,
                use_csr_sans: false,
                ..web.clone()
            },
        ),
        (
            "no-ip",
            Role {
                allow_ip_sans: false,
                ..web.clone()
            },
        ),
        (
            "strict",
            Role {
                allow_any_name: true,
                ..Role::default()
            },
        ),
        ("web", web),
    ]
}

/// Returns a CSR for a common name and other names, PEM.
fn csr(kind: KeyType, common_name: &str, names: &[SanType], serial: &str) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if !common_name.is_empty() {
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
    }
    if !serial.is_empty() {
        params
            .distinguished_name
            .push(DnType::CustomDnType(vec![2, 5, 4, 5]), serial);
    }
    params.subject_alt_names = names.to_vec();
    let csr = params.serialize_request(&key(kind, "conformance"));
    csr.and_then(|csr| csr.pem()).unwrap_or_default()
}

fn dns(name: &str) -> Vec<SanType> {
    Vec::from_iter(name.try_into().map(SanType::DnsName))
}

/// Returns a CSR whose signature is by another key.
fn forged() -> String {
    let names = dns("www.example.com");
    let mut lines: Vec<_> = csr(KeyType::Ed25519, "www.example.com", &names, "")
        .lines()
        .map(str::to_owned)
        .collect();
    if let Some(line) = lines.iter_mut().rev().nth(1) {
        let mut letters: Vec<_> = line.chars().collect();
        if let Some(letter) = letters.first_mut() {
            *letter = if *letter == 'A' { 'B' } else { 'A' };
        }
        *line = letters.into_iter().collect();
    }
    lines.join("\n")
}

/// Returns the table.
pub fn cases() -> Vec<Case> {
    [
        system(),
        logging_in(),
        tokens(),
        signing(),
        refusals(),
        fields(),
        paths(),
        sealed(),
    ]
    .concat()
}

fn case(
    name: &'static str,
    request: &'static str,
    token: TokenKind,
    body: impl Into<Option<Value>>,
    status: u16,
) -> Case {
    let (method, path) = request.split_once(' ').unwrap_or_default();
    let method = method.parse().unwrap_or(Method::GET);
    let body = body
        .into()
        .map(|body: Value| body.to_string())
        .unwrap_or_default();
    Case {
        name,
        stage: Stage::Unsealed,
        method,
        path,
        token,
        body,
        status,
    }
}

fn system() -> Vec<Case> {
    vec![
        case("health", "GET sys/health", Nobody, None, 200),
        case(
            "health with a code",
            "GET sys/health?activecode=299",
            Nobody,
            None,
            299,
        ),
        case(
            "health with a bad code",
            "GET sys/health?uninitcode=x",
            Nobody,
            None,
            400,
        ),
        case("health by POST", "POST sys/health", Nobody, None, 405),
        case("seal status", "GET sys/seal-status", Nobody, None, 200),
        case("seal without a token", "PUT sys/seal", Nobody, None, 403),
        case("seal without a right", "PUT sys/seal", Issuer, None, 403),
        case(
            "unseal without a key",
            "PUT sys/unseal",
            Nobody,
            json!({}),
            400,
        ),
        case(
            "unseal with no key",
            "PUT sys/unseal",
            Nobody,
            json!({ "key": "zz" }),
            400,
        ),
        case(
            "capabilities of one path",
            "POST sys/capabilities-self",
            Issuer,
            json!({ "paths": ["pki/sign/web"] }),
            200,
        ),
        case(
            "capabilities of two paths",
            "POST sys/capabilities-self",
            Issuer,
            json!({ "paths": ["pki/sign/web", "pki/issue/web"] }),
            200,
        ),
        case(
            "capabilities of nothing",
            "POST sys/capabilities-self",
            Issuer,
            json!({}),
            400,
        ),
        case(
            "capabilities of root",
            "POST sys/capabilities-self",
            Root,
            json!({ "path": "pki/sign/web" }),
            200,
        ),
        case(
            "capabilities of the dead",
            "POST sys/capabilities-self",
            Dead,
            json!({ "path": "pki/sign/web" }),
            403,
        ),
    ]
}

fn logging_in() -> Vec<Case> {
    let login = |name, role_id: &str, secret_id: &str, status| {
        let body = json!({ "role_id": role_id, "secret_id": secret_id });
        case(name, "POST auth/approle/login", Nobody, body, status)
    };
    let raw = |name, body: &str, status| Case {
        body: body.to_owned(),
        ..case(name, "POST auth/approle/login", Nobody, None, status)
    };
    let (id, secret) = (role_id("issuer"), secret_id("issuer"));
    vec![
        login("login", &id, &secret, 200),
        login(
            "login for a batch token",
            &role_id("batch"),
            &secret_id("batch"),
            200,
        ),
        login("login with a wrong secret ID", &id, "wrong", 400),
        login("login with a wrong role ID", "wrong", &secret, 400),
        login("login with an empty secret ID", &id, "", 400),
        raw("login with nothing", "", 500),
        raw("login with half an object", "{", 500),
        raw("login with an array", "[]", 400),
        case("login by GET", "GET auth/approle/login", Nobody, None, 500),
        case(
            "login at no mount",
            "POST auth/nope/login",
            Nobody,
            json!({}),
            403,
        ),
        case(
            "login at no mount as root",
            "POST auth/nope/login",
            Root,
            json!({}),
            404,
        ),
        case(
            "login at no mount with a token",
            "POST auth/nope/login",
            Issuer,
            json!({}),
            403,
        ),
    ]
}

fn tokens() -> Vec<Case> {
    let (lookup, renew) = ("GET auth/token/lookup-self", "POST auth/token/renew-self");
    let revoke = "POST auth/token/revoke-self";
    vec![
        case("lookup", lookup, Fresh, None, 200),
        case("lookup of a batch token", lookup, Batch, None, 200),
        case("lookup of root", lookup, Root, None, 200),
        case("lookup of the dead", lookup, Dead, None, 403),
        case("lookup without a token", lookup, Nobody, None, 403),
        case(
            "lookup by POST",
            "POST auth/token/lookup-self",
            Issuer,
            json!({}),
            403,
        ),
        case("renewal", renew, Issuer, json!({}), 200),
        case(
            "renewal by PUT, without a body",
            "PUT auth/token/renew-self",
            Issuer,
            None,
            200,
        ),
        case(
            "renewal beyond the end",
            renew,
            Issuer,
            json!({ "increment": "5h" }),
            200,
        ),
        case(
            "renewal by seconds",
            renew,
            Issuer,
            json!({ "increment": 60 }),
            200,
        ),
        case(
            "renewal by nonsense",
            renew,
            Issuer,
            json!({ "increment": "soon" }),
            400,
        ),
        case("lookup after a renewal", lookup, Issuer, None, 200),
        case("renewal of a batch token", renew, Batch, json!({}), 400),
        case("renewal of root", renew, Root, json!({}), 400),
        case("renewal of the dead", renew, Dead, json!({}), 403),
        case("revocation", revoke, Fresh, None, 204),
        case("revocation of a batch token", revoke, Batch, None, 400),
        case("revocation of the dead", revoke, Dead, None, 403),
        case("revocation without a token", revoke, Nobody, None, 403),
        case(
            "revocation by GET",
            "GET auth/token/revoke-self",
            Issuer,
            None,
            403,
        ),
    ]
}

/// A CSR that the role `web` likes.
fn good() -> String {
    csr(KeyType::Ec, "www.example.com", &dns("www.example.com"), "")
}

fn signing() -> Vec<Case> {
    let web = "POST pki/sign/web";
    let with = |mut body: Value| {
        body["csr"] = json!(good());
        body
    };
    let api_names = json!({
        "common_name": "a.example.com", "alt_names": "b.example.com,me@example.com,not a host",
        "ip_sans": "10.0.0.1,::1", "ttl": "1h",
    });
    let in_tree = json!({
        "common_name": "www.example.com", "alt_names": "www.example.com", "ip_sans": "", "uri_sans": "",
        "ttl": "2160h0m0s", "exclude_cn_from_sans": "true",
    });
    let day = || with(json!({ "ttl": "24h" }));
    vec![
        case("sign", web, Issuer, day(), 200),
        case("sign with a batch token", web, Batch, day(), 200),
        case("sign by PUT", "PUT pki/sign/web", Issuer, day(), 200),
        case("sign without a TTL", web, Issuer, with(json!({})), 200),
        case("sign as cert-manager does", web, Issuer, with(in_tree), 200),
        case(
            "sign with an unknown field",
            web,
            Issuer,
            with(json!({ "ttl": 60, "x": 1 })),
            200,
        ),
        case(
            "sign as a bundle",
            web,
            Issuer,
            with(json!({ "ttl": 60, "format": "pem_bundle" })),
            200,
        ),
        case(
            "sign as DER",
            web,
            Issuer,
            with(json!({ "ttl": 60, "format": "der" })),
            200,
        ),
        case(
            "sign without roots",
            web,
            Issuer,
            with(json!({ "ttl": 60, "remove_roots_from_chain": true })),
            200,
        ),
        case(
            "sign names of the body",
            "POST pki/sign/names",
            Issuer,
            with(api_names),
            200,
        ),
        case(
            "sign with a lease",
            "POST pki/sign/leased",
            Issuer,
            day(),
            200,
        ),
        case(
            "sign by an issuer",
            "POST pki/issuer/default/sign/web",
            Root,
            day(),
            200,
        ),
        case("sign verbatim", "POST pki/sign-verbatim", Root, day(), 200),
        case(
            "sign verbatim under a role",
            "POST pki/sign-verbatim/web",
            Root,
            day(),
            200,
        ),
        case(
            "sign an intermediate",
            "POST pki/root/sign-intermediate",
            Root,
            day(),
            200,
        ),
    ]
}

fn refusals() -> Vec<Case> {
    let sign = |name, request, csr: &str| {
        case(
            name,
            request,
            Issuer,
            json!({ "csr": csr, "ttl": "1h" }),
            400,
        )
    };
    let web = "POST pki/sign/web";
    let ec = |common_name: &str, names: Vec<SanType>| csr(KeyType::Ec, common_name, &names, "");
    let ip = vec![SanType::IpAddress([10, 0, 0, 1].into())];
    let uri = Vec::from_iter("spiffe://a/b".try_into().map(SanType::URI));
    let email = Vec::from_iter("me@example.org".try_into().map(SanType::Rfc822Name));
    vec![
        sign("sign another's name", web, &ec("www.example.org", vec![])),
        sign("sign another's SAN", web, &ec("", dns("www.example.org"))),
        sign("sign a URI", web, &ec("", uri)),
        sign("sign an e-mail address", web, &ec("", email)),
        sign("sign an IP address", "POST pki/sign/no-ip", &ec("", ip)),
        sign(
            "sign a serial number",
            web,
            &csr(KeyType::Ec, "www.example.com", &[], "7"),
        ),
        sign(
            "sign the wrong kind of key",
            "POST pki/sign/strict",
            &good(),
        ),
        sign(
            "sign without a common name",
            "POST pki/sign/strict",
            &csr(KeyType::Rsa, "", &dns("www.example.com"), ""),
        ),
        sign("sign a forged CSR", web, &forged()),
        sign("sign text", web, "text"),
        sign(
            "sign junk",
            web,
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        ),
        sign("sign under no role", "POST pki/sign/nope", &good()),
        case(
            "sign verbatim under no role",
            "POST pki/sign-verbatim/nope",
            Root,
            json!({}),
            400,
        ),
    ]
}

fn fields() -> Vec<Case> {
    let web = "POST pki/sign/web";
    let with = |mut body: Value| {
        body["csr"] = json!(good());
        body
    };
    let sign = |name, body| case(name, web, Issuer, with(body), 400);
    vec![
        case("sign without a CSR", web, Issuer, json!({}), 400),
        case("sign without a body", web, Issuer, None, 400),
        case("sign a list", web, Issuer, json!({ "csr": [1] }), 400),
        sign(
            "sign for two ends",
            json!({ "ttl": "1h", "not_after": "2027-01-01T00:00:00Z" }),
        ),
        sign(
            "sign beyond the CA",
            json!({ "not_after": "2060-01-01T00:00:00Z" }),
        ),
        sign("sign for a nonsense time", json!({ "ttl": "soon" })),
        sign("sign for a negative time", json!({ "ttl": "-5" })),
        sign("sign in no format", json!({ "format": "text" })),
        case(
            "sign under no role, without a CSR",
            "POST pki/sign/nope",
            Issuer,
            json!({}),
            400,
        ),
        case(
            "sign by no CA",
            "POST empty/sign/nope",
            Issuer,
            json!({}),
            400,
        ),
        case(
            "sign verbatim by no CA",
            "POST empty/sign-verbatim",
            Root,
            json!({}),
            500,
        ),
        case(
            "sign by an unknown issuer",
            "POST pki/issuer/nope/sign/web",
            Root,
            with(json!({})),
            500,
        ),
        case("issue any key", "POST pki/issue/web", Root, json!({}), 400),
        case(
            "issue",
            "POST pki/issue/strict",
            Root,
            json!({ "common_name": "www.example.com", "ttl": "1h" }),
            200,
        ),
    ]
}

fn paths() -> Vec<Case> {
    let body = || json!({ "csr": good() });
    vec![
        case(
            "sign where no policy allows it",
            "POST pki/issuer/default/sign/web",
            Issuer,
            body(),
            403,
        ),
        case(
            "sign with a dead token",
            "POST pki/sign/web",
            Dead,
            body(),
            403,
        ),
        case(
            "sign without a token",
            "POST pki/sign/web",
            Nobody,
            body(),
            403,
        ),
        case(
            "sign at no mount",
            "POST nope/sign/web",
            Issuer,
            body(),
            403,
        ),
        case(
            "sign at no mount as root",
            "POST nope/sign/web",
            Root,
            body(),
            404,
        ),
        case("no path of a mount", "POST pki/nope/web", Root, body(), 404),
        case("the mount itself", "POST pki", Root, body(), 404),
        case(
            "a path too long",
            "POST pki/sign/web/web",
            Root,
            body(),
            404,
        ),
        case(
            "a role with a space",
            "POST pki/sign/a%20b",
            Root,
            body(),
            404,
        ),
        case(
            "a path that ends in a slash",
            "POST pki/sign/web/",
            Root,
            body(),
            400,
        ),
        case("sign by GET", "GET pki/sign/web", Issuer, None, 403),
        case("sign by GET as root", "GET pki/sign/web", Root, None, 405),
        case(
            "sign by DELETE as root",
            "DELETE pki/sign/web",
            Root,
            None,
            405,
        ),
        case("sign by LIST as root", "LIST pki/sign/web", Root, None, 404),
        case("no path of the system", "GET sys/nope", Root, None, 404),
        case(
            "no path of tokens",
            "POST auth/token/nope",
            Root,
            json!({}),
            404,
        ),
    ]
}

fn sealed() -> Vec<Case> {
    let login = json!({ "role_id": role_id("issuer"), "secret_id": secret_id("issuer") });
    vec![
        case("sealed: health", "GET sys/health", Nobody, None, 503),
        case(
            "sealed: seal status",
            "GET sys/seal-status",
            Nobody,
            None,
            200,
        ),
        case(
            "sealed: sign",
            "POST pki/sign/web",
            Issuer,
            json!({ "csr": good() }),
            503,
        ),
        case(
            "sealed: login",
            "POST auth/approle/login",
            Nobody,
            login,
            503,
        ),
        case(
            "sealed: lookup",
            "GET auth/token/lookup-self",
            Issuer,
            None,
            503,
        ),
        case("sealed: no path", "GET nope", Nobody, None, 503),
        case("sealed: seal", "PUT sys/seal", Root, None, 204),
        case(
            "sealed: unseal with half a key",
            "PUT sys/unseal",
            Nobody,
            json!({ "key": "aabb" }),
            400,
        ),
    ]
    .into_iter()
    .map(|case| Case {
        stage: Stage::Sealed,
        ..case
    })
    .collect()
}
