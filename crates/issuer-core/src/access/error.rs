//! Why an issuer cannot sign, with the reason and the message of its condition.

use std::time::Duration;

use super::{Room, SecretData};
use crate::TransportError;
use crate::reference::{SourceRef, TokenSource};
use crate::target::SpecError;
use crate::vault::{AwsError, HealthError, ProbeError, VaultError, WrappingError};

/// Why a Kubernetes object was not read, or a service account token not issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadError {
    /// The controller lacks the permission.
    Forbidden,
    /// The API server refused the request as invalid.
    Invalid,
    /// The object does not exist.
    NotFound,
    /// The request failed or timed out.
    Unavailable,
}

/// Why a Secret or a ConfigMap, or the value that the spec gives in place of one, cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// `spec.caBundle` holds no certificate.
    #[error("spec.caBundle holds no PEM certificate")]
    CaBundle,
    /// A value is empty.
    #[error("key {key} of {object} is empty")]
    Empty {
        /// The Secret or ConfigMap.
        object: SourceRef,
        /// The key.
        key: String,
    },
    /// The controller lacks the permission to read it.
    #[error("the controller may not read {object}: {grant}")]
    Forbidden {
        /// The Secret or ConfigMap.
        object: SourceRef,
        /// How to grant the permission.
        grant: String,
    },
    /// The key does not exist.
    #[error("{object} has no key {key}")]
    NoKey {
        /// The Secret or ConfigMap.
        object: SourceRef,
        /// The key.
        key: String,
    },
    /// It does not exist.
    #[error("{object} does not exist")]
    NotFound {
        /// The Secret or ConfigMap.
        object: SourceRef,
    },
    /// A value has the wrong format.
    #[error("key {key} of {object} holds no {what}")]
    Not {
        /// The Secret or ConfigMap.
        object: SourceRef,
        /// The key.
        key: String,
        /// The expected content.
        what: &'static str,
    },
    /// Its owner has limited it to other servers.
    #[error(
        "{object} may not be used with {server}: its annotation {} does not list this server",
        SecretData::SERVERS
    )]
    OtherServer {
        /// The Secret.
        object: SourceRef,
        /// The issuer's server.
        server: String,
    },
    /// The issuers of the tenant hold as much as they may.
    #[error(
        "{object} is not kept, since the issuers of a namespace hold {} MiB at most, CA bundles included: shorten the bundles, \
         or have fewer issuers",
        Room::OF_TENANT.mebibytes()
    )]
    Quota {
        /// The Secret or ConfigMap.
        object: SourceRef,
    },
    /// The request failed or timed out.
    #[error("{object} could not be read; it is tried again")]
    Unavailable {
        /// The Secret or ConfigMap.
        object: SourceRef,
    },
}

/// Returns the advice on how to permit the controller to read Secrets and ConfigMaps of a namespace.
fn grant(namespace: &str) -> String {
    format!("grant it access in namespace {namespace} (\"Grant access to credentials\" in deploy/docs/install.md)")
}

impl SecretError {
    pub(super) fn of(error: ReadError, object: SourceRef) -> Self {
        match error {
            ReadError::Forbidden => Self::Forbidden {
                grant: grant(object.namespace()),
                object,
            },
            ReadError::NotFound => Self::NotFound { object },
            // A read has no content that could be invalid.
            ReadError::Invalid | ReadError::Unavailable => Self::Unavailable { object },
        }
    }

    /// Returns the reason for conditions, events and metrics.
    pub fn reason(&self) -> &'static str {
        let of = |object: &SourceRef, secret, config_map| match object {
            SourceRef::ConfigMap(_) => config_map,
            SourceRef::Secret(_) => secret,
        };
        match self {
            Self::CaBundle => "InvalidSpec",
            Self::Empty { object, .. } | Self::NoKey { object, .. } | Self::Not { object, .. } => {
                of(object, "SecretInvalid", "ConfigMapInvalid")
            }
            Self::Forbidden { object, .. } => of(object, "SecretForbidden", "ConfigMapForbidden"),
            Self::NotFound { object } => of(object, "SecretNotFound", "ConfigMapNotFound"),
            Self::OtherServer { .. } => "SecretNotAllowed",
            Self::Quota { .. } => "QuotaExceeded",
            Self::Unavailable { object } => of(object, "SecretUnavailable", "ConfigMapUnavailable"),
        }
    }
}

/// Why an issuer cannot sign.
///
/// Messages are complete: none of these errors has a [`source`](std::error::Error::source), so a reporter that
/// prints the chain of causes prints each cause once.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// AWS gave no keys to log in with.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The server cannot be used at the moment.
    #[error(transparent)]
    Health(#[from] HealthError),
    /// Vault did not grant or confirm a token.
    #[error("the login failed: {0}")]
    Login(VaultError),
    /// The signing endpoint rejected the probe.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The issuers of the tenant hold as much as they may, so the spec of this one is not kept.
    #[error(
        "the spec is not kept, since the issuers of a namespace hold {} MiB at most, CA bundles included: shorten the bundles, \
         or have fewer issuers, and change this one then",
        Room::OF_TENANT.mebibytes()
    )]
    Quota,
    /// A Secret or a ConfigMap is missing or unusable.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The spec is invalid.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// No token was issued for the service account.
    #[error("{}", token_message(.account, .namespace, *.error))]
    Token {
        /// The name of the service account.
        account: String,
        /// The namespace of the service account.
        namespace: String,
        /// Why there is no token.
        error: ReadError,
    },
    /// The token of the controller's own pod cannot be read.
    #[error("the controller cannot read {path}, where EKS keeps its pod's token for AWS; it is tried again")]
    TokenFile {
        /// The path of the file.
        path: String,
    },
    /// The secret ID was not unwrapped.
    #[error(transparent)]
    Wrapping(#[from] WrappingError),
}

fn token_message(account: &str, namespace: &str, error: ReadError) -> String {
    match error {
        ReadError::Forbidden => format!(
            "the controller may not request tokens for ServiceAccount {namespace}/{account}: {}",
            grant(namespace)
        ),
        ReadError::Invalid => format!(
            "the API server refuses a token for ServiceAccount {namespace}/{account} as invalid: correct \
             the audiences and expirationSeconds of serviceAccountRef"
        ),
        ReadError::NotFound => format!("ServiceAccount {namespace}/{account} does not exist"),
        ReadError::Unavailable => {
            format!("a token for ServiceAccount {namespace}/{account} could not be requested; it is tried again")
        }
    }
}

impl AccessError {
    pub(super) fn no_token(source: TokenSource, error: ReadError) -> Self {
        match source {
            TokenSource::File(path) => Self::TokenFile { path },
            TokenSource::Requested(spec) => Self::Token {
                account: spec.service_account,
                namespace: spec.namespace,
                error,
            },
        }
    }

    /// Returns `true` if the same login may succeed later although nobody has changed the configuration.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Aws(error) => error.is_transient(),
            Self::Login(error) => error.is_transient(),
            Self::Secret(error) => matches!(error, SecretError::Unavailable { .. }),
            Self::Token { error, .. } => *error == ReadError::Unavailable,
            // The kubelet writes the file anew before the token expires.
            Self::TokenFile { .. } => true,
            Self::Wrapping(error) => error.is_transient(),
            // Not of the login.
            Self::Health(_) | Self::Probe(_) | Self::Quota | Self::Spec(_) => false,
        }
    }

    /// Returns the reason for conditions, events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Aws(error) => error.reason(),
            Self::Health(HealthError::DrSecondary | HealthError::Unhealthy(_)) => "VaultUnhealthy",
            Self::Health(HealthError::Sealed) => "VaultSealed",
            Self::Health(HealthError::Uninitialized) => "VaultUninitialized",
            Self::Login(VaultError::Denied | VaultError::Refused { .. }) => "LoginDenied",
            Self::Login(VaultError::NotFound) => "AuthMountNotFound",
            Self::Probe(ProbeError::Denied { .. }) => "PermissionDenied",
            Self::Probe(ProbeError::NoCa { .. }) => "CaMissing",
            Self::Probe(ProbeError::NotFound { .. }) => "PathNotFound",
            Self::Probe(ProbeError::Refused { .. }) => "SignRefused",
            Self::Probe(ProbeError::UnknownRole { .. }) => "RoleNotFound",
            Self::Health(HealthError::Vault(error)) | Self::Login(error) | Self::Probe(ProbeError::Vault(error)) => {
                error.reason()
            }
            Self::Quota => "QuotaExceeded",
            Self::Secret(error) => error.reason(),
            Self::Spec(_) => "InvalidSpec",
            Self::Token { error, .. } => match error {
                ReadError::Forbidden => "TokenForbidden",
                ReadError::Invalid => "TokenRefused",
                ReadError::NotFound => "ServiceAccountNotFound",
                ReadError::Unavailable => "TokenUnavailable",
            },
            Self::TokenFile { .. } => "TokenUnavailable",
            Self::Wrapping(error) => error.reason(),
        }
    }

    /// Returns `true` if the server itself is out of service: until it is back, only its health is requested, and
    /// often.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Health(_) => true,
            Self::Login(error)
            | Self::Probe(ProbeError::Vault(error))
            | Self::Wrapping(WrappingError::Vault(error)) => {
                // Not a 5xx: it may be that of one path, while the server works.
                matches!(error, VaultError::Sealed | VaultError::Transport(_))
            }
            Self::Aws(_)
            | Self::Probe(_)
            | Self::Quota
            | Self::Secret(_)
            | Self::Spec(_)
            | Self::Token { .. }
            | Self::TokenFile { .. }
            | Self::Wrapping(_) => false,
        }
    }

    /// Returns `true` if other Secrets may repair it, such as a new CA bundle or new credentials.
    pub(super) fn may_lie_in_secrets(&self) -> bool {
        match self {
            Self::Health(HealthError::Vault(VaultError::Transport(error)))
            | Self::Login(VaultError::Transport(error)) => {
                matches!(error, TransportError::Dial(_) | TransportError::Tls(_))
            }
            Self::Health(_) | Self::Probe(_) | Self::Quota => false,
            Self::Aws(_)
            | Self::Login(_)
            | Self::Secret(_)
            | Self::Spec(_)
            | Self::Token { .. }
            | Self::TokenFile { .. }
            | Self::Wrapping(_) => true,
        }
    }

    /// Returns the least time to wait before the next check, if Vault named one.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Health(HealthError::Vault(error))
            | Self::Login(error)
            | Self::Probe(ProbeError::Vault(error))
            | Self::Wrapping(WrappingError::Vault(error)) => error.retry_after(),
            Self::Aws(_)
            | Self::Health(_)
            | Self::Probe(_)
            | Self::Quota
            | Self::Secret(_)
            | Self::Spec(_)
            | Self::Token { .. }
            | Self::TokenFile { .. }
            | Self::Wrapping(_) => None,
        }
    }
}
