//! Verifies that an issued certificate matches its request.

use std::cell::LazyCell;
use std::hash::{Hash, Hasher};
use std::ptr;
use std::time::Duration;

use issuer_api::VerificationMode;
use jiff::Timestamp;

use crate::chain::{Certificate, Path, Verifier};
use crate::name::{CommonName, Name};
use crate::signatures::Verdict;
use crate::{KnownSignatures, Now, Signatures, SigningRequest, pem};

mod error;
#[cfg(test)]
mod tests;

pub use error::VerifyError;

/// The difference between the clocks of Vault and the controller that is allowed for, and the time by which a CA may
/// extend the validity.
const TOLERANCE: i64 = 60 * 60;

/// The largest answer that is read, in bytes of PEM.
const ANSWER_LIMIT: usize = 1 << 20;

/// The largest number of different certificates in an answer: cert-manager's chain of ten, and cross-signed alternates.
const CERTIFICATES_LIMIT: usize = 16;

/// Sizes in bytes of PEM up to which cert-manager reads what it finds in a `CertificateRequest`.
///
/// The defaults are cert-manager's (its `internal/pem/decode.go`). It can be told to read more with
/// `--max-certificate-size` and `--max-certificate-chain-length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SizeLimits {
    /// One certificate.
    pub certificate: usize,
    /// The certificate and its issuers together.
    pub chain: usize,
}

impl Default for SizeLimits {
    fn default() -> Self {
        Self {
            certificate: 36_500,
            chain: 95_000,
        }
    }
}

/// How an answer is verified.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct VerifyOptions {
    /// The signature algorithms that can be verified.
    pub signatures: Signatures,
    /// The signatures of CAs that were verified before.
    pub known: KnownSignatures,
    /// The sizes that cert-manager reads.
    pub limits: SizeLimits,
    /// How closely the certificate must match its request.
    pub mode: VerificationMode,
}

impl From<Signatures> for VerifyOptions {
    /// Returns the options with cert-manager's default limits, to verify all that was requested.
    fn from(signatures: Signatures) -> Self {
        Self {
            signatures,
            known: KnownSignatures::default(),
            limits: SizeLimits::default(),
            mode: VerificationMode::Strict,
        }
    }
}

/// Vault's answer to a sign call. Each text may hold several PEM blocks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Issued {
    /// `data.certificate`: the issued certificate, and anything after it.
    pub certificate: String,
    /// `data.issuing_ca`: the CA that signed it.
    pub issuing_ca: Option<String>,
    /// `data.ca_chain`: that CA and those above it; after `sign-intermediate` also the issued certificate.
    pub ca_chain: Vec<String>,
    /// Whether the answer has a `lease_id`.
    pub is_leased: bool,
}

/// A chain that matches the request. Only [`verify`] makes one.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Verified {
    chain: Chain,
    known: KnownSignatures,
}

impl Verified {
    /// Returns the chain.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Returns the signatures of CAs that were known before or are since this verification.
    pub fn known(&self) -> &KnownSignatures {
        &self.known
    }
}

/// An issued certificate with its issuers, in the form in which cert-manager stores it.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// PEM: the certificate, its issuers upward without a self-signed root, then their cross-signed alternates.
    pub certificate: String,
    /// PEM: the highest CA that is known; a self-signed root if Vault sent one.
    pub ca: Option<String>,
    /// The certificate's serial number as Vault prints it: lower-case hex with colons.
    pub serial: String,
    /// When the certificate expires.
    pub not_after: Timestamp,
    /// When the first of the CAs above it expires; `None` if none is known.
    pub ca_not_after: Option<Timestamp>,
    /// The names of the requested usages that the certificate does not have.
    pub missing_usages: Vec<&'static str>,
    /// Whether the certificate has a lease: Vault revokes it when the token that requested it ends.
    pub is_leased: bool,
}

impl Hash for Chain {
    /// Hashes the serial number only: it identifies the chain.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.serial.hash(state);
    }
}

/// Compares Vault's answer with the request, and puts the chain in order.
///
/// The certificate must be for the CSR's key, a CA certificate or not as requested, with the names of the CSR and no others
/// but its common name's, valid now, not valid for longer than requested, and signed by a CA of the answer if there is
/// any. It may expire earlier: roles have a maximum. Subject fields are up to the role, and so are usages, but those that
/// were requested and not granted are listed. Certificates that do not belong to the chain are dropped, and so is any
/// above the issuing CA whose relation to the chain cannot be verified.
///
/// [`VerificationMode::Vault`] leaves names and lifetime to Vault.
///
/// # Errors
///
/// Returns an error if the certificate must not be used for this request.
pub fn verify(
    wanted: &SigningRequest,
    issued: &Issued,
    now: Now,
    options: &VerifyOptions,
) -> Result<Verified, VerifyError> {
    let answer = Answer::read(issued, options.limits)?;
    let leaf = Certificate::parse(&answer.leaf).ok_or(VerifyError::Malformed)?;
    // Comparisons first: signatures are verified only for a certificate that matches.
    check_key(wanted, &leaf)?;
    let is_strict = options.mode == VerificationMode::Strict;
    if is_strict {
        check_names(wanted, &leaf)?;
    }
    let not_after = check_validity(&leaf, now)?;
    if is_strict {
        check_lifetime(wanted, &leaf, now)?;
    }
    // The audit log of Vault is searched by the serial number, so a certificate without one is refused.
    let serial = leaf.serial().ok_or(VerifyError::Serial)?;
    let granted = leaf.usages().ok_or(VerifyError::Malformed)?;
    let missing = wanted.usages.iter().filter(|usage| !granted.includes(**usage));
    let pool: Option<Vec<_>> = answer.pool.iter().map(|der| Certificate::parse(der)).collect();
    let pool = pool.ok_or(VerifyError::Malformed)?;
    let mut known = options.known.clone();
    let path = issuers(
        &leaf,
        &pool,
        answer.issuing,
        Verifier::new(&options.signatures, &mut known),
    )?;
    let (certificate, ca) = write(&leaf, &path, options)?;
    let ends = path.issuers.iter().chain(&path.root).map(|ca| ca.validity().1);
    let chain = Chain {
        certificate,
        ca,
        serial,
        not_after,
        ca_not_after: ends.min().map(timestamp),
        missing_usages: missing.map(|usage| usage.name).collect(),
        is_leased: issued.is_leased,
    };
    Ok(Verified { chain, known })
}

/// The certificates of an answer, DER, each once.
struct Answer {
    leaf: Vec<u8>,
    /// All others: those of `issuing_ca`, of `ca_chain`, of `certificate`.
    pool: Vec<Vec<u8>>,
    /// How many of these are from `issuing_ca`.
    issuing: usize,
    limits: SizeLimits,
}

impl Answer {
    fn read(issued: &Issued, limits: SizeLimits) -> Result<Self, VerifyError> {
        let issuing_ca = issued.issuing_ca.as_deref().unwrap_or_default();
        let chain = issued.ca_chain.iter().map(String::as_str);
        let texts = [issued.certificate.as_str(), issuing_ca];
        if texts.into_iter().chain(chain.clone()).map(str::len).sum::<usize>() > ANSWER_LIMIT {
            return Err(VerifyError::TooLarge(limits));
        }
        let mut bundle = certificates(&issued.certificate);
        let leaf = bundle.next().ok_or(VerifyError::NoCertificate)??;
        let mut answer = Self {
            leaf: readable(leaf, limits)?,
            pool: Vec::new(),
            issuing: 0,
            limits,
        };
        answer.add(certificates(issuing_ca))?;
        answer.issuing = answer.pool.len();
        answer.add(chain.flat_map(certificates).chain(bundle))?;
        Ok(answer)
    }

    fn add(&mut self, certificates: impl Iterator<Item = Result<Vec<u8>, VerifyError>>) -> Result<(), VerifyError> {
        for der in certificates {
            let der = readable(der?, self.limits)?;
            // `ca_chain` repeats `issuing_ca`, and after `sign-intermediate` the certificate itself.
            if der != self.leaf && !self.pool.contains(&der) {
                self.pool.push(der);
            }
            if self.pool.len() >= CERTIFICATES_LIMIT {
                return Err(VerifyError::TooMany);
            }
        }
        Ok(())
    }
}

/// Returns a certificate unless cert-manager could not read it. That is known before it is parsed, which takes many times
/// its size.
fn readable(der: Vec<u8>, limits: SizeLimits) -> Result<Vec<u8>, VerifyError> {
    // As base64, without the frame and the ends of lines.
    if der.len().div_ceil(3) * 4 > limits.certificate {
        return Err(VerifyError::TooLarge(limits));
    }
    Ok(der)
}

fn certificates(text: &str) -> impl Iterator<Item = Result<Vec<u8>, VerifyError>> {
    let blocks = pem::blocks(text).filter(|block| block.label == "CERTIFICATE");
    blocks.map(|block| block.der.ok_or(VerifyError::Malformed))
}

fn check_key(wanted: &SigningRequest, leaf: &Certificate<'_>) -> Result<(), VerifyError> {
    match (wanted.is_ca, leaf.is_ca) {
        // The key first: with another one, nothing else in the certificate is about this request.
        _ if leaf.key() != wanted.key => Err(VerifyError::Key),
        (true, false) => Err(VerifyError::NotCa),
        (false, true) => Err(VerifyError::Ca),
        _ => Ok(()),
    }
}

fn check_names(wanted: &SigningRequest, leaf: &Certificate<'_>) -> Result<(), VerifyError> {
    let names = leaf.names().ok_or(VerifyError::Malformed)?;
    let common_name = match (&wanted.common_name, leaf.common_name().ok_or(VerifyError::Malformed)?) {
        (CommonName::Text(requested), CommonName::Text(issued)) => *requested == issued,
        (_, CommonName::Text(issued)) => !wanted.names.is_disjoint(&Name::meant_by(&issued)),
        (requested, CommonName::Unreadable) => *requested == CommonName::Unreadable,
        (requested, CommonName::Absent) => requested.text().is_none(),
    };
    if !common_name {
        return Err(VerifyError::CommonName);
    }
    if let Some(missing) = wanted.names.difference(&names).next() {
        return Err(VerifyError::MissingName(missing.to_string()));
    }
    // `exclude_cn_from_sans` is always sent, but sign-verbatim and CEL roles ignore it.
    let meant = LazyCell::new(|| wanted.common_name.text().map(Name::meant_by).unwrap_or_default());
    let is_common_name = |name: &Name| matches!(name, Name::Dns(_) | Name::Email(_)) && meant.contains(name);
    match names.difference(&wanted.names).find(|name| !is_common_name(name)) {
        Some(unexpected) => Err(VerifyError::UnexpectedName(unexpected.to_string())),
        None => Ok(()),
    }
}

/// Checks that a certificate is valid now, with the tolerance that clocks need. Returns its end.
fn check_validity(leaf: &Certificate<'_>, now: Now) -> Result<Timestamp, VerifyError> {
    let now = seconds(now.unix);
    let (not_before, not_after) = leaf.validity();
    let end = timestamp(not_after);
    // No tolerance at the end: clients with the right time refuse the certificate.
    if not_after <= now {
        Err(VerifyError::Expired(end))
    } else if not_before > now.saturating_add(TOLERANCE) {
        Err(VerifyError::NotYetValid(timestamp(not_before)))
    } else {
        Ok(end)
    }
}

/// Checks that a certificate lives no longer than requested, as far as possible with clocks that differ: it lives too long
/// only if it does so both by its own dates and by the clock here.
fn check_lifetime(wanted: &SigningRequest, leaf: &Certificate<'_>, now: Now) -> Result<(), VerifyError> {
    let longest = wanted.longest().map_or(i64::MAX, seconds).saturating_add(TOLERANCE);
    let (not_before, not_after) = leaf.validity();
    if not_after.saturating_sub(not_before) > longest && not_after > seconds(now.unix).saturating_add(longest) {
        Err(VerifyError::TooLong(timestamp(not_after)))
    } else {
        Ok(())
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// Returns the timestamp; the latest that there is for 9999-12-31T23:59:59Z, which stands for "no end".
fn timestamp(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

/// Finds the issuers of the certificate among those that Vault sent, if it sent any.
fn issuers<'p, 'a>(
    leaf: &Certificate<'a>,
    pool: &'p [Certificate<'a>],
    issuing: usize,
    mut verifier: Verifier<'_>,
) -> Result<Path<'p, 'a>, VerifyError> {
    if pool.is_empty() || verifier.verify(leaf, leaf)? == Verdict::Valid {
        return Ok(Path::default());
    }
    let path = Path::find(leaf, pool, &mut verifier)?;
    // The path may lead over another cross-signed CA; the one that Vault names must have signed all the same.
    let mut has_signed = issuing == 0;
    for ca in pool.iter().take(issuing) {
        let is_signer = path.signers.iter().any(|signer| ptr::eq(*signer, ca));
        has_signed = has_signed || is_signer || verifier.verify(leaf, ca)? == Verdict::Valid;
    }
    has_signed.then_some(path).ok_or(VerifyError::IssuingCa)
}

/// Returns the chain and its highest CA as cert-manager stores them, if it reads as much.
fn write(
    leaf: &Certificate<'_>,
    path: &Path<'_, '_>,
    options: &VerifyOptions,
) -> Result<(String, Option<String>), VerifyError> {
    let VerifyOptions { signatures, limits, .. } = options;
    let pem = |certificate: &Certificate<'_>| pem::encode("CERTIFICATE", certificate.der);
    let top = match path.root.or_else(|| path.issuers.last().copied()) {
        Some(top) => Some(top),
        // A self-signed certificate is its own CA: clients must trust it itself.
        None => Some(leaf).filter(|leaf| leaf.is_self_signed(signatures)),
    };
    // Without the root, which clients have to know themselves (RFC 8446, section 4.4.2): the path leaves it out.
    let written: Vec<String> = std::iter::once(&leaf)
        .chain(&path.issuers)
        .chain(&path.alternates)
        .map(|each| pem(each))
        .collect();
    let ca = top.map(pem);
    let chain = written.concat();
    let storable = written.iter().chain(&ca).all(|each| each.len() <= limits.certificate);
    if storable && chain.len() <= limits.chain {
        Ok((chain, ca))
    } else {
        Err(VerifyError::TooLarge(*limits))
    }
}
