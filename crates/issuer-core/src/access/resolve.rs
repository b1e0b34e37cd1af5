use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderValue;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{Inputs, SecretData, SecretError};
use crate::reference::{SecretKey, TokenSpec};
use crate::target::{Method, Mount, RoleId, Target, Trust};
use crate::vault::{Credentials, Vault};
use crate::{Connect, Identity, Limits, Roots, Secret};

/// The connection to Vault and the credentials, made from a target and its Secrets.
pub(super) struct Resolved {
    pub(super) vault: Vault,
    pub(super) login: Login,
    pub(super) inputs: Inputs,
}

/// How to log in.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) enum Login {
    /// With these credentials.
    With(Credentials),
    /// With a token that is to be requested for a service account.
    Mint(Mint),
}

/// A login with a service account token that is yet to be requested.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Mint {
    pub(super) mount: Mount,
    pub(super) role: String,
    pub(super) spec: TokenSpec,
}

/// Resolves a target whose Secrets have been read from `namespace`. Connections equal to those of `held` are shared
/// with it.
pub(super) fn resolve(
    target: &Target,
    namespace: &str,
    secrets: &BTreeMap<String, SecretData>,
    held: Option<&Vault>,
) -> Result<Resolved, SecretError> {
    let versions = secrets
        .iter()
        .map(|(name, secret)| (name.clone(), secret.resource_version.clone()));
    let inputs = Inputs {
        target: target.clone(),
        versions: versions.collect(),
    };
    let secrets = Secrets { namespace, secrets };
    Ok(Resolved {
        vault: vault(target, &secrets, held)?,
        login: login(target, &secrets)?,
        inputs,
    })
}

fn vault(target: &Target, secrets: &Secrets<'_>, held: Option<&Vault>) -> Result<Vault, SecretError> {
    let roots = match &target.trust {
        Trust::System => Roots::System,
        Trust::Inline(pem) if holds_certificate(pem) => Roots::Bundle(pem.clone()),
        Trust::Inline(_) => return Err(SecretError::CaBundle),
        Trust::Secret(key) => Roots::Bundle(secrets.certificates(key)?),
    };
    let identity = match &target.identity {
        Some((certificate, key)) => Some(secrets.identity(certificate, key)?),
        None => None,
    };
    let connect = Connect {
        origin: target.origin.clone(),
        allowed_servers: target.allowed_servers.clone(),
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
        login.identity = Some(secrets.identity(&key("tls.crt"), &key("tls.key"))?);
    }
    // Drivers pool connections by the identity of `Connect`: an equal one anew would cost a handshake after each read.
    let known = held.into_iter().flat_map(|held| [&held.connect, &held.login]);
    let share = |connect: Connect| {
        let shared = known.clone().find(|known| ***known == connect);
        shared.map_or_else(|| Arc::new(connect), Arc::clone)
    };
    let is_shared = login == connect;
    let connect = share(connect);
    Ok(Vault {
        login: if is_shared { Arc::clone(&connect) } else { share(login) },
        connect,
        namespace: target.namespace.clone(),
        login_namespace: target.login_namespace.clone(),
    })
}

fn login(target: &Target, secrets: &Secrets<'_>) -> Result<Login, SecretError> {
    Ok(Login::With(match &target.method {
        Method::AppRole {
            mount,
            role_id,
            secret_id,
        } => Credentials::AppRole {
            mount: mount.clone(),
            role_id: match role_id {
                RoleId::Inline(id) => Secret::from(id.as_str()),
                RoleId::Secret(key) => secrets.text(key, "role ID")?,
            },
            secret_id: secret_id
                .as_ref()
                .map(|key| secrets.text_or_empty(key, "secret ID"))
                .transpose()?,
        },
        Method::Certificate { mount, role, .. } => Credentials::Certificate {
            mount: mount.clone(),
            role: role.clone(),
        },
        Method::Jwt { mount, role, token } => Credentials::Jwt {
            mount: mount.clone(),
            role: role.clone(),
            token: secrets.text(token, "service account token")?,
        },
        Method::ServiceAccount {
            mount,
            role,
            name,
            audiences,
            expiration_seconds,
        } => {
            let spec = TokenSpec {
                namespace: secrets.namespace.to_owned(),
                service_account: name.clone(),
                audiences: audiences.clone(),
                expiration_seconds: *expiration_seconds,
            };
            return Ok(Login::Mint(Mint {
                mount: mount.clone(),
                role: role.clone(),
                spec,
            }));
        }
        Method::Token(key) => Credentials::Token(secrets.text(key, "Vault token")?),
    }))
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
        let value = self.entry(key)?;
        if value.expose().trim_ascii().is_empty() {
            return Err(SecretError::Empty {
                secret: self.name(key),
                key: key.key.clone(),
            });
        }
        Ok(value)
    }

    fn entry(&self, key: &SecretKey) -> Result<&Secret, SecretError> {
        let secret = || self.name(key);
        let found = self.secrets.get(&key.name);
        let found = found.ok_or_else(|| SecretError::NotFound { secret: secret() })?;
        found.data.get(&key.key).ok_or_else(|| SecretError::NoKey {
            secret: secret(),
            key: key.key.clone(),
        })
    }

    fn name(&self, key: &SecretKey) -> String {
        format!("{}/{}", self.namespace, key.name)
    }

    fn not(&self, key: &SecretKey, what: &'static str) -> SecretError {
        SecretError::Not {
            secret: self.name(key),
            key: key.key.clone(),
            what,
        }
    }

    /// Returns a credential: one line of text that fits into a header.
    fn text(&self, key: &SecretKey, what: &'static str) -> Result<Secret, SecretError> {
        self.value(key)?;
        self.text_or_empty(key, what)
    }

    /// Returns a credential that may be empty, as the secret ID of a role with `bind_secret_id=false` is.
    fn text_or_empty(&self, key: &SecretKey, what: &'static str) -> Result<Secret, SecretError> {
        let value = self.entry(key)?;
        // A line break in a header or a control character is a mistake in the Secret, and is reported as one.
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
