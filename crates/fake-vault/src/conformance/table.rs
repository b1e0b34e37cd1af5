//! The table itself.
//!
//! The statuses are those that Vault 1.21.0 gave.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, SanType};
use serde_json::{Value, json};

use super::case::TokenKind::{self, Dead, Fresh, None as NoToken, Of, Root};
use super::case::{Case, ISSUER, Phase, case};
use super::jwt::jwt;
use super::setup::{AWS_SERVER_ID, role_id, secret_id};
use super::wrapping;
use crate::answer::with;
use crate::ca::{KeyType, key};

const BATCH: TokenKind = Of("batch");

/// Returns the cases in the order in which they are sent.
pub fn cases() -> Vec<Case> {
    [
        system(),
        logins(),
        jwt_logins(),
        aws_logins(),
        tokens(),
        wrapping::cases(),
        signatures(),
        refusals(),
        fields(),
        paths(),
        extensions(),
        constraints(),
        leases(),
        limits(),
        sealed(),
    ]
    .concat()
}

#[rustfmt::skip]
fn system() -> Vec<Case> {
    let capabilities = "POST sys/capabilities-self";
    let paths = |paths: &[&str]| json!({ "paths": paths });
    vec![
        case("health", "GET sys/health", NoToken, None, 200),
        case("health with a code", "GET sys/health?activecode=299", NoToken, None, 299),
        case("health with a bad code", "GET sys/health?uninitcode=x", NoToken, None, 400),
        case("health by POST", "POST sys/health", NoToken, None, 405),
        case("seal status", "GET sys/seal-status", NoToken, None, 200),
        case("seal without a token", "PUT sys/seal", NoToken, None, 403),
        case("seal without a right", "PUT sys/seal", ISSUER, None, 403),
        case("unseal without a key", "PUT sys/unseal", NoToken, json!({}), 400),
        case("unseal with no key", "PUT sys/unseal", NoToken, json!({ "key": "zz" }), 400),
        case("capabilities of one path", capabilities, ISSUER, paths(&["pki/sign/web"]), 200),
        case("capabilities of two paths", capabilities, ISSUER, paths(&["pki/sign/web", "pki/issue/web"]), 200),
        case("capabilities of nothing", capabilities, ISSUER, json!({}), 400),
        case("capabilities of root", capabilities, Root, json!({ "path": "pki/sign/web" }), 200),
        case("capabilities of the dead", capabilities, Dead, paths(&["pki/sign/web"]), 403),
    ]
}

#[rustfmt::skip]
fn logins() -> Vec<Case> {
    let login = "POST auth/approle/login";
    let with = |name, role_id: &str, secret_id: &str, status| {
        case(name, login, NoToken, json!({ "role_id": role_id, "secret_id": secret_id }), status)
    };
    let raw = |name, body: &str, status| {
        Case { body: body.to_owned(), ..case(name, login, NoToken, None, status) }
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
        case("login by GET", "GET auth/approle/login", NoToken, None, 500),
        case("login at no mount", "POST auth/nope/login", NoToken, json!({}), 403),
        case("login at no mount as root", "POST auth/nope/login", Root, json!({}), 404),
        case("login at no mount with a token", "POST auth/nope/login", ISSUER, json!({}), 403),
    ]
}

#[rustfmt::skip]
fn jwt_logins() -> Vec<Case> {
    let login = "POST auth/jwt/login";
    let with = |name, role: &str, jwt: String, status| {
        case(name, login, NoToken, json!({ "role": role, "jwt": jwt }), status)
    };
    let good = || jwt([]);
    vec![
        with("login with a JWT", "team", good(), 200),
        with("login with a JWT of one audience", "team", jwt([("aud", json!("vault://team/vault"))]), 200),
        with("login with a JWT for others", "team", jwt([("aud", json!(["vault://other"]))]), 400),
        with("login with a JWT of another", "team", jwt([("sub", json!("system:serviceaccount:team:other"))]), 400),
        with("login with an expired JWT", "team", jwt([("exp", json!(1_700_000_600))]), 400),
        with("login with no JWT", "team", String::new(), 400),
        with("login with a malformed JWT", "team", "junk".to_owned(), 400),
        with("login with a JWT for no role", "", good(), 400),
        with("login with a JWT for an unknown role", "nope", good(), 400),
        case("login with a JWT by GET", "GET auth/jwt/login", NoToken, None, 405),
    ]
}

/// The logins that Vault refuses before it asks AWS.
#[rustfmt::skip]
fn aws_logins() -> Vec<Case> {
    let login = "POST auth/aws/login";
    let with = |name, changes: &[(&'static str, &str)]| {
        let mut request = BTreeMap::from([
            ("role", "team"),
            ("iam_http_request_method", "POST"),
            ("iam_request_url", "https://sts.amazonaws.com/"),
            ("iam_request_body", "Action=GetCallerIdentity&Version=2011-06-15"),
            ("iam_request_headers", SIGNED_HEADERS),
        ]);
        request.extend(changes.iter().copied());
        let encoded = request.into_iter().map(|(field, value)| match field {
            "iam_request_url" | "iam_request_body" | "iam_request_headers" => (field, STANDARD.encode(value)),
            _ => (field, value.to_owned()),
        });
        case(name, login, NoToken, json!(encoded.collect::<BTreeMap<_, _>>()), 400)
    };
    let other = SIGNED_HEADERS.replace(AWS_SERVER_ID, "other.example.com");
    let unsigned = SIGNED_HEADERS.replace("SignedHeaders=host;x-vault-aws-iam-server-id", "SignedHeaders=host");
    vec![
        case("login with AWS by GET", "GET auth/aws/login", NoToken, None, 405),
        case("login with no AWS request", login, NoToken, json!({ "role": "team" }), 400),
        case("login with half an AWS request", login, NoToken, json!({ "iam_http_request_method": "POST" }), 400),
        with("login with an AWS request by PUT", &[("iam_http_request_method", "PUT")]),
        with("login with an AWS request with a query", &[("iam_request_url", "https://sts.amazonaws.com/?a=b")]),
        with("login with another AWS request", &[("iam_request_body", "Action=AssumeRole")]),
        with("login with an AWS request without headers", &[("iam_request_headers", "{}")]),
        with("login with an AWS request with bad headers", &[("iam_request_headers", "junk")]),
        with("login with an AWS request for another Vault", &[("iam_request_headers", &other)]),
        with("login with an AWS request for any Vault", &[("iam_request_headers", &unsigned)]),
    ]
}

/// The headers of a request to AWS.
const SIGNED_HEADERS: &str = "{\"host\":[\"sts.amazonaws.com\"],\"x-vault-aws-iam-server-id\":[\"vault.example.com\"],\
    \"authorization\":[\"AWS4-HMAC-SHA256 Credential=AKIA/20261128/us-east-1/sts/aws4_request, \
    SignedHeaders=host;x-vault-aws-iam-server-id, Signature=0\"]}";

#[rustfmt::skip]
fn tokens() -> Vec<Case> {
    let (lookup, renew) = ("GET auth/token/lookup-self", "POST auth/token/renew-self");
    let revoke = "POST auth/token/revoke-self";
    vec![
        case("lookup", lookup, Fresh, None, 200),
        case("lookup of a batch token", lookup, BATCH, None, 200),
        case("lookup of root", lookup, Root, None, 200),
        case("lookup of the dead", lookup, Dead, None, 403),
        case("lookup without a token", lookup, NoToken, None, 403),
        case("lookup by POST", "POST auth/token/lookup-self", ISSUER, json!({}), 403),
        case("renewal", renew, ISSUER, json!({}), 200),
        case("renewal by PUT, without a body", "PUT auth/token/renew-self", ISSUER, None, 200),
        case("renewal beyond the end", renew, ISSUER, json!({ "increment": "5h" }), 200),
        case("renewal by seconds", renew, ISSUER, json!({ "increment": 60 }), 200),
        case("renewal by nonsense", renew, ISSUER, json!({ "increment": "soon" }), 400),
        case("lookup after a renewal", lookup, ISSUER, None, 200),
        case("renewal of a batch token", renew, BATCH, json!({}), 400),
        case("renewal of root", renew, Root, json!({}), 400),
        case("renewal of the dead", renew, Dead, json!({}), 403),
        case("revocation", revoke, Fresh, None, 204),
        case("revocation of a batch token", revoke, BATCH, None, 400),
        case("revocation of the dead", revoke, Dead, None, 403),
        case("revocation without a token", revoke, NoToken, None, 403),
        case("revocation by GET", "GET auth/token/revoke-self", ISSUER, None, 403),
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
        case("sign", web, ISSUER, day(), 200),
        case("sign with a batch token", web, BATCH, day(), 200),
        case("sign by PUT", "PUT pki/sign/web", ISSUER, day(), 200),
        case("sign without a TTL", web, ISSUER, good(json!({})), 200),
        case("sign as cert-manager does", web, ISSUER, good(in_tree), 200),
        case("sign with an unknown field", web, ISSUER, minute(("x", json!(1))), 200),
        case("sign as a bundle", web, ISSUER, minute(("format", json!("pem_bundle"))), 200),
        case("sign as DER", web, ISSUER, minute(("format", json!("der"))), 200),
        case("sign without roots", web, ISSUER, minute(("remove_roots_from_chain", json!(true))), 200),
        case("sign names of the body", "POST pki/sign/names", ISSUER, good(api_names), 200),
        case("sign with a lease", "POST pki/sign/leased", ISSUER, day(), 200),
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
        case(name, request, ISSUER, json!({ "csr": csr, "ttl": "1h" }), 400)
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
    let sign = |name, body| case(name, web, ISSUER, good(body), 400);
    vec![
        case("sign without a CSR", web, ISSUER, json!({}), 400),
        case("sign without a body", web, ISSUER, None, 400),
        case("sign a list", web, ISSUER, json!({ "csr": [1] }), 400),
        sign("sign for two ends", json!({ "ttl": "1h", "not_after": "2027-01-01T00:00:00Z" })),
        sign("sign beyond the CA", json!({ "not_after": "2060-01-01T00:00:00Z" })),
        sign("sign for a nonsense time", json!({ "ttl": "soon" })),
        sign("sign for a negative time", json!({ "ttl": "-5" })),
        sign("sign in no format", json!({ "format": "text" })),
        case("sign under no role, without a CSR", "POST pki/sign/nope", ISSUER, json!({}), 400),
        case("sign by no CA", "POST empty/sign/nope", ISSUER, json!({}), 400),
        case("sign verbatim by no CA", "POST empty/sign-verbatim", Root, json!({}), 500),
        case("sign by no issuer", "POST pki/issuer/nope/sign/web", Root, good(json!({})), 500),
        case("issue any key", "POST pki/issue/web", Root, json!({}), 400),
    ]
}

#[rustfmt::skip]
fn paths() -> Vec<Case> {
    let body = || good(json!({}));
    vec![
        case("sign where no policy allows it", "POST pki/issuer/default/sign/web", ISSUER, body(), 403),
        case("sign with a dead token", "POST pki/sign/web", Dead, body(), 403),
        case("sign without a token", "POST pki/sign/web", NoToken, body(), 403),
        case("sign at no mount", "POST nope/sign/web", ISSUER, body(), 403),
        case("sign at no mount as root", "POST nope/sign/web", Root, body(), 404),
        case("no path of a mount", "POST pki/nope/web", Root, body(), 404),
        case("the mount itself", "POST pki", Root, body(), 404),
        case("a path too long", "POST pki/sign/web/web", Root, body(), 404),
        case("a role with a space", "POST pki/sign/a%20b", Root, body(), 404),
        case("a path that ends in a slash", "POST pki/sign/web/", Root, body(), 400),
        case("sign by GET", "GET pki/sign/web", ISSUER, None, 403),
        case("sign by GET as root", "GET pki/sign/web", Root, None, 405),
        case("sign by DELETE as root", "DELETE pki/sign/web", Root, None, 405),
        case("sign by LIST as root", "LIST pki/sign/web", Root, None, 404),
        case("no path of the system", "GET sys/nope", Root, None, 404),
        case("no path of tokens", "POST auth/token/nope", Root, json!({}), 404),
    ]
}

#[rustfmt::skip]
fn extensions() -> Vec<Case> {
    let (verbatim, intermediate) = ("POST pki/sign-verbatim", "POST pki/root/sign-intermediate");
    let other = |is_critical| extended(&[1, 2, 3, 4, 5, 6], &[5, 0], is_critical);
    let constraints = || extended(&[2, 5, 29, 19], &[0x30, 0], true);
    let body = |csr: String| json!({ "csr": csr, "ttl": "1h" });
    let copied = json!({ "csr": other(true), "ttl": "1h", "use_csr_values": true });
    let dated = "POST pki/sign/dated";
    vec![
        case("sign verbatim with an unknown critical extension", verbatim, Root, body(other(true)), 500),
        case("sign verbatim with an unknown extension", verbatim, Root, body(other(false)), 200),
        case("sign an intermediate with an unknown critical extension", intermediate, Root, copied, 500),
        case("sign with an unknown critical extension", "POST pki/sign/web", ISSUER, body(other(true)), 200),
        case("sign with basic constraints", "POST pki/sign/web", ISSUER, body(constraints()), 200),
        case("sign with the role's end, beyond the CA", dated, ISSUER, good(json!({})), 400),
        case("sign with the role's end and a TTL", dated, ISSUER, good(json!({ "ttl": "1h" })), 400),
        case("sign with CEL", "POST pki/cel/sign/web", Root, good(json!({})), 404),
        case("sign with an external policy", "POST pki/external-policy/sign/web", Root, good(json!({})), 404),
    ]
}

#[rustfmt::skip]
fn constraints() -> Vec<Case> {
    let web = "POST pki/sign/web";
    let (allowed, denied, required) = (Of("allowed"), Of("denied"), Of("required"));
    let capabilities = "POST sys/capabilities-self";
    let named = |more| good(with(json!({ "common_name": "" }), [more]));
    vec![
        case("required parameters: none", web, required, json!({}), 403),
        case("required parameters: one", web, required, json!({ "csr": "" }), 403),
        case("required parameters: all, empty", web, required, json!({ "csr": "", "common_name": "" }), 400),
        case("required parameters: null", web, required, json!({ "csr": "", "common_name": null }), 400),
        case("required parameters: all", web, required, named(("ttl", json!("1h"))), 200),
        case("allowed parameters: none", web, allowed, json!({}), 400),
        case("allowed parameters: all", web, allowed, named(("ttl", json!("1h"))), 200),
        case("allowed parameters: another", web, allowed, named(("format", json!("pem"))), 403),
        case("allowed parameters: another case", web, allowed, named(("TTL", json!("1h"))), 200),
        case("denied value", web, denied, named(("ttl", json!("1h"))), 403),
        case("denied value among others", web, denied, named(("ttl", json!("2h, 1h"))), 403),
        case("another value than the denied", web, denied, named(("ttl", json!("2h"))), 200),
        case("another type than the denied", web, denied, named(("ttl", json!(3600))), 200),
        case("capabilities with constraints", capabilities, allowed, json!({ "path": "pki/sign/web" }), 200),
    ]
}

#[rustfmt::skip]
fn leases() -> Vec<Case> {
    let leased = Of("leased");
    let (sign, list) = ("POST pki/sign/leased", "LIST pki/certs/revoked");
    let revoked = case("list revoked certificates", list, Root, None, 200);
    let last = case("last use for a lease", sign, Of("last"), good(json!({})), 400);
    vec![
        case("list no revoked certificates", list, Root, None, 404),
        case("list revoked certificates without a right", list, ISSUER, None, 403),
        case("sign with a lease, for a day", sign, leased, good(json!({ "ttl": "24h" })), 200),
        case("sign with a lease, with a batch token", sign, BATCH, good(json!({ "ttl": "24h" })), 200),
        case("revocation of a token with a lease", "POST auth/token/revoke-self", leased, None, 204),
        Case { is_eventual: true, ..revoked },
        last,
    ]
}

#[rustfmt::skip]
fn limits() -> Vec<Case> {
    let (login, lookup, uses) = ("POST auth/approle/login", "GET auth/token/lookup-self", Of("uses"));
    let secret = |role: &str| json!({ "role_id": role_id(role), "secret_id": secret_id(role) });
    let limited = "POST limited/sign/web";
    vec![
        case("login for a limited token", login, NoToken, secret("uses"), 200),
        case("login with a limited secret ID", login, NoToken, secret("once"), 200),
        case("login with a spent secret ID", login, NoToken, secret("once"), 400),
        case("login without a secret ID", login, NoToken, json!({ "role_id": role_id("unbound") }), 200),
        case("login with an unneeded secret ID", login, NoToken, secret("unbound"), 200),
        case("first use", lookup, uses, None, 200),
        case("second use, refused", "POST pki/sign/web", uses, json!({}), 400),
        case("last use", lookup, uses, None, 200),
        case("use beyond the last", lookup, uses, None, 403),
        case("within the quota", limited, Root, json!({}), 400),
        case("beyond the quota", limited, Root, json!({}), 429),
        case("beyond the quota, without a token", limited, NoToken, json!({}), 429),
        case("beside the quota", "POST limited/sign/api", Root, json!({}), 400),
    ]
}

#[rustfmt::skip]
fn sealed() -> Vec<Case> {
    let login = json!({ "role_id": role_id("issuer"), "secret_id": secret_id("issuer") });
    let cases = [
        case("sealed: health", "GET sys/health", NoToken, None, 503),
        case("sealed: seal status", "GET sys/seal-status", NoToken, None, 200),
        case("sealed: sign", "POST pki/sign/web", ISSUER, good(json!({})), 503),
        case("sealed: login", "POST auth/approle/login", NoToken, login, 503),
        case("sealed: lookup", "GET auth/token/lookup-self", ISSUER, None, 503),
        case("sealed: no path", "GET nope", NoToken, None, 503),
        case("sealed: seal", "PUT sys/seal", Root, None, 204),
        case("sealed: unseal with half a key", "PUT sys/unseal", NoToken, json!({ "key": "aabb" }), 400),
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

/// Returns a PEM CSR for `www.example.com` with one more extension.
fn extended(oid: &[u64], content: &[u8], is_critical: bool) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "www.example.com");
    params.subject_alt_names = Vec::from_iter(dns("www.example.com"));
    let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
    extension.set_criticality(is_critical);
    params.custom_extensions = vec![extension];
    let csr = params.serialize_request(&key(KeyType::Ec, "conformance"));
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
