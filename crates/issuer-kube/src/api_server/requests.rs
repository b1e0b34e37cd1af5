//! The requests that ask the controller's questions, and their paths.

use issuer_core::reconcile::{PatchKind, ReferenceReview, Requester};
use issuer_core::reference::{IssuerKey, RequestKey, RequestKind};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::core::request::Error as RequestError;

use crate::object::FIELD_MANAGER;

/// Returns the request that writes a status.
pub(super) fn status_request(
    url: String,
    name: &str,
    kind: PatchKind,
    body: String,
) -> Result<http::Request<Vec<u8>>, RequestError> {
    // It makes the URL and the headers; the body is encoded already.
    let request = Request::new(url);
    let field_manager = Some(FIELD_MANAGER.to_owned());
    let patch = |patch: Patch<()>, force| {
        let params = PatchParams {
            field_manager: field_manager.clone(),
            force,
            ..PatchParams::default()
        };
        request.patch_subresource("status", name, &params, &patch)
    };
    let mut request = match kind {
        PatchKind::Apply { force } => patch(Patch::Apply(()), force),
        PatchKind::Merge => patch(Patch::Merge(()), false),
        PatchKind::Replace => {
            let params = PostParams {
                field_manager: field_manager.clone(),
                ..PostParams::default()
            };
            request.replace_subresource("status", name, &params, Vec::new())
        }
    }?;
    *request.body_mut() = body.into_bytes();
    Ok(request)
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
                name: Some(review.name.to_string()),
                namespace: Some(review.namespace.to_string()),
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
