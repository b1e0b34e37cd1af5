//! Requests that are accepted and refused.

use proptest::prelude::*;
use rcgen::{CertificateParams, CustomExtension, DnType, KeyPair, PublicKeyData, SanType};
use serde_json::json;

use super::*;
use crate::fixture::signatures;

fn params(common_name: Option<&str>, names: Vec<SanType>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(common_name) = common_name {
        params.distinguished_name.push(DnType::CommonName, common_name);
    }
    params.subject_alt_names = names;
    params
}

fn csr(params: &CertificateParams, key: &KeyPair) -> Vec<u8> {
    params.serialize_request(key).unwrap().der().to_vec()
}

fn spec(csr: &str) -> RequestSpec<'_> {
    RequestSpec {
        csr: csr.as_bytes(),
        ..RequestSpec::default()
    }
}

fn parse(der: &[u8]) -> Result<SigningRequest, SigningRequestError> {
    SigningRequest::parse(spec(&pem::encode("CERTIFICATE REQUEST", der)), &signatures())
}

fn names() -> Vec<SanType> {
    let text = |text: &str| text.try_into().unwrap();
    vec![
        SanType::DnsName(text("WWW.Example.com")),
        SanType::DnsName(text("*.example.com")),
        SanType::Rfc822Name(text("Me@Example.com")),
        SanType::IpAddress([10, 0, 0, 1].into()),
        SanType::IpAddress("2001:db8::1".parse().unwrap()),
        SanType::URI(text("spiffe://a/b")),
        SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], "me@example.com".into())),
    ]
}

#[test]
fn reads_the_whole_request() {
    let key = KeyPair::generate().unwrap();
    let der = csr(&params(Some("example.com"), names()), &key);
    let pem = pem::encode("NEW CERTIFICATE REQUEST", &der);
    let text = format!("comment\n{pem}{}", pem::encode("CERTIFICATE REQUEST", b"another"));
    let usages = ["client auth".to_owned(), "telepathy".to_owned()];
    let spec = RequestSpec {
        duration: Some("1h30m"),
        is_ca: true,
        usages: &usages,
        ..spec(&text)
    };
    let wanted = SigningRequest::parse(spec, &signatures()).unwrap();
    let expected = SigningRequest {
        csr: pem::encode("CERTIFICATE REQUEST", &der),
        key: key.subject_public_key_info(),
        common_name: CommonName::Text("example.com".to_owned()),
        names: BTreeSet::from([
            Name::Dns("www.example.com".to_owned()),
            Name::Dns("*.example.com".to_owned()),
            Name::Email("Me@example.com".to_owned()),
            Name::Ip([10, 0, 0, 1].into()),
            Name::Ip("2001:db8::1".parse().unwrap()),
            Name::Uri("spiffe://a/b".to_owned()),
            Name::Other {
                oid: "1.3.6.1.4.1.311.20.2.3".to_owned(),
                value: "me@example.com".to_owned(),
            },
        ]),
        lifetime: Lifetime::Asked(Duration::from_secs(5400)),
        is_ca: true,
        usages: vec![Usage::parse("client auth").unwrap()],
    };
    assert_eq!(wanted, expected);
}

#[test]
fn a_request_may_name_nothing() {
    let wanted = parse(&csr(&params(None, vec![]), &KeyPair::generate().unwrap())).unwrap();
    assert_eq!(wanted.longest(), Some(Duration::from_secs(2160 * 60 * 60)));
    assert_eq!(
        (wanted.common_name, wanted.names),
        (CommonName::Absent, BTreeSet::new())
    );
}

#[test]
fn verifies_every_usual_key() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA512,
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_RSA_SHA256,
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let mut der = csr(&params(Some("a"), names()), &key);
        assert!(parse(&der).is_ok(), "{algorithm:?}");
        *der.last_mut().unwrap() ^= 1;
        assert_eq!(parse(&der), Err(SigningRequestError::Signature), "{algorithm:?}");
    }
}

#[test]
fn leaves_unknown_algorithms_to_vault() {
    let key = KeyPair::generate().unwrap();
    let mut der = csr(&params(Some("a"), vec![]), &key);
    // ecdsa-with-SHA256 becomes ecdsa-with-SHA224.
    let oid = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let at = der.windows(oid.len()).position(|window| window == oid).unwrap();
    der[at + 7] = 1;
    assert_eq!(parse(&der).map(|wanted| wanted.key), Ok(key.subject_public_key_info()));
}

#[test]
fn refuses_anything_but_a_request() {
    let key = KeyPair::generate().unwrap();
    let der = csr(&params(Some("a"), names()), &key);
    let pem = pem::encode("CERTIFICATE REQUEST", &der);
    let whole = |text: &str| SigningRequest::parse(spec(text), &signatures());
    for text in ["", "<html>", "\u{fffd}", &pem.replace("-----END", "*-----END")] {
        assert_eq!(whole(text), Err(SigningRequestError::NoRequest), "{text}");
    }
    // Older versions of Go take the first block of each, which begins or ends in a header for newer ones.
    for header in ["a: -----BEGIN x", "-----END CERTIFICATE REQUEST-----: a"] {
        let other = pem.replacen('\n', &format!("\n{header}\n\n"), 1);
        assert_eq!(whole(&(other + &pem)), Err(SigningRequestError::NoRequest), "{header}");
    }
    // The first block counts, as in Go: what follows a key is not looked at.
    let after_key = pem::encode("PRIVATE KEY", b"k") + &pem;
    assert_eq!(whole(&after_key), Err(SigningRequestError::Malformed));
    assert_eq!(whole(&(" ".repeat(100_000) + &pem)), Err(SigningRequestError::TooLarge));
    assert_eq!(
        parse(&[der.as_slice(), &[0]].concat()),
        Err(SigningRequestError::Malformed)
    );
    for length in 0..der.len() {
        assert_eq!(parse(&der[..length]), Err(SigningRequestError::Malformed), "{length}");
    }
}

#[test]
fn refuses_malformed_names() {
    let san = |value: &[u8]| CustomExtension::from_oid_content(&[2, 5, 29, 17], value.to_vec());
    let parse_with = |extensions| {
        let mut params = params(Some("a"), vec![]);
        params.custom_extensions = extensions;
        parse(&csr(&params, &KeyPair::generate().unwrap())).map(|wanted| wanted.names)
    };
    assert_eq!(
        parse_with(vec![san(b"\x30\x04\x82\x02\xc3\xa9")]),
        Err(SigningRequestError::Names)
    );
    assert_eq!(
        parse_with(vec![san(b"\x30\x03\x82\x01a"), san(b"\x30\x03\x82\x01b")]),
        Err(SigningRequestError::Malformed)
    );
    let directory_name = Name::Opaque {
        tag: 0xa4,
        content: vec![0x30, 0],
    };
    assert_eq!(
        parse_with(vec![san(b"\x30\x04\xa4\x02\x30\0")]),
        Ok(BTreeSet::from([directory_name]))
    );
}

#[test]
fn reads_every_duration() {
    let pem = pem::encode(
        "CERTIFICATE REQUEST",
        &csr(&params(None, vec![]), &KeyPair::generate().unwrap()),
    );
    let lifetime = |duration| {
        let spec = RequestSpec { duration, ..spec(&pem) };
        SigningRequest::parse(spec, &signatures()).map(|wanted| wanted.lifetime)
    };
    assert_eq!(lifetime(None), Ok(Lifetime::Default));
    assert_eq!(lifetime(Some("1s")), Ok(Lifetime::Asked(Duration::from_secs(1))));
    for zero in ["0s", "0", "0h0m0s"] {
        assert_eq!(lifetime(Some(zero)), Ok(Lifetime::Role), "{zero}");
    }
    for refused in ["soon", "", "999ms", "-1h"] {
        assert_eq!(lifetime(Some(refused)), Err(SigningRequestError::Duration), "{refused}");
    }
}

#[test]
fn least_duration_excludes_role_default() {
    let pem = pem::encode(
        "CERTIFICATE REQUEST",
        &csr(&params(None, vec![]), &KeyPair::generate().unwrap()),
    );
    let least_duration = Duration::from_secs(600);
    let lifetime = |duration| {
        let spec = RequestSpec {
            duration,
            least_duration,
            ..spec(&pem)
        };
        SigningRequest::parse(spec, &signatures()).map(|wanted| wanted.lifetime)
    };
    let too_short = Err(SigningRequestError::DurationTooShort(least_duration));
    for short in ["0s", "+0", "1s", "9m59.999s"] {
        assert_eq!(lifetime(Some(short)), too_short, "{short}");
    }
    assert_eq!(lifetime(Some("10m")), Ok(Lifetime::Asked(least_duration)));
    assert_eq!(lifetime(None), Ok(Lifetime::Default));
    assert_eq!(lifetime(Some("soon")), Err(SigningRequestError::Duration));
}

#[test]
fn role_decides_without_ttl() {
    let without = wanted(None, []).without_ttl();
    assert_eq!((without.longest(), without.parameters().get("ttl")), (None, None));
    assert!(!without.has_default_ttl());
}

/// The attributes of a CSR, with a signature that is not verified: the algorithm is unknown.
fn with_attributes(attributes: &[&[u8]]) -> Result<BTreeSet<Name>, SigningRequestError> {
    let tlv = |tag: u8, parts: &[&[u8]]| {
        let content = parts.concat();
        [&[tag, u8::try_from(content.len()).unwrap()], content.as_slice()].concat()
    };
    let algorithm = tlv(0x30, &[&[6, 1, 0x2a]]);
    let key = tlv(0x30, &[&algorithm, &[3, 2, 0, 1]]);
    let info = tlv(0x30, &[&[2, 1, 0], &[0x30, 0], &key, &tlv(0xa0, attributes)]);
    parse(&tlv(0x30, &[&info, &algorithm, &[3, 2, 0, 1]])).map(|wanted| wanted.names)
}

/// `extensionRequest` with a set of values.
fn requesting(values: &[u8]) -> Vec<u8> {
    let kind = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x0e";
    let length = |more: usize| u8::try_from(values.len() + more).unwrap();
    [&[0x30, length(13)], kind.as_slice(), &[0x31, length(0)], values].concat()
}

#[test]
fn ignores_every_other_attribute() {
    let a = b"\x30\x0e\x30\x0c\x06\x03\x55\x1d\x11\x04\x05\x30\x03\x82\x01a".as_slice();
    let names = || Ok(BTreeSet::from([Name::Dns("a".to_owned())]));
    assert_eq!(with_attributes(&[&requesting(a)]), names());
    for other in [
        // challengePassword: Latin-1 in a TeletexString, a broken UTF8String, no value at all.
        b"\x30\x10\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x07\x31\x03\x14\x01\xe9".as_slice(),
        b"\x30\x10\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x07\x31\x03\x0c\x01\xe9",
        b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x07\x31\x00",
        // No attribute at all.
        b"\x05\x00",
        b"\x30\x00",
        &requesting(b""),
    ] {
        assert_eq!(with_attributes(&[other, &requesting(a)]), names(), "{other:?}");
        assert_eq!(with_attributes(&[&requesting(a), other]), names(), "{other:?}");
    }
    // Only the first value counts.
    assert_eq!(with_attributes(&[&requesting(&[a, b"\x05\0"].concat())]), names());
    for broken in [&b"\x05\0"[..], b"\x30\x02\x05\0", b"\x30\x05\x30\x03\x06\x01\x2a"] {
        assert_eq!(
            with_attributes(&[&requesting(broken)]),
            Err(SigningRequestError::Malformed),
            "{broken:?}"
        );
    }
    assert_eq!(
        with_attributes(&[&requesting(a), &requesting(a)]),
        Err(SigningRequestError::Malformed)
    );
}

fn wanted(common_name: Option<&str>, names: impl IntoIterator<Item = Name>) -> SigningRequest {
    SigningRequest {
        csr: "PEM".to_owned(),
        key: vec![],
        common_name: common_name.map_or(CommonName::Absent, |text| CommonName::Text(text.to_owned())),
        names: names.into_iter().collect(),
        lifetime: Lifetime::Asked(Duration::from_millis(5_400_999)),
        is_ca: false,
        usages: vec![],
    }
}

#[test]
fn parameters_list_names_vault_can_read() {
    let names = [
        Name::Dns("b.example".to_owned()),
        Name::Dns("a.example".to_owned()),
        Name::Dns("a,evil.example".to_owned()),
        Name::Dns("me@evil.example".to_owned()),
        Name::Email("me@a.example".to_owned()),
        Name::Email("\"a,b\"@a.example".to_owned()),
        Name::Email("evil.example".to_owned()),
        Name::Ip([10, 0, 0, 1].into()),
        Name::Ip("2001:db8::1".parse().unwrap()),
        Name::Uri("spiffe://a/b".to_owned()),
        Name::Other {
            oid: "1.2.3".to_owned(),
            value: "x".to_owned(),
        },
        Name::Opaque {
            tag: 0xa4,
            content: vec![],
        },
    ];
    let mut wanted = wanted(Some("a.example"), names);
    let mut expected = json!({
        "csr": "PEM",
        "common_name": "a.example",
        "alt_names": "a.example,b.example,me@a.example",
        "ip_sans": "10.0.0.1,2001:db8::1",
        "uri_sans": "spiffe://a/b",
        "exclude_cn_from_sans": true,
        "ttl": "5400s",
    });
    assert_eq!(wanted.parameters(), expected);

    wanted.names.insert(Name::Uri("https://a/b,c".to_owned()));
    expected["uri_sans"] = json!(["https://a/b,c", "spiffe://a/b"]);
    assert_eq!(wanted.parameters(), expected);
}

#[test]
fn parameters_contain_empty_lists() {
    let mut wanted = wanted(None, []);
    let always = json!({ "csr": "PEM", "common_name": "", "exclude_cn_from_sans": true, "ttl": "5400s" });
    let mut expected = always.clone();
    for list in ["alt_names", "ip_sans", "uri_sans"] {
        expected[list] = "".into();
    }
    assert_eq!(wanted.parameters(), expected);

    wanted.names.insert(Name::Dns("a.example".to_owned()));
    wanted.is_ca = true;
    let mut expected = always;
    expected["use_csr_values"] = true.into();
    assert_eq!(wanted.parameters(), expected);
}

proptest! {
    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), text in ".{0,20}") {
        let spec = RequestSpec { csr: &bytes, duration: Some(&text), ..RequestSpec::default() };
        prop_assert!(SigningRequest::parse(spec, &signatures()).is_err());
        prop_assert!(parse(&bytes).is_err());
    }
}
