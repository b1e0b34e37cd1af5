//! The objects that an issuer takes data from: Secrets, ConfigMaps and service accounts.

use std::fmt;

/// Names a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Names a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigMapRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Names an object that an issuer takes data from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceRef {
    /// A ConfigMap.
    ConfigMap(ConfigMapRef),
    /// A Secret.
    Secret(SecretRef),
}

impl SourceRef {
    /// Returns its namespace.
    pub fn namespace(&self) -> &str {
        match self {
            Self::ConfigMap(ConfigMapRef { namespace, .. }) | Self::Secret(SecretRef { namespace, .. }) => namespace,
        }
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        match self {
            Self::ConfigMap(ConfigMapRef { name, .. }) | Self::Secret(SecretRef { name, .. }) => name,
        }
    }
}

impl fmt::Display for SourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConfigMap(ConfigMapRef { namespace, name }) => write!(f, "ConfigMap {namespace}/{name}"),
            Self::Secret(SecretRef { namespace, name }) => write!(f, "Secret {namespace}/{name}"),
        }
    }
}

/// Names a key of a ConfigMap in the namespace that an issuer reads from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConfigMapKey {
    /// The name of the ConfigMap.
    pub name: String,
    /// The key within.
    pub key: String,
}

/// Names a key of a Secret in the namespace that an issuer reads from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretKey {
    /// The name of the Secret.
    pub name: String,
    /// The key within.
    pub key: String,
}

/// Where a service account token is obtained.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TokenSource {
    /// A file in the controller's own pod, by its path: a token for a cloud, which the kubelet renews.
    File(String),
    /// The API server, which makes a new one.
    Requested(TokenSpec),
}

/// A token to be requested for a service account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenSpec {
    /// The namespace of the service account.
    pub namespace: String,
    /// The name of the service account.
    pub service_account: String,
    /// The audiences of the token.
    pub audiences: Vec<String>,
    /// The requested lifetime, in seconds.
    pub expiration_seconds: i64,
}
