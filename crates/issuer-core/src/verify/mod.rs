use std::hash::{Hash, Hasher};

use jiff::Timestamp;

use crate::chain::{Certificate, Path, PathError};
use crate::name::Name;
use crate::signatures::Verdict;
use crate::{Now, Signatures, SigningRequest, der};

#[cfg(test)]
mod tests;

/// How far apart the clocks of Vault and the controller may be, and how far a CA may stretch a certificate's life.
const TOLERANCE: i64 = 60 * 60;

/// The most that is looked at, in bytes of PEM.
const ANSWER_LIMIT: usize = 1 << 20;

/// The most different certificates that an answer may hold: cert-manager's chain of ten, and cross-signed twins.
const CERTIFICATES_LIMIT: usize = 16;

/// What cert-manager reads back, in bytes of PEM: a certificate, and a chain (its `internal/pem/decode.go`).
const CERTIFICATE_LIMIT: usize = 36_500;
const CHAIN_LIMIT: usize = 95_000;

/// What Vault answered to a sign call. Each text may hold several PEM blocks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Issued {
    /// `data.certificate`: the issued certificate, and anything after it.
    pub certificate: String,
    /// `data.issuing_ca`: the CA that signed it.
    pub issuing_ca: Option<String>,
    /// `data.ca_chain`: that CA and those above it; after `sign-intermediate` also the issued certificate.
    pub ca_chain: Vec<String>,
}

/// A chain that is what was ordered. Only [`verify`] makes one.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Verified(Chain);

impl Verified {
    /// Returns the chain.
    pub fn chain(&self) -> &Chain {
        &self.0
    }
}

/// An issued certificate with its issuers, in the form in which cert-manager stores it.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// PEM: the certificate, its issuers upward without a self-signed root, then their cross-signed twins.
    pub certificate: String,
    /// PEM: the highest CA that is known; a self-signed root where Vault sent one.
    pub ca: Option<String>,
    /// The certificate's serial number as Vault prints it: lower-case hex with colons.
    pub serial: String,
    /// When the certificate expires.
    pub not_after: Timestamp,
}

impl Hash for Chain {
    /// The serial number stands for all of it.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.serial.hash(state);
    }
}

/// Why what Vault issued is not what was ordered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// No certificate of the chain signed the issued one.
    #[error("Vault issued a certificate that no CA of the chain it sent along has signed")]
    BrokenChain,
    /// A CA certificate was issued, but none was asked for.
    #[error("Vault issued a CA certificate, which was not asked for; spec.path must name a sign endpoint")]
    Ca,
    /// The common name is another one than the CSR's.
    #[error("Vault issued a certificate with another common name; see use_csr_common_name of its role")]
    CommonName,
    /// It is over already.
    #[error("Vault issued a certificate that has expired already, at {0}")]
    Expired(Timestamp),
    /// `issuing_ca` did not sign the certificate.
    #[error("Vault issued a certificate that the CA it names as the issuing one has not signed")]
    IssuingCa,
    /// The certificate is for another key than the CSR.
    #[error(
        "Vault issued a certificate for another key than the CSR's; spec.path must name a sign endpoint, not one that issues"
    )]
    Key,
    /// A certificate cannot be read.
    #[error("Vault's answer holds a certificate that is not well-formed")]
    Malformed,
    /// A name that was asked for is not there.
    #[error("Vault issued a certificate without the {0}, which was asked for; see use_csr_sans of its role")]
    MissingName(String),
    /// There is no certificate.
    #[error("Vault's answer holds no certificate")]
    NoCertificate,
    /// No CA certificate was issued, but one was asked for.
    #[error("Vault issued no CA certificate, but one was asked for; spec.path must name a sign-intermediate endpoint")]
    NotCa,
    /// It begins more than an hour from now.
    #[error("Vault issued a certificate that is valid only from {0} on; see the clocks")]
    NotYetValid(Timestamp),
    /// The serial number is zero or negative.
    #[error("Vault issued a certificate without a positive serial number")]
    Serial,
    /// There are more certificates than are looked at.
    #[error("Vault's answer holds more than {CERTIFICATES_LIMIT} certificates")]
    TooMany,
    /// The answer, a certificate or the chain is larger than cert-manager reads.
    #[error("Vault's answer holds more than cert-manager reads: 36500 bytes for a certificate, 95000 for a chain")]
    TooLarge,
    /// It lasts more than an hour longer than was asked for.
    #[error("Vault issued a certificate that lasts until {0}, longer than was asked for")]
    TooLong(Timestamp),
    /// A name is there that was not asked for.
    #[error("Vault issued a certificate with the {0}, which was not asked for")]
    UnexpectedName(String),
    /// A signature in the chain cannot be checked.
    #[error("Vault's chain has a signature algorithm that is not supported, such as one with SHA-1")]
    UnsupportedSignature,
}

/// Holds what Vault issued against what was ordered, and puts the chain in order.
///
/// The certificate must be for the CSR's key, a CA or not as ordered, with the names of the CSR and no others but its
/// common name's, valid now and not longer than ordered, and signed by a CA of the answer if there is any. It may be
/// shorter than ordered: a role caps. Subject fields and key usages are the role's business. Certificates that do not
/// belong to the chain are dropped.
pub fn verify(
    wanted: &SigningRequest,
    issued: &Issued,
    now: Now,
    signatures: &Signatures,
) -> Result<Verified, VerifyError> {
    let answer = Answer::read(issued)?;
    let leaf = Certificate::parse(&answer.leaf).ok_or(VerifyError::Malformed)?;
    check_key(wanted, &leaf)?;
    check_names(wanted, &leaf)?;
    let not_after = check_validity(wanted, &leaf, now)?;
    let serial = leaf.serial().ok_or(VerifyError::Serial)?;
    let pool: Option<Vec<_>> = answer.pool.iter().map(|der| Certificate::parse(der)).collect();
    let pool = pool.ok_or(VerifyError::Malformed)?;
    let path = issuers(&leaf, &pool, answer.issuing, signatures)?;
    let (certificate, ca) = write(&leaf, &path, signatures)?;
    Ok(Verified(Chain {
        certificate,
        ca,
        serial,
        not_after,
    }))
}

/// The certificates of an answer, DER, each once.
struct Answer {
    leaf: Vec<u8>,
    /// All others: those of `issuing_ca`, of `ca_chain`, of `certificate`.
    pool: Vec<Vec<u8>>,
    /// How many of these are of `issuing_ca`.
    issuing: usize,
}

impl Answer {
    fn read(issued: &Issued) -> Result<Self, VerifyError> {
        let issuing_ca = issued.issuing_ca.as_deref().unwrap_or_default();
        let chain = issued.ca_chain.iter().map(String::as_str);
        let texts = [issued.certificate.as_str(), issuing_ca];
        if texts.into_iter().chain(chain.clone()).map(str::len).sum::<usize>() > ANSWER_LIMIT {
            return Err(VerifyError::TooLarge);
        }
        let mut bundle = certificates(&issued.certificate);
        let leaf = bundle.next().ok_or(VerifyError::NoCertificate)??;
        let mut answer = Self {
            leaf,
            pool: Vec::new(),
            issuing: 0,
        };
        answer.add(certificates(issuing_ca))?;
        answer.issuing = answer.pool.len();
        answer.add(chain.flat_map(certificates).chain(bundle))?;
        Ok(answer)
    }

    fn add(&mut self, certificates: impl Iterator<Item = Result<Vec<u8>, VerifyError>>) -> Result<(), VerifyError> {
        for der in certificates {
            let der = der?;
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

fn certificates(text: &str) -> impl Iterator<Item = Result<Vec<u8>, VerifyError>> {
    let blocks = der::blocks(text).filter(|block| block.label == "CERTIFICATE");
    blocks.map(|block| block.der.ok_or(VerifyError::Malformed))
}

fn check_key(wanted: &SigningRequest, leaf: &Certificate<'_>) -> Result<(), VerifyError> {
    match (wanted.is_ca, leaf.is_ca) {
        _ if leaf.key() != wanted.key => Err(VerifyError::Key),
        (true, false) => Err(VerifyError::NotCa),
        (false, true) => Err(VerifyError::Ca),
        _ => Ok(()),
    }
}

fn check_names(wanted: &SigningRequest, leaf: &Certificate<'_>) -> Result<(), VerifyError> {
    let names = leaf.names().ok_or(VerifyError::Malformed)?;
    let common_name = leaf.common_name().map_err(|_| VerifyError::Malformed)?;
    let common_name = match (&wanted.common_name, &common_name) {
        (Some(ordered), Some(issued)) => ordered == issued,
        (Some(_), None) => false,
        (None, Some(issued)) => wanted.names.iter().any(|name| name.is_common_name(issued)),
        (None, None) => true,
    };
    if !common_name {
        return Err(VerifyError::CommonName);
    }
    if let Some(missing) = wanted.names.difference(&names).next() {
        return Err(VerifyError::MissingName(missing.to_string()));
    }
    // `exclude_cn_from_sans` is always sent, but sign-verbatim and CEL roles do not know it.
    let is_common_name = |name: &Name| {
        let common_name = wanted.common_name.as_deref();
        matches!(name, Name::Dns(_) | Name::Email(_)) && common_name.is_some_and(|text| name.is_common_name(text))
    };
    match names.difference(&wanted.names).find(|name| !is_common_name(name)) {
        Some(unexpected) => Err(VerifyError::UnexpectedName(unexpected.to_string())),
        None => Ok(()),
    }
}

/// Checks the validity as far as it can be with clocks that differ: a certificate lasts too long only if it does so
/// both by its own dates and by the clock here. Returns its end.
fn check_validity(wanted: &SigningRequest, leaf: &Certificate<'_>, now: Now) -> Result<Timestamp, VerifyError> {
    let seconds = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    let now = seconds(now.unix.as_secs());
    let longest = seconds(wanted.duration.as_secs()).saturating_add(TOLERANCE);
    let (not_before, not_after) = leaf.validity();
    let end = timestamp(not_after);
    if not_after <= now {
        Err(VerifyError::Expired(end))
    } else if not_before > now.saturating_add(TOLERANCE) {
        Err(VerifyError::NotYetValid(timestamp(not_before)))
    } else if not_after.saturating_sub(not_before) > longest && not_after > now.saturating_add(longest) {
        Err(VerifyError::TooLong(end))
    } else {
        Ok(end)
    }
}

/// Returns a moment; the end of time, as 9999-12-31T23:59:59Z stands for, is a day early.
fn timestamp(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

/// Finds the issuers of the certificate in what Vault sent along; without that there is nothing to find.
fn issuers<'p, 'a>(
    leaf: &Certificate<'a>,
    pool: &'p [Certificate<'a>],
    issuing: usize,
    signatures: &Signatures,
) -> Result<Path<'p, 'a>, VerifyError> {
    if pool.is_empty() || leaf.is_signed_by(leaf, signatures) == Verdict::Valid {
        return Ok(Path {
            issuers: Vec::new(),
            alternates: Vec::new(),
        });
    }
    let path = Path::find(leaf, pool, signatures).map_err(|error| match error {
        PathError::Broken => VerifyError::BrokenChain,
        PathError::Unsupported => VerifyError::UnsupportedSignature,
    })?;
    let mut issuing = pool.iter().take(issuing).peekable();
    let named = issuing.peek().is_some();
    if named && !issuing.any(|ca| leaf.is_signed_by(ca, signatures) == Verdict::Valid) {
        return Err(VerifyError::IssuingCa);
    }
    Ok(path)
}

/// Writes the chain and its highest CA as cert-manager stores them, if it can.
fn write(
    leaf: &Certificate<'_>,
    path: &Path<'_, '_>,
    signatures: &Signatures,
) -> Result<(String, Option<String>), VerifyError> {
    let pem = |certificate: &Certificate<'_>| der::pem("CERTIFICATE", certificate.der);
    let top = match path.issuers.last() {
        Some(top) => Some(*top),
        None => Some(leaf).filter(|leaf| leaf.is_self_signed(signatures)),
    };
    let issuers = path.issuers.iter().filter(|issuer| !issuer.is_self_signed(signatures));
    let written: Vec<String> = std::iter::once(&leaf)
        .chain(issuers)
        .chain(&path.alternates)
        .map(|each| pem(each))
        .collect();
    let ca = top.map(pem);
    let chain = written.concat();
    let storable = written.iter().chain(&ca).all(|each| each.len() <= CERTIFICATE_LIMIT);
    if storable && chain.len() <= CHAIN_LIMIT {
        Ok((chain, ca))
    } else {
        Err(VerifyError::TooLarge)
    }
}
