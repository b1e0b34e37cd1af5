//! A certificate to be signed, from the fields of a request.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::Signatures;
use crate::csr::Csr;
use crate::duration;
use crate::name::{CommonName, Name};
use crate::pem;
use crate::signatures::Verdict;
use crate::usage::Usage;

/// The largest CSR that is read, in bytes of PEM; cert-manager's webhook admits less.
const PEM_LIMIT: usize = 100_000;

/// cert-manager's default: 90 days.
const DEFAULT_DURATION: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The fields of a request that decide what is signed, by the names of a `CertificateRequest`.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestSpec<'a> {
    /// `spec.request`: the CSR as PEM.
    pub csr: &'a [u8],
    /// `spec.duration`, as Go writes durations.
    pub duration: Option<&'a str>,
    /// The shortest duration that may be asked for. If it is not zero, the role's default cannot be asked for either.
    pub least_duration: Duration,
    /// `spec.isCA`.
    pub is_ca: bool,
    /// `spec.usages`.
    pub usages: &'a [String],
}

/// A certificate to be signed: the checked CSR and the requirements of the spec.
///
/// # Examples
///
/// ```
/// use issuer_core::{RequestSpec, Signatures, SigningRequest, SigningRequestError};
///
/// let spec = RequestSpec { csr: b"no PEM", ..RequestSpec::default() };
/// let refused = SigningRequest::parse(spec, &Signatures(&[]));
/// assert_eq!(refused, Err(SigningRequestError::NoRequest));
/// ```
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct SigningRequest {
    /// The CSR as PEM, encoded again, so that nothing beside it is sent to Vault.
    csr: String,
    /// The DER `SubjectPublicKeyInfo`.
    pub(crate) key: Vec<u8>,
    pub(crate) common_name: CommonName,
    /// The subject alternative names, of every kind.
    pub(crate) names: BTreeSet<Name>,
    lifetime: Lifetime,
    pub(crate) is_ca: bool,
    pub(crate) usages: Vec<Usage>,
}

/// The requested lifetime of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Lifetime {
    /// At most `spec.duration`.
    Asked(Duration),
    /// cert-manager's default of 90 days, since there is no `spec.duration`.
    Default,
    /// The role decides.
    Role,
}

/// Why a request can never be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SigningRequestError {
    /// The requested duration is malformed or shorter than a second.
    #[error("the requested duration is not one of a second or more, such as 2160h or 1h30m")]
    Duration,
    /// The requested duration is shorter than requests of this kind may ask for.
    #[error("the requested duration is shorter than {}s", .0.as_secs())]
    DurationTooShort(Duration),
    /// The PEM block is not a PKCS#10 request.
    #[error("spec.request is not a well-formed PKCS#10 certificate signing request")]
    Malformed,
    /// The subject alternative names cannot be read.
    #[error("the CSR's subject alternative names are not well-formed")]
    Names,
    /// There is no PEM block that Go would find.
    #[error(
        "spec.request holds no whole PEM block: -----BEGIN CERTIFICATE REQUEST----- and its end each take a line of their \
         own, with base64 in between"
    )]
    NoRequest,
    /// The CSR's key did not make its signature.
    #[error("the CSR's signature was not made by the CSR's key")]
    Signature,
    /// The CSR is larger than allowed.
    #[error("spec.request is larger than 100 kB")]
    TooLarge,
}

impl SigningRequest {
    /// Parses and checks the fields of a request.
    ///
    /// Accepts what Go's `crypto/x509` accepts, since cert-manager's webhook and Vault read CSRs with it. A signature
    /// of an algorithm that cannot be verified here, such as one with SHA-1, is left to Vault, which verifies it too.
    ///
    /// A `duration` of zero selects the role's default, and a missing one cert-manager's default of 90 days. Basic
    /// constraints that the CSR itself requests are not read: cert-manager's webhook compares them with `spec.isCA`,
    /// and `sign` and `sign-verbatim` ignore them.
    ///
    /// # Errors
    ///
    /// Returns an error if no issuer could ever sign the request.
    pub fn parse(spec: RequestSpec<'_>, signatures: &Signatures) -> Result<Self, SigningRequestError> {
        let der = decode(spec.csr)?;
        let csr = Csr::parse(&der).ok_or(SigningRequestError::Malformed)?;
        let signed = csr.signed;
        let verdict = signatures.verify(csr.key, signed.algorithm, signed.message, signed.signature);
        if verdict == Verdict::Wrong {
            return Err(SigningRequestError::Signature);
        }
        let lifetime = match spec.duration.map(duration::parse) {
            Some(Some(asked)) if asked < spec.least_duration => {
                return Err(SigningRequestError::DurationTooShort(spec.least_duration));
            }
            Some(Some(Duration::ZERO)) => Lifetime::Role,
            // Less than a second would be sent as `0s`, which Vault takes for the role's default.
            Some(Some(asked)) if asked.as_secs() > 0 => Lifetime::Asked(asked),
            Some(_) => return Err(SigningRequestError::Duration),
            None => Lifetime::Default,
        };
        Ok(Self {
            csr: pem::encode("CERTIFICATE REQUEST", &der),
            key: csr.raw_key.to_vec(),
            names: csr.names().ok_or(SigningRequestError::Names)?,
            common_name: csr.common_name,
            lifetime,
            is_ca: spec.is_ca,
            // cert-manager's webhook admits no others, and the role decides what is granted.
            usages: spec.usages.iter().filter_map(|name| Usage::parse(name)).collect(),
        })
    }

    /// Returns `true` if the request is for a CA certificate.
    pub fn is_ca(&self) -> bool {
        self.is_ca
    }

    /// Returns the longest lifetime that the certificate may have; `None` if the role decides.
    pub(crate) fn longest(&self) -> Option<Duration> {
        match self.lifetime {
            Lifetime::Asked(duration) => Some(duration),
            Lifetime::Default => Some(DEFAULT_DURATION),
            Lifetime::Role => None,
        }
    }

    /// Returns `true` if the lifetime is cert-manager's default, which nobody asked for explicitly.
    pub(crate) fn has_default_ttl(&self) -> bool {
        self.lifetime == Lifetime::Default
    }

    /// Returns the same request with the lifetime left to the role.
    pub(crate) fn without_ttl(self) -> Self {
        Self {
            lifetime: Lifetime::Role,
            ..self
        }
    }

    /// Returns a name that Vault's `sign` endpoint drops, whatever the role says: a `directoryName` or the like.
    pub(crate) fn name_that_sign_drops(&self) -> Option<&Name> {
        self.names.iter().find(|name| matches!(name, Name::Opaque { .. }))
    }

    /// Returns the body of Vault's sign call.
    ///
    /// With a role's `use_csr_common_name` and `use_csr_sans`, which are on by default, Vault takes the names from the
    /// CSR and ignores those given here. It would not ignore `other_sans` but add them a second time, so they are not
    /// given: a role without `use_csr_sans` cannot sign them. A CA's subject, key usages and extensions are all taken
    /// from the CSR. Parameters that change nothing, such as `format`, are left out: a policy with
    /// `allowed_parameters` that suits cert-manager's own issuer suits this body.
    pub(crate) fn parameters(&self) -> Value {
        let always = [
            ("csr", Value::from(self.csr.as_str())),
            ("common_name", self.common_name.text().unwrap_or_default().into()),
            ("exclude_cn_from_sans", true.into()),
        ];
        let ttl = self.longest().map(|ttl| ("ttl", format!("{}s", ttl.as_secs()).into()));
        let names = if self.is_ca {
            vec![("use_csr_values", true.into())]
        } else {
            self.lists()
        };
        always.into_iter().chain(ttl).chain(names).collect()
    }

    /// Returns the parameters that list names. Empty lists are among them: policies may require parameters by name, and
    /// cert-manager's own issuer sends these always.
    fn lists(&self) -> Vec<(&'static str, Value)> {
        type Select = fn(&Name) -> Option<String>;
        let parameters: [(_, Select); 3] = [("alt_names", alt_name), ("ip_sans", ip_san), ("uri_sans", uri_san)];
        let list = |(parameter, select)| {
            let values: Vec<String> = self.names.iter().filter_map(select).collect();
            // One string where that is possible: OpenBao limits how many strings a request may hold.
            match values.iter().any(|value| value.contains(',')) {
                true => (parameter, Value::from(values)),
                false => (parameter, values.join(",").into()),
            }
        };
        parameters.into_iter().map(list).collect()
    }
}

/// Returns the name for Vault's `alt_names`, which is a string of names with commas: a DNS name with an `@` would be
/// taken for an e-mail address, one with a comma for two names.
fn alt_name(name: &Name) -> Option<String> {
    let (text, is_email) = match name {
        Name::Dns(name) => (name, false),
        Name::Email(address) => (address, true),
        _ => return None,
    };
    (text.contains('@') == is_email && !text.contains(',')).then(|| text.clone())
}

fn ip_san(name: &Name) -> Option<String> {
    match name {
        Name::Ip(address) => Some(address.to_string()),
        _ => None,
    }
}

fn uri_san(name: &Name) -> Option<String> {
    match name {
        Name::Uri(uri) => Some(uri.clone()),
        _ => None,
    }
}

/// Returns the DER of the first PEM block. Like Go, it ignores the block's label and the text around it.
fn decode(request: &[u8]) -> Result<Vec<u8>, SigningRequestError> {
    if request.len() > PEM_LIMIT {
        return Err(SigningRequestError::TooLarge);
    }
    if pem::has_framed_header(request) {
        return Err(SigningRequestError::NoRequest);
    }
    let block = pem::decode(request).next();
    Ok(block.ok_or(SigningRequestError::NoRequest)?.der)
}

#[cfg(test)]
mod tests;
