//! Vault's health check.

use serde::Deserialize;

use super::{Vault, VaultError, error};
use crate::{Now, Operation, Reply, Request};

/// Why a server cannot be used at the moment.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HealthError {
    /// Status 472: a disaster recovery secondary signs nothing.
    #[error("the server is a disaster recovery secondary, which signs nothing")]
    DrSecondary,
    /// Status 503.
    #[error("Vault is sealed")]
    Sealed,
    /// Status 474, 530 and others: the node has lost its cluster.
    #[error("the Vault node is unhealthy ({0})")]
    Unhealthy(u16),
    /// Status 501.
    #[error("Vault is not initialized")]
    Uninitialized,
    /// No reply, or one that is not from Vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// Returns the request for `sys/health`: without a token, and without a namespace, since Vault serves it in the root
/// namespace only.
pub(crate) fn request(vault: &Vault) -> Request {
    vault.get(Operation::Health, "sys/health", None)
}

#[derive(Deserialize)]
struct Health {
    initialized: bool,
}

/// Reads the status (<https://developer.hashicorp.com/vault/api-docs/system/health>).
///
/// A standby (429) and a performance standby (473) forward the requests that they cannot serve. If a proxy or a chroot
/// listener hides the endpoint (400, 403, 404) or answers it itself, the login and the probe decide.
pub(crate) fn read(now: Now, reply: Reply) -> Result<(), HealthError> {
    let reply = reply.map_err(VaultError::from)?;
    let status = reply.status().as_u16();
    let health = serde_json::from_slice::<Health>(reply.body().as_bytes());
    match status {
        200 | 429 | 473 => match health {
            Ok(Health { initialized: true }) => Ok(()),
            Ok(Health { initialized: false }) => Err(HealthError::Uninitialized),
            // A standby answers 429 with a body; without one it is a rate limit, of Vault or of a gateway.
            Err(_) if status == 429 => Err(error::refusal(now, &reply).into()),
            // A proxy answers the endpoint itself: the login and the probe decide.
            Err(_) => Ok(()),
        },
        201..=299 | 400 | 403 | 404 => Ok(()),
        472 => Err(HealthError::DrSecondary),
        474 | 530 => Err(HealthError::Unhealthy(status)),
        501 => Err(HealthError::Uninitialized),
        // Vault's own 503 has a body; a proxy's says nothing about the seal.
        503 if health.is_ok() => Err(HealthError::Sealed),
        _ => Err(error::refusal(now, &reply).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Body, TransportError};

    fn health(status: u16, body: &str) -> Result<(), HealthError> {
        let body = Body::from(body.as_bytes().to_vec());
        read(
            Now::default(),
            Ok(http::Response::builder().status(status).body(body).unwrap()),
        )
    }

    #[test]
    fn classifies_every_status() {
        let up = r#"{"initialized":true,"sealed":false}"#;
        for (status, body, outcome) in [
            (200, up, Ok(())),
            (429, up, Ok(())),
            (473, up, Ok(())),
            (403, "", Ok(())),
            (404, "", Ok(())),
            (472, up, Err(HealthError::DrSecondary)),
            (474, up, Err(HealthError::Unhealthy(474))),
            (530, up, Err(HealthError::Unhealthy(530))),
            (501, r#"{"initialized":false}"#, Err(HealthError::Uninitialized)),
            (503, r#"{"initialized":true,"sealed":true}"#, Err(HealthError::Sealed)),
            (200, "<html>", Ok(())),
            (200, r#"{"status":"UP"}"#, Ok(())),
            (204, "", Ok(())),
            (200, r#"{"initialized":false}"#, Err(HealthError::Uninitialized)),
            (
                429,
                "slow down",
                Err(VaultError::Throttled { retry_after: None }.into()),
            ),
            (307, "", Err(VaultError::Redirected.into())),
        ] {
            assert_eq!(health(status, body), outcome, "{status} {body}");
        }
        let lost = read(Now::default(), Err(TransportError::Timeout));
        assert_eq!(lost, Err(VaultError::from(TransportError::Timeout).into()));
        assert!(matches!(
            health(503, "nginx"),
            Err(HealthError::Vault(VaultError::Unavailable { .. }))
        ));
    }
}
