//! Properties of CSR parsing, compared with x509-parser.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use issuer_core::vault::{Sign, SignError};
use issuer_core::{RequestSpec, Signatures, SigningRequest, Step};
use rustls_pki_types::{InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::der_parser::asn1_rs::Tag;
use x509_parser::error::X509Error;
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::{OID_PKCS1_RSAENCRYPTION, OID_X509_EXT_SUBJECT_ALT_NAME};
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;

use crate::fixture::{LEASE, PATH, VAULT, pem, signatures};
use crate::names;
use crate::text::assert_shown;

/// Accepts every signature, so that the signed part can be changed.
#[derive(Debug)]
struct Credulous;

impl SignatureVerificationAlgorithm for Credulous {
    fn verify_signature(&self, _: &[u8], _: &[u8], _: &[u8]) -> Result<(), InvalidSignature> {
        Ok(())
    }

    fn public_key_alg_id(&self) -> rustls_pki_types::AlgorithmIdentifier {
        alg_id::ED25519
    }

    fn signature_alg_id(&self) -> rustls_pki_types::AlgorithmIdentifier {
        alg_id::ED25519
    }
}

static CREDULOUS: [&dyn SignatureVerificationAlgorithm; 1] = [&Credulous];

/// A CSR, PEM or DER: Vault is sent that very CSR and the names in it, and a CSR with a wrong signature is refused.
///
/// x509-parser is the oracle; what it cannot read, such as an attribute in an odd encoding, is not compared.
pub fn signing_request(data: &[u8]) {
    let wrapped = match data.first() {
        Some(0x30) => pem("CERTIFICATE REQUEST", data),
        _ => String::from_utf8_lossy(data).into_owned(),
    };
    let text = wrapped.as_bytes();
    for is_ca in [false, true] {
        let spec = RequestSpec {
            csr: text,
            duration: Some("90m"),
            is_ca,
            ..RequestSpec::default()
        };
        match SigningRequest::parse(spec, &Signatures(&CREDULOUS)) {
            Ok(signing_request) => {
                if let Some(asked) = asked(signing_request) {
                    assert_asked(&wrapped, &asked, is_ca);
                }
            }
            Err(error) => assert_shown(&error.to_string()),
        }
    }
    let spec = RequestSpec {
        csr: text,
        ..RequestSpec::default()
    };
    if let Ok(signing_request) = SigningRequest::parse(spec, &signatures()) {
        let der = asked(signing_request).map(|asked| der_of(&asked)).unwrap_or_default();
        let Ok((_, csr)) = X509CertificationRequest::from_der(&der) else {
            return;
        };
        let unsupported = X509Error::SignatureUnsupportedAlgorithm;
        let signed = csr.verify_signature();
        assert!(
            !is_judged(&der, &csr) || signed.is_ok() || signed == Err(unsupported),
            "the signature is wrong"
        );
    }
}

/// Returns `true` if the CSR's signature is verified here: of the usual algorithms, all but RSA, whose keys may be too
/// small or too large.
fn is_judged(der: &[u8], csr: &X509CertificationRequest<'_>) -> bool {
    let info = &csr.certification_request_info;
    let outer = content(der);
    let algorithm = outer.get(info.raw.len()..).map(content).unwrap_or_default();
    let key = content(content(info.subject_pki.raw));
    let mut known = signatures().0.iter();
    let is_rsa = info.subject_pki.algorithm.algorithm == OID_PKCS1_RSAENCRYPTION;
    !is_rsa && known.any(|known| *known.signature_alg_id() == *algorithm && *known.public_key_alg_id() == *key)
}

/// Returns what follows a DER element's tag and length.
fn content(der: &[u8]) -> &[u8] {
    let length = match der[1] {
        short @ ..0x80 => return &der[2..2 + usize::from(short)],
        long => usize::from(long & 0x7f),
    };
    &der[2 + length..]
}

/// Returns the body of the request to Vault; `None` if the request is refused before, for a name that the endpoint drops.
fn asked(signing_request: SigningRequest) -> Option<Value> {
    match Sign::begin(&VAULT, &PATH, &LEASE, signing_request, signatures()) {
        Step::Send(request, _) => Some(serde_json::from_slice(request.http.body().as_bytes()).expect("JSON")),
        Step::Done(Err(error @ SignError::NameNotSupported { .. })) => {
            assert_shown(&error.to_string());
            None
        }
        Step::Done(other) => panic!("{other:?}"),
    }
}

fn der_of(asked: &Value) -> Vec<u8> {
    let pem = asked["csr"].as_str().expect("a CSR");
    let blocks: Vec<Pem> = Pem::iter_from_buffer(pem.as_bytes())
        .map(|block| block.expect("PEM"))
        .collect();
    let [block] = blocks.as_slice() else {
        panic!("{} blocks", blocks.len());
    };
    assert_eq!(block.label, "CERTIFICATE REQUEST");
    block.contents.clone()
}

fn assert_asked(text: &str, asked: &Value, is_ca: bool) {
    let der = der_of(asked);
    let given: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    // The last symbol may have unused bits set.
    let mut encoded = STANDARD.encode(&der);
    encoded.truncate(encoded.trim_end_matches('=').len() - 1);
    assert!(given.contains(&encoded), "another CSR is sent");
    assert_eq!(asked["ttl"], "5400s");
    assert_eq!(asked["use_csr_values"] == true, is_ca);
    let Ok((_, csr)) = X509CertificationRequest::from_der(&der) else {
        return;
    };
    let subject = &csr.certification_request_info.subject;
    if let Some(name) = subject.iter_common_name().last() {
        let is_usual = [Tag::Utf8String, Tag::PrintableString].contains(&name.attr_value().tag());
        match name.as_str() {
            Ok(name) if is_usual => assert_eq!(asked["common_name"], name),
            _ => {}
        }
    }
    if is_ca {
        return;
    }
    let Some((names, is_plain)) = names_of(&csr) else {
        return;
    };
    let named = |kind: &str, is_told: fn(&str) -> bool| -> BTreeSet<String> {
        let of_kind = names
            .iter()
            .filter_map(|name| name.strip_prefix(kind)?.strip_prefix(' '));
        of_kind
            .filter(|name| !name.is_empty() && is_told(name))
            .map(str::to_owned)
            .collect()
    };
    let mut both = named("dns", |name| !name.contains(['@', ',']));
    both.extend(named("email", |name| name.contains('@') && !name.contains(',')));
    // Go writes other URIs anew.
    let is_settled = |uri: &str| {
        let rest = uri.strip_prefix("urn:").unwrap_or_default();
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let (uris, kept) = (list(&asked["uri_sans"]), named("uri", is_settled));
    assert!(!is_plain || kept.is_subset(&uris), "{uris:?} is less than {kept:?}");
    for (field, wanted) in [("alt_names", both), ("ip_sans", named("ip", |_| true))] {
        let listed = list(&asked[field]);
        assert!(listed.is_subset(&wanted), "{listed:?} is more than {wanted:?}");
        assert!(!is_plain || listed == wanted, "{listed:?} is less than {wanted:?}");
    }
}

/// Reads a list as Vault does: strings, or one with commas. Empty names are no names.
fn list(value: &Value) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = match value {
        Value::Array(values) => values
            .iter()
            .map(|value| value.as_str().expect("a string").to_owned())
            .collect(),
        Value::String(text) => text.split(',').map(str::to_owned).collect(),
        _ => BTreeSet::new(),
    };
    names.remove("");
    names
}

/// Returns the names that a CSR asks for, and whether all are encoded as they should be; `None` if x509-parser cannot read
/// them.
fn names_of(csr: &X509CertificationRequest<'_>) -> Option<(BTreeSet<String>, bool)> {
    let attributes = csr.certification_request_info.iter_attributes();
    let requested = attributes.filter_map(|attribute| match attribute.parsed_attribute() {
        ParsedCriAttribute::ExtensionRequest(requested) => Some(&requested.extensions),
        _ => None,
    });
    let (mut all, mut is_plain) = (BTreeSet::new(), true);
    for extension in requested.flatten() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(found) => all.extend(names::of(&found.general_names)),
            _ if extension.oid == OID_X509_EXT_SUBJECT_ALT_NAME => return None,
            _ => {}
        }
        // A string that says of itself that it is made of parts is a name to x509-parser all the same.
        is_plain &= !extension
            .value
            .iter()
            .any(|byte| matches!(byte, 0xa1 | 0xa2 | 0xa6 | 0xa7));
    }
    Some((all, is_plain))
}

/// `spec.duration`: every result fits into Go's, and is read again as it was.
pub fn duration(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(read) = issuer_core::duration::parse(&text) {
        assert!(i64::try_from(read.as_nanos()).is_ok(), "{read:?}");
        let seconds = read.as_secs();
        let written = format!(
            "{}h{}m{}.{:09}s",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
            read.subsec_nanos()
        );
        assert_eq!(issuer_core::duration::parse(&written), Some(read), "{written}");
        let sum = issuer_core::duration::parse(&format!("1h{}", text.trim_start_matches('+')));
        let fits = i64::try_from(read.as_nanos() + 3_600_000_000_000).is_ok();
        // A zero without a unit stands alone.
        let is_bare = text.trim_start_matches('+') == "0";
        let expected = Some(read + Duration::from_secs(3600)).filter(|_| fits && !is_bare);
        assert_eq!(sum, expected, "{text}");
    }
    if let Some((numbers, _)) = data.split_first_chunk::<5>() {
        let [a, b, c, d, e] = *numbers;
        let (hours, minutes, seconds) = (u64::from(u16::from_le_bytes([a, b])), u64::from(c), u64::from(d));
        let millis = u64::from(e);
        let whole = Duration::from_millis((hours * 3600 + minutes * 60 + seconds) * 1000 + millis);
        let read = issuer_core::duration::parse(&format!("{hours}h{minutes}m{seconds}s{millis}ms"));
        assert_eq!(read, Some(whole));
    }
}
