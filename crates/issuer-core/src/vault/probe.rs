use serde_json::json;

use super::{Lease, Misbehaviour, Redacted, Vault, VaultError, error};
use crate::target::SignPath;
use crate::{Now, Operation, Reply, Request};

/// Why the signing endpoint would not sign.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The token may not use the endpoint.
    #[error(
        "the token may not update {path}: allow it in a Vault policy of the token (or the token is no longer valid)"
    )]
    Denied {
        /// The endpoint.
        path: String,
    },
    /// The mount has no CA.
    #[error("the PKI mount of {path} has no CA certificate and key to sign with")]
    NoCa {
        /// The endpoint.
        path: String,
    },
    /// Nothing is mounted there, or the path is no endpoint.
    #[error("Vault has no signing endpoint at {path}: check the mount in spec.path and spec.namespace")]
    NotFound {
        /// The endpoint.
        path: String,
    },
    /// The endpoint refuses every request.
    #[error("Vault would not sign at {path}: {reason}")]
    Refused {
        /// The endpoint.
        path: String,
        /// Vault's reason.
        reason: Redacted,
    },
    /// The role does not exist.
    #[error("Vault has no role for {path}: create it or correct spec.path")]
    UnknownRole {
        /// The endpoint.
        path: String,
    },
    /// Vault did not say.
    #[error("{0}")]
    Vault(#[from] VaultError),
}

/// Asks the endpoint to sign without a CSR.
///
/// Vault checks, in this order, the token's policies, the mount, the role, the CA and the CSR; so the refusal for
/// want of a CSR says that all before it is well, and nothing is signed. `sys/capabilities-self` would tell the first only.
pub(super) fn request(vault: &Vault, path: &SignPath, lease: &Lease) -> Request {
    vault.post(Operation::Probe, path.as_str(), Some(lease.token()), &json!({}))
}

pub(super) fn read(now: Now, path: &SignPath, reply: Reply) -> Result<(), ProbeError> {
    let path = || path.as_str().to_owned();
    let reply = reply.map_err(VaultError::from)?;
    if reply.status().is_success() {
        return Err(VaultError::from(Misbehaviour::Status(reply.status().as_u16())).into());
    }
    match error::refusal(now, &reply) {
        VaultError::Denied => Err(ProbeError::Denied { path: path() }),
        VaultError::NotFound => Err(ProbeError::NotFound { path: path() }),
        VaultError::Refused { status: 400, reason } if reason.contains("csr") => Ok(()),
        VaultError::Refused { reason, .. } if is_unknown_role(&reason) => Err(ProbeError::UnknownRole { path: path() }),
        VaultError::Refused { reason, .. } => Err(ProbeError::Refused { path: path(), reason }),
        VaultError::Unavailable { reason, .. } if lacks_ca(&reason) => Err(ProbeError::NoCa { path: path() }),
        error => Err(error.into()),
    }
}

/// Returns `true` if Vault failed because the mount has no CA certificate and key, or its issuer may not sign.
fn lacks_ca(reason: &Redacted) -> bool {
    reason.starts_with("could not fetch the CA certificate") || reason.starts_with("error fetching CA certificate")
}

/// Tells whether Vault refused because the role does not exist.
pub(super) fn is_unknown_role(reason: &Redacted) -> bool {
    reason.starts_with("unknown role: ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Body;

    fn probe(status: u16, reason: &str) -> Result<(), ProbeError> {
        let body = json!({ "errors": [reason] }).to_string().into_bytes();
        let path = SignPath::parse("pki/sign/web").unwrap();
        read(
            Now::default(),
            &path,
            Ok(http::Response::builder().status(status).body(Body::from(body)).unwrap()),
        )
    }

    #[test]
    fn only_the_want_of_a_csr_is_good_news() {
        let path = || "pki/sign/web".to_owned();
        let reason = "role requires keys of type rsa";
        for (status, text, outcome) in [
            (400, "\"csr\" is empty", Ok(())),
            (400, "unknown role: web", Err(ProbeError::UnknownRole { path: path() })),
            (
                400,
                reason,
                Err(ProbeError::Refused {
                    path: path(),
                    reason: Redacted::new(&[reason.to_owned()]),
                }),
            ),
            (403, "permission denied", Err(ProbeError::Denied { path: path() })),
            (404, "no handler for route", Err(ProbeError::NotFound { path: path() })),
            (
                500,
                "error fetching CA certificate: x",
                Err(ProbeError::NoCa { path: path() }),
            ),
            (503, "Vault is sealed", Err(VaultError::Sealed.into())),
            (200, "", Err(VaultError::from(Misbehaviour::Status(200)).into())),
        ] {
            assert_eq!(probe(status, text), outcome, "{status} {text}");
        }
    }
}
