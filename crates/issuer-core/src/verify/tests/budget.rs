//! Answers that are expensive to verify.

use proptest::prelude::*;

use super::*;
use crate::chain::BUDGET;
use crate::fixture::counted::{Counted, verified};

/// Verifies an answer; returns the result and the number of signatures that were verified.
fn counted(customer: &Customer, leaf: &[u8], chain: &[&[u8]]) -> (Result<Verified, VerifyError>, usize) {
    let issued = Issued {
        certificate: pem(&[leaf]),
        ca_chain: chain.iter().map(|ca| pem(&[ca])).collect(),
        ..Issued::default()
    };
    let before = verified();
    let result = verify(&customer.wanted, &issued, at(0), &Signatures(&[&Counted]).into());
    (result, verified() - before)
}

/// Makes CAs of one name of which each is signed by the next, and the first by the last.
fn circle(count: usize, has_key_ids: bool) -> (Vec<Authority>, Vec<Vec<u8>>) {
    let mut authorities: Vec<_> = (0..count).map(|_| Authority::new("CA")).collect();
    for authority in &mut authorities {
        authority.params.use_authority_key_identifier_extension = has_key_ids;
    }
    let next = authorities.iter().cycle().skip(1);
    let certificates = authorities.iter().zip(next).map(|(ca, next)| ca.signed_by(next));
    let certificates = certificates.collect();
    (authorities, certificates)
}

#[test]
fn namesakes_without_key_ids_are_refused() {
    let customer = Customer::new();
    let (authorities, certificates) = circle(15, false);
    let leaf = customer.leaf(&authorities[14]);
    let sent: Vec<&[u8]> = certificates.iter().map(Vec::as_slice).collect();
    assert_eq!(
        counted(&customer, &leaf, &sent),
        (Err(VerifyError::TooExpensive), BUDGET)
    );
}

/// A public key of RSA with 8192 bits.
struct LargeKey(Vec<u8>);

impl LargeKey {
    fn new() -> Self {
        let modulus = [[0x02, 0x82, 0x04, 0x01, 0].as_slice(), &[0xff; 1024]].concat();
        Self([&[0x30, 0x82, 0x04, 0x0a], modulus.as_slice(), &[2, 3, 1, 0, 1]].concat())
    }
}

impl PublicKeyData for LargeKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_RSA_SHA256
    }
}

/// Each of these keys is tried, if it is not the same key, and costs as much as sixteen small ones.
#[test]
fn large_keys_use_up_the_budget_sooner() {
    let customer = Customer::new();
    for (count, is_accepted) in [(3, true), (4, false), (14, false)] {
        let authority = Authority::new("CA");
        let large: Vec<_> = (0..count)
            .map(|number| {
                let mut key = LargeKey::new();
                key.0[100] = number;
                authority.sign(&authority.params, &key)
            })
            .collect();
        let root = authority.root();
        let sent: Vec<&[u8]> = large.iter().map(Vec::as_slice).chain([&*root]).collect();
        let (result, _) = counted(&customer, &customer.leaf(&authority), &sent);
        assert_eq!(result.is_ok(), is_accepted, "{count} {result:?}");
        assert!(is_accepted || result == Err(VerifyError::TooExpensive), "{result:?}");
    }
}

#[test]
fn key_ids_save_signatures() {
    let mut customer = Customer::new();
    customer.params.use_authority_key_identifier_extension = true;
    let (authorities, certificates) = circle(15, true);
    let leaf = customer.leaf(&authorities[14]);
    let mut sent: Vec<&[u8]> = certificates.iter().map(Vec::as_slice).collect();
    for _ in 0..2 {
        let (result, count) = counted(&customer, &leaf, &sent);
        assert!(result.is_ok() && count <= BUDGET, "{result:?} {count}");
        sent.reverse();
    }
}

#[test]
fn namesakes_of_one_key_are_tried_once() {
    let customer = Customer::new();
    let (ca, roots) = (Authority::new("CA"), ["1", "2", "3", "4", "5"].map(Authority::new));
    let sent: Vec<_> = roots.iter().map(|root| ca.signed_by(root)).collect();
    let sent: Vec<&[u8]> = sent.iter().map(Vec::as_slice).collect();
    let (result, count) = counted(&customer, &customer.leaf(&ca), &sent);
    assert_eq!((result.map(|_| ()), count), (Ok(()), 1));
    let (result, count) = counted(&customer, &customer.leaf(&Authority::new("CA")), &sent);
    assert_eq!((result, count), (Err(VerifyError::BrokenChain), 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any CAs, each signed by any, in any order, cost no more than the budget; with one name each, they are accepted.
    #[test]
    fn every_answer_is_verified_in_bounded_time(
        cas in prop::collection::vec((0..4_usize, 0..15_usize), 1..15),
        has_key_ids: bool,
        has_own_names: bool,
        order in any::<prop::sample::Index>(),
    ) {
        let customer = Customer::new();
        let authorities: Vec<_> = cas.iter().enumerate().map(|(at, (name, _))| {
            let name = if has_own_names { at } else { *name };
            let mut authority = Authority::new(&name.to_string());
            authority.params.use_authority_key_identifier_extension = has_key_ids;
            authority
        }).collect();
        let certificates: Vec<_> = authorities.iter().zip(&cas).map(|(ca, (_, signer))| {
            ca.signed_by(&authorities[signer % authorities.len()])
        }).collect();
        let mut sent: Vec<&[u8]> = certificates.iter().map(Vec::as_slice).collect();
        let first = order.index(sent.len());
        sent.rotate_left(first);
        let leaf = customer.leaf(&authorities[0]);
        let (result, count) = counted(&customer, &leaf, &sent);
        prop_assert!(count <= BUDGET, "{count}");
        prop_assert!(result.is_ok() || (!has_own_names && result == Err(VerifyError::TooExpensive)), "{result:?}");
    }
}
