//! Certificates as Vault sends them, and the path from one of them up to a root.

use std::collections::BTreeSet;

use x509_parser::certificate::{TbsCertificate, X509Certificate};
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::{
    OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_EXTENDED_KEY_USAGE,
    OID_X509_EXT_KEY_USAGE, OID_X509_EXT_SUBJECT_ALT_NAME, OID_X509_EXT_SUBJECT_KEY_IDENTIFIER, Oid,
};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Version;

use crate::der::{self, Signed};
use crate::name::{CommonName, Name};
use crate::signatures::{SubjectPublicKey, Verdict};
use crate::usage::{Granted, Usage};
use crate::{KnownSignatures, Signatures};

/// A certificate, parsed as far as it is compared with a request or with its issuer.
#[derive(Clone, Debug)]
pub(crate) struct Certificate<'a> {
    pub(crate) der: &'a [u8],
    pub(crate) is_ca: bool,
    tbs: TbsCertificate<'a>,
    signed: Signed<'a>,
    key: SubjectPublicKey<'a>,
}

impl<'a> Certificate<'a> {
    /// Parses DER without trailing data; `None` if it is not a certificate or its basic constraints are not well-formed.
    pub(crate) fn parse(der: &'a [u8]) -> Option<Self> {
        let (_, x509) = X509Certificate::from_der(der).ok()?;
        let (tbs, signed) = (x509.tbs_certificate, Signed::parse(der)?);
        let is_ca = match tbs.get_extension_unique(&OID_X509_EXT_BASIC_CONSTRAINTS).ok()? {
            Some(extension) => match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(constraints) => constraints.ca,
                _ => return None,
            },
            // Without basic constraints it is no CA (RFC 5280, section 4.2.1.9).
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
        // Two parsers read the certificate: the fields that are compared must be those that are signed.
        let whole = certificate.tbs.as_ref() == signed.message;
        (whole && algorithm == signed.algorithm).then_some(certificate)
    }

    /// Returns the DER `SubjectPublicKeyInfo`.
    pub(crate) fn key(&self) -> &'a [u8] {
        self.tbs.subject_pki.raw
    }

    /// Returns the subject's common name; `None` if the subject is not well-formed.
    pub(crate) fn common_name(&self) -> Option<CommonName> {
        CommonName::parse(self.tbs.subject.as_raw())
    }

    /// Returns the subject alternative names; `None` if they are not well-formed.
    pub(crate) fn names(&self) -> Option<BTreeSet<Name>> {
        match self.extension(&OID_X509_EXT_SUBJECT_ALT_NAME)? {
            Some(value) => Name::parse_all(value),
            None => Some(BTreeSet::new()),
        }
    }

    /// Returns the usages that the certificate permits; `None` if their extensions are not well-formed.
    pub(crate) fn usages(&self) -> Option<Granted<'a>> {
        let key_usage = self.extension(&OID_X509_EXT_KEY_USAGE)?;
        Granted::parse(key_usage, self.extension(&OID_X509_EXT_EXTENDED_KEY_USAGE)?)
    }

    /// Returns `true` unless the key usages, if there are any, leave out the signing of certificates: Go's and other verifiers
    /// refuse what it has signed (RFC 5280, section 6.1.4).
    fn may_certify(&self) -> bool {
        let key_usage = self.extension(&OID_X509_EXT_KEY_USAGE);
        let granted = key_usage.and_then(|key_usage| Granted::parse(key_usage, None));
        granted.is_some_and(|granted| granted.includes(Usage::CERT_SIGN))
    }

    /// Returns the value of an extension, if the certificate has it; `None` if it has it twice.
    fn extension(&self, kind: &Oid<'_>) -> Option<Option<&'a [u8]>> {
        let extension = self.tbs.get_extension_unique(kind).ok()?;
        Some(extension.map(|extension| extension.value))
    }

    /// Returns the start and the end of the validity, in seconds of the Unix epoch.
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
            // DER begins with a zero if the next bit would be taken for a sign; Vault does not print it.
            .skip_while(|byte| **byte == 0)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        (!negative && !digits.is_empty()).then(|| digits.join(":"))
    }

    /// Returns `true` if the certificate's issuer has the name of `issuer`.
    fn is_named_by(&self, issuer: &Certificate<'_>) -> bool {
        self.tbs.issuer.as_raw() == issuer.tbs.subject.as_raw()
    }

    /// Returns `true` unless the key identifier of the certificate's issuer differs from that of `issuer`. It is a hint: the
    /// signature decides.
    fn is_named_by_key(&self, issuer: &Certificate<'_>) -> bool {
        let authority = self.tbs.get_extension_unique(&OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER);
        let subject = issuer.tbs.get_extension_unique(&OID_X509_EXT_SUBJECT_KEY_IDENTIFIER);
        let (Ok(Some(authority)), Ok(Some(subject))) = (authority, subject) else {
            return true;
        };
        match (authority.parsed_extension(), subject.parsed_extension()) {
            (ParsedExtension::AuthorityKeyIdentifier(authority), ParsedExtension::SubjectKeyIdentifier(subject)) => {
                authority.key_identifier.as_ref().is_none_or(|key| key == subject)
            }
            _ => true,
        }
    }

    /// Compares the certificate's issuer with `issuer`, by name and signature.
    fn is_signed_by(&self, issuer: &Certificate<'_>, signatures: &Signatures) -> Verdict {
        // The names too: one key may belong to CAs of several names.
        if !self.is_named_by(issuer) {
            return Verdict::Wrong;
        }
        let Signed {
            message,
            algorithm,
            signature,
        } = self.signed;
        signatures.verify(issuer.key, algorithm, message, signature)
    }

    /// Returns `true` if the certificate is self-signed. If its algorithm is not supported, such as an old root's SHA-1,
    /// the names decide: a root's own signature proves nothing.
    pub(crate) fn is_self_signed(&self, signatures: &Signatures) -> bool {
        self.is_signed_by(self, signatures) != Verdict::Wrong
    }
}

/// Verifies the signatures of one answer: at most [`BUDGET`] of them, which cost no more than [`WORK`], and those of CA
/// certificates that are known not again.
pub(crate) struct Verifier<'k> {
    signatures: &'k Signatures,
    known: &'k mut KnownSignatures,
    /// How many more may be verified.
    left: usize,
    /// How much these may cost.
    work: usize,
}

/// The most signatures of an answer that are verified: a server may send many CAs of one name, of which each may have signed
/// each. Of the longest chain that is read, each of sixteen certificates takes one, or two if its issuer has the same name.
pub(crate) const BUDGET: usize = 32;

/// The most that they cost, in signatures of P-256: as much as all of them where the keys are of RSA with 4096 bits.
pub(crate) const WORK: usize = 128;

impl<'k> Verifier<'k> {
    pub(crate) fn new(signatures: &'k Signatures, known: &'k mut KnownSignatures) -> Self {
        Self {
            signatures,
            known,
            left: BUDGET,
            work: WORK,
        }
    }

    /// Compares the issuer of a certificate with `issuer`, by name and signature.
    pub(crate) fn verify(
        &mut self,
        certificate: &Certificate<'_>,
        issuer: &Certificate<'_>,
    ) -> Result<Verdict, PathError> {
        if certificate.is_named_by(issuer) {
            self.left = self.left.checked_sub(1).ok_or(PathError::Expensive)?;
            self.work = self.work.checked_sub(issuer.key.cost()).ok_or(PathError::Expensive)?;
        }
        Ok(certificate.is_signed_by(issuer, self.signatures))
    }

    /// As [`verify`](Self::verify), but remembers a valid signature of a CA certificate.
    fn verify_ca(&mut self, ca: &Certificate<'_>, issuer: &Certificate<'_>) -> Result<Verdict, PathError> {
        if ca.is_named_by(issuer) && self.known.contains(ca.der, issuer.key()) {
            return Ok(Verdict::Valid);
        }
        let verdict = self.verify(ca, issuer)?;
        if verdict == Verdict::Valid {
            self.known.insert(ca.der, issuer.key());
        }
        Ok(verdict)
    }

    /// Returns the key of a candidate that has signed a certificate. No other key can have made the same signature, so each
    /// is tried once, and first those that the certificate names.
    fn issuing_key<'a>(
        &mut self,
        certificate: &Certificate<'a>,
        candidates: &[&Certificate<'a>],
        verify: impl Fn(&mut Self, &Certificate<'a>, &Certificate<'a>) -> Result<Verdict, PathError>,
    ) -> Result<&'a [u8], PathError> {
        let is_named = |candidate: &&&Certificate<'a>| certificate.is_named_by(candidate);
        let mut named: Vec<_> = candidates.iter().filter(is_named).collect();
        // Cached: to find a key identifier takes time for each extension.
        named.sort_by_cached_key(|candidate| !certificate.is_named_by_key(candidate));
        let mut tried = BTreeSet::new();
        let mut error = PathError::Broken;
        for candidate in named {
            if !tried.insert(candidate.key()) {
                continue;
            }
            match verify(self, certificate, candidate)? {
                Verdict::Valid => return Ok(candidate.key()),
                Verdict::Unsupported => error = PathError::Unsupported,
                Verdict::Wrong => {}
            }
        }
        Err(error)
    }

    /// Returns `true` if the CA is a root, as [`Certificate::is_self_signed`].
    fn is_root(&mut self, ca: &Certificate<'_>) -> Result<bool, PathError> {
        Ok(self.verify_ca(ca, ca)? != Verdict::Wrong)
    }

    /// Returns `true` if the certificate may sign others: as a CA whose key usages do not exclude it, or as a root of X.509
    /// version 1, which has no extensions.
    fn may_sign(&mut self, ca: &Certificate<'_>) -> Result<bool, PathError> {
        if ca.is_ca {
            return Ok(ca.may_certify());
        }
        Ok(ca.tbs.version != X509Version::V3 && self.is_root(ca)?)
    }
}

/// Returns the content of the `AlgorithmIdentifier` inside the signed part, which must equal the outer one.
fn inner_algorithm(message: &[u8]) -> Option<&[u8]> {
    let fields = der::elements(der::only(der::SEQUENCE, message)?)?;
    let versioned = fields.first()?.tag == der::CONTEXT_0;
    der::only(der::SEQUENCE, fields.get(1 + usize::from(versioned))?.whole)
}

/// The issuers of a certificate, as far as they are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Path<'p, 'a> {
    /// The certificate's issuer, the issuer's issuer, and so on.
    pub(crate) issuers: Vec<&'p Certificate<'a>>,
    /// The self-signed certificate above them, if one is reached.
    pub(crate) root: Option<&'p Certificate<'a>>,
    /// Other certificates that lead upward: cross-signed alternates of the issuers, and their issuers.
    /// None is self-signed.
    pub(crate) alternates: Vec<&'p Certificate<'a>>,
    /// The CAs that signed the certificate itself.
    pub(crate) signers: Vec<&'p Certificate<'a>>,
}

/// Why there is no path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PathError {
    /// No certificate of the pool signed the leaf.
    Broken,
    /// The search takes more than [`BUDGET`] signatures, or they cost more than [`WORK`].
    Expensive,
    /// The algorithm of the leaf's signature cannot be verified.
    Unsupported,
}

/// A certificate that was reached.
struct Link<'p, 'a> {
    certificate: &'p Certificate<'a>,
    is_root: bool,
    /// The index among all links of the certificate that it signed; `None` for the leaf.
    below: Option<usize>,
    depth: usize,
}

impl<'p, 'a> Path<'p, 'a> {
    /// Finds the shortest path from `leaf` to a self-signed certificate of the pool, or else the longest path.
    ///
    /// The search is breadth first and reaches each certificate once. Among equals, the first in the pool is chosen. Above
    /// the leaf's issuer, a signature that cannot be verified ends the path: clients have their own copy of what is above.
    pub(crate) fn find(
        leaf: &Certificate<'a>,
        pool: &'p [Certificate<'a>],
        verifier: &mut Verifier<'_>,
    ) -> Result<Self, PathError> {
        let links = climb(leaf, pool, verifier)?;
        if links.is_empty() {
            return Err(PathError::Broken);
        }
        let root = links.iter().position(|link| link.is_root);
        let farthest = || {
            (0..links.len())
                .rev()
                // `max_by_key` returns the last of equals, which is the first in the pool once reversed.
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
        // The first root that is reached has none below it.
        let issuers = on_path.iter().rev().filter_map(|at| links.get(*at));
        let issuers = issuers.filter(|link| !link.is_root).map(|link| link.certificate);
        let signers = links.iter().filter(|link| link.below.is_none());
        Ok(Self {
            issuers: issuers.collect(),
            root: root.and_then(|at| links.get(at)).map(|link| link.certificate),
            alternates,
            signers: signers.map(|link| link.certificate).collect(),
        })
    }
}

/// Reaches every certificate of the pool that leads upward from `leaf`, nearest first.
fn climb<'p, 'a>(
    leaf: &Certificate<'a>,
    pool: &'p [Certificate<'a>],
    verifier: &mut Verifier<'_>,
) -> Result<Vec<Link<'p, 'a>>, PathError> {
    let mut links: Vec<Link<'p, 'a>> = Vec::new();
    let mut rest: Vec<&'p Certificate<'a>> = pool.iter().collect();
    let mut below = None;
    loop {
        let child = below.and_then(|at: usize| links.get(at));
        let (child, depth) = child.map_or((None, 0), |link| (Some(link.certificate), link.depth + 1));
        let key = match child {
            // A leaf is refused for good only if its signature is surely wrong.
            None => Some(verifier.issuing_key(leaf, &rest, Verifier::verify)?),
            Some(ca) => match verifier.issuing_key(ca, &rest, Verifier::verify_ca) {
                Err(PathError::Expensive) => return Err(PathError::Expensive),
                key => key.ok(),
            },
        };
        let child = child.unwrap_or(leaf);
        let mut others = Vec::with_capacity(rest.len());
        // A certificate that was reached is not tried again, so cross-signatures in a circle end.
        for candidate in std::mem::take(&mut rest) {
            let signed = Some(candidate.key()) == key && child.is_named_by(candidate);
            if signed && verifier.may_sign(candidate)? {
                links.push(Link {
                    certificate: candidate,
                    is_root: verifier.is_root(candidate)?,
                    below,
                    depth,
                });
            } else {
                others.push(candidate);
            }
        }
        rest = others;
        below = Some(below.map_or(0, |at| at + 1));
        // All that were reached have been climbed from.
        if below >= Some(links.len()) {
            return Ok(links);
        }
    }
}
