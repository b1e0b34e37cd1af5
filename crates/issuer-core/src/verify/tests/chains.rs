//! The order and the completeness of chains.

use rcgen::{CustomExtension, KeyUsagePurpose, NameConstraints, SigningKey};

use super::*;

#[test]
fn orders_every_answer_of_vault() {
    let customer = Customer::new();
    let (top, middle) = (Authority::new("Root"), Authority::new("Intermediate"));
    let (root, intermediate, leaf) = (&*top.root(), &*middle.signed_by(&top), &*customer.leaf(&middle));
    let other = &*Authority::new("Other").root();

    let rooted = chain(&[leaf, intermediate], Some(root));
    let rootless = chain(&[leaf, intermediate], Some(intermediate));
    let lone = chain(&[leaf], None);
    let check = |what: &str, issuing, ca_chain: &[&[u8]], expected: &Result<_, _>| {
        let verified = customer.verify(leaf, issuing, ca_chain);
        assert_eq!(verified, *expected, "{what}");
    };
    let issuing = Some(intermediate);
    check("with the root", issuing, &[intermediate, root], &rooted);
    check("without the root", issuing, &[intermediate], &rootless);
    check("issuing CA alone", issuing, &[], &rootless);
    check("chain alone", None, &[intermediate, root], &rooted);
    check("shuffled", issuing, &[root, intermediate], &rooted);
    check("doubled", issuing, &[intermediate, intermediate, root, root], &rooted);
    check(
        "leaf first, as from sign-intermediate",
        issuing,
        &[leaf, intermediate, root],
        &rooted,
    );
    check("the root alone as chain", issuing, &[root], &rooted);
    check(
        "with an unrelated certificate",
        issuing,
        &[other, intermediate, root],
        &rooted,
    );
    check("with an unrelated root", issuing, &[other], &rootless);
    check("nothing sent along", None, &[], &lone);
    check("nothing but itself sent along", None, &[leaf], &lone);
}

#[test]
fn reads_bundles_and_blanks() {
    let customer = Customer::new();
    let (top, middle) = (Authority::new("Root"), Authority::new("Intermediate"));
    let (root, intermediate, leaf) = (&*top.root(), &*middle.signed_by(&top), &*customer.leaf(&middle));
    let key = pem::encode("PRIVATE KEY", b"ignored");
    let bundle = Issued {
        certificate: pem(&[leaf, intermediate, root]) + &key,
        issuing_ca: Some(pem(&[intermediate, root])),
        ca_chain: vec![pem(&[intermediate, root]), String::new()],
        ..Issued::default()
    };
    let verified = customer.verify_answer(&bundle);
    assert_eq!(verified, chain(&[leaf, intermediate], Some(root)));

    let blank = Issued {
        certificate: pem(&[leaf]),
        issuing_ca: Some("\n".to_owned()),
        ..Issued::default()
    };
    let verified = customer.verify_answer(&blank);
    assert_eq!(verified, chain(&[leaf], None));
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
    assert_eq!(
        customer.verify(&leaf, Some(sent[13]), &sent),
        chain(&written, Some(sent[0]))
    );

    let more: Vec<_> = (0..2).map(|at| Authority::new(&format!("more {at}")).root()).collect();
    let too_many: Vec<&[u8]> = sent.iter().copied().chain(more.iter().map(Vec::as_slice)).collect();
    assert!(customer.verify(&leaf, None, &too_many[..15]).is_ok());
    assert_eq!(customer.verify(&leaf, None, &too_many), Err(VerifyError::TooMany));
}

#[test]
fn keeps_cross_signed_alternates() {
    let customer = Customer::new();
    let [old, new, between, ca] = ["Old", "New", "Between", "CA"].map(Authority::new);
    let (old_root, new_root, between_by_old) = (&*old.root(), &*new.root(), &*between.signed_by(&old));
    let (new_by_old, new_by_between) = (&*new.signed_by(&old), &*new.signed_by(&between));
    let (ca_by_old, ca_by_new) = (&*ca.signed_by(&old), &*ca.signed_by(&new));

    // A root that issues and is cross-signed by the one it replaces.
    let leaf = &*customer.leaf(&new);
    let sent = [new_by_old, old_root, new_root];
    assert_eq!(
        customer.verify(leaf, Some(new_root), &sent),
        chain(&[leaf, new_by_old], Some(new_root))
    );
    assert_eq!(
        customer.verify(leaf, Some(new_root), &[new_by_old]),
        chain(&[leaf, new_by_old], Some(new_root))
    );
    assert_eq!(
        customer.verify(leaf, Some(new_by_old), &[]),
        chain(&[leaf, new_by_old], Some(new_by_old))
    );

    // The alternate's own issuer is needed to climb to the other root.
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
    assert_eq!(
        customer.verify(leaf, Some(ca_by_old), &[ca_by_new]),
        chain(&[leaf, ca_by_old, ca_by_new], Some(ca_by_old))
    );

    // Two CAs that signed each other.
    let (old_by_new, leaf) = (&*old.signed_by(&new), &*customer.leaf(&old));
    assert_eq!(
        customer.verify(leaf, Some(old_by_new), &[new_by_old]),
        chain(&[leaf, old_by_new, new_by_old], Some(new_by_old))
    );
}

#[test]
fn lone_root_is_its_own_ca() {
    let customer = Customer::asking(Some("Root"), vec![], true);
    let itself = Authority {
        params: customer.params.clone(),
        key: KeyPair::generate().unwrap(),
    };
    let certificate = customer.params.self_signed(&customer.key).unwrap().der().to_vec();
    for chain_of in [&[][..], &[certificate.as_slice()]] {
        let verified = customer.verify(&certificate, Some(&certificate), chain_of);
        assert_eq!(verified, chain(&[&certificate], Some(&certificate)));
    }
    let other = Authority::new("Other").root();
    let verified = customer.verify(&certificate, None, &[&other]);
    assert_eq!(verified, chain(&[&certificate], Some(&certificate)));
    // Its name signed it, but another key.
    let leaf = customer.leaf(&itself);
    assert_eq!(customer.verify(&leaf, None, &[]), chain(&[&leaf], None));
    let root = itself.root();
    assert_eq!(
        customer.verify(&leaf, Some(&root), &[&leaf, &root]),
        chain(&[&leaf], Some(&root))
    );
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
fn unsupported_signatures_end_the_path() {
    let customer = Customer::new();
    let (top, middle) = (Authority::new("Root"), Authority::new("Intermediate"));
    let (root, intermediate, leaf) = (top.root(), middle.signed_by(&top), customer.leaf(&middle));
    let old_root = unsupported(root.clone());
    assert_eq!(
        customer.verify(&leaf, Some(&intermediate), &[&intermediate, &old_root]),
        chain(&[&leaf, &intermediate], Some(&old_root))
    );
    // An issuer whose own signature cannot be verified is the last of the chain.
    let odd = unsupported(intermediate.clone());
    assert_eq!(
        customer.verify(&leaf, Some(&odd), &[&odd, &root]),
        chain(&[&leaf, &odd], Some(&odd))
    );
    let leaf = unsupported(leaf);
    let verified = customer.verify(&leaf, Some(&intermediate), &[&root]);
    assert_eq!(verified, Err(VerifyError::UnsupportedSignature));
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
        x509_parser::parse_x509_certificate(&root)
            .unwrap()
            .1
            .subject()
            .as_raw()
            .to_vec()
    };
    let algorithm = tlv(0x30, &[&[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]]);
    let validity = tlv(
        0x30,
        &[&tlv(0x17, &[b"200101000000Z"]), &tlv(0x17, &[b"400101000000Z"])],
    );
    let key = subject.key.subject_public_key_info();
    let tbs = tlv(
        0x30,
        &[
            &[2, 1, 1],
            &algorithm,
            &raw_name(issuer),
            &validity,
            &raw_name(subject),
            &key,
        ],
    );
    let signature = issuer.key.sign(&tbs).unwrap();
    tlv(0x30, &[&tbs, &algorithm, &tlv(3, &[&[0], &signature])])
}

#[test]
fn only_a_ca_issues() {
    let customer = Customer::new();
    let (mut top, middle) = (Authority::new("Root"), Authority::new("Intermediate"));
    let (old_root, leaf) = (version_1(&middle, &middle), customer.leaf(&middle));
    assert_eq!(
        customer.verify(&leaf, Some(&old_root), &[]),
        chain(&[&leaf], Some(&old_root))
    );

    let old_intermediate = version_1(&middle, &top);
    assert_eq!(
        customer.verify(&leaf, Some(&old_intermediate), &[&top.root()]),
        Err(VerifyError::BrokenChain)
    );

    let certifies = || vec![KeyUsagePurpose::KeyCertSign];
    for (is_ca, key_usages, may_issue) in [
        (IsCa::Ca(BasicConstraints::Unconstrained), certifies(), true),
        (
            IsCa::Ca(BasicConstraints::Unconstrained),
            vec![KeyUsagePurpose::CrlSign],
            false,
        ),
        (IsCa::ExplicitNoCa, vec![], false),
        (IsCa::ExplicitNoCa, certifies(), false),
    ] {
        (top.params.is_ca, top.params.key_usages) = (is_ca, key_usages);
        let (root, leaf) = (top.root(), customer.leaf(&top));
        let expected = match may_issue {
            true => chain(&[&leaf], Some(&root)),
            false => Err(VerifyError::BrokenChain),
        };
        assert_eq!(customer.verify(&leaf, Some(&root), &[&root]), expected);
    }
}

#[test]
fn constraints_of_a_ca_are_not_checked() {
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
    assert_eq!(
        customer.verify(&leaf, Some(&root), &[&root]),
        chain(&[&leaf], Some(&root))
    );
}

#[test]
fn refuses_a_broken_chain() {
    let customer = Customer::new();
    let (top, middle, imposter) = (Authority::new("Root"), Authority::new("CA"), Authority::new("CA"));
    let (root, ca, leaf) = (top.root(), middle.signed_by(&top), customer.leaf(&middle));
    let (false_ca, other) = (imposter.signed_by(&top), Authority::new("Other").root());
    let broken = Err(VerifyError::BrokenChain);
    assert_eq!(
        customer.verify(&leaf, Some(&root), &[&root]),
        broken,
        "the issuer is missing"
    );
    assert_eq!(
        customer.verify(&leaf, Some(&false_ca), &[&false_ca, &root]),
        broken,
        "the issuer has another key"
    );
    assert_eq!(
        customer.verify(&leaf, None, &[&other]),
        broken,
        "nothing but an unrelated root"
    );
    for issuing in [&root, &false_ca, &other] {
        let verified = customer.verify(&leaf, Some(issuing), &[&ca, &root]);
        assert_eq!(verified, Err(VerifyError::IssuingCa));
    }
    // Above the issuer, what does not belong there is only dropped.
    let false_root = Authority::new("Root").root();
    assert_eq!(
        customer.verify(&leaf, Some(&ca), &[&false_root]),
        chain(&[&leaf, &ca], Some(&ca))
    );
}

#[test]
fn namesakes_are_searched_in_bounded_time() {
    let customer = Customer::new();
    let authorities: Vec<_> = (0..15).map(|_| Authority::new("CA")).collect();
    let certificates: Vec<_> = authorities
        .iter()
        .zip(authorities.iter().cycle().skip(1))
        .map(|(ca, next)| ca.signed_by(next))
        .collect();
    let sent: Vec<&[u8]> = certificates.iter().map(Vec::as_slice).collect();
    let leaf = customer.leaf(&authorities[0]);
    let mut written = vec![leaf.as_slice()];
    written.extend(&sent);
    assert_eq!(customer.verify(&leaf, None, &sent), chain(&written, Some(sent[14])));
}
