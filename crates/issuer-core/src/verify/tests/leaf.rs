//! Certificates that match their request, and those that differ.

use super::*;

#[test]
fn names_and_lifetime_may_be_vaults() {
    let customer = Customer::new().trusting();
    let names = customer.changed(|params| {
        params.distinguished_name = subject("other.example.com");
        params.subject_alt_names = vec![dns("other.example.com")];
    });
    let lifetime = customer.changed(|params| params.not_after = date_time_ymd(2036, 1, 1));
    assert!(names.is_ok() && lifetime.is_ok(), "{names:?} {lifetime:?}");
    let strict = Customer::new();
    assert!(
        strict
            .changed(|params| params.not_after = date_time_ymd(2036, 1, 1))
            .is_err()
    );
}

#[test]
fn key_chain_and_dates_are_never_vaults() {
    let customer = Customer::new().trusting();
    let over = date_time_ymd(2025, 12, 31);
    let expired = customer.changed(|params| params.not_after = over);
    assert!(matches!(expired, Err(VerifyError::Expired(_))), "{expired:?}");
    let future = customer.changed(|params| params.not_before = date_time_ymd(2026, 2, 1));
    assert!(matches!(future, Err(VerifyError::NotYetValid(_))), "{future:?}");
    let ca = customer.changed(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(ca, Err(VerifyError::Ca));
    let (authority, other) = (Authority::new("CA"), Authority::new("CA"));
    let leaf = authority.sign(&customer.params, &KeyPair::generate().unwrap());
    let root = authority.root();
    assert_eq!(customer.verify(&leaf, Some(&root), &[&root]), Err(VerifyError::Key));
    let (leaf, stranger) = (customer.leaf(&authority), other.root());
    let broken = customer.verify(&leaf, Some(&stranger), &[&stranger]);
    assert_eq!(broken, Err(VerifyError::BrokenChain));
}

#[test]
fn refuses_anything_not_requested() {
    let customer = Customer::new();
    let unexpected = |name: &str| Err(VerifyError::UnexpectedName(name.to_owned()));
    let missing = |name: &str| Err(VerifyError::MissingName(name.to_owned()));
    let add = |name: SanType| customer.changed(|params| params.subject_alt_names.push(name));
    assert_eq!(add(dns("evil.example")), unexpected("DNS name evil.example"));
    assert_eq!(
        add(SanType::IpAddress([10, 0, 0, 2].into())),
        unexpected("IP address 10.0.0.2")
    );
    assert_eq!(
        add(SanType::OtherName((vec![1, 2, 3], "y".into()))),
        unexpected("otherName 1.2.3;UTF8:y")
    );
    assert_eq!(
        add(SanType::URI("example.com".try_into().unwrap())),
        unexpected("URI example.com")
    );
    for (at, name) in [
        "DNS name www.example.com",
        "e-mail address me@example.com",
        "IP address 10.0.0.1",
        "URI spiffe://a/b",
        "otherName 1.2.3;UTF8:x",
    ]
    .into_iter()
    .enumerate()
    {
        let removed = customer.changed(|params| drop(params.subject_alt_names.remove(at)));
        assert_eq!(removed, missing(name));
    }
    let renamed = customer.changed(|params| params.distinguished_name = subject("www.example.com"));
    assert_eq!(renamed, Err(VerifyError::CommonName));
    let unnamed = customer.changed(|params| params.distinguished_name = DistinguishedName::new());
    assert_eq!(unnamed, Err(VerifyError::CommonName));
    let ca = customer.changed(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(ca, Err(VerifyError::Ca));
    let zero = customer.changed(|params| params.serial_number = Some(SerialNumber::from_slice(&[0])));
    assert_eq!(zero, Err(VerifyError::Serial));

    let authority = Authority::new("CA");
    let another = authority.sign(&customer.params, &KeyPair::generate().unwrap());
    assert_eq!(
        customer.verify(&another, Some(&authority.root()), &[]),
        Err(VerifyError::Key)
    );

    let mut negative = customer.leaf(&authority);
    let at = negative
        .windows(4)
        .position(|window| window == [3, 0x0a, 0xff, 1])
        .unwrap();
    negative[at + 1] = 0x8a;
    assert_eq!(customer.verify(&negative, None, &[]), Err(VerifyError::Serial));

    let buyer = Customer::asking(Some("Sub CA"), vec![], true);
    assert!(buyer.changed(|_| ()).is_ok());
    for not_ca in [IsCa::NoCa, IsCa::ExplicitNoCa] {
        assert_eq!(buyer.changed(|params| params.is_ca = not_ca), Err(VerifyError::NotCa));
    }
}

#[test]
fn accepts_equivalent_names() {
    let customer = Customer::new();
    let accepts = |change: fn(&mut CertificateParams)| customer.changed(change).is_ok();
    assert!(accepts(|params| params.subject_alt_names[0] = dns("WWW.EXAMPLE.com")));
    assert!(accepts(|params| {
        params.subject_alt_names[1] = SanType::Rfc822Name("me@EXAMPLE.com".try_into().unwrap());
    }));
    assert!(!accepts(|params| {
        params.subject_alt_names[1] = SanType::Rfc822Name("ME@example.com".try_into().unwrap());
    }));
    assert!(!accepts(
        |params| params.subject_alt_names[3] = SanType::URI("spiffe://a/B".try_into().unwrap())
    ));
    assert!(accepts(|params| params.subject_alt_names.reverse()));
    assert!(accepts(|params| params.subject_alt_names.push(dns("www.example.com"))));
    // The common name, where the endpoint does not know `exclude_cn_from_sans`.
    assert!(accepts(|params| params.subject_alt_names.push(dns("Example.com"))));

    let mailed = Customer::asking(Some("me@Example.com"), vec![], false);
    let mail = |text: &str| SanType::Rfc822Name(text.try_into().unwrap());
    assert!(
        mailed
            .changed(|params| params.subject_alt_names = vec![mail("me@example.com")])
            .is_ok()
    );
    assert!(
        mailed
            .changed(|params| params.subject_alt_names = vec![mail("you@example.com")])
            .is_err()
    );

    let nameless = Customer::asking(
        None,
        vec![dns("a.example"), SanType::IpAddress([10, 0, 0, 1].into())],
        false,
    );
    for (common_name, accepted) in [("a.example", true), ("10.0.0.1", true), ("b.example", false)] {
        let verified = nameless.changed(|params| params.distinguished_name = subject(common_name));
        assert_eq!(verified.is_ok(), accepted, "{common_name}");
    }
}

#[test]
fn accepts_uris_that_vault_rewrote() {
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    for (asked, issued) in [
        ("URN:uuid:f81d", "urn:uuid:f81d"),
        ("http://a.example/My App", "http://a.example/My%20App"),
        ("http://a.example/#", "http://a.example/"),
        ("HTTP://a.example/a b", "HTTP://a.example/a b"),
    ] {
        let customer = Customer::asking(None, vec![uri(asked)], false);
        let verified = customer.changed(|params| params.subject_alt_names = vec![uri(issued)]);
        assert!(verified.is_ok(), "{asked} {issued}: {verified:?}");
    }
    let customer = Customer::asking(None, vec![uri("urn:a")], false);
    let other = customer.changed(|params| params.subject_alt_names = vec![uri("urn:A")]);
    assert_eq!(other, Err(VerifyError::MissingName("URI urn:a".to_owned())));
}

#[test]
fn unreadable_common_names_must_match_too() {
    let mut customer = Customer::asking(None, vec![dns("a.example")], false);
    // A VisibleString instead of a UTF8String, as sign-verbatim copies it from the CSR.
    let authority = Authority::new("CA");
    let mut params = customer.params.clone();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(
        DnType::CustomDnType(vec![2, 5, 4, 3]),
        rcgen::DnValue::BmpString("ab".try_into().unwrap()),
    );
    let mut leaf = authority.sign(&params, &customer.key);
    let at = leaf
        .windows(6)
        .position(|window| window == [6, 3, 0x55, 4, 3, 0x1e])
        .unwrap();
    leaf[at + 5] = 0x1a;
    assert_eq!(customer.verify(&leaf, None, &[]), Err(VerifyError::CommonName));
    customer.wanted.common_name = CommonName::Unreadable;
    assert!(customer.verify(&leaf, None, &[]).is_ok());
    assert!(customer.changed(|_| ()).is_ok());
    let named = customer.changed(|params| params.distinguished_name = subject("b.example"));
    assert_eq!(named, Err(VerifyError::CommonName));
}

#[test]
fn reports_missing_usages() {
    use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    use rcgen::KeyUsagePurpose::DigitalSignature;

    let mut customer = Customer::new();
    let usages = ["digital signature", "key encipherment", "server auth", "client auth"];
    customer.wanted.usages = usages.iter().filter_map(|name| Usage::parse(name)).collect();
    let missing = |key_usages: &[_], purposes: &[_]| {
        let verified = customer.changed(|params| {
            params.key_usages = key_usages.to_vec();
            params.extended_key_usages = purposes.to_vec();
        });
        verified.unwrap().chain().missing_usages.clone()
    };
    assert_eq!(missing(&[], &[]), Vec::<&str>::new());
    assert_eq!(
        missing(&[DigitalSignature], &[ServerAuth]),
        ["key encipherment", "client auth"]
    );
    assert_eq!(missing(&[], &[ServerAuth, ClientAuth]), Vec::<&str>::new());
}

#[test]
fn remembers_the_lease() {
    let customer = Customer::new();
    let authority = Authority::new("CA");
    for is_leased in [false, true] {
        let issued = Issued {
            certificate: pem(&[&customer.leaf(&authority)]),
            is_leased,
            ..Issued::default()
        };
        assert_eq!(customer.verify_answer(&issued).unwrap().chain().is_leased, is_leased);
    }
}

#[test]
fn the_role_decides_without_a_duration() {
    let mut customer = Customer::new();
    let year = |params: &mut CertificateParams| params.not_after = date_time_ymd(2027, 1, 1);
    assert!(matches!(customer.changed(year), Err(VerifyError::TooLong(_))));
    customer.wanted = customer.wanted.clone().without_ttl();
    assert!(customer.changed(year).is_ok());
}

#[test]
fn a_dropped_name_is_missing() {
    let mut customer = Customer::new();
    customer.wanted.names.insert(Name::Opaque {
        tag: 0xa4,
        content: vec![0x30, 0],
    });
    assert_eq!(
        customer.changed(|_| ()),
        Err(VerifyError::MissingName("directoryName".to_owned()))
    );
}

#[test]
fn allows_for_clocks_that_differ() {
    let customer = Customer::new();
    let start = date_time_ymd(2026, 1, 1);
    let outcome = |from: i64, to: i64| {
        let at = |minutes: i64| match u32::try_from(minutes) {
            Ok(minutes) => start + minutes * MINUTE,
            Err(_) => start - u32::try_from(-minutes).unwrap() * MINUTE,
        };
        let verified = customer.changed(|params| (params.not_before, params.not_after) = (at(from), at(to)));
        verified.map(|verified| verified.chain().not_after)
    };
    let timestamp = |minutes: i64| Timestamp::from_second(i64::try_from(START).unwrap() + minutes * 60).unwrap();
    const LIFE: i64 = 90 * 24 * 60;
    for (from, to) in [
        (0, LIFE),
        (0, LIFE + 60),
        (-1, LIFE + 60),
        (-60 * 24, LIFE),
        (60, LIFE + 60),
        (60, LIFE + 120),
        (0, 1),
        (-10 * LIFE, 1),
    ] {
        assert_eq!(outcome(from, to), Ok(timestamp(to)), "{from} {to}");
    }
    for (from, to) in [(0, LIFE + 61), (-60, LIFE + 61), (0, 100 * LIFE)] {
        assert_eq!(
            outcome(from, to),
            Err(VerifyError::TooLong(timestamp(to))),
            "{from} {to}"
        );
    }
    assert_eq!(outcome(-60, 0), Err(VerifyError::Expired(timestamp(0))));
    assert_eq!(outcome(-LIFE, -1), Err(VerifyError::Expired(timestamp(-1))));
    assert_eq!(outcome(61, LIFE), Err(VerifyError::NotYetValid(timestamp(61))));

    let forever = customer.changed(|params| params.not_after = date_time_ymd(9999, 12, 31) + 23 * HOUR);
    assert_eq!(forever, Err(VerifyError::TooLong(Timestamp::MAX)));
}
