//! The requests that ask the controller's questions, and their paths.

use issuer_core::reconcile::{PatchKind, ReferenceReview, Requester, StatusPatch};
use issuer_core::reference::{IssuerKey, RequestKey, RequestKind};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::core::request::Error as RequestError;
use serde_json::Value;

use crate::object::FIELD_MANAGER;

/// Returns the request that writes a status.
pub(super) fn status_request(
    url: String,
    name: &str,
    write: &StatusPatch,
) -> Result<http::Request<Vec<u8>>, RequestError> {
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
pub(super) fn issuers_url(key: &IssuerKey) -> String {
    let (version, plural) = (key.kind.api_version(), key.kind.plural());
    if key.kind.is_cluster() {
        format!("/apis/{version}/{plural}")
    } else {
        format!("/apis/{version}/namespaces/{}/{plural}", key.namespace)
    }
}

/// Returns the path of the requests of the same kind and namespace.
pub(super) fn requests_url(key: &RequestKey) -> String {
    let (version, plural) = (key.kind.api_version(), key.kind.plural());
    match key.kind {
        RequestKind::CertificateRequest => format!("/apis/{version}/namespaces/{}/{plural}", key.namespace),
        RequestKind::CertificateSigningRequest => format!("/apis/{version}/{plural}"),
    }
}

/// Returns the object that asks whether a user may reference an issuer.
pub(super) fn access_review(review: &ReferenceReview) -> SubjectAccessReview {
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
