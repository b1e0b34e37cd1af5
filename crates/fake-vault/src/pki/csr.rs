//! Certificate signing requests, parsed as Vault does.

use std::net::IpAddr;

use rcgen::{CustomExtension, DistinguishedName, DnType, DnValue, SubjectPublicKeyInfo};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::der_parser::asn1_rs::{Oid, Tag};
use x509_parser::extensions::{GeneralName, ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::X509Name;

use crate::answer::Refusal;
use crate::ca::KeyType;

const SERIAL_NUMBER: &[u64] = &[2, 5, 4, 5];

/// A certificate signing request.
#[derive(Debug)]
pub(crate) struct Csr {
    pub(crate) key: SubjectPublicKeyInfo,
    pub(crate) key_type: KeyType,
    pub(crate) key_bits: usize,
    pub(crate) subject: DistinguishedName,
    pub(crate) common_name: String,
    /// The `serialNumber` attribute of the subject.
    pub(crate) subject_serial: String,
    pub(crate) names: Names,
    /// The requested extensions except basic constraints, which Vault ignores.
    pub(crate) extensions: Vec<CustomExtension>,
    /// Whether basic constraints are requested.
    pub(crate) has_basic_constraints: bool,
    /// Whether the CSR is signed by its own key.
    pub(crate) signature_valid: bool,
}

/// Subject alternative names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) dns: Vec<String>,
    pub(crate) emails: Vec<String>,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) uris: Vec<String>,
}

impl Csr {
    /// Parses the first PEM block, whatever its label.
    pub(crate) fn parse(pem: &str) -> Result<Self, Refusal> {
        if pem.is_empty() {
            return Err(Refusal::bad_request("\"csr\" is empty"));
        }
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes())
            .map_err(|_| Refusal::bad_request("csr contains no data"))?;
        let unparsable =
            |cause: &str| Refusal::bad_request(format!("certificate request could not be parsed: {cause}"));
        let (rest, csr) =
            X509CertificationRequest::from_der(&pem.contents).map_err(|_| unparsable("asn1: structure error"))?;
        if !rest.is_empty() {
            return Err(unparsable("asn1: syntax error: trailing data"));
        }
        let info = &csr.certification_request_info;
        let (key_type, key_bits) = match info.subject_pki.parsed() {
            Ok(PublicKey::RSA(key)) => (KeyType::Rsa, key.key_size()),
            Ok(PublicKey::EC(point)) => (KeyType::Ec, point.key_size()),
            _ => (KeyType::Ed25519, 0),
        };
        let key = SubjectPublicKeyInfo::from_der(info.subject_pki.raw)
            .map_err(|_| Refusal::bad_request("Unknown key type in CSR: UnknownPublicKeyAlgorithm"))?;
        let requested = info
            .iter_attributes()
            .find_map(|attribute| match attribute.parsed_attribute() {
                ParsedCriAttribute::ExtensionRequest(requested) => Some(&requested.extensions),
                _ => None,
            });
        let requested: &[X509Extension<'_>] = requested.map_or(&[], Vec::as_slice);
        let attribute = |oid: &[u64]| attribute(&info.subject, oid).unwrap_or_default();
        Ok(Self {
            key,
            key_type,
            key_bits,
            subject: subject(&info.subject),
            common_name: attribute(&[2, 5, 4, 3]),
            subject_serial: attribute(SERIAL_NUMBER),
            names: names(requested).ok_or_else(|| unparsable("x509: invalid name"))?,
            has_basic_constraints: requested.iter().any(is_basic_constraints),
            extensions: requested.iter().filter_map(extension).collect(),
            signature_valid: csr.verify_signature().is_ok(),
        })
    }

    /// Returns `true` if an extension is requested.
    pub(crate) fn requests(&self, oid: &[u64]) -> bool {
        self.extensions
            .iter()
            .any(|extension| extension.oid_components().eq(oid.iter().copied()))
    }
}

fn names(extensions: &[X509Extension<'_>]) -> Option<Names> {
    let mut names = Names::default();
    let general = extensions
        .iter()
        .filter_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(san) => Some(&san.general_names),
            _ => None,
        });
    for name in general.flatten() {
        match name {
            GeneralName::DNSName(name) => names.dns.push((*name).to_owned()),
            GeneralName::RFC822Name(name) => names.emails.push((*name).to_owned()),
            GeneralName::URI(name) => names.uris.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => names.ips.push(ip(bytes)?),
            _ => {}
        }
    }
    Some(names)
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn is_basic_constraints(extension: &X509Extension<'_>) -> bool {
    matches!(extension.parsed_extension(), ParsedExtension::BasicConstraints(_))
}

fn extension(extension: &X509Extension<'_>) -> Option<CustomExtension> {
    if is_basic_constraints(extension) {
        return None;
    }
    let oid = components(&extension.oid)?;
    let mut copy = CustomExtension::from_oid_content(&oid, extension.value.to_vec());
    copy.set_criticality(extension.critical);
    Some(copy)
}

fn components(oid: &Oid<'_>) -> Option<Vec<u64>> {
    Some(oid.iter()?.collect())
}

fn attribute(name: &X509Name<'_>, oid: &[u64]) -> Option<String> {
    let mut attributes = name.iter_attributes();
    let found = attributes.find(|a| components(a.attr_type()).is_some_and(|own| own == oid))?;
    Some(found.as_str().ok()?.to_owned())
}

/// Copies a subject; of several attributes of one type the last remains.
fn subject(name: &X509Name<'_>) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    for attribute in name.iter_attributes() {
        let (Some(oid), Ok(text)) = (components(attribute.attr_type()), attribute.as_str()) else {
            continue;
        };
        let printable = attribute.attr_value().header.tag() == Tag::PrintableString;
        let value = match text.try_into() {
            Ok(text) if printable => DnValue::PrintableString(text),
            _ => DnValue::Utf8String(text.to_owned()),
        };
        subject.push(DnType::from_oid(&oid), value);
    }
    subject
}
