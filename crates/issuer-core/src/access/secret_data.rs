//! The data of Secrets and ConfigMaps, and fingerprints to notice changes.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret as SecretObject};

use crate::digest::digest;
use crate::{Origin, Secret};

/// The data of a Secret, or that of a ConfigMap.
#[derive(Clone, PartialEq)]
pub struct SecretData {
    /// The `metadata.resourceVersion`, by which a change is noticed.
    pub resource_version: String,
    /// The values by key.
    pub data: BTreeMap<String, Secret>,
    /// The value of the annotation [`SERVERS`](Self::SERVERS): URLs, separated by commas, of the only servers that it
    /// may be used with.
    pub servers: Option<String>,
}

impl SecretData {
    /// The annotation by which the owner of a Secret limits it to some servers. Without it, the author of any issuer of
    /// the namespace can send the Secret to a server of their own.
    pub const SERVERS: &'static str = "vault-issuer.io/servers";

    /// Returns a fingerprint of the content; unlike `resourceVersion`, it does not change with the metadata.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            digest: digest(&(&self.data, &self.servers)),
            size: self.size(),
        }
    }

    /// Returns the length of all values.
    pub(super) fn size(&self) -> usize {
        self.data.values().map(|value| value.expose().len()).sum()
    }

    pub(super) fn may_be_used_with(&self, server: &Origin) -> bool {
        let listed = |servers: &String| {
            let mut origins = servers.split(',').filter_map(Origin::parse);
            origins.any(|origin| origin.has_same_server(server))
        };
        self.servers.as_ref().is_none_or(listed)
    }
}

impl From<SecretObject> for SecretData {
    /// Takes the data. A Secret of a file may have text in `stringData`, which takes precedence.
    fn from(object: SecretObject) -> Self {
        Self {
            servers: object.metadata.annotations.unwrap_or_default().remove(Self::SERVERS),
            resource_version: object.metadata.resource_version.unwrap_or_default(),
            data: joined(object.data, object.string_data),
        }
    }
}

impl From<ConfigMap> for SecretData {
    fn from(object: ConfigMap) -> Self {
        Self {
            // Only CA certificates are taken from a ConfigMap, and those are public.
            servers: None,
            resource_version: object.metadata.resource_version.unwrap_or_default(),
            data: joined(object.binary_data, object.data),
        }
    }
}

fn joined(
    bytes: Option<BTreeMap<String, ByteString>>,
    text: Option<BTreeMap<String, String>>,
) -> BTreeMap<String, Secret> {
    let bytes = bytes.into_iter().flatten().map(|(key, value)| (key, value.0));
    let text = text.into_iter().flatten().map(|(key, value)| (key, value.into_bytes()));
    // Text comes last, so that it replaces bytes of the same key.
    bytes
        .chain(text)
        .map(|(key, value)| (key, Secret::from(value)))
        .collect()
}

impl fmt::Debug for SecretData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretData({})", self.resource_version)
    }
}

/// Stands for the content of a Secret or ConfigMap. It is not printed: a guess of the content could be checked with it.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Fingerprint {
    digest: u64,
    /// The length of the content.
    pub(super) size: usize,
}

impl Hash for Fingerprint {
    /// Hashes nothing: the version identifies the content.
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

impl Hash for SecretData {
    /// Hashes the version only, which identifies the content.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.resource_version.hash(state);
    }
}
