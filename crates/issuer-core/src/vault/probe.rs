//! The check of the right to sign, without a signature.

use serde_json::Value;

use super::{Lease, Misbehavior, Redacted, Vault, VaultError, error};
use crate::target::SignPath;
use crate::{Now, Operation, Reply, Request};

/// Why a signing endpoint cannot be used.
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
    /// The mount has no CA to sign with.
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
    /// The probe was not answered.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl ProbeError {
    /// Returns `true` if this node of the cluster lags behind the one that issued the token (412).
    pub(crate) fn lags(&self) -> bool {
        matches!(self, Self::Vault(VaultError::Unavailable { status: 412, .. }))
    }

    /// Returns `true` if the endpoint itself failed (500). Vault's own PKI answers a probe otherwise, but not every
    /// plugin, nor a CEL program of OpenBao, checks for an empty CSR first: this does not mean that it cannot sign.
    pub(crate) fn is_inconclusive(&self) -> bool {
        matches!(self, Self::Vault(VaultError::Unavailable { status: 500, .. }))
    }
}

/// Returns a request to sign that lacks the CSR.
///
/// Vault checks, in this order, the token's policies, the mount, the role, the CA and the CSR. So if it refuses because
/// the CSR is empty, everything else is in order, and nothing is signed. `sys/capabilities-self` covers the policies
/// only. The parameters have the names of a real request's, since policies may require or forbid parameters by name.
pub(crate) fn request(vault: &Vault, path: &SignPath, lease: &Lease) -> Request {
    let body = parameters(path);
    vault.post(Operation::Probe, path.as_str(), Some(lease.token()), &body)
}

fn parameters(path: &SignPath) -> Value {
    let always = [
        ("csr", Value::from("")),
        ("common_name", "".into()),
        ("exclude_cn_from_sans", true.into()),
        // cert-manager's default: a policy may list the values that it allows.
        ("ttl", "7776000s".into()),
    ];
    let signs_ca = path.takes(true).is_ok();
    let others = if signs_ca {
        vec![("use_csr_values", true.into())]
    } else {
        ["alt_names", "ip_sans", "uri_sans"]
            .map(|list| (list, "".into()))
            .into()
    };
    always.into_iter().chain(others).collect()
}

/// Reads the reply to a probe.
///
/// Texts that quote something, such as the name of a role, are matched from their beginning: the quote comes later.
pub(crate) fn read(now: Now, path: &SignPath, reply: Reply) -> Result<(), ProbeError> {
    let path = || path.as_str().to_owned();
    let reply = reply.map_err(VaultError::from)?;
    // Nothing is signed without a CSR, so the server that claims success is not Vault.
    if reply.status().is_success() {
        return Err(VaultError::from(Misbehavior::Status(reply.status().as_u16())).into());
    }
    match error::refusal(now, &reply) {
        VaultError::Denied => Err(ProbeError::Denied { path: path() }),
        VaultError::NotFound => Err(ProbeError::NotFound { path: path() }),
        VaultError::Refused { status: 400, reason } if lacks_csr(&reason) => Ok(()),
        VaultError::Refused { reason, .. } if is_unknown_role(&reason) => Err(ProbeError::UnknownRole { path: path() }),
        VaultError::Refused { reason, .. } => Err(ProbeError::Refused { path: path(), reason }),
        VaultError::Unavailable { reason, .. } if lacks_ca(&reason) => Err(ProbeError::NoCa { path: path() }),
        VaultError::Unavailable { reason, .. } if reason.is("CEL role not found") => {
            Err(ProbeError::UnknownRole { path: path() })
        }
        error => Err(error.into()),
    }
}

/// Returns `true` if nothing but the CSR is missing: in the words of Vault and OpenBao (`"csr" is empty`), or of a
/// plugin with Vault's API (`csr is a required field`).
fn lacks_csr(reason: &Redacted) -> bool {
    reason.is("\"csr\" is empty") || reason.is("csr is a required field")
}

/// Returns `true` if Vault failed because the mount has no CA certificate and key, or its issuer may not sign.
fn lacks_ca(reason: &Redacted) -> bool {
    reason.starts_with("could not fetch the CA certificate") || reason.starts_with("error fetching CA certificate")
}

/// Returns `true` if Vault refused because the role does not exist.
pub(super) fn is_unknown_role(reason: &Redacted) -> bool {
    reason.starts_with("unknown role: ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
    fn only_an_empty_csr_passes() {
        let path = || "pki/sign/web".to_owned();
        let reason = "role requires keys of type rsa";
        for (status, text, outcome) in [
            (400, "\"csr\" is empty", Ok(())),
            (400, "csr is a required field", Ok(())),
            (400, "unknown role: web", Err(ProbeError::UnknownRole { path: path() })),
            (
                400,
                "csr rejected by policy",
                Err(ProbeError::Refused {
                    path: path(),
                    reason: Redacted::new(&["csr rejected by policy".to_owned()]),
                }),
            ),
            (
                400,
                "unknown role: csr-signer",
                Err(ProbeError::UnknownRole { path: path() }),
            ),
            (500, "CEL role not found", Err(ProbeError::UnknownRole { path: path() })),
            (
                500,
                "could not fetch the CA certificate (was one set?): x",
                Err(ProbeError::NoCa { path: path() }),
            ),
            (
                500,
                "1 error occurred:\n\t* error fetching CA certificate: x\n\n",
                Err(ProbeError::NoCa { path: path() }),
            ),
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
            (200, "", Err(VaultError::from(Misbehavior::Status(200)).into())),
        ] {
            assert_eq!(probe(status, text), outcome, "{status} {text}");
        }
    }

    #[test]
    fn failing_endpoint_is_inconclusive() {
        for (status, reason, inconclusive) in [
            (500, "error evaluating mainProgram: no such key: csr", true),
            (500, "denied: could not fetch the CA certificate", true),
            (500, "could not fetch the CA certificate (was one set?): x", false),
            (502, "bad gateway", false),
            (503, "Vault is sealed", false),
            (400, "unknown role: web", false),
        ] {
            let error = probe(status, reason).unwrap_err();
            assert_eq!(error.is_inconclusive(), inconclusive, "{error}");
        }
    }

    #[test]
    fn parameters_fit_the_endpoint() {
        let names = |path| {
            let parameters = parameters(&SignPath::parse(path).unwrap());
            parameters
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            names("pki/sign/web"),
            "alt_names common_name csr exclude_cn_from_sans ip_sans ttl uri_sans"
        );
        assert_eq!(
            names("pki/root/sign-intermediate"),
            "common_name csr exclude_cn_from_sans ttl use_csr_values"
        );
    }
}
