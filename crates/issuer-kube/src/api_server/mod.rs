//! Answers the controller's questions to the API server.

mod requests;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::{ACCEPT, HeaderValue};
use http_body_util::BodyExt;
use issuer_core::Secret;
use issuer_core::access::{ReadError, SecretData};
use issuer_core::reconcile::{Event, Key, ObservedRequest, ReferenceReview, StatusPatch, WriteError};
use issuer_core::reference::{ConfigMapRef, RequestKey, SecretRef, SourceRef, TokenSpec};
use issuer_core::target::NamespaceLabels;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret as SecretObject, ServiceAccount};
use kube::api::{GetParams, PostParams};
use kube::client::Body;
use kube::core::Request;
use kube::core::request::Error as RequestError;
use kube::{Client, Error, Resource};
use serde::de::DeserializeOwned;

use requests::{access_review, issuers_url, requests_url, status_request};

use crate::events::Events;
use crate::failure::{Failure, chain};
use crate::log::{LogThrottle, object};
use crate::object::{METADATA_ONLY, decode_request};
use crate::source_watch::SourceWatch;
use crate::transport::Transport;

/// Answers the questions of the core about Kubernetes: one request to the API server for each, and no retry.
#[derive(Clone)]
pub struct ApiServer {
    client: Client,
    events: Arc<Events>,
    /// The longest wait that the API server has asked for since it was last taken, other than for a single request.
    wait: Arc<Mutex<Option<Duration>>>,
    /// Decides which refusals of statuses are logged.
    refusals: Arc<Mutex<LogThrottle>>,
}

impl ApiServer {
    /// Creates a driver that sends its requests with `client`; `instance` is the name of this process in events.
    pub fn new(client: Client, instance: String) -> Self {
        let events = Arc::new(Events::new(client.clone(), instance));
        Self {
            client,
            events,
            wait: Arc::default(),
            refusals: Arc::default(),
        }
    }

    /// Returns the time for which the API server has asked to be sent nothing (`Retry-After`), once. A `Retry-After` in the
    /// answer to one request, such as that of an admission webhook, does not count: its object has a backoff of its own.
    pub fn take_wait(&self) -> Option<Duration> {
        self.wait.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Reads a Secret.
    ///
    /// # Errors
    ///
    /// [`ReadError`], classified by the API server's answer.
    pub async fn read_secret(&self, secret: &SecretRef) -> Result<SecretData, ReadError> {
        let url = SecretObject::url_path(&(), Some(&secret.namespace));
        let object: SecretObject = decode(&self.get(url, &secret.name).await?)?;
        Ok(object.into())
    }

    /// Reads a ConfigMap.
    ///
    /// # Errors
    ///
    /// [`ReadError`], classified by the API server's answer.
    pub async fn read_config_map(&self, config_map: &ConfigMapRef) -> Result<SecretData, ReadError> {
        let url = ConfigMap::url_path(&(), Some(&config_map.namespace));
        let object: ConfigMap = decode(&self.get(url, &config_map.name).await?)?;
        Ok(object.into())
    }

    /// Reads the labels of a namespace.
    ///
    /// # Errors
    ///
    /// [`ReadError`], classified by the API server's answer.
    pub async fn read_namespace(&self, name: &str) -> Result<NamespaceLabels, ReadError> {
        let namespace: Namespace = decode(&self.get(Namespace::url_path(&(), None), name).await?)?;
        Ok(namespace.metadata.labels.unwrap_or_default())
    }

    /// Opens the watch of a Secret or a ConfigMap.
    pub(crate) async fn open_watch(&self, source: &SourceRef) -> Result<SourceWatch, ReadError> {
        let request = SourceWatch::request(source).map_err(|_| ReadError::NotFound)?;
        let reply = self.open(request).await.map_err(|failure| {
            tracing::debug!(%source, %failure, "failed to watch an object");
            read_error(failure.code)
        })?;
        Ok(SourceWatch::new(reply.into_body()))
    }

    /// Requests a token of a service account.
    ///
    /// # Errors
    ///
    /// [`ReadError`], classified by the API server's answer; `Unavailable` if the answer holds no token.
    pub async fn mint_token(&self, spec: &TokenSpec) -> Result<Secret, ReadError> {
        let wanted = TokenRequest {
            spec: TokenRequestSpec {
                audiences: spec.audiences.clone(),
                expiration_seconds: Some(spec.expiration_seconds),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let body = serde_json::to_vec(&wanted).map_err(|_| ReadError::Invalid)?;
        let url = ServiceAccount::url_path(&(), Some(&spec.namespace));
        let request =
            Request::new(url).create_subresource("token", &spec.service_account, &PostParams::default(), body);
        let answer: TokenRequest = decode(&self.read(request).await?)?;
        let status = answer.status.ok_or(ReadError::Unavailable)?;
        Ok(Secret::from(status.token.into_bytes()))
    }

    /// Asks whether a user may reference an issuer.
    ///
    /// # Errors
    ///
    /// [`ReadError`], classified by the API server's answer; `Unavailable` if it could not decide, for example because
    /// an authorization webhook did not answer.
    pub async fn review_reference(&self, review: &ReferenceReview) -> Result<bool, ReadError> {
        let body = serde_json::to_vec(&access_review(review)).map_err(|_| ReadError::Invalid)?;
        let url = SubjectAccessReview::url_path(&(), None);
        let request = Request::new(url).create(&PostParams::default(), body);
        let answer: SubjectAccessReview = decode(&self.read(request).await?)?;
        let status = answer.status.ok_or(ReadError::Unavailable)?;
        let is_decided = status.allowed || status.denied == Some(true) || status.evaluation_error.is_none();
        is_decided.then_some(status.allowed).ok_or(ReadError::Unavailable)
    }

    /// Reads a request.
    ///
    /// # Errors
    ///
    /// [`ReadError`], classified by the API server's answer; `Unavailable` if the object cannot be decoded.
    pub async fn read_request(&self, key: &RequestKey) -> Result<ObservedRequest, ReadError> {
        let text = self.get(requests_url(key), &key.name).await?;
        decode_request(key.kind, &text).map_err(|_| undecodable())
    }

    /// Writes the status of an issuer or a request.
    ///
    /// # Errors
    ///
    /// [`WriteError`], classified by the API server's answer; `Conflict` if the object has changed.
    pub async fn write_status(&self, write: StatusPatch) -> Result<(), WriteError> {
        let StatusPatch { of, body, kind } = write;
        let (url, name) = match &of {
            Key::Issuer(key) => (issuers_url(key), &key.name),
            Key::Request(key) => (requests_url(key), &key.name),
            Key::Token(_) => return Ok(()),
        };
        let mut request = status_request(url, name, kind, body).map_err(|_| WriteError::Unavailable)?;
        // The watch shows the object anyway.
        request
            .headers_mut()
            .insert(ACCEPT, HeaderValue::from_static(METADATA_ONLY));
        self.send(request).await.map(drop).map_err(|failure| {
            let error = failure.write_error();
            if self.must_log(error, &failure) {
                let (kind, namespace, name) = object(&of);
                tracing::warn!(kind, namespace, name, %failure, "the API server refuses a status");
            } else {
                tracing::debug!(code = failure.code, "failed to write a status");
            }
            error
        })
    }

    /// Returns `true` if the refusal of a status must be logged: one that lasts until a policy or a role changes, less and
    /// less often for as long as the API server says the same.
    fn must_log(&self, error: WriteError, failure: &Failure) -> bool {
        let may_last = matches!(
            error,
            WriteError::Forbidden | WriteError::Postponed(_) | WriteError::Refused
        );
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        may_last && refusals.record_failure(&failure.to_string(), Transport::now().monotonic)
    }

    /// Records an event. A failure is only logged: nothing depends on it.
    pub async fn publish(&self, event: Event) {
        let reason = event.reason;
        if let Err(error) = self.events.record(event).await {
            tracing::warn!(reason, error = %Cause(&error), "failed to record an event");
        }
    }

    async fn get(&self, url: String, name: &str) -> Result<Bytes, ReadError> {
        self.read(Request::new(url).get(name, &GetParams::default())).await
    }

    async fn read(&self, request: Result<http::Request<Vec<u8>>, RequestError>) -> Result<Bytes, ReadError> {
        // An invalid name cannot be that of an object.
        let request = request.map_err(|_| ReadError::NotFound)?;
        self.send(request).await.map_err(|failure| {
            tracing::debug!(code = failure.code, "failed to read an object");
            read_error(failure.code)
        })
    }

    /// Sends a request; returns the body of the reply.
    async fn send(&self, request: http::Request<Vec<u8>>) -> Result<Bytes, Failure> {
        Ok(self.open(request).await?.into_body().collect().await?.to_bytes())
    }

    /// Sends a request; returns the reply before its body has arrived.
    async fn open(&self, request: http::Request<Vec<u8>>) -> Result<Response<Body>, Failure> {
        let response = self.client.send(request.map(Body::from)).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let failure = Failure::refused(response).await;
        let mut wait = self.wait.lock().unwrap_or_else(PoisonError::into_inner);
        *wait = failure.general_wait().max(*wait);
        Err(failure)
    }
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

fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, ReadError> {
    // The error may quote a Secret.
    serde_json::from_slice(body).map_err(|_| undecodable())
}

fn undecodable() -> ReadError {
    tracing::debug!("failed to read an object: the reply cannot be decoded");
    ReadError::Unavailable
}

fn read_error(code: Option<u16>) -> ReadError {
    match code {
        Some(400 | 422) => ReadError::Invalid,
        Some(403) => ReadError::Forbidden,
        Some(404) => ReadError::NotFound,
        _ => ReadError::Unavailable,
    }
}
