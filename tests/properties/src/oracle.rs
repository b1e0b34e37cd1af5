//! Checks accepted chains with x509-parser, without the code that accepted them.

use std::collections::BTreeSet;

use issuer_core::Verified;
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::error::X509Error;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;

use crate::fixture::{CSR, NOW};
use crate::names;

const HOUR: i64 = 3600;

/// Asserts that an accepted chain matches the CSR of the fixture: a certificate for its key and its names, for 24 hours,
/// a CA or not; and that all other certificates are above it.
pub(crate) fn assert_sound(verified: &Verified, is_ca: bool) {
    let chain = verified.chain();
    let written = ders(&chain.certificate);
    let certificates: Vec<_> = written.iter().map(|der| parse(der)).collect();
    let (leaf, rest) = certificates.split_first().expect("a certificate");
    assert_leaf(leaf, is_ca);
    assert_eq!(chain.not_after.as_second(), leaf.validity().not_after.timestamp());
    let serial = leaf.raw_serial();
    assert!(
        serial[0] & 0x80 == 0 && serial.iter().any(|byte| *byte != 0),
        "{serial:?}"
    );
    assert_eq!(
        chain.serial.replace(':', "").trim_start_matches('0'),
        leaf.serial.to_str_radix(16)
    );
    for (at, issuer) in rest.iter().enumerate() {
        assert!(
            has_signed_any(issuer, &certificates),
            "certificate {} has signed no other",
            at + 1
        );
        assert!(!is_self_signed(issuer), "certificate {} is a root", at + 1);
    }
    let distinct: BTreeSet<_> = written.iter().collect();
    assert_eq!(distinct.len(), written.len(), "a certificate is there twice");
    if let Some(ca) = &chain.ca {
        let ders = ders(ca);
        let [der] = ders.as_slice() else {
            panic!("{} CAs", ders.len());
        };
        let known = written.contains(der);
        assert!(
            known || has_signed_any(&parse(der), &certificates),
            "the CA has signed nothing"
        );
    }
    assert!(chain.certificate.len() <= 95_000 && chain.ca.as_ref().is_none_or(|ca| ca.len() <= 36_500));
}

fn assert_leaf(leaf: &X509Certificate<'_>, is_ca: bool) {
    let (_, csr) = X509CertificationRequest::from_der(&CSR).unwrap();
    let info = &csr.certification_request_info;
    assert_eq!(leaf.public_key().raw, info.subject_pki.raw, "another key");
    let constraints = leaf.basic_constraints().expect("readable basic constraints");
    assert_eq!(constraints.is_some_and(|found| found.value.ca), is_ca, "a CA or not");
    let common_name = leaf.subject().iter_common_name().last().expect("a common name");
    assert!(
        common_name.as_str().is_ok_and(|name| name == "web.example"),
        "{common_name:?}"
    );
    let wanted: BTreeSet<String> = [
        "dns web.example",
        "dns www.web.example",
        "email me@web.example",
        "ip 10.0.0.1",
        "uri spiffe://web/example",
    ]
    .map(str::to_owned)
    .into();
    let names = leaf.subject_alternative_name().expect("readable names").expect("names");
    assert_eq!(names::of(&names.value.general_names), wanted);
    let now = i64::try_from(NOW.unix.as_secs()).unwrap();
    let (from, to) = (
        leaf.validity().not_before.timestamp(),
        leaf.validity().not_after.timestamp(),
    );
    assert!(from <= now + HOUR && to > now, "from {from} to {to} at {now}");
    let longest = 25 * HOUR;
    assert!(
        to - from <= longest || to <= now + longest,
        "from {from} to {to} at {now}"
    );
}

fn has_signed_any(issuer: &X509Certificate<'_>, certificates: &[X509Certificate<'_>]) -> bool {
    certificates.iter().any(|child| {
        let named = child.issuer().as_raw() == issuer.subject().as_raw() && child.as_ref() != issuer.as_ref();
        named && signed(child, Some(issuer)) != Some(false)
    })
}

fn is_self_signed(certificate: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == certificate.subject().as_raw() && signed(certificate, None) == Some(true)
}

/// Returns whether the signature verifies with the key of the issuer, or of the certificate itself; `None` for unknown
/// algorithms.
fn signed(certificate: &X509Certificate<'_>, issuer: Option<&X509Certificate<'_>>) -> Option<bool> {
    match certificate.verify_signature(issuer.map(|issuer| issuer.public_key())) {
        Ok(()) => Some(true),
        Err(X509Error::SignatureUnsupportedAlgorithm) => None,
        Err(_) => Some(false),
    }
}

fn parse(der: &[u8]) -> X509Certificate<'_> {
    let (rest, certificate) = X509Certificate::from_der(der).expect("a certificate");
    assert!(rest.is_empty());
    certificate
}

/// Reads PEM with certificates only.
pub(crate) fn ders(pem: &str) -> Vec<Vec<u8>> {
    let blocks = Pem::iter_from_buffer(pem.as_bytes()).map(|block| block.expect("PEM"));
    let ders = blocks.map(|block| {
        assert_eq!(block.label, "CERTIFICATE");
        block.contents
    });
    ders.collect()
}
