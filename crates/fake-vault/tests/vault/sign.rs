//! Signing: refusals, certificates, chains.

use std::time::Duration;

use fake_vault::{Authority, FakeVault, KeyType, LeafNotAfter, Pki, Role};
use rcgen::SanType;
use serde_json::{Value, json};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;

use crate::harness::{Answer, HOUR, Harness, csr, csr_with, error};

const ROOT: &str = FakeVault::ROOT_TOKEN;

/// Parses the PEM of a reply and hands it on.
fn certificate<T>(pem: &Value, then: impl FnOnce(&X509Certificate<'_>) -> T) -> T {
    let (_, pem) = parse_x509_pem(pem.as_str().unwrap().as_bytes()).unwrap();
    then(&pem.parse_x509().unwrap())
}

fn chain(answer: &Answer) -> Vec<String> {
    let all = answer.1["data"]["ca_chain"].as_array().cloned().unwrap_or_default();
    all.iter()
        .map(|pem| certificate(pem, |c| format!("{} by {}", c.subject(), c.issuer())))
        .map(|line| line.replace("CN=", ""))
        .collect()
}

#[test]
fn certificate_matches_request() {
    let mut harness = Harness::new();
    let token = harness.login();
    let names = [
        SanType::DnsName("www.example.com".try_into().unwrap()),
        SanType::DnsName("a.example.com".try_into().unwrap()),
        SanType::IpAddress([10, 0, 0, 1].into()),
        SanType::Rfc822Name("me@example.com".try_into().unwrap()),
    ];
    let csr = csr_with(KeyType::Ec, "www.example.com", names.to_vec());
    let body = json!({ "csr": csr, "ttl": "24h" });
    let (status, reply) = harness.post("pki/sign/web", &token, body);
    assert_eq!(status, 200, "{reply}");
    let data = &reply["data"];
    let (_, issuer) = parse_x509_pem(data["issuing_ca"].as_str().unwrap().as_bytes()).unwrap();
    let issuer = issuer.parse_x509().unwrap();
    let key = fake_vault::key(KeyType::Ec, "a test");
    certificate(&data["certificate"], |leaf| {
        assert_eq!(leaf.verify_signature(Some(issuer.public_key())), Ok(()));
        assert_eq!(leaf.issuer(), issuer.subject());
        assert_eq!(leaf.public_key().subject_public_key.data.as_ref(), key.public_key_raw());
        assert_eq!(leaf.subject().to_string(), "CN=www.example.com");
        let unix = i64::try_from(harness.now.unix.as_secs()).unwrap();
        assert_eq!(leaf.validity().not_before.timestamp(), unix - 30);
        assert_eq!(leaf.validity().not_after.timestamp(), unix + 86_400);
        assert_eq!(data["expiration"], json!(unix + 86_400));
        assert_eq!(data["serial_number"].as_str().unwrap(), leaf.raw_serial_as_string());
        assert!(!leaf.is_ca());
        let sans = leaf.subject_alternative_name().unwrap().unwrap().value;
        let expected = [
            GeneralName::DNSName("a.example.com"),
            GeneralName::DNSName("www.example.com"),
            GeneralName::RFC822Name("me@example.com"),
            GeneralName::IPAddress(&[10, 0, 0, 1]),
        ];
        assert_eq!(sans.general_names, expected);
        let usage = leaf.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && usage.client_auth);
    });
    assert_eq!(data["ca_chain"][0], data["issuing_ca"]);
    assert_eq!(
        harness.vault.issued()[0].serial,
        data["serial_number"].as_str().unwrap()
    );
    assert_eq!(harness.vault.issued()[0].csr, csr);
}

#[test]
fn every_key_type_signs() {
    for kind in [KeyType::Ec, KeyType::Ed25519, KeyType::Rsa] {
        let root = Authority::root_with("root", kind, Duration::from_secs(2_000_000_000));
        let mut harness = Harness::with(Pki::new(root));
        let body = json!({ "csr": csr_with(kind, "www.example.com", Vec::new()) });
        let (status, reply) = harness.post("pki/sign/web", ROOT, body);
        assert_eq!(status, 200, "{kind:?} {reply}");
        let (_, root) = parse_x509_pem(reply["data"]["issuing_ca"].as_str().unwrap().as_bytes()).unwrap();
        let root = root.parse_x509().unwrap();
        certificate(&reply["data"]["certificate"], |leaf| {
            assert_eq!(leaf.verify_signature(Some(root.public_key())), Ok(()), "{kind:?}");
        });
    }
}

#[test]
fn chains_of_every_shape() {
    let (old, root) = (Authority::root("old"), Authority::root("root"));
    let int = root.intermediate("int");
    for (authority, expected) in [
        (root.clone(), vec!["root by root"]),
        (int.clone(), vec!["int by root", "root by root"]),
        (int.without_root(), vec!["int by root"]),
        (
            root.cross_signed_by(&old).intermediate("int"),
            vec!["int by root", "root by root", "root by old", "old by old"],
        ),
        (
            int.cross_signed_by(&old),
            vec!["int by root", "root by root", "int by old", "old by old"],
        ),
        (
            int.intermediate("sub"),
            vec!["sub by int", "int by root", "root by root"],
        ),
    ] {
        let mut harness = Harness::with(Pki::new(authority));
        let token = harness.login();
        assert_eq!(chain(&harness.sign(&token)), expected);
    }
    let mut harness = Harness::new();
    let body = json!({ "csr": csr(&["www.example.com"]), "remove_roots_from_chain": true });
    assert_eq!(
        chain(&harness.post("pki/sign/web", ROOT, body.clone())),
        ["int by root"]
    );
    let signed = harness.post("pki/root/sign-intermediate", ROOT, body);
    assert_eq!(
        chain(&signed),
        ["www.example.com by int", "int by root", "root by root"]
    );
    certificate(&signed.1["data"]["certificate"], |ca| assert!(ca.is_ca()));
}

#[test]
fn permission_is_checked_first() {
    let mut harness = Harness::new();
    let token = harness.login();
    let denied = "1 error occurred:\n\t* permission denied\n\n";
    let invalid = "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n";
    let no_route = "no handler for route \"nope/sign/web\". route entry not found.";
    for (path, token, status, text) in [
        ("pki/sign/other", token.as_str(), 403, denied),
        ("nope/sign/web", &token, 403, denied),
        ("pki/sign/web", "hvs.dead", 403, invalid),
        ("pki/sign/web", "", 403, "permission denied"),
        ("nope/sign/web", ROOT, 404, no_route),
        ("pki/nope/web", ROOT, 404, "1 error occurred:\n\t* unsupported path\n\n"),
        ("pki/sign/web/", ROOT, 400, "cannot write to a path ending in '/'"),
        ("pki/sign/other", ROOT, 400, "unknown role: other"),
    ] {
        let answer = harness.post(path, token, json!({ "format": "text" }));
        assert_eq!((answer.0, error(&answer)), (status, text), "{path}");
    }
    harness.vault.remove_role("pki", "web");
    assert_eq!(error(&harness.sign(&token)), "unknown role: web");
    harness.vault.disable_pki("pki");
    assert_eq!(harness.sign(&token).0, 404);
}

#[test]
fn refusals_follow_vaults_order() {
    let mut harness = Harness::new();
    let token = harness.login();
    let (good, bad) = (csr(&["www.example.com"]), csr(&["www.example.org"]));
    let (soon, late) = ("2030-01-01T00:00:00Z", "2060-01-01T00:00:00Z");
    for (body, text) in [
        (
            json!({ "format": "text" }),
            "the \"format\" path parameter must be \"pem\", \"der\", or \"pem_bundle\"",
        ),
        (json!({}), "\"csr\" is empty"),
        (
            json!({ "csr": "text", "ttl": "1h", "not_after": soon }),
            "csr contains no data",
        ),
        (
            json!({ "csr": bad, "ttl": "1h", "not_after": soon }),
            "subject alternate name www.example.org not allowed by this role",
        ),
        (
            json!({ "csr": good, "ttl": "1h", "not_after": soon }),
            "Either ttl or not_after should be provided. Both should not be provided in the same request.",
        ),
        (
            json!({ "csr": good, "not_after": late }),
            "cannot satisfy request, as TTL would result in notAfter of 2060-01-01T00:00:00Z that is beyond the \
             expiration of the CA certificate at 2049-12-31T23:59:59Z",
        ),
    ] {
        let answer = harness.post("pki/sign/web", &token, body.clone());
        assert_eq!((answer.0, error(&answer)), (400, text), "{body}");
    }
    let answer = harness.post("pki/issuer/other/sign/web", ROOT, json!({}));
    let text = "1 error occurred:\n\t* could not fetch the CA certificate (was one set?): unable to find PKI issuer for \
                reference: other\n\n";
    assert_eq!((answer.0, error(&answer)), (500, text));
    assert_eq!(harness.vault.issued().len(), 0);
}

#[test]
fn ttl_is_capped_with_a_warning() {
    let mut harness = Harness::new();
    let token = harness.login();
    let warning = "TTL \"2160h0m0s\" is longer than permitted maxTTL \"720h0m0s\", so maxTTL is being used";
    let unix = harness.now.unix.as_secs();
    let body = json!({ "csr": csr(&["www.example.com"]), "ttl": "2160h" });
    let (_, reply) = harness.post("pki/sign/web", &token, body);
    assert_eq!(reply["warnings"], json!([warning, warning]), "Vault says it twice");
    assert_eq!(reply["data"]["expiration"], json!(unix + 720 * 3_600));
    harness.vault.set_role(
        "pki",
        "web",
        Role {
            ttl: 2 * HOUR,
            ..Role::domain("example.com")
        },
    );
    let (_, reply) = harness.sign(&token);
    assert_eq!(reply["warnings"], Value::Null);
    assert_eq!(reply["data"]["expiration"], json!(unix + 7_200));
}

#[test]
fn leaf_not_after_behaviors() {
    let unix = Harness::new().now.unix;
    let authority = || Authority::root_with("root", KeyType::Ed25519, unix + HOUR);
    let body = json!({ "csr": csr(&["www.example.com"]), "ttl": "24h" });
    for (behavior, expected) in [
        (LeafNotAfter::Err, None),
        (LeafNotAfter::Permit, Some(24)),
        (LeafNotAfter::Truncate, Some(1)),
    ] {
        let mut harness = Harness::with(Pki::new(authority()).leaf_not_after(behavior));
        let (status, reply) = harness.post("pki/sign/web", ROOT, body.clone());
        assert_eq!(status, if expected.is_some() { 200 } else { 400 });
        let expiration = reply["data"]["expiration"].as_u64();
        assert_eq!(expiration, expected.map(|hours: u64| unix.as_secs() + hours * 3_600));
    }
}

#[test]
fn role_selects_source_of_names() {
    let mut harness = Harness::new();
    let role = Role {
        use_csr_common_name: false,
        use_csr_sans: false,
        ..Role::domain("example.com")
    };
    harness.vault.set_role("pki", "web", role);
    let body = json!({
        "csr": csr(&["evil.example.org"]), "common_name": "a.example.com", "ttl": "1h",
        "alt_names": "b.example.com,me@example.com,not a host", "ip_sans": "10.0.0.1, ::1",
    });
    let (status, reply) = harness.post("pki/sign/web", ROOT, body);
    assert_eq!(status, 200, "{reply}");
    certificate(&reply["data"]["certificate"], |leaf| {
        let names: Vec<_> = leaf
            .subject_alternative_name()
            .unwrap()
            .unwrap()
            .value
            .general_names
            .iter()
            .map(ToString::to_string)
            .collect();
        let expected = [
            "DNSName(a.example.com)",
            "DNSName(b.example.com)",
            "RFC822Name(me@example.com)",
        ];
        assert_eq!(names[..3], expected);
        assert_eq!(names.len(), 5);
    });
}

#[test]
fn verbatim_copies_the_csr() {
    let mut harness = Harness::new();
    let names = vec![SanType::URI("spiffe://a/b".try_into().unwrap())];
    let body = json!({ "csr": csr_with(KeyType::Ec, "anything at all", names) });
    let (status, reply) = harness.post("pki/sign-verbatim", ROOT, body.clone());
    assert_eq!(status, 200, "{reply}");
    certificate(&reply["data"]["certificate"], |leaf| {
        assert_eq!(leaf.subject().to_string(), "CN=anything at all");
        let sans = leaf.subject_alternative_name().unwrap().unwrap().value;
        assert_eq!(sans.general_names, [GeneralName::URI("spiffe://a/b")]);
        assert_eq!(leaf.extended_key_usage().unwrap(), None);
    });
    assert_eq!(harness.post("pki/sign-verbatim/web", ROOT, body.clone()).0, 200);
    assert_eq!(harness.post("pki/sign-verbatim/nope", ROOT, body).0, 400);
}

#[test]
fn mounts_can_be_nested() {
    let mut harness = Harness::new();
    let below = Pki::new(Authority::root("below")).role("web", Role::domain("example.com"));
    harness.vault.enable_pki("/pki/below/", below);
    let body = json!({ "csr": csr(&["www.example.com"]) });
    let signed = harness.post("pki/below/sign/web", ROOT, body.clone());
    assert_eq!(chain(&signed), ["below by below"]);
    assert_eq!(
        chain(&harness.post("pki/sign/web", ROOT, body)),
        ["int by root", "root by root"]
    );
}

#[test]
fn issue_generates_the_key() {
    let mut harness = Harness::new();
    harness.vault.set_role(
        "pki",
        "web",
        Role {
            key_type: Some(KeyType::Ec),
            ..Role::domain("example.com")
        },
    );
    let body = json!({ "common_name": "www.example.com", "csr": csr(&["www.example.com"]) });
    let (status, reply) = harness.post("pki/issue/web", ROOT, body);
    assert_eq!(status, 200, "{reply}");
    assert!(reply["data"]["private_key"].as_str().unwrap().contains("PRIVATE KEY"));
    certificate(&reply["data"]["certificate"], |leaf| {
        let key = fake_vault::key(KeyType::Ec, "a test");
        assert_ne!(leaf.public_key().subject_public_key.data.as_ref(), key.public_key_raw());
    });
}
