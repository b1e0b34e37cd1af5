//! Malformed, oversized and altered answers.

use proptest::prelude::*;
use rcgen::CustomExtension;

use super::*;
use crate::SplitMix64;

#[test]
fn refuses_anything_but_certificates() {
    let customer = Customer::new();
    let authority = Authority::new("CA");
    let (root, leaf) = (authority.root(), customer.leaf(&authority));
    let issued = |certificate: &str, ca: &str| {
        let issued = Issued {
            certificate: certificate.to_owned(),
            issuing_ca: Some(ca.to_owned()),
            ..Issued::default()
        };
        customer.verify_answer(&issued)
    };
    let (good, ca) = (pem(&[&leaf]), pem(&[&root]));
    assert!(issued(&good, &ca).is_ok());
    for text in [
        "",
        "<html><body>502</body></html>",
        &pem::encode("PRIVATE KEY", b"key"),
        &good[30..],
    ] {
        assert_eq!(issued(text, &ca), Err(VerifyError::NoCertificate), "{text}");
    }
    let garbled = good.replacen('\n', "\n*", 1);
    for text in [
        &garbled,
        &good[..good.len() - 10],
        &pem(&[b"garbage"]),
        &pem(&[&[leaf.as_slice(), &[0]].concat()]),
    ] {
        assert_eq!(issued(text, &ca), Err(VerifyError::Malformed), "{text}");
        assert_eq!(issued(&good, text), Err(VerifyError::Malformed), "{text}");
        assert_eq!(
            issued(&format!("{good}{text}"), &ca),
            Err(VerifyError::Malformed),
            "{text}"
        );
    }
    for length in 0..leaf.len() {
        assert_eq!(
            customer.verify(&leaf[..length], None, &[]),
            Err(VerifyError::Malformed),
            "{length}"
        );
    }
    // ecdsa-with-SHA256 outside the signed part only.
    let oid = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let outer = leaf.windows(oid.len()).rposition(|window| window == oid).unwrap();
    let mut apart = leaf;
    apart[outer + 9] = 3;
    assert_eq!(customer.verify(&apart, None, &[]), Err(VerifyError::Malformed));
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
fn refuses_more_than_cert_manager_reads() {
    let customer = Customer::new();
    let padded = |size: usize| vec![CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![0; size])];
    assert!(
        customer
            .changed(|params| params.custom_extensions = padded(26_000))
            .is_ok()
    );
    let large = customer.changed(|params| params.custom_extensions = padded(27_000));
    let limits = SizeLimits::default();
    assert_eq!(large, Err(VerifyError::TooLarge(limits)));

    let mut authorities = ["1", "2", "3", "4"].map(Authority::new);
    for authority in &mut authorities {
        authority.params.custom_extensions = padded(20_000);
    }
    let [a, b, c, d] = &authorities;
    let certificates = [a.signed_by(b), b.signed_by(c), c.signed_by(d), d.root()];
    let sent = certificates.each_ref().map(Vec::as_slice);
    let leaf = customer.leaf(a);
    assert_eq!(
        customer.verify(&leaf, None, &sent),
        chain(&[&leaf, sent[0], sent[1], sent[2]], Some(sent[3]))
    );
    let (e, root) = (Authority::new("5"), d.signed_by(&Authority::new("5")));
    let more = [sent[0], sent[1], sent[2], &root, &e.root()];
    assert_eq!(customer.verify(&leaf, None, &more), Err(VerifyError::TooLarge(limits)));
    let raised = VerifyOptions {
        limits: SizeLimits {
            certificate: 40_000,
            chain: 200_000,
        },
        ..signatures().into()
    };
    let issued = Issued {
        certificate: pem(&[&leaf]),
        ca_chain: more.map(|der| pem(&[der])).to_vec(),
        ..Issued::default()
    };
    assert!(verify(&customer.wanted, &issued, at(0), &raised).is_ok());

    let issued = Issued {
        certificate: pem(&[&leaf]),
        ca_chain: vec![" ".repeat(1 << 20)],
        ..Issued::default()
    };
    assert_eq!(customer.verify_answer(&issued), Err(VerifyError::TooLarge(limits)));
}

/// To parse a certificate of many small parts takes many times its size.
#[test]
fn certificates_are_measured_before_they_are_parsed() {
    let customer = Customer::new();
    let padded = |size: usize| vec![CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![0; size])];
    let too_large = Err(VerifyError::TooLarge(SizeLimits::default()));
    let other = Customer::new();
    for (size, expected) in [(26_000, Err(VerifyError::Key)), (28_000, too_large.clone())] {
        let mut params = other.params.clone();
        params.custom_extensions = padded(size);
        let leaf = Authority::new("CA").sign(&params, &other.key);
        assert_eq!(customer.verify(&leaf, None, &[]), expected);
    }
    // One that has nothing to do with the chain.
    for (size, is_accepted) in [(26_000, true), (28_000, false)] {
        let (ca, mut stranger) = (Authority::new("CA"), Authority::new("stranger"));
        stranger.params.custom_extensions = padded(size);
        let verified = customer.verify(&customer.leaf(&ca), None, &[&ca.root(), &stranger.root()]);
        assert_eq!(verified.is_ok(), is_accepted, "{verified:?}");
        assert!(is_accepted || verified == too_large);
    }
}

#[test]
fn no_changed_certificate_is_accepted() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_RSA_SHA256,
    ] {
        let customer = Customer::new();
        let authority = Authority::with_key("CA", KeyPair::generate_for(algorithm).unwrap());
        let (root, leaf) = (authority.root(), customer.leaf(&authority));
        let mut numbers = SplitMix64::new(1);
        let mut random = |below: usize| usize::try_from(numbers.next_u64() % u64::try_from(below).unwrap()).unwrap();
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
                assert!(
                    customer.verify(&changed, Some(&root), &[]).is_err(),
                    "{algorithm:?} {round}"
                );
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
    for error in [
        VerifyError::MissingName(name.clone()),
        VerifyError::UnexpectedName(name),
    ] {
        let message = error.to_string();
        assert!(
            message.len() < 256 && message.chars().all(|c| !c.is_control()),
            "{message}"
        );
    }
}

proptest! {
    #[test]
    fn random_answers_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,60}") {
        let customer = Customer::new();
        let _ = customer.verify(&bytes, Some(&bytes), &[&bytes]);
        let issued = Issued { certificate: text.clone(), issuing_ca: Some(text.clone()), ca_chain: vec![text], is_leased: false };
        prop_assert!(customer.verify_answer(&issued).is_err());
    }
}
