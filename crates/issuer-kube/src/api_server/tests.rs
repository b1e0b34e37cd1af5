//! The answers, and what they become.

use std::convert::Infallible;

use http::StatusCode;
use http_body_util::Full;
use issuer_core::reconcile::{PatchKind, Requester};
use issuer_core::reference::RequestKind;
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
        namespace: "team".into(),
        name: "vault".into(),
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
                namespace: "team".into(),
                name: "web".into(),
            }),
            kind: PatchKind::Replace,
            body: "{}".to_owned(),
        };
        let postponed = WriteError::Postponed(Duration::from_secs(60));
        assert_eq!(api.write_status(write).await, Err(postponed), "{code}");
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
