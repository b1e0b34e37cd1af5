use std::time::{Duration, SystemTime, UNIX_EPOCH};

use issuer_api::CertificateRequest;
use issuer_core::Secret;
use issuer_core::access::{ReadError, SecretData};
use issuer_core::reconcile::{Event, Key, PatchKind, StatusPatch, WriteError};
use issuer_core::reference::{ConfigMapRef, IssuerKey, RequestKey, SecretRef, TokenSpec};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference, Secret as SecretObject, ServiceAccount};
use k8s_openapi::api::events::v1::Event as EventObject;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, GetParams, Patch, PatchParams, PostParams};
use kube::{Client, Error, Resource};

use crate::failure::chain;
use crate::object::{FIELD_MANAGER, decode_request};

/// The most characters of an object's name in the name of an event: 253 for both and the time.
const EVENT_NAME: usize = 220;

/// The API server, for the questions of the core. Each is one request; nothing is tried twice.
#[derive(Clone)]
pub struct ApiServer {
    client: Client,
    instance: String,
}

impl ApiServer {
    /// Asks through `client`; `instance` is the name of this process in events.
    pub fn new(client: Client, instance: String) -> Self {
        Self { client, instance }
    }

    /// Reads a Secret.
    ///
    /// # Errors
    ///
    /// [`ReadError`], classified by the API server's answer.
    pub async fn read_secret(&self, secret: &SecretRef) -> Result<SecretData, ReadError> {
        let api: Api<SecretObject> = Api::namespaced(self.client.clone(), &secret.namespace);
        let object = api.get(&secret.name).await.map_err(read_error)?;
        let data = object.data.unwrap_or_default();
        let mut annotations = object.metadata.annotations.unwrap_or_default();
        Ok(SecretData {
            resource_version: object.metadata.resource_version.unwrap_or_default(),
            servers: annotations.remove(SecretData::SERVERS),
            data: data
                .into_iter()
                .map(|(key, value)| (key, Secret::from(value.0)))
                .collect(),
        })
    }

    /// Reads a ConfigMap.
    ///
    /// # Errors
    ///
    /// [`ReadError`], classified by the API server's answer.
    pub async fn read_config_map(&self, config_map: &ConfigMapRef) -> Result<SecretData, ReadError> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &config_map.namespace);
        let object = api.get(&config_map.name).await.map_err(read_error)?;
        let text = object.data.unwrap_or_default().into_iter();
        let bytes = object.binary_data.unwrap_or_default().into_iter();
        Ok(SecretData {
            resource_version: object.metadata.resource_version.unwrap_or_default(),
            data: text
                .map(|(key, value)| (key, Secret::from(value.into_bytes())))
                .chain(bytes.map(|(key, value)| (key, Secret::from(value.0))))
                .collect(),
            servers: None,
        })
    }

    /// Requests a token of a service account.
    ///
    /// # Errors
    ///
    /// [`ReadError`], classified by the API server's answer; `Unavailable` if the answer holds no token.
    pub async fn mint_token(&self, spec: &TokenSpec) -> Result<Secret, ReadError> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &spec.namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: spec.audiences.clone(),
                expiration_seconds: Some(spec.expiration_seconds),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let answer = api
            .create_token_request(&spec.service_account, &PostParams::default(), &request)
            .await
            .map_err(read_error)?;
        let status = answer.status.ok_or(ReadError::Unavailable)?;
        Ok(Secret::from(status.token.into_bytes()))
    }

    /// Reads a CertificateRequest.
    ///
    /// # Errors
    ///
    /// [`ReadError`], classified by the API server's answer; `Unavailable` if the object cannot be decoded.
    pub async fn read_request(&self, key: &RequestKey) -> Result<CertificateRequest, ReadError> {
        let url = CertificateRequest::url_path(&(), Some(&key.namespace));
        let request = kube::core::Request::new(url).get(&key.name, &GetParams::default());
        let request = request.map_err(|_| ReadError::NotFound)?;
        let text = self.client.request_text(request).await.map_err(read_error)?;
        decode_request(text.as_bytes()).map_err(|error| read_error(Error::SerdeError(error)))
    }

    /// Writes the status of an issuer or a CertificateRequest.
    ///
    /// # Errors
    ///
    /// [`WriteError`], classified by the API server's answer; `Conflict` if the object has changed.
    pub async fn write_status(&self, patch: &StatusPatch) -> Result<(), WriteError> {
        match &patch.of {
            Key::Issuer(key) => self.patch_status(&issuers_url(key), &key.name, patch).await,
            Key::Request(key) => {
                let url = CertificateRequest::url_path(&(), Some(&key.namespace));
                self.patch_status(&url, &key.name, patch).await
            }
            Key::Token(_) => Ok(()),
        }
    }

    async fn patch_status(&self, url: &str, name: &str, patch: &StatusPatch) -> Result<(), WriteError> {
        let (body, force) = match patch.kind {
            PatchKind::Apply { force } => (Patch::Apply(&patch.body), force),
            PatchKind::Merge => (Patch::Merge(&patch.body), false),
        };
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            force,
            ..PatchParams::default()
        };
        let request = kube::core::Request::new(url);
        let request = request
            .patch_subresource("status", name, &params, &body)
            .map_err(|_| WriteError::Unavailable)?;
        // The answer is the whole object, which the watch will show anyway.
        self.client.request_text(request).await.map(drop).map_err(write_error)
    }

    /// Records an event. A failure is only logged: nothing depends on it.
    ///
    /// The controller publishes an event once, so the series of kube's `Recorder` would stay empty; and `kube-runtime` comes
    /// with thirty more crates.
    pub async fn publish(&self, event: Event) {
        let Some(regarding) = reference(&event) else {
            return;
        };
        let namespace = regarding.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = event_name(regarding.name.as_deref().unwrap_or_default(), since);
        let object = EventObject {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            action: Some(
                if matches!(event.regarding, Key::Issuer(_)) {
                    "Check"
                } else {
                    "Sign"
                }
                .to_owned(),
            ),
            event_time: Some(MicroTime(since_epoch(since))),
            note: Some(event.note.chars().take(1000).collect()),
            reason: Some(event.reason.to_owned()),
            regarding: Some(regarding),
            reporting_controller: Some(FIELD_MANAGER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(if event.warning { "Warning" } else { "Normal" }.to_owned()),
            ..EventObject::default()
        };
        let api: Api<EventObject> = Api::namespaced(self.client.clone(), &namespace);
        if let Err(error) = api.create(&PostParams::default(), &object).await {
            tracing::warn!(reason = event.reason, error = %Cause(&error), "failed to record an event");
        }
    }
}

fn since_epoch(since: Duration) -> k8s_openapi::jiff::Timestamp {
    let nanos = i128::try_from(since.as_nanos()).unwrap_or_default();
    k8s_openapi::jiff::Timestamp::from_nanosecond(nanos).unwrap_or_default()
}

fn reference(event: &Event) -> Option<ObjectReference> {
    let object = |kind: &str, version: String, namespace: &str, name: &str| ObjectReference {
        api_version: Some(version),
        kind: Some(kind.to_owned()),
        name: Some(name.to_owned()),
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        uid: Some(event.uid.clone()),
        ..ObjectReference::default()
    };
    match &event.regarding {
        Key::Issuer(key) => Some(object(
            key.kind.as_str(),
            key.kind.api_version(),
            &key.namespace,
            &key.name,
        )),
        Key::Request(key) => {
            let version = CertificateRequest::api_version(&()).into_owned();
            Some(object("CertificateRequest", version, &key.namespace, &key.name))
        }
        Key::Token(_) => None,
    }
}

/// Returns the path of the issuers of the same kind and namespace.
fn issuers_url(key: &IssuerKey) -> String {
    let (version, plural) = (key.kind.api_version(), key.kind.plural());
    if key.kind.is_cluster() {
        format!("/apis/{version}/{plural}")
    } else {
        format!("/apis/{version}/namespaces/{}/{plural}", key.namespace)
    }
}

/// Returns the name of an event about the object `name`, unique by its time.
fn event_name(name: &str, since: Duration) -> String {
    let name: String = name.chars().take(EVENT_NAME).collect();
    // A name may not end in a dot or dash, but part of a name may.
    let name = name.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    format!("{name}.{:x}", since.as_nanos())
}

/// Prints why the API server did not answer, without what it was sent.
pub(crate) struct Cause<'a>(pub(crate) &'a Error);

impl std::fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Error::Api(status) => write!(f, "{} ({})", status.reason, status.code),
            Error::SerdeError(_) => f.write_str("the reply cannot be decoded"),
            other => f.write_str(&chain(other)),
        }
    }
}

fn read_error(error: Error) -> ReadError {
    let known = match &error {
        Error::Api(status) if matches!(status.code, 400 | 422) => ReadError::Invalid,
        Error::Api(status) if status.code == 403 => ReadError::Forbidden,
        Error::Api(status) if status.code == 404 => ReadError::NotFound,
        _ => ReadError::Unavailable,
    };
    tracing::debug!(error = %Cause(&error), "failed to read an object");
    known
}

fn write_error(error: Error) -> WriteError {
    let known = match &error {
        Error::Api(status) if status.code == 403 => WriteError::Forbidden,
        Error::Api(status) if status.code == 404 => WriteError::NotFound,
        Error::Api(status) if status.code == 409 => WriteError::Conflict,
        _ => WriteError::Unavailable,
    };
    tracing::debug!(error = %Cause(&error), "failed to write a status");
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_reads_are_told_apart() {
        for (code, expected) in [
            (400, ReadError::Invalid),
            (403, ReadError::Forbidden),
            (404, ReadError::NotFound),
            (422, ReadError::Invalid),
            (429, ReadError::Unavailable),
            (500, ReadError::Unavailable),
        ] {
            let status = kube::core::response::Status {
                code,
                ..Default::default()
            };
            assert_eq!(read_error(Error::Api(status.into())), expected, "{code}");
        }
    }

    #[test]
    fn an_event_has_a_valid_name() {
        let since = Duration::from_nanos(0x18a5_0000_0000_0001);
        assert_eq!(event_name("web", since), "web.18a5000000000001");
        let long = format!("{}.{}", "a".repeat(EVENT_NAME - 1), "b".repeat(253 - EVENT_NAME));
        assert_eq!(long.len(), 253);
        let name = event_name(&long, since);
        assert_eq!(name, format!("{}.18a5000000000001", "a".repeat(EVENT_NAME - 1)));
        assert!(event_name(&"a".repeat(253), Duration::from_secs(u64::MAX)).len() <= 253);
    }
}
