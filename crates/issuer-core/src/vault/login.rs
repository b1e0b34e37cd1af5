use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::lease::Grant;
use super::{Lease, Misbehaviour, Vault, VaultError, error};
use crate::target::Mount;
use crate::{Now, Operation, Reply, Request, Secret};

/// What an issuer logs in with.
#[derive(Clone, PartialEq, Hash)]
pub enum Credentials {
    /// A role ID and a secret ID.
    AppRole {
        /// The mount of the method.
        mount: Mount,
        /// The role ID.
        role_id: String,
        /// The secret ID.
        secret_id: Secret,
    },
    /// The client certificate of [`Vault::login`].
    Certificate {
        /// The mount of the method.
        mount: Mount,
        /// The role, if one is named.
        role: Option<String>,
    },
    /// A service account's token.
    Jwt {
        /// The mount of the method.
        mount: Mount,
        /// The role.
        role: String,
        /// The token; `None` if it is to be requested when it is needed.
        token: Option<Secret>,
    },
    /// A Vault token.
    Token(Secret),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AppRole { .. } => "AppRole",
            Self::Certificate { .. } => "Certificate",
            Self::Jwt { .. } => "Jwt",
            Self::Token(_) => "Token",
        })
    }
}

/// Returns the request that turns credentials into a lease: a lookup for a given token, a login for all others.
/// `None` if a service account's token must be requested first.
pub(super) fn request(vault: &Vault, credentials: &Credentials) -> Option<Request> {
    let (mount, body) = match credentials {
        Credentials::AppRole {
            mount,
            role_id,
            secret_id,
        } => (
            mount,
            vec![("role_id", role_id.as_str()), ("secret_id", secret_id.expose_str()?)],
        ),
        Credentials::Certificate { mount, role } => (mount, role.iter().map(|role| ("name", role.as_str())).collect()),
        Credentials::Jwt { mount, role, token } => (
            mount,
            vec![("role", role.as_str()), ("jwt", token.as_ref()?.expose_str()?)],
        ),
        Credentials::Token(token) => {
            return Some(vault.get(Operation::Lookup, "auth/token/lookup-self", Some(token)));
        }
    };
    let body: BTreeMap<&str, &str> = body.into_iter().collect();
    Some(vault.post(Operation::Login, &format!("auth/{mount}/login"), None, &body))
}

#[derive(Deserialize)]
struct LoginReply {
    auth: Option<AuthData>,
}

#[derive(Deserialize)]
struct AuthData {
    #[serde(default)]
    client_token: Option<String>,
    #[serde(default)]
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
    #[serde(default)]
    mfa_requirement: Option<serde::de::IgnoredAny>,
}

impl AuthData {
    fn grant(&self) -> Grant {
        Grant {
            seconds: self.lease_duration,
            renewable: self.renewable,
        }
    }
}

/// Reads the answer to a login that was sent at `sent`.
pub(super) fn read(now: Now, sent: Duration, reply: Reply) -> Result<Lease, VaultError> {
    let LoginReply { auth } = error::read(now, reply, "auth")?;
    let auth = auth.ok_or(Misbehaviour::Field("auth"))?;
    let grant = auth.grant();
    match auth.client_token {
        Some(token) if !token.is_empty() => Ok(Lease::made(Secret::from(token.into_bytes()), grant, sent)),
        _ if auth.mfa_requirement.is_some() => Err(Misbehaviour::SecondFactor.into()),
        _ => Err(Misbehaviour::Field("auth.client_token").into()),
    }
}

/// `auth/token/renew-self`, for as long as the role grants.
pub(super) fn renewal(vault: &Vault, lease: &Lease) -> Request {
    vault.post(
        Operation::Renew,
        "auth/token/renew-self",
        Some(lease.token()),
        &json!({}),
    )
}

/// Reads the answer to a renewal that was sent at `sent`.
pub(super) fn read_renewal(now: Now, sent: Duration, lease: Lease, reply: Reply) -> Result<Lease, VaultError> {
    let LoginReply { auth } = error::read(now, reply, "auth")?;
    let auth = auth.ok_or(Misbehaviour::Field("auth"))?;
    Ok(lease.renewed(auth.grant(), sent))
}

#[derive(Deserialize)]
struct LookupReply {
    data: LookupData,
}

#[derive(Deserialize)]
struct LookupData {
    ttl: u64,
    #[serde(default)]
    renewable: bool,
}

/// Reads what a given token is worth, and whether Vault told.
///
/// A token whose policies do not allow the lookup (403) may be sound all the same: the probe will tell.
pub(super) fn read_lookup(now: Now, sent: Duration, token: &Secret, reply: Reply) -> Result<(Lease, bool), VaultError> {
    let (grant, told) = match error::read::<LookupReply>(now, reply, "data.ttl") {
        Ok(LookupReply { data }) => (
            Grant {
                seconds: data.ttl,
                renewable: data.renewable,
            },
            true,
        ),
        Err(VaultError::Denied) => (
            Grant {
                seconds: 0,
                renewable: false,
            },
            false,
        ),
        Err(error) => return Err(error),
    };
    Ok((Lease::given(token.clone(), grant, sent), told))
}
