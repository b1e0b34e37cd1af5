//! Requests as the watch or the API server has shown them: while a task works on them, and while they wait.

use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use issuer_api::CertificateRequest;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::reference::RequestKey;

/// A request that a task works on. Clones share the object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Snapshot(Arc<CertificateRequest>);

impl Hash for Snapshot {
    /// Hashes uid and version, which determine the rest.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.metadata.uid, &self.metadata.resource_version).hash(state);
    }
}

impl Deref for Snapshot {
    type Target = CertificateRequest;

    fn deref(&self) -> &CertificateRequest {
        &self.0
    }
}

impl From<CertificateRequest> for Snapshot {
    fn from(request: CertificateRequest) -> Self {
        Self(Arc::new(request))
    }
}

/// A request that waits: what decides when its turn comes, and the rest as JSON, which takes a third of the room of the
/// decoded object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Packed {
    pub(super) is_approved: bool,
    pub(super) is_denied: bool,
    pub(super) is_invalid: bool,
    /// When the request was created.
    pub(super) created: Option<Timestamp>,
    uid: Box<str>,
    version: Box<str>,
    /// The spec and the status.
    rest: Box<[u8]>,
}

impl Hash for Packed {
    /// Hashes uid and version, which determine the rest.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.uid, &self.version).hash(state);
    }
}

impl Packed {
    pub(super) fn new(request: &CertificateRequest) -> Self {
        let rest = serde_json::to_vec(&(&request.spec, &request.status));
        let created = request.metadata.creation_timestamp.as_ref();
        Self {
            is_approved: request.is("Approved"),
            is_denied: request.is("Denied"),
            is_invalid: request.is("InvalidRequest"),
            created: created.and_then(|time| Timestamp::from_second(time.0.as_second()).ok()),
            uid: request.uid().into(),
            version: request.version().into(),
            rest: rest.unwrap_or_default().into(),
        }
    }

    pub(super) fn uid(&self) -> &str {
        &self.uid
    }

    /// Returns the room that spec and status take, in bytes.
    pub(super) fn size(&self) -> usize {
        self.rest.len()
    }

    /// Returns the request, which has this key; `None` if it was never encoded.
    pub(super) fn decode(&self, key: &RequestKey) -> Option<Snapshot> {
        let (spec, status) = serde_json::from_slice(&self.rest).ok()?;
        let metadata = ObjectMeta {
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            uid: Some(self.uid.to_string()),
            resource_version: Some(self.version.to_string()),
            ..ObjectMeta::default()
        };
        Some(Snapshot::from(CertificateRequest { metadata, spec, status }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn waiting_request_is_decoded_unchanged() {
        let request: CertificateRequest = serde_json::from_value(json!({
            "metadata": { "name": "web", "namespace": "team", "uid": "u", "resourceVersion": "7" },
            "spec": {
                "request": "no base64",
                "issuerRef": { "name": "vault", "kind": "", "group": "vault-issuer.io" },
                "duration": "1h0m0s",
                "isCA": true,
                "usages": ["server auth"],
            },
            "status": {
                "conditions": [{ "type": "Approved", "status": "True", "message": "\u{e9}\"\\", "later": [1, null] }],
                "failureTime": "2026-01-01T00:00:00Z",
                "later": { "a": "b" },
            },
        }))
        .unwrap();
        let waiting = Packed::new(&request);
        assert!(waiting.is_approved && !waiting.is_denied && !waiting.is_invalid);
        let key = RequestKey::of(&request);
        assert_eq!(*waiting.decode(&key).unwrap(), request);
        let bare = CertificateRequest {
            status: None,
            ..request
        };
        assert_eq!(*Packed::new(&bare).decode(&key).unwrap(), bare);
    }
}
