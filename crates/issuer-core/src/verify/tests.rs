use std::time::Duration;

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    NameConstraints, PublicKeyData, SanType, SerialNumber, SigningKey, date_time_ymd,
};

use super::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

fn signatures() -> Signatures {
    Signatures(rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all)
}

/// 2026-01-01T00:00:00Z.
fn now() -> Now {
    Now { monotonic: Duration::ZERO, unix: Duration::from_secs(1_767_225_600) }
}

fn subject(common_name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, common_name);
    subject
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

/// A name and a key that sign.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    fn new(common_name: &str) -> Self {
        Self::with_key(common_name, KeyPair::generate().unwrap())
    }

    fn with_key(common_name: &str, key: KeyPair) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.use_authority_key_identifier_extension = true;
        Self { params, key }
    }

    fn root(&self) -> Vec<u8> {
        self.params.self_signed(&self.key).unwrap().der().to_vec()
    }

    fn signed_by(&self, issuer: &Self) -> Vec<u8> {
        issuer.sign(&self.params, &self.key)
    }

    fn sign(&self, params: &CertificateParams, key: &impl PublicKeyData) -> Vec<u8> {
        let issuer = Issuer::from_params(&self.params, &self.key);
        params.signed_by(key, &issuer).unwrap().der().to_vec()
    }
}

/// An order for 90 days, and the key and the names that it is for.
struct Customer {
    order: Order,
    params: CertificateParams,
    key: KeyPair,
}

impl Customer {
    fn new() -> Self {
        let names = vec![
            dns("www.example.com"),
            SanType::Rfc822Name("me@example.com".try_into().unwrap()),
            SanType::IpAddress([10, 0, 0, 1].into()),
            SanType::URI("spiffe://a/b".try_into().unwrap()),
            SanType::OtherName((vec![1, 2, 3], "x".into())),
        ];
        Self::asking(Some("example.com"), names, false)
    }

    fn asking(common_name: Option<&str>, names: Vec<SanType>, is_ca: bool) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name.map_or_else(DistinguishedName::new, subject);
        params.subject_alt_names = names;
        let csr = params.serialize_request(&key).unwrap().pem().unwrap();
        let order = Order::parse(csr.as_bytes(), None, is_ca, &signatures()).unwrap();
        params.is_ca = if is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::NoCa };
        params.serial_number = Some(SerialNumber::from_slice(&[0x0a, 0xff, 0x01]));
        params.not_before = date_time_ymd(2026, 1, 1) - Duration::from_secs(30);
        params.not_after = date_time_ymd(2026, 1, 1) + 90 * DAY;
        Self { order, params, key }
    }

    fn leaf(&self, issuer: &Authority) -> Vec<u8> {
        issuer.sign(&self.params, &self.key)
    }

    /// What comes of an answer with the certificate, an issuing CA and a chain.
    fn verify(&self, leaf: &[u8], issuing: Option<&[u8]>, chain: &[&[u8]]) -> Result<Verified, VerifyError> {
        let issued = Issued {
            certificate: pem(&[leaf]),
            issuing_ca: issuing.map(|der| pem(&[der])),
            ca_chain: chain.iter().map(|der| pem(&[der]).trim_end().to_owned()).collect(),
        };
        verify(&self.order, &issued, now(), &signatures())
    }

    /// What comes of a certificate that a CA signed after the parameters were changed.
    fn changed(&self, change: impl FnOnce(&mut CertificateParams)) -> Result<Verified, VerifyError> {
        let authority = Authority::new("CA");
        let root = authority.root();
        let mut params = self.params.clone();
        change(&mut params);
        self.verify(&authority.sign(&params, &self.key), Some(&root), &[&root])
    }
}

fn pem(certificates: &[&[u8]]) -> String {
    certificates.iter().map(|der| der::pem("CERTIFICATE", der)).collect()
}

fn chain(certificates: &[&[u8]], ca: Option<&[u8]>) -> Result<Verified, VerifyError> {
    Ok(Verified(Chain {
        certificate: pem(certificates),
        ca: ca.map(|der| pem(&[der])),
        serial: "0a:ff:01".to_owned(),
        not_after: "2026-04-01T00:00:00Z".parse().unwrap(),
    }))
}

#[test]
fn puts_every_answer_of_vault_in_order() {
    let customer = Customer::new();
    let (top, middle) = (Authority::new("Root"), Authority::new("Intermediate"));
    let (root, intermediate, leaf) = (&*top.root(), &*middle.signed_by(&top), &*customer.leaf(&middle));
    let other = &*Authority::new("Other").root();

    let rooted = chain(&[leaf, intermediate], Some(root));
    let rootless = chain(&[leaf, intermediate], Some(intermediate));
    type Row<'a> = (&'a str, Option<&'a [u8]>, &'a [&'a [u8]], &'a Result<Verified, VerifyError>);
    let table: [Row<'_>; 11] = [
        ("with the root", Some(intermediate), &[intermediate, root], &rooted),
        ("without the root", Some(intermediate), &[intermediate], &rootless),
        ("issuing CA alone", Some(intermediate), &[], &rootless),
        ("chain alone", None, &[intermediate, root], &rooted),
        ("shuffled", Some(intermediate), &[root, intermediate], &rooted),
        ("doubled", Some(intermediate), &[intermediate, intermediate, root, root], &rooted),
        ("leaf first, as from sign-intermediate", Some(intermediate), &[leaf, intermediate, root], &rooted),
        ("root as the only chain", Some(intermediate), &[root], &rooted),
        ("with an unrelated certificate", Some(intermediate), &[other, intermediate, root], &rooted),
        ("with an unrelated root only", Some(intermediate), &[other], &rootless),
        ("nothing sent along", None, &[], &chain(&[leaf], None)),
    ];
    for (name, issuing, ca_chain, expected) in table {
        assert_eq!(&customer.verify(leaf, issuing, ca_chain), expected, "{name}");
    }

    let bundle = Issued {
        certificate: format!("{}{}", pem(&[leaf, intermediate, root]), der::pem("PRIVATE KEY", b"ignored")),
        issuing_ca: Some(pem(&[intermediate, root])),
        ca_chain: vec![pem(&[intermediate, root]), String::new()],
    };
    assert_eq!(verify(&customer.order, &bundle, now(), &signatures()), rooted);
    let blank = Issued { certificate: pem(&[leaf]), issuing_ca: Some("\n".to_owned()), ca_chain: vec![] };
    assert_eq!(verify(&customer.order, &blank, now(), &signatures()), chain(&[leaf], None));
}

#[test]
fn climbs_long_chains_of_every_key() {
    let customer = Customer::new();
    let keys = [
        &rcgen::PKCS_RSA_SHA256,
        &rcgen::PKCS_RSA_SHA512,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA512,
        &rcgen::PKCS_ED25519,
    ];
    let authorities: Vec<_> = (0..14)
        .map(|at| {
            let algorithm = keys.get(at).copied().unwrap_or(&rcgen::PKCS_ECDSA_P256_SHA256);
            Authority::with_key(&at.to_string(), KeyPair::generate_for(algorithm).unwrap())
        })
        .collect();
    let mut certificates = vec![authorities[0].root()];
    certificates.extend(authorities.windows(2).map(|pair| pair[1].signed_by(&pair[0])));
    let leaf = customer.leaf(&authorities[13]);
    let sent: Vec<&[u8]> = certificates.iter().map(Vec::as_slice).collect();
    let mut written = vec![leaf.as_slice()];
    written.extend(sent[1..].iter().rev());
    assert_eq!(customer.verify(&leaf, Some(sent[13]), &sent), chain(&written, Some(sent[0])));

    let more: Vec<_> = (0..2).map(|at| Authority::new(&format!("more {at}")).root()).collect();
    let too_many: Vec<&[u8]> = sent.iter().copied().chain(more.iter().map(Vec::as_slice)).collect();
    assert!(customer.verify(&leaf, None, &too_many[..15]).is_ok());
    assert_eq!(customer.verify(&leaf, None, &too_many), Err(VerifyError::TooMany));
}

#[test]
fn keeps_cross_signed_twins() {
    let customer = Customer::new();
    let [old, new, between, ca] = ["Old", "New", "Between", "CA"].map(Authority::new);
    let (old_root, new_root, between_by_old) = (&*old.root(), &*new.root(), &*between.signed_by(&old));
    let (new_by_old, new_by_between) = (&*new.signed_by(&old), &*new.signed_by(&between));
    let (ca_by_old, ca_by_new) = (&*ca.signed_by(&old), &*ca.signed_by(&new));

    // A root that issues and is cross-signed by the one it replaces.
    let leaf = &*customer.leaf(&new);
    let sent = [new_by_old, old_root, new_root];
    assert_eq!(customer.verify(leaf, Some(new_root), &sent), chain(&[leaf, new_by_old], Some(new_root)));
    assert_eq!(customer.verify(leaf, Some(new_root), &[new_by_old]), chain(&[leaf, new_by_old], Some(new_root)));
    assert_eq!(customer.verify(leaf, Some(new_by_old), &[]), chain(&[leaf, new_by_old], Some(new_by_old)));

    // The twin's own issuer is needed to climb to the other root.
    let sent = [between_by_old, new_by_between, old_root];
    assert_eq!(
        customer.verify(leaf, Some(new_root), &sent),
        chain(&[leaf, new_by_between, between_by_old], Some(new_root))
    );

    // An intermediate that two roots signed.
    let leaf = &*customer.leaf(&ca);
    assert_eq!(
        customer.verify(leaf, Some(ca_by_old), &[ca_by_new, new_root, old_root]),
        chain(&[leaf, ca_by_old, ca_by_new], Some(old_root))
    );
    assert_eq!(
        customer.verify(leaf, Some(ca_by_old), &[ca_by_new, new_root]),
        chain(&[leaf, ca_by_new, ca_by_old], Some(new_root))
    );

    // Two CAs that signed each other.
    let (old_by_new, leaf) = (&*old.signed_by(&new), &*customer.leaf(&old));
    assert_eq!(
        customer.verify(leaf, Some(old_by_new), &[new_by_old]),
        chain(&[leaf, old_by_new, new_by_old], Some(new_by_old))
    );
}

#[test]
fn a_lone_self_signed_certificate_is_its_own_ca() {
    let customer = Customer::asking(Some("Root"), vec![], true);
    let itself = Authority { params: customer.params.clone(), key: KeyPair::generate().unwrap() };
    let certificate = customer.params.self_signed(&customer.key).unwrap().der().to_vec();
    for chain_of in [&[][..], &[certificate.as_slice()]] {
        let verified = customer.verify(&certificate, Some(&certificate), chain_of);
        assert_eq!(verified, chain(&[&certificate], Some(&certificate)));
    }
    // Its name signed it, but another key.
    let leaf = customer.leaf(&itself);
    assert_eq!(customer.verify(&leaf, None, &[]), chain(&[&leaf], None));
    let root = itself.root();
    assert_eq!(customer.verify(&leaf, Some(&root), &[&leaf, &root]), chain(&[&leaf], Some(&root)));
}

/// Replaces ecdsa-with-SHA256 by ecdsa-with-SHA224, which cannot be checked.
fn unsupported(mut der: Vec<u8>) -> Vec<u8> {
    let oid = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let places: Vec<_> = (0..der.len()).filter(|at| der[*at..].starts_with(&oid)).collect();
    for at in places {
        der[at + 9] = 1;
    }
    der
}

#[test]
fn needs_no_signature_of_a_root_but_every_other() {
    let customer = Customer::new();
    let (top, middle) = (Authority::new("Root"), Authority::new("Intermediate"));
    let (root, intermediate, leaf) = (top.root(), middle.signed_by(&top), customer.leaf(&middle));
    let old_root = unsupported(root.clone());
    assert_eq!(
        customer.verify(&leaf, Some(&intermediate), &[&intermediate, &old_root]),
        chain(&[&leaf, &intermediate], Some(&old_root))
    );
    for (leaf, intermediate) in [(leaf.clone(), unsupported(intermediate.clone())), (unsupported(leaf), intermediate)] {
        let verified = customer.verify(&leaf, Some(&intermediate), &[&root]);
        assert_eq!(verified, Err(VerifyError::UnsupportedSignature));
    }
}

/// Makes a certificate of version 1, which has no extensions.
fn version_1(subject: &Authority, issuer: &Authority) -> Vec<u8> {
    let tlv = |tag: u8, parts: &[&[u8]]| {
        let content = parts.concat();
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        match content.len() {
            0..0x80 => [&[tag, length[1]], content.as_slice()].concat(),
            0x80..0x100 => [&[tag, 0x81, length[1]], content.as_slice()].concat(),
            _ => [&[tag, 0x82, length[0], length[1]], content.as_slice()].concat(),
        }
    };
    let raw_name = |authority: &Authority| {
        let root = authority.root();
        x509_parser::parse_x509_certificate(&root).unwrap().1.subject().as_raw().to_vec()
    };
    let algorithm = tlv(0x30, &[&[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]]);
    let validity = tlv(0x30, &[&tlv(0x17, &[b"200101000000Z"]), &tlv(0x17, &[b"400101000000Z"])]);
    let key = subject.key.subject_public_key_info();
    let tbs = tlv(0x30, &[&[2, 1, 1], &algorithm, &raw_name(issuer), &validity, &raw_name(subject), &key]);
    let signature = issuer.key.sign(&tbs).unwrap();
    tlv(0x30, &[&tbs, &algorithm, &tlv(3, &[&[0], &signature])])
}

#[test]
fn only_a_ca_issues() {
    let customer = Customer::new();
    let (mut top, middle) = (Authority::new("Root"), Authority::new("Intermediate"));
    let (old_root, leaf) = (version_1(&middle, &middle), customer.leaf(&middle));
    assert_eq!(customer.verify(&leaf, Some(&old_root), &[]), chain(&[&leaf], Some(&old_root)));

    let old_intermediate = version_1(&middle, &top);
    assert_eq!(customer.verify(&leaf, Some(&old_intermediate), &[&top.root()]), Err(VerifyError::BrokenChain));

    top.params.is_ca = IsCa::ExplicitNoCa;
    let (root, leaf) = (top.root(), customer.leaf(&top));
    assert_eq!(customer.verify(&leaf, Some(&root), &[&root]), Err(VerifyError::BrokenChain));
}

#[test]
fn constraints_of_a_ca_are_not_its_business() {
    let customer = Customer::new();
    let mut authority = Authority::new("CA");
    let mut critical = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    critical.set_criticality(true);
    authority.params.custom_extensions = vec![critical];
    authority.params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("example.org".to_owned())],
        excluded_subtrees: vec![],
    });
    let (root, leaf) = (authority.root(), customer.leaf(&authority));
    assert_eq!(customer.verify(&leaf, Some(&root), &[&root]), chain(&[&leaf], Some(&root)));
}

#[test]
fn refuses_a_chain_that_does_not_hold() {
    let customer = Customer::new();
    let (top, middle, imposter) = (Authority::new("Root"), Authority::new("CA"), Authority::new("CA"));
    let (root, ca, leaf) = (top.root(), middle.signed_by(&top), customer.leaf(&middle));
    let (false_ca, other) = (imposter.signed_by(&top), Authority::new("Other").root());
    let broken = Err(VerifyError::BrokenChain);
    assert_eq!(customer.verify(&leaf, Some(&root), &[&root]), broken, "the issuer is missing");
    assert_eq!(customer.verify(&leaf, Some(&false_ca), &[&false_ca, &root]), broken, "the issuer has another key");
    assert_eq!(customer.verify(&leaf, None, &[&other]), broken, "nothing but an unrelated root");
    for issuing in [&root, &false_ca, &other] {
        let verified = customer.verify(&leaf, Some(issuing), &[&ca, &root]);
        assert_eq!(verified, Err(VerifyError::IssuingCa));
    }
    // Above the issuer, what does not belong there is only dropped.
    let false_root = Authority::new("Root").root();
    assert_eq!(customer.verify(&leaf, Some(&ca), &[&false_root]), chain(&[&leaf, &ca], Some(&ca)));
}

#[test]
fn refuses_what_was_not_ordered() {
    let customer = Customer::new();
    let unexpected = |name: &str| Err(VerifyError::UnexpectedName(name.to_owned()));
    let missing = |name: &str| Err(VerifyError::MissingName(name.to_owned()));
    let add = |name: SanType| customer.changed(|params| params.subject_alt_names.push(name));
    assert_eq!(add(dns("evil.example")), unexpected("DNS name evil.example"));
    assert_eq!(add(SanType::IpAddress([10, 0, 0, 2].into())), unexpected("IP address 10.0.0.2"));
    assert_eq!(add(SanType::OtherName((vec![1, 2, 3], "y".into()))), unexpected("otherName 1.2.3;UTF8:y"));
    assert_eq!(add(SanType::URI("example.com".try_into().unwrap())), unexpected("URI example.com"));
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
    assert_eq!(customer.verify(&another, Some(&authority.root()), &[]), Err(VerifyError::Key));

    let mut negative = customer.leaf(&authority);
    let at = negative.windows(4).position(|window| window == [3, 0x0a, 0xff, 1]).unwrap();
    negative[at + 1] = 0x8a;
    assert_eq!(customer.verify(&negative, None, &[]), Err(VerifyError::Serial));

    let buyer = Customer::asking(Some("Sub CA"), vec![], true);
    assert!(buyer.changed(|_| ()).is_ok());
    for not_ca in [IsCa::NoCa, IsCa::ExplicitNoCa] {
        assert_eq!(buyer.changed(|params| params.is_ca = not_ca), Err(VerifyError::NotCa));
    }
}

#[test]
fn takes_names_that_mean_the_same() {
    let customer = Customer::new();
    let accepts = |change: fn(&mut CertificateParams)| customer.changed(change).is_ok();
    assert!(accepts(|params| params.subject_alt_names[0] = dns("WWW.EXAMPLE.com")));
    assert!(accepts(|params| {
        params.subject_alt_names[1] = SanType::Rfc822Name("me@EXAMPLE.com".try_into().unwrap());
    }));
    assert!(!accepts(|params| {
        params.subject_alt_names[1] = SanType::Rfc822Name("ME@example.com".try_into().unwrap());
    }));
    assert!(!accepts(|params| params.subject_alt_names[3] = SanType::URI("spiffe://a/B".try_into().unwrap())));
    assert!(accepts(|params| params.subject_alt_names.reverse()));
    assert!(accepts(|params| params.subject_alt_names.push(dns("www.example.com"))));
    // The common name, where the endpoint does not know `exclude_cn_from_sans`.
    assert!(accepts(|params| params.subject_alt_names.push(dns("Example.com"))));

    let mailed = Customer::asking(Some("me@Example.com"), vec![], false);
    let mail = |text: &str| SanType::Rfc822Name(text.try_into().unwrap());
    assert!(mailed.changed(|params| params.subject_alt_names = vec![mail("me@example.com")]).is_ok());
    assert!(mailed.changed(|params| params.subject_alt_names = vec![mail("you@example.com")]).is_err());

    let nameless = Customer::asking(None, vec![dns("a.example"), SanType::IpAddress([10, 0, 0, 1].into())], false);
    for (common_name, accepted) in [("a.example", true), ("10.0.0.1", true), ("b.example", false)] {
        let verified = nameless.changed(|params| params.distinguished_name = subject(common_name));
        assert_eq!(verified.is_ok(), accepted, "{common_name}");
    }
}

#[test]
fn a_name_that_vault_drops_is_missed() {
    let mut customer = Customer::new();
    customer.order.names.insert(Name::Opaque { tag: 0xa4, content: vec![0x30, 0] });
    assert_eq!(customer.changed(|_| ()), Err(VerifyError::MissingName("directoryName".to_owned())));
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
    let timestamp = |minutes: i64| Timestamp::from_second(1_767_225_600 + minutes * 60).unwrap();
    const LIFE: i64 = 90 * 24 * 60;
    for (from, to) in [
        (0, LIFE),
        (0, LIFE + 60),
        (-60 * 24, LIFE),
        (60, LIFE + 60),
        (60, LIFE + 120),
        (0, 1),
        (-10 * LIFE, 1),
    ] {
        assert_eq!(outcome(from, to), Ok(timestamp(to)), "{from} {to}");
    }
    for (from, to) in [(0, LIFE + 61), (-60, LIFE + 61), (0, 100 * LIFE)] {
        assert_eq!(outcome(from, to), Err(VerifyError::TooLong(timestamp(to))), "{from} {to}");
    }
    assert_eq!(outcome(-60, 0), Err(VerifyError::Expired(timestamp(0))));
    assert_eq!(outcome(-LIFE, -1), Err(VerifyError::Expired(timestamp(-1))));
    assert_eq!(outcome(61, LIFE), Err(VerifyError::NotYetValid(timestamp(61))));

    let forever = customer.changed(|params| params.not_after = date_time_ymd(9999, 12, 31) + 23 * HOUR);
    assert_eq!(forever, Err(VerifyError::TooLong(Timestamp::MAX)));
}

#[test]
fn refuses_what_is_no_certificate() {
    let customer = Customer::new();
    let authority = Authority::new("CA");
    let (root, leaf) = (authority.root(), customer.leaf(&authority));
    let issued = |certificate: &str, ca: &str| {
        let issued = Issued { certificate: certificate.to_owned(), issuing_ca: Some(ca.to_owned()), ca_chain: vec![] };
        verify(&customer.order, &issued, now(), &signatures())
    };
    let (good, ca) = (pem(&[&leaf]), pem(&[&root]));
    assert!(issued(&good, &ca).is_ok());
    for text in ["", "<html><body>502</body></html>", &der::pem("PRIVATE KEY", b"key"), &good[30..]] {
        assert_eq!(issued(text, &ca), Err(VerifyError::NoCertificate), "{text}");
    }
    let garbled = good.replacen('\n', "\n*", 1);
    for text in [&garbled, &good[..good.len() - 10], &pem(&[b"garbage"]), &pem(&[&[leaf.as_slice(), &[0]].concat()])] {
        assert_eq!(issued(text, &ca), Err(VerifyError::Malformed), "{text}");
        assert_eq!(issued(&good, text), Err(VerifyError::Malformed), "{text}");
        assert_eq!(issued(&format!("{good}{text}"), &ca), Err(VerifyError::Malformed), "{text}");
    }
    for length in 0..leaf.len() {
        assert_eq!(customer.verify(&leaf[..length], None, &[]), Err(VerifyError::Malformed), "{length}");
    }
    let doubled = customer.changed(|params| {
        let san = CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x30, 0]);
        params.custom_extensions = vec![san];
    });
    assert_eq!(doubled, Err(VerifyError::Malformed));
    let constraints = customer.changed(|params| {
        let broken = CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 1, 1]);
        params.custom_extensions = vec![broken];
    });
    assert_eq!(constraints, Err(VerifyError::Malformed));
}

#[test]
fn refuses_what_cert_manager_cannot_read_back() {
    let customer = Customer::new();
    let padded = |size: usize| vec![CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![0; size])];
    assert!(customer.changed(|params| params.custom_extensions = padded(26_000)).is_ok());
    let large = customer.changed(|params| params.custom_extensions = padded(27_000));
    assert_eq!(large, Err(VerifyError::TooLarge));

    let mut authorities = ["1", "2", "3", "4"].map(Authority::new);
    for authority in &mut authorities {
        authority.params.custom_extensions = padded(20_000);
    }
    let [a, b, c, d] = &authorities;
    let certificates = [a.signed_by(b), b.signed_by(c), c.signed_by(d), d.root()];
    let sent = certificates.each_ref().map(Vec::as_slice);
    let leaf = customer.leaf(a);
    assert_eq!(customer.verify(&leaf, None, &sent), chain(&[&leaf, sent[0], sent[1], sent[2]], Some(sent[3])));
    let (e, root) = (Authority::new("5"), d.signed_by(&Authority::new("5")));
    let more = [sent[0], sent[1], sent[2], &root, &e.root()];
    assert_eq!(customer.verify(&leaf, None, &more), Err(VerifyError::TooLarge));

    let issued = Issued { certificate: pem(&[&leaf]), issuing_ca: None, ca_chain: vec![" ".repeat(1 << 20)] };
    assert_eq!(verify(&customer.order, &issued, now(), &signatures()), Err(VerifyError::TooLarge));
}

#[test]
fn a_crowd_of_namesakes_is_searched_in_bounded_time() {
    let customer = Customer::new();
    let authorities: Vec<_> = (0..15).map(|_| Authority::new("CA")).collect();
    let certificates: Vec<_> =
        authorities.iter().zip(authorities.iter().cycle().skip(1)).map(|(ca, next)| ca.signed_by(next)).collect();
    let sent: Vec<&[u8]> = certificates.iter().map(Vec::as_slice).collect();
    let leaf = customer.leaf(&authorities[0]);
    let mut written = vec![leaf.as_slice()];
    written.extend(&sent);
    assert_eq!(customer.verify(&leaf, None, &sent), chain(&written, Some(sent[14])));
}

#[test]
fn no_changed_certificate_is_accepted() {
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519, &rcgen::PKCS_RSA_SHA256] {
        let customer = Customer::new();
        let authority = Authority::with_key("CA", KeyPair::generate_for(algorithm).unwrap());
        let (root, leaf) = (authority.root(), customer.leaf(&authority));
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed % u64::try_from(below).unwrap()).unwrap()
        };
        for round in 0..2000 {
            let mut changed = leaf.clone();
            for _ in 0..1 + random(2) {
                let at = random(changed.len());
                match random(2) {
                    0 => changed[at] ^= 1 << random(8),
                    _ => changed[at] = u8::try_from(random(256)).unwrap(),
                }
            }
            if changed != leaf {
                assert!(customer.verify(&changed, Some(&root), &[]).is_err(), "{algorithm:?} {round}");
            }
        }
        assert!(customer.verify(&leaf, Some(&root), &[]).is_ok());
    }
}

#[test]
fn no_bit_of_a_certificate_is_free() {
    let customer = Customer::new();
    let authority = Authority::new("CA");
    let (root, leaf) = (authority.root(), customer.leaf(&authority));
    for bit in 0..leaf.len() * 8 {
        let mut changed = leaf.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(customer.verify(&changed, Some(&root), &[]).is_err(), "bit {bit}");
    }
}

#[test]
fn messages_are_bounded_and_plain() {
    let name = Name::Dns("\u{7}x".repeat(5000)).to_string();
    for error in [VerifyError::MissingName(name.clone()), VerifyError::UnexpectedName(name)] {
        let message = error.to_string();
        assert!(message.len() < 256 && message.chars().all(|c| !c.is_control()), "{message}");
    }
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,60}") {
        let customer = Customer::new();
        let _ = customer.verify(&bytes, Some(&bytes), &[&bytes]);
        let issued = Issued { certificate: text.clone(), issuing_ca: Some(text.clone()), ca_chain: vec![text] };
        prop_assert!(verify(&customer.order, &issued, now(), &signatures()).is_err());
    }
}
