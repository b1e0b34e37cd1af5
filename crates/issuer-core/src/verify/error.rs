//! Why an issued certificate does not match its request.

use jiff::Timestamp;

use super::{CERTIFICATES_LIMIT, SizeLimits};
use crate::chain::{BUDGET, PathError};

/// Why the issued certificate does not match the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// No certificate of the answer signed the issued one.
    #[error("Vault issued a certificate that is not signed by any CA of the returned chain")]
    BrokenChain,
    /// A CA certificate was issued, but not requested.
    #[error("Vault issued a CA certificate, which was not asked for; spec.path must name a sign endpoint")]
    Ca,
    /// The common name differs from the CSR's.
    #[error("Vault issued a certificate with another common name; see use_csr_common_name of its role")]
    CommonName,
    /// The certificate has already expired.
    #[error("Vault issued a certificate that has expired already, at {0}")]
    Expired(Timestamp),
    /// The certificate in `issuing_ca` did not sign the issued one.
    #[error("Vault issued a certificate that is not signed by the returned issuing_ca")]
    IssuingCa,
    /// The certificate is for another key than the CSR.
    #[error(
        "Vault issued a certificate for another key than the CSR's; spec.path must name a sign endpoint, not one that issues"
    )]
    Key,
    /// A certificate cannot be read.
    #[error("Vault's answer holds a certificate that is not well-formed")]
    Malformed,
    /// A requested name is missing.
    #[error("Vault issued a certificate without the {0}, which was asked for; see use_csr_sans of its role")]
    MissingName(String),
    /// The answer has no certificate.
    #[error("Vault's answer holds no certificate")]
    NoCertificate,
    /// A CA certificate was requested, but the issued certificate is not one.
    #[error("Vault issued no CA certificate, but one was asked for; spec.path must name a sign-intermediate endpoint")]
    NotCa,
    /// The certificate becomes valid more than an hour from now.
    #[error("Vault issued a certificate that is not valid before {0}; check the clocks")]
    NotYetValid(Timestamp),
    /// The serial number is zero or negative.
    #[error("Vault issued a certificate without a positive serial number")]
    Serial,
    /// The search for the issuers takes too many signatures, or those of too large keys: many CAs of the answer have one name.
    #[error(
        "Vault's answer holds so many CA certificates of the same name that more than {BUDGET} signatures, or fewer of large \
         keys, would have to be verified; leave those out of the chain of the mount's issuer that are not above it"
    )]
    TooExpensive,
    /// The answer has more certificates than are read.
    #[error("Vault's answer holds more than {CERTIFICATES_LIMIT} certificates")]
    TooMany,
    /// The answer, a certificate or the chain is larger than cert-manager reads.
    #[error(
        "Vault's answer holds more than cert-manager reads: {} bytes for a certificate, {} for a chain; if its limits \
         are raised, raise those of vault-issuer too",
        .0.certificate,
        .0.chain
    )]
    TooLarge(SizeLimits),
    /// The certificate is valid more than an hour longer than requested.
    #[error("Vault issued a certificate that lasts until {0}, longer than was asked for")]
    TooLong(Timestamp),
    /// A name was not requested.
    #[error("Vault issued a certificate with the {0}, which was not asked for")]
    UnexpectedName(String),
    /// The algorithm of the certificate's signature cannot be verified.
    #[error("Vault issued a certificate whose signature algorithm is not supported, such as one with SHA-1")]
    UnsupportedSignature,
}

impl From<PathError> for VerifyError {
    fn from(error: PathError) -> Self {
        match error {
            PathError::Broken => Self::BrokenChain,
            PathError::Expensive => Self::TooExpensive,
            PathError::Unsupported => Self::UnsupportedSignature,
        }
    }
}
