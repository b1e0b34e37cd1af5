//! The login requests of all methods.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::aws::{AwsKeys, SignedRequest};
use super::lease::Grant;
use super::{Lease, Misbehavior, Vault, VaultError, error};
use crate::target::{Mount, Sts};
use crate::{Now, Operation, Reply, Request, Secret};

/// The credentials of an issuer.
#[derive(Clone, PartialEq, Hash)]
pub enum Credentials {
    /// A role ID, and a secret ID if the role needs one.
    AppRole {
        /// The mount of the method.
        mount: Mount,
        /// The role ID.
        role_id: Secret,
        /// The secret ID.
        secret_id: Option<Secret>,
    },
    /// The access keys of an AWS identity.
    Aws {
        /// The mount of the method.
        mount: Mount,
        /// The role.
        role: String,
        /// Where AWS is asked to confirm the identity.
        sts: Sts,
        /// The keys.
        keys: AwsKeys,
    },
    /// The client certificate of [`Vault::login`].
    Certificate {
        /// The mount of the method.
        mount: Mount,
        /// The role, if one is named.
        role: Option<String>,
    },
    /// A JSON Web Token, such as that of a service account.
    Jwt {
        /// The mount of the method.
        mount: Mount,
        /// The role.
        role: String,
        /// The token.
        token: Secret,
    },
    /// A Vault token.
    Token(Secret),
}

impl Credentials {
    /// Returns the Vault token, if no login is needed.
    pub(crate) fn given_token(&self) -> Option<&Secret> {
        match self {
            Self::Token(token) => Some(token),
            _ => None,
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AppRole { .. } => "AppRole",
            Self::Aws { .. } => "Aws",
            Self::Certificate { .. } => "Certificate",
            Self::Jwt { .. } => "Jwt",
            Self::Token(_) => "Token",
        })
    }
}

/// Returns the request that turns credentials into a lease: a lookup for a given token, a login for all others.
pub(crate) fn request(vault: &Vault, credentials: &Credentials, now: Now) -> Request {
    let (mount, body) = match credentials {
        Credentials::AppRole {
            mount,
            role_id,
            secret_id,
        } => {
            let secret_id = secret_id.iter().map(|id| ("secret_id", text(id)));
            (
                mount,
                [("role_id", text(role_id))].into_iter().chain(secret_id).collect(),
            )
        }
        Credentials::Aws { mount, role, sts, keys } => {
            let signed = SignedRequest::new(sts, keys, now);
            return vault.post(
                Operation::Login,
                &format!("auth/{mount}/login"),
                None,
                &signed.fields(role),
            );
        }
        Credentials::Certificate { mount, role } => (mount, role.iter().map(|role| ("name", role.as_str())).collect()),
        Credentials::Jwt { mount, role, token } => (mount, vec![("role", role.as_str()), ("jwt", text(token))]),
        // A given token needs no login, but only a lookup shows how long it lives.
        Credentials::Token(token) => {
            return vault.get(Operation::Lookup, "auth/token/lookup-self", Some(token));
        }
    };
    let body: BTreeMap<&str, &str> = body.into_iter().collect();
    vault.post(Operation::Login, &format!("auth/{mount}/login"), None, &body)
}

/// Returns a credential, which was checked to be text when it was read.
fn text(credential: &Secret) -> &str {
    credential.expose_str().unwrap_or_default()
}

/// The longest token, in bytes: batch tokens, the longest of Vault's, are far shorter. It is kept for each issuer.
const TOKEN: usize = 16 << 10;

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
    num_uses: u64,
    #[serde(default)]
    mfa_requirement: Option<serde::de::IgnoredAny>,
}

impl AuthData {
    fn grant(&self) -> Grant {
        Grant {
            seconds: self.lease_duration,
            renewable: self.renewable,
            uses: self.num_uses,
        }
    }
}

/// Reads the answer to a login that was sent at `sent`.
pub(crate) fn read(now: Now, sent: Duration, reply: Reply) -> Result<Lease, VaultError> {
    let LoginReply { auth } = error::read(now, reply, "auth")?;
    let auth = auth.ok_or(Misbehavior::Field("auth"))?;
    let grant = auth.grant();
    match auth.client_token {
        Some(token) if (1..=TOKEN).contains(&token.len()) => {
            Ok(Lease::made(Secret::from(token.into_bytes()), grant, sent))
        }
        // A method with a second factor answers 200 as well, but without a token.
        _ if auth.mfa_requirement.is_some() => Err(Misbehavior::SecondFactor.into()),
        _ => Err(Misbehavior::Field("auth.client_token").into()),
    }
}

/// Returns the request that renews a token, for as long as its role grants (`auth/token/renew-self`).
pub(crate) fn renewal(vault: &Vault, lease: &Lease) -> Request {
    vault.post(
        Operation::Renew,
        "auth/token/renew-self",
        Some(lease.token()),
        &json!({}),
    )
}

/// Reads the answer to a renewal that was sent at `sent`.
pub(crate) fn read_renewal(now: Now, sent: Duration, lease: Lease, reply: Reply) -> Result<Lease, VaultError> {
    let LoginReply { auth } = error::read(now, reply, "auth")?;
    let auth = auth.ok_or(Misbehavior::Field("auth"))?;
    // The answer repeats the token. The one that was sent is kept: a renewal never makes another.
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
    #[serde(default)]
    num_uses: u64,
}

impl LookupData {
    fn grant(&self) -> Grant {
        Grant {
            seconds: self.ttl,
            renewable: self.renewable,
            uses: self.num_uses,
        }
    }
}

/// The answer to the lookup of a given token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Looked {
    /// Vault returned the token's lifetime.
    Up(Lease),
    /// The token is invalid, or its policies do not permit the lookup (403). In the latter case it can sign all the
    /// same; only a probe can tell the two apart.
    Forbidden(Lease),
}

/// Reads the answer to the lookup of a given token, which was sent at `sent`.
pub(crate) fn read_lookup(now: Now, sent: Duration, token: Lease, reply: Reply) -> Result<Looked, VaultError> {
    match error::read::<LookupReply>(now, reply, "data.ttl") {
        Ok(LookupReply { data }) => Ok(Looked::Up(token.looked_up(data.grant(), sent))),
        Err(VaultError::Denied) => Ok(Looked::Forbidden(token)),
        Err(error) => Err(error),
    }
}
