//! Answers the controller's questions to the API server.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::{ACCEPT, HeaderValue};
use http_body_util::BodyExt;
use issuer_core::Secret;
use issuer_core::access::{ReadError, SecretData};
use issuer_core::reconcile::{
    Event, Key, ObservedRequest, PatchKind, ReferenceReview, Requester, StatusPatch, WriteError,
};
use issuer_core::reference::{ConfigMapRef, IssuerKey, RequestKey, RequestKind, SecretRef, SourceRef, TokenSpec};
use issuer_core::target::NamespaceLabels;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret as SecretObject, ServiceAccount};
use kube::api::{GetParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::core::Request;
use kube::core::request::Error as RequestError;
use kube::{Client, Error, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::events::Events;
use crate::failure::{Failure, chain};
use crate::log::{LogThrottle, object};
use crate::object::{FIELD_MANAGER, METADATA_ONLY, decode_request};
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
    pub async fn write_status(&self, write: &StatusPatch) -> Result<(), WriteError> {
        let (url, name) = match &write.of {
            Key::Issuer(key) => (issuers_url(key), &key.name),
            Key::Request(key) => (requests_url(key), &key.name),
            Key::Token(_) => return Ok(()),
        };
        let mut request = status_request(url, name, write).map_err(|_| WriteError::Unavailable)?;
        // The watch shows the object anyway.
        request
            .headers_mut()
            .insert(ACCEPT, HeaderValue::from_static(METADATA_ONLY));
        self.send(request).await.map(drop).map_err(|failure| {
            let error = failure.write_error();
            if self.must_log(error, &failure) {
                let (kind, namespace, name) = object(&write.of);
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

/// Returns the request that writes a status.
fn status_request(url: String, name: &str, write: &StatusPatch) -> Result<http::Request<Vec<u8>>, RequestError> {
    let request = Request::new(url);
    let field_manager = Some(FIELD_MANAGER.to_owned());
    let patch = |patch: Patch<&Value>, force| {
        let params = PatchParams {
            field_manager: field_manager.clone(),
            force,
            ..PatchParams::default()
        };
        request.patch_subresource("status", name, &params, &patch)
    };
    match write.kind {
        PatchKind::Apply { force } => patch(Patch::Apply(&write.body), force),
        PatchKind::Merge => patch(Patch::Merge(&write.body), false),
        PatchKind::Replace => {
            let params = PostParams {
                field_manager: field_manager.clone(),
                ..PostParams::default()
            };
            let body = serde_json::to_vec(&write.body).map_err(RequestError::SerializeBody)?;
            request.replace_subresource("status", name, &params, body)
        }
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

/// Returns the path of the requests of the same kind and namespace.
fn requests_url(key: &RequestKey) -> String {
    let (version, plural) = (key.kind.api_version(), key.kind.plural());
    match key.kind {
        RequestKind::CertificateRequest => format!("/apis/{version}/namespaces/{}/{plural}", key.namespace),
        RequestKind::CertificateSigningRequest => format!("/apis/{version}/{plural}"),
    }
}

/// Returns the object that asks whether a user may reference an issuer.
fn access_review(review: &ReferenceReview) -> SubjectAccessReview {
    let Requester {
        username,
        uid,
        groups,
        extra,
    } = review.requester.clone();
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(username),
            uid: Some(uid),
            groups: Some(groups),
            extra: Some(extra),
            resource_attributes: Some(ResourceAttributes {
                group: Some(review.group.to_owned()),
                name: Some(review.name.clone()),
                namespace: Some(review.namespace.clone()),
                resource: Some(review.resource.to_owned()),
                verb: Some("reference".to_owned()),
                version: Some("*".to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::StatusCode;
    use http_body_util::Full;
    use serde_json::json;

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
            assert_eq!(read_error(Some(code)), expected, "{code}");
        }
        assert_eq!(read_error(None), ReadError::Unavailable);
    }

    #[tokio::test]
    async fn review_is_decided_or_unavailable() {
        for (status, expected) in [
            (json!({ "allowed": true }), Ok(true)),
            (
                json!({ "allowed": true, "evaluationError": "a role is missing" }),
                Ok(true),
            ),
            (json!({ "allowed": false }), Ok(false)),
            (
                json!({ "allowed": false, "denied": true, "evaluationError": "x" }),
                Ok(false),
            ),
            (
                json!({ "allowed": false, "evaluationError": "no answer" }),
                Err(ReadError::Unavailable),
            ),
            (json!(null), Err(ReadError::Unavailable)),
        ] {
            let answer = json!({ "metadata": {}, "spec": {}, "status": status }).to_string();
            let service = tower::service_fn(move |request: http::Request<Body>| {
                assert_eq!(
                    request.uri().path(),
                    "/apis/authorization.k8s.io/v1/subjectaccessreviews"
                );
                let reply = Response::new(Full::new(Bytes::from(answer.clone())));
                async move { Ok::<_, Infallible>(reply) }
            });
            let api = ApiServer::new(Client::new(service, "default"), String::new());
            assert_eq!(api.review_reference(&review()).await, expected, "{status}");
        }
    }

    fn review() -> ReferenceReview {
        ReferenceReview {
            requester: Requester {
                username: "alice".to_owned(),
                uid: "u-1".to_owned(),
                groups: vec!["team".to_owned()],
                extra: [("scope".to_owned(), vec!["a".to_owned()])].into(),
            },
            group: "vault-issuer.io",
            resource: "vaultissuers",
            namespace: "team".to_owned(),
            name: "vault".to_owned(),
        }
    }

    #[test]
    fn review_names_requester_and_issuer() {
        let object = serde_json::to_value(access_review(&review())).unwrap();
        let expected = json!({
            "user": "alice",
            "uid": "u-1",
            "groups": ["team"],
            "extra": { "scope": ["a"] },
            "resourceAttributes": {
                "group": "vault-issuer.io",
                "resource": "vaultissuers",
                "namespace": "team",
                "name": "vault",
                "verb": "reference",
                "version": "*",
            },
        });
        assert_eq!(object["spec"], expected);
    }

    /// Tenants can cause such refusals: with a quota, an admission webhook, a request that takes too long to store.
    #[tokio::test]
    async fn refusal_of_one_request_asks_no_other_to_wait() {
        for (code, reason) in [
            (429, "TooManyRequests"),
            (429, ""),
            (500, "ServerTimeout"),
            (503, "ServiceUnavailable"),
        ] {
            let service = tower::service_fn(move |_: http::Request<Body>| async move {
                let status = json!({
                    "kind": "Status",
                    "apiVersion": "v1",
                    "status": "Failure",
                    "message": "admission webhook \"quota.team\" denied the request",
                    "reason": reason,
                    "details": { "retryAfterSeconds": 3600 },
                    "code": code,
                });
                let mut reply = Response::new(Full::new(Bytes::from(status.to_string())));
                *reply.status_mut() = StatusCode::from_u16(code).unwrap();
                reply
                    .headers_mut()
                    .insert("Retry-After", HeaderValue::from_static("3600"));
                Ok::<_, Infallible>(reply)
            });
            let api = ApiServer::new(Client::new(service, "default"), String::new());
            let write = StatusPatch {
                of: Key::Request(RequestKey {
                    kind: RequestKind::CertificateRequest,
                    namespace: "team".to_owned(),
                    name: "web".to_owned(),
                }),
                kind: PatchKind::Replace,
                body: json!({}),
            };
            let postponed = WriteError::Postponed(Duration::from_secs(60));
            assert_eq!(api.write_status(&write).await, Err(postponed), "{code}");
            assert_eq!(api.take_wait(), None, "{code} {reason}");
        }
    }

    #[tokio::test]
    async fn refusals_that_last_are_logged() {
        let service = tower::service_fn(|_: http::Request<Body>| async {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        });
        let api = ApiServer::new(Client::new(service, "default"), String::new());
        let denied = |text: &str| Failure::new(format!("admission webhook \"a\" denied the request: {text}"));
        assert!(!api.must_log(WriteError::Conflict, &denied("no")));
        assert!(!api.must_log(WriteError::Unavailable, &denied("no")));
        assert!(api.must_log(WriteError::Refused, &denied("no")));
        assert!(!api.must_log(WriteError::Refused, &denied("no")));
        assert!(api.must_log(WriteError::Postponed(Duration::ZERO), &denied("not now")));
        assert!(api.must_log(WriteError::Forbidden, &Failure::new("forbidden")));
    }

    #[tokio::test]
    async fn retry_after_of_refusals_is_kept() {
        let service = tower::service_fn(|request: http::Request<Body>| async move {
            let seconds = if request.uri().path().ends_with("long") {
                "7"
            } else {
                "2"
            };
            // As priority and fairness refuses: without a Status.
            let mut reply = Response::new(Full::new(Bytes::from_static(b"Too many requests")));
            *reply.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            reply
                .headers_mut()
                .insert("Retry-After", HeaderValue::from_static(seconds));
            Ok::<_, Infallible>(reply)
        });
        let api = ApiServer::new(Client::new(service, "default"), String::new());
        for name in ["short", "long", "short"] {
            let secret = SecretRef {
                namespace: "team".to_owned(),
                name: name.to_owned(),
            };
            assert_eq!(api.read_secret(&secret).await.err(), Some(ReadError::Unavailable));
        }
        assert_eq!(api.take_wait(), Some(Duration::from_secs(7)));
        assert_eq!(api.take_wait(), None);
    }
}
