use std::time::Duration;

use serde::Deserialize;

use super::{Lease, Misbehaviour, Redacted, Vault, VaultError, check, error, probe};
use crate::target::SignPath;
use crate::verify::{Issued, Verified, VerifyError, verify};
use crate::{Flow, Now, Operation, Reply, Signatures, SigningRequest, Step};

/// Has one certificate signed, and verifies it.
///
/// Signing is not idempotent: every answer of status 200 is another certificate. So there is one request and no
/// second try here.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Sign {
    wanted: SigningRequest,
    signatures: Signatures,
}

/// Why there is no certificate.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The CA of the mount ends before the certificate would.
    #[error("the certificate would outlive the CA that signs it: {0}")]
    CaExpires(Redacted),
    /// What came back is not what was asked for.
    #[error("Vault returned a certificate that does not match the request: {0}")]
    Mismatch(#[from] VerifyError),
    /// Vault refuses to sign this request.
    #[error("Vault refused to sign: {0}")]
    Refused(Redacted),
    /// Vault did not say yes or no.
    #[error("{0}")]
    Vault(#[from] VaultError),
}

/// What follows from an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The request has failed for good.
    Fail,
    /// The issuer is to be checked, and the request signed when it is ready.
    Recheck,
}

impl SignError {
    /// Returns what follows: only a definite refusal of this very request is the end of it (invariant S14).
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Mismatch(_) | Self::Refused(_) => Disposition::Fail,
            Self::CaExpires(_) | Self::Vault(_) => Disposition::Recheck,
        }
    }

    /// Returns the reason for events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::CaExpires(_) => "CaExpires",
            Self::Mismatch(_) => "CertificateMismatch",
            Self::Refused(_) => "SignRefused",
            Self::Vault(error) => check::reason(error),
        }
    }

    /// Returns how long Vault asks to wait at the least.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Vault(error) => error.retry_after(),
            Self::CaExpires(_) | Self::Mismatch(_) | Self::Refused(_) => None,
        }
    }

    /// Sorts an error of the signing endpoint.
    fn of(error: VaultError) -> Self {
        match error {
            VaultError::Refused { reason, .. } if reason.contains("beyond the expiration of the CA") => {
                Self::CaExpires(reason)
            }
            VaultError::Refused {
                status: 400 | 413,
                reason,
            } if !probe::is_unknown_role(&reason) => Self::Refused(reason),
            error => Self::Vault(error),
        }
    }
}

#[derive(Deserialize)]
struct SignReply {
    data: SignData,
}

#[derive(Deserialize)]
struct SignData {
    certificate: String,
    #[serde(default)]
    issuing_ca: Option<String>,
    #[serde(default)]
    ca_chain: Option<Vec<String>>,
}

impl Sign {
    /// Sends the order to the signing endpoint.
    pub fn begin(
        vault: &Vault,
        path: &SignPath,
        lease: &Lease,
        wanted: SigningRequest,
        signatures: Signatures,
    ) -> Step<Self> {
        let request = vault.post(
            Operation::Sign,
            path.as_str(),
            Some(lease.token()),
            &wanted.parameters(),
        );
        Step::Send(request, Self { wanted, signatures })
    }
}

impl Flow for Sign {
    type Output = Result<Verified, SignError>;

    fn resume(self, now: Now, reply: Reply) -> Step<Self> {
        let issued = match error::read::<SignReply>(now, reply, "data.certificate, issuing_ca or ca_chain") {
            Ok(SignReply { data }) => Issued {
                certificate: data.certificate,
                issuing_ca: data.issuing_ca,
                ca_chain: data.ca_chain.unwrap_or_default(),
            },
            Err(error) => return Step::Done(Err(SignError::of(error))),
        };
        if issued.certificate.trim().is_empty() {
            let missing = VaultError::from(Misbehaviour::Field("data.certificate"));
            return Step::Done(Err(missing.into()));
        }
        Step::Done(verify(&self.wanted, &issued, now, &self.signatures).map_err(SignError::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TransportError;

    #[test]
    fn only_definite_refusals_are_the_end() {
        let refused = |status, reason: &str| VaultError::Refused {
            status,
            reason: Redacted::new(&[reason.to_owned()]),
        };
        let unavailable = |status| VaultError::Unavailable {
            status,
            retry_after: None,
            lacks_ca: false,
        };
        for (error, fails) in [
            (refused(400, "common name x not allowed by this role"), true),
            (refused(413, "http: request body too large"), true),
            (refused(405, "unsupported operation"), false),
            (refused(400, "unknown role: web"), false),
            (
                refused(
                    400,
                    "cannot satisfy request, as TTL would result in notAfter of .. that is beyond the expiration of the CA certificate",
                ),
                false,
            ),
            (VaultError::Denied, false),
            (VaultError::NotFound, false),
            (VaultError::Redirected, false),
            (VaultError::Sealed, false),
            (VaultError::Throttled { retry_after: None }, false),
            (unavailable(412), false),
            (unavailable(500), false),
            (unavailable(503), false),
            (VaultError::Misbehaved(Misbehaviour::NotJson), false),
            (VaultError::Transport(TransportError::Timeout), false),
        ] {
            let disposition = SignError::of(error.clone()).disposition();
            assert_eq!(disposition == Disposition::Fail, fails, "{error:?}");
        }
    }
}
