//! How a check logs in, and the requests for credentials that precede a login.

use std::fmt;

use super::AccessError;
use crate::reference::TokenSource;
use crate::target::{Mount, Sts, WrappingPath};
use crate::vault::aws::{self, KeySource};
use crate::vault::{Credentials, Vault, wrapping};
use crate::{Flow, Now, Reply, Request, Secret, Step};

/// How to log in.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) enum Login {
    /// With a token of a service account that is to be obtained.
    Token(TokenLogin),
    /// With these credentials.
    With(Credentials),
    /// With a secret ID that Vault is to unwrap.
    Wrapped(WrappedLogin),
}

impl Login {
    /// Returns `true` if Vault locks its role after refusals: it counts wrong secret IDs only.
    pub(super) fn can_be_locked(&self) -> bool {
        let with_secret_id = matches!(self, Self::With(Credentials::AppRole { secret_id: Some(_), .. }));
        with_secret_id || matches!(self, Self::Wrapped(_))
    }
}

/// A login with a service account token that is yet to be obtained.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct TokenLogin {
    pub(super) mount: Mount,
    pub(super) role: String,
    pub(super) source: TokenSource,
    pub(super) recipient: Recipient,
}

/// The recipient of a service account token.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) enum Recipient {
    /// AWS, for the keys that sign the login.
    Aws { sts: Sts, keys: KeySource },
    /// Vault.
    Vault,
}

/// A login with an AppRole whose secret ID is yet to be unwrapped.
#[derive(Clone, PartialEq, Hash)]
pub(super) struct WrappedLogin {
    pub(super) mount: Mount,
    pub(super) role_id: Secret,
    /// The wrapping token.
    pub(super) token: Secret,
    /// The endpoint that must have made it.
    pub(super) wrapped_at: WrappingPath,
}

impl fmt::Debug for WrappedLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedLogin({})", self.mount)
    }
}

impl WrappedLogin {
    /// Returns the credentials with an unwrapped secret ID.
    pub(super) fn with(&self, secret_id: &UnwrappedSecretId) -> Credentials {
        Credentials::AppRole {
            mount: self.mount.clone(),
            role_id: self.role_id.clone(),
            secret_id: Some(secret_id.secret_id.clone()),
        }
    }
}

/// A secret ID that Vault has unwrapped. It cannot be had a second time, so an issuer keeps it as long as it exists.
#[derive(Clone, PartialEq, Hash)]
pub struct UnwrappedSecretId {
    /// The wrapping token, which is spent.
    token: Secret,
    secret_id: Secret,
}

impl fmt::Debug for UnwrappedSecretId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnwrappedSecretId")
    }
}

impl UnwrappedSecretId {
    /// Returns `true` if it was wrapped by the token of a login.
    pub(super) fn is_of(&self, login: &WrappedLogin) -> bool {
        self.token == login.token
    }
}

/// A conversation that ends with the credentials to log in with.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) enum Obtaining {
    /// Awaits the keys of an AWS identity.
    AwsKeys {
        mount: Mount,
        role: String,
        sts: Sts,
        source: KeySource,
    },
    /// Awaits what a wrapping token stands for.
    Lookup { vault: Vault, login: WrappedLogin },
    /// Awaits the secret ID.
    Unwrap(WrappedLogin),
}

/// Credentials, and the secret ID that was unwrapped for them.
#[derive(Debug)]
pub(super) struct Obtained {
    pub(super) credentials: Credentials,
    pub(super) secret_id: Option<UnwrappedSecretId>,
}

impl Obtaining {
    /// Exchanges a service account token for the keys of an AWS identity.
    pub(super) fn aws_keys(mount: Mount, role: String, sts: Sts, source: KeySource, token: &Secret) -> (Request, Self) {
        let request = aws::begin(&source, token);
        let waits = Self::AwsKeys {
            mount,
            role,
            sts,
            source,
        };
        (request, waits)
    }

    /// Exchanges a wrapping token for the secret ID, once it is known who made it.
    pub(super) fn secret_id(vault: Vault, login: WrappedLogin) -> (Request, Self) {
        let request = wrapping::lookup(&vault, &login.token);
        (request, Self::Lookup { vault, login })
    }
}

impl Flow for Obtaining {
    type Output = Result<Obtained, AccessError>;

    fn resume(self, now: Now, reply: Reply) -> Step<Self> {
        let obtained = match self {
            Self::AwsKeys {
                mount,
                role,
                sts,
                source,
            } => source.read(reply).map_err(AccessError::from).map(|keys| Obtained {
                credentials: Credentials::Aws { mount, role, sts, keys },
                secret_id: None,
            }),
            Self::Lookup { vault, login } => match wrapping::read_lookup(now, &login.wrapped_at, reply) {
                // Unwrapping spends the token, so its origin is checked first: one that somebody else has made would unwrap
                // to a secret ID of theirs.
                Ok(()) => return Step::Send(wrapping::unwrap(&vault, &login.token), Self::Unwrap(login)),
                Err(error) => Err(error.into()),
            },
            Self::Unwrap(login) => wrapping::read_secret_id(now, reply)
                .map_err(AccessError::from)
                .map(|secret_id| {
                    let token = login.token.clone();
                    let secret_id = UnwrappedSecretId { token, secret_id };
                    Obtained {
                        credentials: login.with(&secret_id),
                        secret_id: Some(secret_id),
                    }
                }),
        };
        Step::Done(obtained)
    }
}
