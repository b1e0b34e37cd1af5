use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderValue;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{ReadError, SecretData};
use crate::reference::SecretKey;
use crate::target::{Method, Target, Trust};
use crate::vault::{Credentials, Vault};
use crate::{Connect, Identity, Limits, Roots, Secret};

/// What is wrong with a Secret, or with what the spec holds in place of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// `spec.caBundle` holds no certificate.
    #[error("spec.caBundle holds no PEM certificate")]
    CaBundle,
    /// A value is empty.
    #[error("key {key} of Secret {secret} is empty")]
    Empty {
        /// `namespace/name`.
        secret: String,
        /// The key.
        key: String,
    },
    /// The controller may not read it.
    #[error("the controller may not read Secret {secret}: {grant}")]
    Forbidden {
        /// `namespace/name`.
        secret: String,
        /// How to allow it.
        grant: String,
    },
    /// The key does not exist.
    #[error("Secret {secret} has no key {key}")]
    NoKey {
        /// `namespace/name`.
        secret: String,
        /// The key.
        key: String,
    },
    /// The Secret does not exist.
    #[error("Secret {secret} does not exist")]
    NotFound {
        /// `namespace/name`.
        secret: String,
    },
    /// A value is not what it should be.
    #[error("key {key} of Secret {secret} holds no {what}")]
    Not {
        /// `namespace/name`.
        secret: String,
        /// The key.
        key: String,
        /// What it should hold.
        what: &'static str,
    },
    /// The API server did not say.
    #[error("Secret {secret} could not be read; it is tried again")]
    Unavailable {
        /// `namespace/name`.
        secret: String,
    },
    /// The credentials are not text.
    #[error("the credentials are not text")]
    Unreadable,
}

/// Tells how to let the controller read Secrets of a namespace.
pub(super) fn grant(namespace: &str) -> String {
    format!("grant it access in namespace {namespace} (\"Grant access to credentials\" in deploy/docs/install.md)")
}

impl SecretError {
    pub(super) fn of(error: ReadError, namespace: String, name: String) -> Self {
        let secret = format!("{namespace}/{name}");
        match error {
            ReadError::Forbidden => Self::Forbidden {
                secret,
                grant: grant(&namespace),
            },
            ReadError::NotFound => Self::NotFound { secret },
            ReadError::Unavailable => Self::Unavailable { secret },
        }
    }

    /// Returns the reason for conditions, events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::CaBundle => "InvalidSpec",
            Self::Empty { .. } | Self::NoKey { .. } | Self::Not { .. } | Self::Unreadable => "SecretInvalid",
            Self::Forbidden { .. } => "SecretForbidden",
            Self::NotFound { .. } => "SecretNotFound",
            Self::Unavailable { .. } => "SecretUnavailable",
        }
    }
}

/// Makes the way to Vault and the credentials from a target and its Secrets. Parts equal to those of `held` are
/// shared with it, and so are their connections.
pub(super) fn resolve(
    target: &Target,
    namespace: &str,
    secrets: &BTreeMap<String, SecretData>,
    held: Option<&Vault>,
) -> Result<(Vault, Credentials), SecretError> {
    let shelf = Secrets { namespace, secrets };
    let roots = match &target.trust {
        Trust::System => Roots::System,
        Trust::Inline(pem) if holds_certificate(pem) => Roots::Bundle(pem.clone()),
        Trust::Inline(_) => return Err(SecretError::CaBundle),
        Trust::Secret(key) => Roots::Bundle(shelf.certificates(key)?),
    };
    let identity = match &target.identity {
        Some((certificate, key)) => Some(shelf.identity(certificate, key)?),
        None => None,
    };
    let connect = Connect {
        origin: target.origin.clone(),
        server_name: target.server_name.clone(),
        roots,
        identity,
        limits: Limits::default(),
    };
    let mut login = connect.clone();
    if let Method::Certificate { secret: Some(name), .. } = &target.method {
        let key = |key: &str| SecretKey {
            name: name.clone(),
            key: key.to_owned(),
        };
        login.identity = Some(shelf.identity(&key("tls.crt"), &key("tls.key"))?);
    }
    let known = held.into_iter().flat_map(|held| [&held.connect, &held.login]);
    let share = |connect: Connect| {
        let twin = known.clone().find(|known| ***known == connect);
        twin.map_or_else(|| Arc::new(connect), Arc::clone)
    };
    let vault = if login == connect {
        let connect = share(connect);
        Vault {
            login: Arc::clone(&connect),
            connect,
            namespace: target.namespace.clone(),
        }
    } else {
        Vault {
            connect: share(connect),
            login: share(login),
            namespace: target.namespace.clone(),
        }
    };
    Ok((vault, credentials(target, &shelf)?))
}

fn credentials(target: &Target, shelf: &Secrets<'_>) -> Result<Credentials, SecretError> {
    Ok(match &target.method {
        Method::AppRole {
            mount,
            role_id,
            secret_id,
        } => Credentials::AppRole {
            mount: mount.clone(),
            role_id: role_id.clone(),
            secret_id: shelf.text(secret_id, "secret ID")?,
        },
        Method::Certificate { mount, role, .. } => Credentials::Certificate {
            mount: mount.clone(),
            role: role.clone(),
        },
        Method::Jwt { mount, role, token } => Credentials::Jwt {
            mount: mount.clone(),
            role: role.clone(),
            token: Some(shelf.text(token, "service account token")?),
        },
        Method::ServiceAccount { mount, role, .. } => Credentials::Jwt {
            mount: mount.clone(),
            role: role.clone(),
            token: None,
        },
        Method::Token(key) => Credentials::Token(shelf.text(key, "Vault token")?),
    })
}

fn holds_certificate(pem: &[u8]) -> bool {
    CertificateDer::pem_slice_iter(pem).any(|block| block.is_ok())
}

/// The Secrets that were read, all of one namespace.
struct Secrets<'a> {
    namespace: &'a str,
    secrets: &'a BTreeMap<String, SecretData>,
}

impl Secrets<'_> {
    fn value(&self, key: &SecretKey) -> Result<&Secret, SecretError> {
        let SecretKey { name, key } = key;
        let secret = format!("{}/{name}", self.namespace);
        let Some(found) = self.secrets.get(name) else {
            return Err(SecretError::NotFound { secret });
        };
        let Some(value) = found.data.get(key) else {
            return Err(SecretError::NoKey {
                secret,
                key: key.clone(),
            });
        };
        if value.expose().trim_ascii().is_empty() {
            return Err(SecretError::Empty {
                secret,
                key: key.clone(),
            });
        }
        Ok(value)
    }

    fn not(&self, key: &SecretKey, what: &'static str) -> SecretError {
        SecretError::Not {
            secret: format!("{}/{}", self.namespace, key.name),
            key: key.key.clone(),
            what,
        }
    }

    /// A credential: one line of text that fits into a header.
    fn text(&self, key: &SecretKey, what: &'static str) -> Result<Secret, SecretError> {
        let value = self.value(key)?;
        let fits = value
            .expose_str()
            .is_some_and(|text| HeaderValue::from_str(text).is_ok());
        if fits {
            Ok(value.clone())
        } else {
            Err(self.not(key, what))
        }
    }

    fn certificates(&self, key: &SecretKey) -> Result<Vec<u8>, SecretError> {
        let pem = self.value(key)?.expose();
        if holds_certificate(pem) {
            Ok(pem.to_vec())
        } else {
            Err(self.not(key, "PEM certificate"))
        }
    }

    fn identity(&self, certificate: &SecretKey, key: &SecretKey) -> Result<Identity, SecretError> {
        let certificate = self.certificates(certificate)?;
        let private = self.value(key)?;
        if PrivateKeyDer::from_pem_slice(private.expose()).is_err() {
            return Err(self.not(key, "PEM private key"));
        }
        Ok(Identity {
            certificate,
            key: private.clone(),
        })
    }
}
