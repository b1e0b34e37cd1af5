//! Certificate signing requests (PKCS#10, RFC 2986), read as Go's `crypto/x509` reads them.
//!
//! cert-manager's webhook and Vault are written in Go, so a CSR that Go reads must be read here. x509-parser refuses a CSR
//! for an attribute that it cannot decode, such as a `challengePassword` in Latin-1; Go ignores all attributes but
//! the extension request. Where a structure has more elements than it should, Go takes these for those of a later version and
//! skips them, and so does this module, except in the key: the certificate would have it without them.

use std::collections::BTreeSet;

use crate::der::{self, Signed};
use crate::name::{CommonName, Name};
use crate::signatures::SubjectPublicKey;

/// The `extensionRequest` attribute, 1.2.840.113549.1.9.14 (RFC 2985 section 5.4.2).
const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14];

/// The `subjectAltName` extension, 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];

/// A CSR, split into its parts.
#[derive(Clone, Debug)]
pub(crate) struct Csr<'a> {
    pub(crate) signed: Signed<'a>,
    pub(crate) key: SubjectPublicKey<'a>,
    /// The DER `SubjectPublicKeyInfo`.
    pub(crate) raw_key: &'a [u8],
    pub(crate) common_name: CommonName,
    /// The value of the subject alternative name extension, if the CSR requests one.
    names: Option<&'a [u8]>,
}

impl<'a> Csr<'a> {
    /// Parses DER without trailing data; `None` if it is not a well-formed CSR or requests an extension twice.
    pub(crate) fn parse(der: &'a [u8]) -> Option<Self> {
        let signed = Signed::parse(der)?;
        let info = der::elements(der::only(der::SEQUENCE, signed.message)?)?;
        let [version, subject, key, attributes, ..] = info.as_slice() else {
            return None;
        };
        let sound = version.tag == der::INTEGER && attributes.tag == der::CONTEXT_0;
        let extensions = extensions(attributes.content).filter(|_| sound)?;
        let distinct: BTreeSet<_> = extensions.iter().map(|(kind, _)| kind).collect();
        let names = extensions.iter().find(|(kind, _)| *kind == SUBJECT_ALT_NAME);
        // Of two extensions of one kind another reader might take the other; Go refuses such a CSR.
        (distinct.len() == extensions.len()).then_some(Self {
            signed,
            key: SubjectPublicKey::parse(key.whole)?,
            raw_key: key.whole,
            common_name: CommonName::parse(subject.whole)?,
            names: names.map(|(_, value)| *value),
        })
    }

    /// Returns the subject alternative names that the CSR asks for; `None` if they are not well-formed.
    pub(crate) fn names(&self) -> Option<BTreeSet<Name>> {
        self.names.map_or_else(|| Some(BTreeSet::new()), Name::parse_all)
    }
}

/// An extension's object identifier and value.
type Extension<'a> = (&'a [u8], &'a [u8]);

/// Returns the extensions that a CSR's attributes request; `None` if a request is not well-formed.
fn extensions(attributes: &[u8]) -> Option<Vec<Extension<'_>>> {
    let mut all = Vec::new();
    for attribute in der::elements(attributes)? {
        if let Some(requested) = extension_request(attribute.whole) {
            for extension in der::elements(der::only(der::SEQUENCE, requested)?)? {
                all.push(parse_extension(extension.whole)?);
            }
        }
    }
    Some(all)
}

/// Returns the first value of an `extensionRequest` attribute; `None` for one without a value, and for any other attribute.
fn extension_request(attribute: &[u8]) -> Option<&[u8]> {
    let parts = der::elements(der::only(der::SEQUENCE, attribute)?)?;
    let [kind, values, ..] = parts.as_slice() else {
        return None;
    };
    let first = der::elements(der::only(der::SET, values.whole)?)?.first()?.whole;
    (der::only(der::OBJECT_IDENTIFIER, kind.whole)? == EXTENSION_REQUEST).then_some(first)
}

fn parse_extension(extension: &[u8]) -> Option<Extension<'_>> {
    let parts = der::elements(der::only(der::SEQUENCE, extension)?)?;
    let (kind, value) = match parts.as_slice() {
        [kind, critical, value, ..] if critical.tag == der::BOOLEAN => (kind, value),
        [kind, value, ..] => (kind, value),
        _ => return None,
    };
    let kind = der::only(der::OBJECT_IDENTIFIER, kind.whole)?;
    Some((kind, der::only(der::OCTET_STRING, value.whole)?))
}
