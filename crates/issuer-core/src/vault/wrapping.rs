//! Response wrapping: a token that Vault exchanges for a secret ID once, so a theft of the token is noticed.
//!
//! <https://developer.hashicorp.com/vault/docs/concepts/response-wrapping>

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::{Misbehavior, Vault, VaultError, error};
use crate::target::WrappingPath;
use crate::{Now, Operation, Reply, Request, Secret};

/// Why no secret ID was unwrapped.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WrappingError {
    /// The token wraps the answer of another endpoint, so it is not known who made it.
    #[error(
        "the wrapping token was not made at spec.auth.appRole.secretIdWrappingPath, so it may be forged: revoke the \
         secret IDs of the role if nobody has made it by mistake"
    )]
    OtherPath,
    /// The token is used up or has expired.
    #[error(
        "the wrapping token of the secret ID has been used or has expired: if neither a restart of the controller nor a \
         lost answer of Vault explains it, somebody else may have the secret ID; write a new wrapping token into the \
         Secret"
    )]
    Spent,
    /// Vault did not unwrap it for another reason.
    #[error("the secret ID cannot be unwrapped: {0}")]
    Vault(VaultError),
}

impl WrappingError {
    fn of(error: VaultError) -> Self {
        match error {
            // Vault answers 400 to an unknown wrapping token, and OpenBao 403 to some.
            VaultError::Denied | VaultError::Refused { .. } => Self::Spent,
            error => Self::Vault(error),
        }
    }

    /// Returns the reason for conditions, events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::OtherPath => "WrappingTokenMismatch",
            Self::Spent => "WrappingTokenSpent",
            Self::Vault(error) => error.reason(),
        }
    }

    /// Returns `true` if the same request may succeed later although nobody has changed the configuration.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::OtherPath | Self::Spent => false,
            Self::Vault(error) => error.is_transient(),
        }
    }
}

/// Returns the request that asks what a token wraps, which does not use it up.
pub(crate) fn lookup(vault: &Vault, token: &Secret) -> Request {
    let body = BTreeMap::from([("token", token.expose_str().unwrap_or_default())]);
    vault.post(Operation::Login, "sys/wrapping/lookup", None, &body)
}

#[derive(Deserialize)]
struct LookupReply {
    data: LookupData,
}

#[derive(Deserialize)]
struct LookupData {
    creation_path: String,
}

/// Reads the answer to a lookup: the token must wrap the answer of `path`.
pub(crate) fn read_lookup(now: Now, path: &WrappingPath, reply: Reply) -> Result<(), WrappingError> {
    let LookupReply { data } = error::read(now, reply, "data.creation_path").map_err(WrappingError::of)?;
    if path.is(&data.creation_path) {
        Ok(())
    } else {
        Err(WrappingError::OtherPath)
    }
}

/// Returns the request that exchanges a token for the secret ID, which uses it up.
pub(crate) fn unwrap(vault: &Vault, token: &Secret) -> Request {
    vault.post(Operation::Login, "sys/wrapping/unwrap", Some(token), &json!({}))
}

#[derive(Deserialize)]
struct UnwrapReply {
    data: UnwrapData,
}

#[derive(Deserialize)]
struct UnwrapData {
    secret_id: String,
}

/// The longest secret ID in bytes, the same as for a role ID. It is kept for each issuer.
const SECRET_ID: usize = 4096;

/// The field that holds it.
const FIELD: &str = "data.secret_id";

/// Reads the secret ID in the answer to [`unwrap`].
pub(crate) fn read_secret_id(now: Now, reply: Reply) -> Result<Secret, WrappingError> {
    let UnwrapReply { data } = error::read(now, reply, FIELD).map_err(WrappingError::of)?;
    if data.secret_id.len() > SECRET_ID {
        return Err(WrappingError::Vault(Misbehavior::Field(FIELD).into()));
    }
    Ok(Secret::from(data.secret_id.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Body;
    use crate::fixture::at;

    #[test]
    fn long_secret_ids_are_refused() {
        for (length, is_accepted) in [(4096, true), (4097, false)] {
            let body = json!({ "data": { "secret_id": "s".repeat(length) } });
            let reply = http::Response::new(Body::from(body.to_string().into_bytes()));
            let read = read_secret_id(at(0), Ok(reply)).map(|secret_id| secret_id.expose().len());
            let refused = WrappingError::Vault(Misbehavior::Field("data.secret_id").into());
            assert_eq!(read, if is_accepted { Ok(length) } else { Err(refused) });
        }
    }
}
