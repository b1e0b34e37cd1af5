//! The data of Secrets and ConfigMaps, from a server or a file.

use std::collections::BTreeMap;

use issuer_core::Secret;
use issuer_core::access::SecretData;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret as SecretObject};

/// Returns what a Secret holds. A file may have text in `stringData`, which takes precedence.
#[must_use]
pub fn secret_data(object: SecretObject) -> SecretData {
    SecretData {
        servers: object
            .metadata
            .annotations
            .unwrap_or_default()
            .remove(SecretData::SERVERS),
        resource_version: object.metadata.resource_version.unwrap_or_default(),
        data: joined(object.data, object.string_data),
    }
}

/// Returns what a ConfigMap holds.
#[must_use]
pub fn config_map_data(object: ConfigMap) -> SecretData {
    SecretData {
        servers: None,
        resource_version: object.metadata.resource_version.unwrap_or_default(),
        data: joined(object.binary_data, object.data),
    }
}

fn joined(
    bytes: Option<BTreeMap<String, ByteString>>,
    text: Option<BTreeMap<String, String>>,
) -> BTreeMap<String, Secret> {
    let bytes = bytes.into_iter().flatten().map(|(key, value)| (key, value.0));
    let text = text.into_iter().flatten().map(|(key, value)| (key, value.into_bytes()));
    bytes
        .chain(text)
        .map(|(key, value)| (key, Secret::from(value)))
        .collect()
}
