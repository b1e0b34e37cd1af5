//! Certificates as Vault sends them, and the way from one of them up to a root.

use std::collections::BTreeSet;

use x509_parser::certificate::{TbsCertificate, X509Certificate};
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::{OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_SUBJECT_ALT_NAME};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Version;

use crate::Signatures;
use crate::der::{self, Signed};
use crate::name::{self, Name, UnreadableCommonName};
use crate::signatures::{SubjectPublicKey, Verdict};

/// A certificate, read as far as it can be held against an order or against its issuer.
#[derive(Clone, Debug)]
pub(crate) struct Certificate<'a> {
    pub(crate) der: &'a [u8],
    pub(crate) is_ca: bool,
    tbs: TbsCertificate<'a>,
    signed: Signed<'a>,
    key: SubjectPublicKey<'a>,
}

impl<'a> Certificate<'a> {
    /// Parses DER without anything after it; `None` if it is no certificate or its basic constraints are not well-formed.
    pub(crate) fn parse(der: &'a [u8]) -> Option<Self> {
        let (_, x509) = X509Certificate::from_der(der).ok()?;
        let (tbs, signed) = (x509.tbs_certificate, Signed::parse(der)?);
        let is_ca = match tbs.get_extension_unique(&OID_X509_EXT_BASIC_CONSTRAINTS).ok()? {
            Some(extension) => match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(constraints) => constraints.ca,
                _ => return None,
            },
            None => false,
        };
        let certificate = Self {
            der,
            is_ca,
            key: SubjectPublicKey::parse(tbs.subject_pki.raw)?,
            tbs,
            signed,
        };
        let algorithm = inner_algorithm(signed.message)?;
        let whole = certificate.tbs.as_ref() == signed.message;
        (whole && algorithm == signed.algorithm).then_some(certificate)
    }

    /// Returns the DER `SubjectPublicKeyInfo`.
    pub(crate) fn key(&self) -> &'a [u8] {
        self.tbs.subject_pki.raw
    }

    /// Returns the subject's common name.
    pub(crate) fn common_name(&self) -> Result<Option<String>, UnreadableCommonName> {
        name::common_name(&self.tbs.subject)
    }

    /// Returns the subject alternative names; `None` if they are not well-formed.
    pub(crate) fn names(&self) -> Option<BTreeSet<Name>> {
        match self.tbs.get_extension_unique(&OID_X509_EXT_SUBJECT_ALT_NAME).ok()? {
            Some(extension) => Name::parse_all(extension.value),
            None => Some(BTreeSet::new()),
        }
    }

    /// Returns the seconds of the Unix epoch from which on and up to which the certificate is valid.
    pub(crate) fn validity(&self) -> (i64, i64) {
        let validity = &self.tbs.validity;
        (validity.not_before.timestamp(), validity.not_after.timestamp())
    }

    /// Returns the serial number as Vault prints it, lower-case hex with colons; `None` unless it is positive.
    pub(crate) fn serial(&self) -> Option<String> {
        let bytes = self.tbs.raw_serial();
        let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
        let digits: Vec<_> = bytes
            .iter()
            .skip_while(|byte| **byte == 0)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        (!negative && !digits.is_empty()).then(|| digits.join(":"))
    }

    /// Tells whether the certificate's issuer is `issuer` by name and signature.
    pub(crate) fn is_signed_by(&self, issuer: &Certificate<'_>, signatures: &Signatures) -> Verdict {
        if self.tbs.issuer.as_raw() != issuer.tbs.subject.as_raw() {
            return Verdict::Wrong;
        }
        let Signed {
            message,
            algorithm,
            signature,
        } = self.signed;
        signatures.verify(issuer.key, algorithm, message, signature)
    }

    /// Tells whether the certificate is self-signed. Where that cannot be checked, as with an old root's SHA-1, its
    /// names decide: nobody needs a root's signature.
    pub(crate) fn is_self_signed(&self, signatures: &Signatures) -> bool {
        self.is_signed_by(self, signatures) != Verdict::Wrong
    }

    /// Tells whether the certificate may sign others: as a CA, or as a root from before there were extensions.
    fn may_sign(&self, signatures: &Signatures) -> bool {
        self.is_ca || (self.tbs.version != X509Version::V3 && self.is_self_signed(signatures))
    }
}

/// Returns the content of the `AlgorithmIdentifier` inside the signed part, which must be that outside.
fn inner_algorithm(message: &[u8]) -> Option<&[u8]> {
    let fields = der::elements(der::only(der::SEQUENCE, message)?)?;
    let versioned = fields.first()?.tag == der::CONTEXT_0;
    der::only(der::SEQUENCE, fields.get(1 + usize::from(versioned))?.whole)
}

/// The issuers of a certificate, as far as they are known.
#[derive(Clone, Debug)]
pub(crate) struct Path<'p, 'a> {
    /// The certificate's issuer, that one's issuer, and so on; the last is self-signed if any that is reached is.
    pub(crate) issuers: Vec<&'p Certificate<'a>>,
    /// Other certificates that lead upward from the certificate: cross-signed twins of the issuers, and their issuers.
    /// None is self-signed.
    pub(crate) alternates: Vec<&'p Certificate<'a>>,
}

/// Why there is no way upward.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PathError {
    /// No certificate of the pool signed the one that is asked about.
    Broken,
    /// The signature algorithm of a certificate on the way cannot be checked.
    Unsupported,
}

/// A certificate that was reached.
struct Link<'p, 'a> {
    certificate: &'p Certificate<'a>,
    is_root: bool,
    /// The place among all links of the certificate that it signed; `None` for the one that is asked about.
    below: Option<usize>,
    depth: usize,
}

impl<'p, 'a> Path<'p, 'a> {
    /// Finds the shortest way from `leaf` to a self-signed certificate of the pool, else the way to the farthest one.
    ///
    /// The search goes breadth first and reaches each certificate once, so it checks at most `pool.len()` squared
    /// signatures. Among equals, the one that comes first in the pool is taken.
    pub(crate) fn find(
        leaf: &Certificate<'a>,
        pool: &'p [Certificate<'a>],
        signatures: &Signatures,
    ) -> Result<Self, PathError> {
        let (links, unsupported) = climb(leaf, pool, signatures);
        let root = links.iter().position(|link| link.is_root);
        if root.is_none() && unsupported {
            return Err(PathError::Unsupported);
        }
        let farthest = || {
            (0..links.len())
                .rev()
                .max_by_key(|at| links.get(*at).map(|link| link.depth))
        };
        let mut next = root.or_else(farthest);
        let mut on_path = Vec::new();
        while let Some(link) = next.and_then(|at| links.get(at)) {
            on_path.extend(next);
            next = link.below;
        }
        let beside = |(at, link): &(usize, &Link<'p, 'a>)| !link.is_root && !on_path.contains(at);
        let alternates = links
            .iter()
            .enumerate()
            .filter(beside)
            .map(|(_, link)| link.certificate)
            .collect();
        let issuers: Vec<_> = on_path
            .iter()
            .rev()
            .filter_map(|at| links.get(*at))
            .map(|link| link.certificate)
            .collect();
        if issuers.is_empty() {
            Err(PathError::Broken)
        } else {
            Ok(Self { issuers, alternates })
        }
    }
}

/// Reaches every certificate of the pool that leads upward from `leaf`, nearest first. Tells also whether a signature
/// could not be checked.
fn climb<'p, 'a>(
    leaf: &Certificate<'a>,
    pool: &'p [Certificate<'a>],
    signatures: &Signatures,
) -> (Vec<Link<'p, 'a>>, bool) {
    let mut links: Vec<Link<'p, 'a>> = Vec::new();
    let mut unsupported = false;
    let mut rest: Vec<&Certificate<'a>> = pool.iter().collect();
    let mut below = None;
    loop {
        let (child, depth) = match below.and_then(|at: usize| links.get(at)) {
            Some(link) => (link.certificate, link.depth + 1),
            None => (leaf, 0),
        };
        rest.retain(|candidate| match child.is_signed_by(candidate, signatures) {
            Verdict::Valid if candidate.may_sign(signatures) => {
                let is_root = candidate.is_self_signed(signatures);
                links.push(Link {
                    certificate: candidate,
                    is_root,
                    below,
                    depth,
                });
                false
            }
            verdict => {
                unsupported |= verdict == Verdict::Unsupported;
                true
            }
        });
        below = Some(below.map_or(0, |at| at + 1));
        if below >= Some(links.len()) {
            return (links, unsupported);
        }
    }
}
