//! How an issuer logs in.

use std::fmt;

use issuer_api::{AppRole, Auth, AwsAuth, ClientCertificate, JwtAuth, KubernetesAuth, SecretKeySelector};

use super::aws::{AwsIdentity, Sts};
use super::issuer::Issuer;
use super::{Mount, SpecError, WrappingPath, filled, object_name, secret_key};
use crate::reference::SecretKey;

/// The lifetime of a service account token in seconds, unless the spec sets another: the least that Kubernetes grants.
const TOKEN_SECONDS: i64 = 600;

/// The longest lifetime of a service account token in seconds.
const TOKEN_SECONDS_LIMIT: i64 = 86_400;

/// How an issuer logs in.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Method {
    /// With a role ID, and the secret ID in a Secret.
    AppRole {
        /// The mount of the method.
        mount: Mount,
        /// The role ID.
        role_id: RoleId,
        /// The secret ID, if the role needs one.
        secret_id: Option<SecretIdKey>,
    },
    /// With an AWS identity.
    Aws {
        /// The mount of the method.
        mount: Mount,
        /// The role to log in as.
        role: String,
        /// Where AWS is asked to confirm the identity.
        sts: Sts,
        /// The identity.
        identity: AwsIdentity,
    },
    /// With a TLS client certificate.
    Certificate {
        /// The mount of the method.
        mount: Mount,
        /// The role to log in as, if one is named.
        role: Option<String>,
        /// The Secret of the certificate, if it is not the connection's own.
        secret: Option<String>,
    },
    /// With a JSON Web Token that is kept in a Secret, at a mount of the type `kubernetes` or `jwt`.
    Jwt {
        /// The mount of the method.
        mount: Mount,
        /// The role to log in as.
        role: String,
        /// The key that holds the token.
        token: SecretKey,
    },
    /// With a token requested for a service account, at a mount of the type `kubernetes` or `jwt`.
    ServiceAccount {
        /// The mount of the method.
        mount: Mount,
        /// The role to log in as.
        role: String,
        /// The service account.
        name: String,
        /// The token's audiences.
        audiences: Vec<String>,
        /// The token's lifetime in seconds.
        expiration_seconds: i64,
    },
    /// With a token from a Secret.
    Token(SecretKey),
}

/// The role ID of an AppRole.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum RoleId {
    /// The role ID in the spec.
    Inline(String),
    /// The key that holds the role ID.
    Secret(SecretKey),
}

/// The secret ID of an AppRole.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct SecretIdKey {
    /// The key that holds it, or a token that Vault exchanges for it.
    pub key: SecretKey,
    /// The endpoint at which it was wrapped, if the key holds a token.
    pub wrapped_at: Option<WrappingPath>,
}

impl Method {
    /// Returns the service account whose tokens are requested, if it is with one.
    pub fn service_account(&self) -> Option<&str> {
        match self {
            Self::ServiceAccount { name, .. }
            | Self::Aws {
                identity: AwsIdentity::WebIdentity { name, .. },
                ..
            } => Some(name),
            _ => None,
        }
    }

    /// Returns the keys of Secrets whose values the login sends.
    pub fn keys(&self) -> Vec<&SecretKey> {
        match self {
            Self::AppRole { role_id, secret_id, .. } => {
                let role_id = match role_id {
                    RoleId::Inline(_) => None,
                    RoleId::Secret(key) => Some(key),
                };
                let secret_id = secret_id.as_ref().map(|id| &id.key);
                role_id.into_iter().chain(secret_id).collect()
            }
            Self::Jwt { token: key, .. } | Self::Token(key) => vec![key],
            Self::Aws { .. } | Self::Certificate { .. } | Self::ServiceAccount { .. } => Vec::new(),
        }
    }

    /// Returns `true` if the login needs a secret ID that Vault hands out once.
    pub fn is_wrapped(&self) -> bool {
        match self {
            Self::AppRole { secret_id, .. } => secret_id.as_ref().is_some_and(|id| id.wrapped_at.is_some()),
            _ => false,
        }
    }

    /// Returns the name of each Secret that the login needs, and a key of it.
    pub(super) fn entries(&self) -> Vec<(&str, &str)> {
        let in_secret = |secret, keys: &[&'static str]| keys.iter().map(|key| (secret, *key)).collect();
        match self {
            Self::Aws {
                identity: AwsIdentity::Keys(secret),
                ..
            } => in_secret(secret.as_str(), &["accessKeyID", "secretAccessKey", "sessionToken"]),
            Self::Certificate {
                secret: Some(secret), ..
            } => in_secret(secret, &["tls.crt", "tls.key"]),
            other => other.keys().into_iter().map(entry).collect(),
        }
    }
}

/// Returns the name of the Secret, and the key.
pub(super) fn entry(key: &SecretKey) -> (&str, &str) {
    (&key.name, &key.key)
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AppRole { mount, .. } => write!(f, "an AppRole at {mount}"),
            Self::Aws {
                mount, role, identity, ..
            } => match identity {
                AwsIdentity::Ambient(_) => {
                    write!(f, "the AWS identity of the controller's pod, as {role} at {mount}")
                }
                AwsIdentity::Keys(_) => write!(f, "AWS access keys from a Secret, as {role} at {mount}"),
                AwsIdentity::WebIdentity { arn, name, .. } => {
                    write!(
                        f,
                        "the AWS identity {arn} of service account {name}, as {role} at {mount}"
                    )
                }
            },
            Self::Certificate { mount, .. } => write!(f, "a client certificate at {mount}"),
            Self::Jwt { mount, role, .. } => write!(f, "a service account token from a Secret, as {role} at {mount}"),
            Self::ServiceAccount { mount, role, name, .. } => {
                write!(f, "a token of service account {name}, as {role} at {mount}")
            }
            Self::Token(_) => f.write_str("a given token"),
        }
    }
}

/// Where a JSON Web Token comes from.
enum Source {
    Secret(SecretKey),
    Account {
        name: String,
        audiences: Vec<String>,
        expiration_seconds: i64,
    },
}

impl Issuer<'_> {
    /// Parses the one method that is set.
    pub(super) fn method(self, auth: &Auth) -> Result<Method, SpecError> {
        let methods = [
            auth.token_secret_ref.as_ref().map(token),
            auth.app_role.as_ref().map(app_role),
            auth.kubernetes.as_ref().map(|kubernetes| self.kubernetes(kubernetes)),
            auth.jwt.as_ref().map(|jwt| self.jwt(jwt)),
            auth.aws.as_ref().map(|aws| self.aws(aws)),
            auth.client_certificate.as_ref().map(client_certificate),
        ];
        // The CRD requires exactly one already, but specs come from cert-manager's issuers, too.
        let mut set = methods.into_iter().flatten();
        match (set.next(), set.next()) {
            (Some(method), None) => method,
            _ => Err(SpecError::Method),
        }
    }

    fn kubernetes(self, auth: &KubernetesAuth) -> Result<Method, SpecError> {
        let mount = mount(
            auth.mount_path.as_deref(),
            "kubernetes",
            "spec.auth.kubernetes.mountPath",
        )?;
        let role = filled(&auth.role, "spec.auth.kubernetes.role")?;
        // Go clients write an unset reference as one with an empty name.
        let secret = auth.secret_ref.as_ref().filter(|secret| !secret.name.is_empty());
        let source = match (secret, &auth.service_account_ref) {
            (Some(secret), None) => Source::Secret(secret_key(secret, "token", "spec.auth.kubernetes.secretRef.name")?),
            (None, Some(account)) => {
                let name = object_name(&account.name, "spec.auth.kubernetes.serviceAccountRef.name")?;
                self.permit_account(&name, &account.audiences, "spec.auth.kubernetes.serviceAccountRef")?;
                Source::Account {
                    name,
                    // cert-manager adds its own audience to those of the spec, and roles may be bound to either.
                    audiences: [account.audiences.clone(), self.audiences()].concat(),
                    expiration_seconds: TOKEN_SECONDS,
                }
            }
            _ => return Err(SpecError::JwtSource("spec.auth.kubernetes")),
        };
        Ok(with_jwt(mount, role, source))
    }

    fn jwt(self, auth: &JwtAuth) -> Result<Method, SpecError> {
        let mount = mount(auth.mount_path.as_deref(), "jwt", "spec.auth.jwt.mountPath")?;
        let role = filled(&auth.role, "spec.auth.jwt.role")?;
        let source = match (&auth.secret_ref, &auth.service_account_ref) {
            (Some(secret), None) => Source::Secret(secret_key(secret, "token", "spec.auth.jwt.secretRef.name")?),
            (None, Some(account)) => {
                let field = "spec.auth.jwt.serviceAccountRef";
                let name = object_name(&account.name, "spec.auth.jwt.serviceAccountRef.name")?;
                self.permit_account(&name, &account.audiences, field)?;
                let expiration_seconds = account.expiration_seconds.unwrap_or(TOKEN_SECONDS);
                if !(TOKEN_SECONDS..=TOKEN_SECONDS_LIMIT).contains(&expiration_seconds) {
                    return Err(SpecError::TokenLifetime(field));
                }
                // Each audience is a server that accepts the token, so none is added to those that the author has chosen.
                let listed = Some(account.audiences.clone()).filter(|listed| !listed.is_empty());
                Source::Account {
                    name,
                    audiences: listed.unwrap_or_else(|| self.audiences()),
                    expiration_seconds,
                }
            }
            _ => return Err(SpecError::JwtSource("spec.auth.jwt")),
        };
        Ok(with_jwt(mount, role, source))
    }

    fn aws(self, auth: &AwsAuth) -> Result<Method, SpecError> {
        let (sts, identity) = self.aws_identity(auth)?;
        Ok(Method::Aws {
            mount: mount(auth.mount_path.as_deref(), "aws", "spec.auth.aws.mountPath")?,
            role: filled(&auth.role, "spec.auth.aws.role")?,
            sts,
            identity,
        })
    }
}

fn with_jwt(mount: Mount, role: String, source: Source) -> Method {
    match source {
        Source::Secret(token) => Method::Jwt { mount, role, token },
        Source::Account {
            name,
            audiences,
            expiration_seconds,
        } => Method::ServiceAccount {
            mount,
            role,
            name,
            audiences,
            expiration_seconds,
        },
    }
}

fn token(key: &SecretKeySelector) -> Result<Method, SpecError> {
    Ok(Method::Token(secret_key(
        key,
        "token",
        "spec.auth.tokenSecretRef.name",
    )?))
}

fn app_role(role: &AppRole) -> Result<Method, SpecError> {
    let role_id = match (&role.role_id, &role.role_id_secret_ref) {
        (Some(id), None) => RoleId::Inline(filled(id, "spec.auth.appRole.roleId")?),
        (None, Some(key)) => RoleId::Secret(secret_key(key, "roleId", "spec.auth.appRole.roleIdSecretRef.name")?),
        _ => return Err(SpecError::RoleIdSource),
    };
    Ok(Method::AppRole {
        mount: mount(role.path.as_deref(), "approle", "spec.auth.appRole.path")?,
        role_id,
        secret_id: secret_id(role)?,
    })
}

fn secret_id(role: &AppRole) -> Result<Option<SecretIdKey>, SpecError> {
    let path = role.secret_id_wrapping_path.as_deref();
    let wrapped_at = match path.map(WrappingPath::parse) {
        Some(None) => return Err(SpecError::WrappingPath),
        Some(path) => path,
        None => None,
    };
    match &role.secret_ref {
        Some(key) => Ok(Some(SecretIdKey {
            key: secret_key(key, "secretId", "spec.auth.appRole.secretRef.name")?,
            wrapped_at,
        })),
        None if wrapped_at.is_some() => Err(SpecError::WrappingPath),
        None => Ok(None),
    }
}

fn client_certificate(certificate: &ClientCertificate) -> Result<Method, SpecError> {
    Ok(Method::Certificate {
        mount: mount(
            certificate.mount_path.as_deref(),
            "cert",
            "spec.auth.clientCertificate.mountPath",
        )?,
        role: certificate.name.clone().filter(|name| !name.is_empty()),
        secret: match certificate.secret_name.as_deref() {
            None | Some("") => None,
            Some(name) => Some(object_name(name, "spec.auth.clientCertificate.secretName")?),
        },
    })
}

fn mount(path: Option<&str>, default: &str, field: &'static str) -> Result<Mount, SpecError> {
    let path = path.map(str::trim).filter(|path| !path.is_empty()).unwrap_or(default);
    Mount::parse(path).ok_or(SpecError::Mount(field))
}
