//! Objects as the API server sends them, decoded one by one and no further than they are needed.
//!
//! An object that cannot be decoded costs that object only. Unused fields are skipped without being stored: the
//! annotations and managed fields of an object may be larger than everything that is used.

mod header;
mod managed;
mod watched;

use std::borrow::Cow;
use std::sync::Arc;

use issuer_api::{
    CertManagerSpec, CertManagerStatus, CertificateRequest, CertificateRequestSpec, CertificateRequestStatus,
    CertificateSigningRequest, CertificateSigningRequestSpec, IssuerStatus, VaultSpec,
};
use issuer_core::reconcile::{Change, Key, ObservedIssuer, ObservedRequest};
use issuer_core::reference::{IssuerKey, IssuerKind, RequestKey, RequestKind};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

pub(crate) use self::header::RequestHeader;
use self::header::Signer;
pub(crate) use self::managed::FIELD_MANAGER;
pub(crate) use self::watched::{Watched, WatchedList};

/// Has the API server answer with the metadata alone.
pub(crate) const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// The length of an error, in characters: its text may quote a whole field.
const ERROR: usize = 200;

/// The text of an object, or of the watch event that holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Json<'a> {
    Event(&'a [u8]),
    Object(&'a [u8]),
}

/// The metadata that is used. The API server makes it, so it can always be decoded.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Meta {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
    annotations: Annotations,
    creation_timestamp: Option<String>,
    generation: i64,
    managed_fields: Vec<managed::Writer>,
}

/// The annotations that are used, of a CertificateSigningRequest.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
struct Annotations {
    #[serde(rename = "experimental.cert-manager.io/request-duration")]
    duration: Option<String>,
    #[serde(rename = "experimental.cert-manager.io/request-is-ca")]
    is_ca: Option<String>,
}

#[derive(Deserialize)]
struct Object<Spec, Status> {
    metadata: Meta,
    spec: Spec,
    status: Option<Status>,
}

/// An object that was decoded: that it exists, as a change.
#[derive(Debug, PartialEq)]
pub(crate) struct Decoded {
    pub(crate) key: Key,
    /// Its resourceVersion.
    pub(crate) version: String,
    pub(crate) change: Change,
}

/// Returns the type of a watch event. The API server writes it first, so that the rest need not be read for it.
pub(crate) fn event_type(line: &[u8]) -> serde_json::Result<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Event {
        r#type: String,
    }
    let rest = line.strip_prefix(br#"{"type":""#).unwrap_or_default();
    let end = rest.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    match rest.split_at_checked(end) {
        Some((first, [b'"', ..])) => Ok(String::from_utf8_lossy(first)),
        _ => serde_json::from_slice(line).map(|Event { r#type }| Cow::Owned(r#type)),
    }
}

impl Json<'_> {
    /// Decodes the object.
    pub(crate) fn decode<T: DeserializeOwned>(self) -> serde_json::Result<T> {
        #[derive(Deserialize)]
        struct Event<T> {
            object: T,
        }
        match self {
            Self::Event(text) => serde_json::from_slice(text).map(|Event { object }| object),
            Self::Object(text) => serde_json::from_slice(text),
        }
    }

    /// Decodes the metadata of the object, and nothing else of it.
    pub(crate) fn meta(self) -> serde_json::Result<Meta> {
        #[derive(Deserialize)]
        struct Named {
            metadata: Meta,
        }
        self.decode().map(|Named { metadata }| metadata)
    }
}

impl Watched {
    /// Returns the key of the object with this metadata.
    pub(crate) fn key(self, meta: &Meta) -> Key {
        match self {
            Self::Issuers(kind) => Key::Issuer(issuer_key(kind, meta)),
            Self::Requests(kind) => Key::Request(RequestKey {
                kind,
                namespace: meta.namespace.as_str().into(),
                name: meta.name.as_str().into(),
            }),
        }
    }

    /// Decodes an object. One of cert-manager's issuers that does not sign with Vault counts as absent, and so does a
    /// CertificateSigningRequest of another signer.
    ///
    /// # Errors
    ///
    /// Why it cannot be decoded, shortened.
    pub(crate) fn decode(self, json: Json<'_>) -> Result<Decoded, String> {
        let decoded = match self {
            Self::Issuers(kind) if kind.is_drop_in() => json.decode().map(|object: Object<CertManagerSpec, _>| {
                let key = issuer_key(kind, &object.metadata);
                let version = object.metadata.resource_version.clone();
                let change = match drop_in(object) {
                    Some(observed) => Change::Issuer(key.clone(), observed),
                    None => Change::IssuerGone(key.clone()),
                };
                Decoded {
                    key: Key::Issuer(key),
                    version,
                    change,
                }
            }),
            Self::Issuers(kind) => json.decode().map(|object: Object<_, _>| {
                let key = issuer_key(kind, &object.metadata);
                Decoded {
                    key: Key::Issuer(key.clone()),
                    version: object.metadata.resource_version.clone(),
                    change: Change::Issuer(key, observed(object)),
                }
            }),
            Self::Requests(RequestKind::CertificateRequest) => json.decode().map(|object: Object<_, _>| Decoded {
                key: self.key(&object.metadata),
                version: object.metadata.resource_version.clone(),
                change: Change::Request(request(object).into()),
            }),
            Self::Requests(RequestKind::CertificateSigningRequest) => decode_csr(json),
        };
        decoded.map_err(|error| error.to_string().chars().take(ERROR).collect())
    }
}

/// Returns the change that an object is gone; `None` if the key is not of an object.
pub(crate) fn gone(key: Key) -> Option<Change> {
    match key {
        Key::Issuer(key) => Some(Change::IssuerGone(key)),
        Key::Request(key) => Some(Change::RequestGone(key)),
        Key::Token(_) => None,
    }
}

/// Decodes a CertificateSigningRequest. Most are of other signers, which cannot be excluded by a selector: nothing of
/// these is kept.
fn decode_csr(json: Json<'_>) -> serde_json::Result<Decoded> {
    let named: Object<Signer, IgnoredAny> = json.decode()?;
    let key = RequestKey {
        kind: RequestKind::CertificateSigningRequest,
        namespace: Arc::default(),
        name: named.metadata.name.into(),
    };
    let change = match IssuerKey::of_signer(&named.spec.signer_name) {
        Some(_) => Change::Request(csr(json.decode()?).into()),
        None => Change::RequestGone(key.clone()),
    };
    Ok(Decoded {
        key: Key::Request(key),
        version: named.metadata.resource_version,
        change,
    })
}

/// Decodes a request of a kind, with the part of its metadata that is used.
pub(crate) fn decode_request(kind: RequestKind, text: &[u8]) -> serde_json::Result<ObservedRequest> {
    let json = Json::Object(text);
    Ok(match kind {
        RequestKind::CertificateRequest => request(json.decode()?).into(),
        RequestKind::CertificateSigningRequest => csr(json.decode()?).into(),
    })
}

fn request(object: Object<CertificateRequestSpec, CertificateRequestStatus>) -> CertificateRequest {
    CertificateRequest {
        metadata: object.metadata.into(),
        spec: object.spec,
        status: object.status,
    }
}

fn csr(mut object: Object<CertificateSigningRequestSpec, CertificateRequestStatus>) -> CertificateSigningRequest {
    let Annotations { duration, is_ca } = std::mem::take(&mut object.metadata.annotations);
    let annotations = [
        (CertificateSigningRequest::DURATION, duration),
        (CertificateSigningRequest::IS_CA, is_ca),
    ];
    let annotations = annotations
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    CertificateSigningRequest {
        metadata: ObjectMeta {
            annotations: Some(annotations.collect()),
            namespace: None,
            ..object.metadata.into()
        },
        spec: object.spec,
        status: object.status,
    }
}

impl From<Meta> for ObjectMeta {
    fn from(meta: Meta) -> Self {
        Self {
            name: Some(meta.name),
            namespace: Some(meta.namespace),
            uid: Some(meta.uid),
            resource_version: Some(meta.resource_version),
            creation_timestamp: meta.creation_timestamp.and_then(time),
            generation: Some(meta.generation),
            managed_fields: managed::built_in(meta.managed_fields),
            ..Self::default()
        }
    }
}

/// Returns a time; `None` for one that cannot be represented, which must not make the object unreadable.
fn time(text: String) -> Option<Time> {
    text.parse().ok().map(Time)
}

fn observed(object: Object<VaultSpec, IssuerStatus>) -> ObservedIssuer {
    let ready_writers = managed::ready_writers(&object.metadata.managed_fields);
    ObservedIssuer {
        ready_writers,
        uid: object.metadata.uid,
        generation: object.metadata.generation,
        resource_version: object.metadata.resource_version,
        spec: object.spec,
        status: object.status.unwrap_or_default(),
    }
}

/// Returns one of cert-manager's issuers as if it were ours; `None` if it does not sign with Vault.
fn drop_in(object: Object<CertManagerSpec, CertManagerStatus>) -> Option<ObservedIssuer> {
    Some(observed(Object {
        metadata: object.metadata,
        spec: object.spec.into_vault()?,
        status: object.status.map(IssuerStatus::from),
    }))
}

fn issuer_key(kind: IssuerKind, meta: &Meta) -> IssuerKey {
    IssuerKey::new(kind, &meta.namespace, &meta.name)
}

#[cfg(test)]
mod tests;
