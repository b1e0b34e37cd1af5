//! Signatures of CAs that are verified once.

use super::*;
use crate::fixture::counted::{Counted, verified};

/// Answers to one customer, and what is known after the last of them.
struct Counter {
    customer: Customer,
    options: VerifyOptions,
}

impl Counter {
    fn new() -> Self {
        Self {
            customer: Customer::new(),
            options: Signatures(&[&Counted]).into(),
        }
    }

    /// Verifies an answer, and keeps what is known then; returns the number of signatures that were verified.
    fn verify(&mut self, leaf: &[u8], chain: &[&[u8]]) -> Result<usize, VerifyError> {
        let issued = Issued {
            certificate: pem(&[leaf]),
            issuing_ca: chain.first().map(|ca| pem(&[ca])),
            ca_chain: chain.iter().map(|ca| pem(&[ca])).collect(),
            is_leased: false,
        };
        let before = verified();
        let chain = verify(&self.customer.wanted, &issued, at(0), &self.options)?;
        self.options.known.extend(chain.known());
        Ok(verified() - before)
    }
}

#[test]
fn the_chain_is_verified_once() {
    let mut counter = Counter::new();
    let (top, middle) = (Authority::new("Root"), Authority::new("Intermediate"));
    let (root, intermediate) = (top.root(), middle.signed_by(&top));
    let leaf = counter.customer.leaf(&middle);
    assert_eq!(counter.verify(&leaf, &[&intermediate, &root]), Ok(3));
    for _ in 0..3 {
        let leaf = counter.customer.leaf(&middle);
        assert_eq!(counter.verify(&leaf, &[&intermediate, &root]), Ok(1));
    }
}

#[test]
fn a_changed_chain_is_verified_anew() {
    let mut counter = Counter::new();
    let (top, middle) = (Authority::new("Root"), Authority::new("Intermediate"));
    let root = top.root();
    let leaf = counter.customer.leaf(&middle);
    assert_eq!(counter.verify(&leaf, &[&middle.signed_by(&top), &root]), Ok(3));
    // The same CA, signed again.
    assert_eq!(counter.verify(&leaf, &[&middle.signed_by(&top), &root]), Ok(2));

    // A CA of the same name and key, which the root did not sign.
    let forged = middle.signed_by(&Authority::new("Root"));
    let issued = Issued {
        certificate: pem(&[&leaf]),
        ca_chain: vec![pem(&[&forged]), pem(&[&root])],
        ..Issued::default()
    };
    let verified = verify(&counter.customer.wanted, &issued, at(0), &counter.options);
    assert_eq!(verified, chain(&[&leaf, &forged], Some(&forged)));
}

#[test]
fn known_chain_does_not_verify_leaf() {
    let mut counter = Counter::new();
    let ca = Authority::new("CA");
    let root = ca.root();
    let leaf = counter.customer.leaf(&ca);
    assert_eq!(counter.verify(&leaf, &[&root]), Ok(2));

    let mut changed = leaf.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(counter.verify(&changed, &[&root]), Err(VerifyError::BrokenChain));
    let forged = counter.customer.leaf(&Authority::new("CA"));
    assert_eq!(counter.verify(&forged, &[&root]), Err(VerifyError::BrokenChain));
    counter.customer.params.not_after = date_time_ymd(2025, 12, 31);
    let expired = counter.customer.leaf(&ca);
    assert!(matches!(
        counter.verify(&expired, &[&root]),
        Err(VerifyError::Expired(_))
    ));
    counter.customer = Customer::new();
    let other = Customer::new().leaf(&ca);
    assert_eq!(counter.verify(&other, &[&root]), Err(VerifyError::Key));
}

#[test]
fn a_certificate_is_not_remembered() {
    let mut counter = Counter::new();
    counter.customer = Customer::asking(Some("Sub CA"), vec![], true);
    let ca = Authority::new("CA");
    let (root, leaf) = (ca.root(), counter.customer.leaf(&ca));
    assert_eq!(counter.verify(&leaf, &[&root]), Ok(2));
    assert_eq!(counter.verify(&leaf, &[&root]), Ok(1));
}
