//! The table itself.
//!
//! The statuses are those that Vault 1.21.0 gave.

use http::Method;
use rcgen::{CertificateParams, DistinguishedName, DnType, SanType};
use serde_json::{Value, json};

use super::case::TokenKind::{self, Batch, Dead, Fresh, Issuer, None as Nobody, Root};
use super::case::{Case, Phase};
use super::setup::{role_id, secret_id};
use crate::answer::with;
use crate::ca::{KeyType, key};

/// Returns the cases in the order in which they are sent.
pub fn cases() -> Vec<Case> {
    [
        system(),
        logins(),
        tokens(),
        signatures(),
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
    let body: Option<Value> = body.into();
    Case {
        name,
        phase: Phase::Unsealed,
        method: method.parse().unwrap_or(Method::GET),
        path,
        token,
        body: body.map(|body| body.to_string()).unwrap_or_default(),
        status,
    }
}

#[rustfmt::skip]
fn system() -> Vec<Case> {
    let capabilities = "POST sys/capabilities-self";
    let paths = |paths: &[&str]| json!({ "paths": paths });
    vec![
        case("health", "GET sys/health", Nobody, None, 200),
        case("health with a code", "GET sys/health?activecode=299", Nobody, None, 299),
        case("health with a bad code", "GET sys/health?uninitcode=x", Nobody, None, 400),
        case("health by POST", "POST sys/health", Nobody, None, 405),
        case("seal status", "GET sys/seal-status", Nobody, None, 200),
        case("seal without a token", "PUT sys/seal", Nobody, None, 403),
        case("seal without a right", "PUT sys/seal", Issuer, None, 403),
        case("unseal without a key", "PUT sys/unseal", Nobody, json!({}), 400),
        case("unseal with no key", "PUT sys/unseal", Nobody, json!({ "key": "zz" }), 400),
        case("capabilities of one path", capabilities, Issuer, paths(&["pki/sign/web"]), 200),
        case("capabilities of two paths", capabilities, Issuer, paths(&["pki/sign/web", "pki/issue/web"]), 200),
        case("capabilities of nothing", capabilities, Issuer, json!({}), 400),
        case("capabilities of root", capabilities, Root, json!({ "path": "pki/sign/web" }), 200),
        case("capabilities of the dead", capabilities, Dead, paths(&["pki/sign/web"]), 403),
    ]
}

#[rustfmt::skip]
fn logins() -> Vec<Case> {
    let login = "POST auth/approle/login";
    let with = |name, role_id: &str, secret_id: &str, status| {
        case(name, login, Nobody, json!({ "role_id": role_id, "secret_id": secret_id }), status)
    };
    let raw = |name, body: &str, status| {
        Case { body: body.to_owned(), ..case(name, login, Nobody, None, status) }
    };
    let (id, secret) = (role_id("issuer"), secret_id("issuer"));
    vec![
        with("login", &id, &secret, 200),
        with("login for a batch token", &role_id("batch"), &secret_id("batch"), 200),
        with("login with a wrong secret ID", &id, "wrong", 400),
        with("login with a wrong role ID", "wrong", &secret, 400),
        with("login with an empty secret ID", &id, "", 400),
        raw("login with nothing", "", 500),
        raw("login with half an object", "{", 500),
        raw("login with an array", "[]", 400),
        case("login by GET", "GET auth/approle/login", Nobody, None, 500),
        case("login at no mount", "POST auth/nope/login", Nobody, json!({}), 403),
        case("login at no mount as root", "POST auth/nope/login", Root, json!({}), 404),
        case("login at no mount with a token", "POST auth/nope/login", Issuer, json!({}), 403),
    ]
}

#[rustfmt::skip]
fn tokens() -> Vec<Case> {
    let (lookup, renew) = ("GET auth/token/lookup-self", "POST auth/token/renew-self");
    let revoke = "POST auth/token/revoke-self";
    vec![
        case("lookup", lookup, Fresh, None, 200),
        case("lookup of a batch token", lookup, Batch, None, 200),
        case("lookup of root", lookup, Root, None, 200),
        case("lookup of the dead", lookup, Dead, None, 403),
        case("lookup without a token", lookup, Nobody, None, 403),
        case("lookup by POST", "POST auth/token/lookup-self", Issuer, json!({}), 403),
        case("renewal", renew, Issuer, json!({}), 200),
        case("renewal by PUT, without a body", "PUT auth/token/renew-self", Issuer, None, 200),
        case("renewal beyond the end", renew, Issuer, json!({ "increment": "5h" }), 200),
        case("renewal by seconds", renew, Issuer, json!({ "increment": 60 }), 200),
        case("renewal by nonsense", renew, Issuer, json!({ "increment": "soon" }), 400),
        case("lookup after a renewal", lookup, Issuer, None, 200),
        case("renewal of a batch token", renew, Batch, json!({}), 400),
        case("renewal of root", renew, Root, json!({}), 400),
        case("renewal of the dead", renew, Dead, json!({}), 403),
        case("revocation", revoke, Fresh, None, 204),
        case("revocation of a batch token", revoke, Batch, None, 400),
        case("revocation of the dead", revoke, Dead, None, 403),
        case("revocation without a token", revoke, Nobody, None, 403),
        case("revocation by GET", "GET auth/token/revoke-self", Issuer, None, 403),
    ]
}

#[rustfmt::skip]
fn signatures() -> Vec<Case> {
    let web = "POST pki/sign/web";
    let day = || good(json!({ "ttl": "24h" }));
    let minute = |more| good(with(json!({ "ttl": 60 }), [more]));
    let in_tree = json!({
        "common_name": "www.example.com", "alt_names": "www.example.com", "ip_sans": "", "uri_sans": "",
        "ttl": "2160h0m0s", "exclude_cn_from_sans": "true",
    });
    let api_names = json!({
        "common_name": "a.example.com", "alt_names": "b.example.com,me@example.com,not a host",
        "ip_sans": "10.0.0.1,::1", "ttl": "1h",
    });
    let issue = json!({ "common_name": "www.example.com", "ttl": "1h" });
    vec![
        case("sign", web, Issuer, day(), 200),
        case("sign with a batch token", web, Batch, day(), 200),
        case("sign by PUT", "PUT pki/sign/web", Issuer, day(), 200),
        case("sign without a TTL", web, Issuer, good(json!({})), 200),
        case("sign as cert-manager does", web, Issuer, good(in_tree), 200),
        case("sign with an unknown field", web, Issuer, minute(("x", json!(1))), 200),
        case("sign as a bundle", web, Issuer, minute(("format", json!("pem_bundle"))), 200),
        case("sign as DER", web, Issuer, minute(("format", json!("der"))), 200),
        case("sign without roots", web, Issuer, minute(("remove_roots_from_chain", json!(true))), 200),
        case("sign names of the body", "POST pki/sign/names", Issuer, good(api_names), 200),
        case("sign with a lease", "POST pki/sign/leased", Issuer, day(), 200),
        case("sign by an issuer", "POST pki/issuer/default/sign/web", Root, day(), 200),
        case("sign verbatim", "POST pki/sign-verbatim", Root, day(), 200),
        case("sign verbatim under a role", "POST pki/sign-verbatim/web", Root, day(), 200),
        case("sign an intermediate", "POST pki/root/sign-intermediate", Root, day(), 200),
        case("issue", "POST pki/issue/strict", Root, issue, 200),
    ]
}

#[rustfmt::skip]
fn refusals() -> Vec<Case> {
    let web = "POST pki/sign/web";
    let sign = |name, request, csr: &str| {
        case(name, request, Issuer, json!({ "csr": csr, "ttl": "1h" }), 400)
    };
    let named = |common_name: &str, name: Option<SanType>| {
        csr(KeyType::Ec, common_name, &Vec::from_iter(name), "")
    };
    let ip = Some(SanType::IpAddress([10, 0, 0, 1].into()));
    let uri = "spiffe://a/b".try_into().map(SanType::URI).ok();
    let email = "me@example.org".try_into().map(SanType::Rfc822Name).ok();
    let rsa = csr(KeyType::Rsa, "", &Vec::from_iter(dns("www.example.com")), "");
    vec![
        sign("sign another's name", web, &named("www.example.org", None)),
        sign("sign another's SAN", web, &named("", dns("www.example.org"))),
        sign("sign a URI", web, &named("", uri)),
        sign("sign an e-mail address", web, &named("", email)),
        sign("sign an IP address", "POST pki/sign/no-ip", &named("", ip)),
        sign("sign a serial number", web, &csr(KeyType::Ec, "www.example.com", &[], "7")),
        sign("sign the wrong kind of key", "POST pki/sign/strict", &named("www.example.com", None)),
        sign("sign without a common name", "POST pki/sign/strict", &rsa),
        sign("sign a forged CSR", web, &forged()),
        sign("sign text", web, "text"),
        sign("sign junk", web, "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"),
        sign("sign under no role", "POST pki/sign/nope", &named("www.example.com", None)),
        case("sign verbatim under no role", "POST pki/sign-verbatim/nope", Root, json!({}), 400),
    ]
}

#[rustfmt::skip]
fn fields() -> Vec<Case> {
    let web = "POST pki/sign/web";
    let sign = |name, body| case(name, web, Issuer, good(body), 400);
    vec![
        case("sign without a CSR", web, Issuer, json!({}), 400),
        case("sign without a body", web, Issuer, None, 400),
        case("sign a list", web, Issuer, json!({ "csr": [1] }), 400),
        sign("sign for two ends", json!({ "ttl": "1h", "not_after": "2027-01-01T00:00:00Z" })),
        sign("sign beyond the CA", json!({ "not_after": "2060-01-01T00:00:00Z" })),
        sign("sign for a nonsense time", json!({ "ttl": "soon" })),
        sign("sign for a negative time", json!({ "ttl": "-5" })),
        sign("sign in no format", json!({ "format": "text" })),
        case("sign under no role, without a CSR", "POST pki/sign/nope", Issuer, json!({}), 400),
        case("sign by no CA", "POST empty/sign/nope", Issuer, json!({}), 400),
        case("sign verbatim by no CA", "POST empty/sign-verbatim", Root, json!({}), 500),
        case("sign by no issuer", "POST pki/issuer/nope/sign/web", Root, good(json!({})), 500),
        case("issue any key", "POST pki/issue/web", Root, json!({}), 400),
    ]
}

#[rustfmt::skip]
fn paths() -> Vec<Case> {
    let body = || good(json!({}));
    vec![
        case("sign where no policy allows it", "POST pki/issuer/default/sign/web", Issuer, body(), 403),
        case("sign with a dead token", "POST pki/sign/web", Dead, body(), 403),
        case("sign without a token", "POST pki/sign/web", Nobody, body(), 403),
        case("sign at no mount", "POST nope/sign/web", Issuer, body(), 403),
        case("sign at no mount as root", "POST nope/sign/web", Root, body(), 404),
        case("no path of a mount", "POST pki/nope/web", Root, body(), 404),
        case("the mount itself", "POST pki", Root, body(), 404),
        case("a path too long", "POST pki/sign/web/web", Root, body(), 404),
        case("a role with a space", "POST pki/sign/a%20b", Root, body(), 404),
        case("a path that ends in a slash", "POST pki/sign/web/", Root, body(), 400),
        case("sign by GET", "GET pki/sign/web", Issuer, None, 403),
        case("sign by GET as root", "GET pki/sign/web", Root, None, 405),
        case("sign by DELETE as root", "DELETE pki/sign/web", Root, None, 405),
        case("sign by LIST as root", "LIST pki/sign/web", Root, None, 404),
        case("no path of the system", "GET sys/nope", Root, None, 404),
        case("no path of tokens", "POST auth/token/nope", Root, json!({}), 404),
    ]
}

#[rustfmt::skip]
fn sealed() -> Vec<Case> {
    let login = json!({ "role_id": role_id("issuer"), "secret_id": secret_id("issuer") });
    let cases = [
        case("sealed: health", "GET sys/health", Nobody, None, 503),
        case("sealed: seal status", "GET sys/seal-status", Nobody, None, 200),
        case("sealed: sign", "POST pki/sign/web", Issuer, good(json!({})), 503),
        case("sealed: login", "POST auth/approle/login", Nobody, login, 503),
        case("sealed: lookup", "GET auth/token/lookup-self", Issuer, None, 503),
        case("sealed: no path", "GET nope", Nobody, None, 503),
        case("sealed: seal", "PUT sys/seal", Root, None, 204),
        case("sealed: unseal with half a key", "PUT sys/unseal", Nobody, json!({ "key": "aabb" }), 400),
    ];
    cases.map(|case| Case { phase: Phase::Sealed, ..case }).to_vec()
}

/// Adds a CSR that the role `web` allows to a body.
fn good(body: Value) -> Value {
    let names = Vec::from_iter(dns("www.example.com"));
    let csr = csr(KeyType::Ec, "www.example.com", &names, "");
    with(body, [("csr", json!(csr))])
}

/// Returns a PEM CSR with a common name, other names and a serial number of the subject.
fn csr(kind: KeyType, common_name: &str, names: &[SanType], serial: &str) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let attributes = [
        (DnType::CommonName, common_name),
        (DnType::CustomDnType(vec![2, 5, 4, 5]), serial),
    ];
    for (kind, value) in attributes {
        if !value.is_empty() {
            params.distinguished_name.push(kind, value);
        }
    }
    params.subject_alt_names = names.to_vec();
    let csr = params.serialize_request(&key(kind, "conformance"));
    csr.and_then(|csr| csr.pem()).unwrap_or_default()
}

fn dns(name: &str) -> Option<SanType> {
    name.try_into().map(SanType::DnsName).ok()
}

/// Returns a CSR whose signature does not match its key.
fn forged() -> String {
    let genuine = csr(KeyType::Ed25519, "www.example.com", &[], "");
    let mut lines: Vec<_> = genuine.lines().map(str::to_owned).collect();
    if let Some(last) = lines.iter_mut().rev().nth(1) {
        let swapped = if last.starts_with('A') { "B" } else { "A" };
        last.replace_range(..1, swapped);
    }
    lines.join("\n")
}
