//! Requests as the watch or the API server has shown them: while a task works on them, and while they wait.

use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use issuer_api::{CertificateRequest, CertificateSigningRequest};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::drop_in::alleged_write;
use super::observed_request::ObservedRequest;
use crate::reference::{RequestKey, RequestKind};

/// A request that a task works on. Clones share the object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Snapshot(Arc<ObservedRequest>);

impl Hash for Snapshot {
    /// Hashes uid and version, which determine the rest.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.uid(), self.version()).hash(state);
    }
}

impl Deref for Snapshot {
    type Target = ObservedRequest;

    fn deref(&self) -> &ObservedRequest {
        &self.0
    }
}

impl From<ObservedRequest> for Snapshot {
    fn from(request: ObservedRequest) -> Self {
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
    /// When a built-in controller has written its status, as its managed fields say.
    pub(super) alleged_write: Option<Timestamp>,
    uid: Box<str>,
    version: Box<str>,
    /// The spec, the status and of a Kubernetes CSR the annotations.
    rest: Box<[u8]>,
}

impl Hash for Packed {
    /// Hashes uid and version, which determine the rest.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.uid, &self.version).hash(state);
    }
}

impl Packed {
    pub(super) fn new(request: &ObservedRequest) -> Self {
        let rest = match request {
            ObservedRequest::CertManager(request) => serde_json::to_vec(&(&request.spec, &request.status)),
            ObservedRequest::Kubernetes(request) => {
                serde_json::to_vec(&(&request.spec, &request.status, &request.metadata.annotations))
            }
        };
        let created = request.metadata().creation_timestamp.as_ref();
        Self {
            is_approved: request.is("Approved"),
            is_denied: request.is("Denied"),
            is_invalid: request.is("InvalidRequest"),
            created: created.map(|time| time.0),
            alleged_write: alleged_write(request),
            uid: request.uid().into(),
            version: request.version().into(),
            // Encoding fails only for maps whose keys are not strings; there are none.
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
        let mut metadata = ObjectMeta {
            name: Some(key.name.to_string()),
            uid: Some(self.uid.to_string()),
            resource_version: Some(self.version.to_string()),
            ..ObjectMeta::default()
        };
        Some(Snapshot::from(match key.kind {
            RequestKind::CertificateRequest => {
                let (spec, status) = serde_json::from_slice(&self.rest).ok()?;
                metadata.namespace = Some(key.namespace.to_string());
                ObservedRequest::from(CertificateRequest { metadata, spec, status })
            }
            RequestKind::CertificateSigningRequest => {
                let (spec, status, annotations) = serde_json::from_slice(&self.rest).ok()?;
                metadata.annotations = annotations;
                ObservedRequest::from(CertificateSigningRequest { metadata, spec, status })
            }
        }))
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
        let bare = CertificateRequest {
            status: None,
            ..request.clone()
        };
        let (request, bare) = (ObservedRequest::from(request), ObservedRequest::from(bare));
        let waiting = Packed::new(&request);
        assert!(waiting.is_approved && !waiting.is_denied && !waiting.is_invalid);
        let key = request.key();
        assert_eq!(*waiting.decode(&key).unwrap(), request);
        assert_eq!(*Packed::new(&bare).decode(&key).unwrap(), bare);
    }

    #[test]
    fn waiting_csr_is_decoded_unchanged() {
        let request: CertificateSigningRequest = serde_json::from_value(json!({
            "metadata": {
                "name": "web",
                "uid": "u",
                "resourceVersion": "7",
                "annotations": { CertificateSigningRequest::DURATION: "1h", CertificateSigningRequest::IS_CA: "true" },
            },
            "spec": {
                "request": "no base64",
                "signerName": "vaultissuers.vault-issuer.io/team.vault",
                "expirationSeconds": 3600,
                "usages": ["client auth"],
                "username": "system:node:a",
                "uid": "u-1",
                "groups": ["system:nodes"],
                "extra": { "a": ["b", "c"] },
            },
            "status": { "conditions": [{ "type": "Approved", "status": "True", "lastUpdateTime": "2026-01-01T00:00:00Z" }] },
        }))
        .unwrap();
        let request = ObservedRequest::from(request);
        let waiting = Packed::new(&request);
        assert!(waiting.is_approved && !waiting.is_denied && !waiting.is_invalid);
        assert_eq!(*waiting.decode(&request.key()).unwrap(), request);
    }
}
