use issuer_api::{
    CertificateRequest, CertificateRequestStatus, Condition, ConditionStatus, IssuerStatus, RequestCondition,
};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use serde::Serialize;
use serde_json::{Value, json};

use super::controller::ObservedIssuer;
use super::{Key, claim, request};
use crate::{Now, Verified};

/// A status to be written: a JSON merge patch of the `status` subresource.
///
/// It carries the resourceVersion of the object that it was made from, so the API server refuses it (409) if the object
/// has changed or is another one of the same name. It carries the uid, too, which a `status` subresource ignores.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusPatch {
    /// Whose status: an issuer's or a request's.
    pub of: Key,
    /// The patch.
    pub body: Value,
}

/// What a request has come to.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) enum Conclusion {
    Denied,
    /// With the reason for the event, and the message.
    Failed(&'static str, String),
    /// The request itself can never be signed.
    Invalid(String),
    Issued(Verified),
}

impl Conclusion {
    pub(super) fn message(&self) -> &str {
        match self {
            Self::Denied => "The CertificateRequest was denied by an approval controller",
            Self::Failed(_, message) | Self::Invalid(message) => message,
            Self::Issued(_) => "Certificate fetched from issuer successfully",
        }
    }
}

/// Tells whether nothing more will come of a request.
pub(super) fn is_terminal(request: &CertificateRequest) -> bool {
    let ready = request.condition("Ready").and_then(|ready| ready.reason.as_deref());
    let certificate = request.status.as_ref().and_then(|status| status.certificate.as_ref());
    matches!(ready, Some("Denied" | "Failed" | "Issued")) || certificate.is_some_and(|pem| !pem.0.is_empty())
}

/// Returns the patch for a request that has come to a conclusion
/// (<https://cert-manager.io/docs/contributing/external-issuers/#conditions>).
pub(super) fn conclude(request: &CertificateRequest, conclusion: &Conclusion, now: Now) -> StatusPatch {
    let at = now.timestamp();
    let message = conclusion.message();
    let mut status = CertificateRequestStatus {
        conditions: conditions(request),
        ..Default::default()
    };
    status.conditions.retain(|condition| condition.kind != claim::CONDITION);
    let (ready, reason) = match conclusion {
        Conclusion::Denied => ("False", "Denied"),
        Conclusion::Failed(..) => ("False", "Failed"),
        Conclusion::Invalid(_) => {
            set(
                &mut status.conditions,
                "InvalidRequest",
                "True",
                "InvalidRequest",
                message,
                at,
            );
            ("False", "Failed")
        }
        Conclusion::Issued(verified) => {
            let chain = verified.chain();
            status.certificate = Some(ByteString(chain.certificate.clone().into_bytes()));
            status.ca = chain.ca.clone().map(|ca| ByteString(ca.into_bytes()));
            ("True", "Issued")
        }
    };
    set(&mut status.conditions, "Ready", ready, reason, message, at);
    if ready == "False" {
        let failed = request.status.as_ref().and_then(|status| status.failure_time);
        status.failure_time = Some(failed.unwrap_or(at));
    }
    request_patch(request, &status)
}

/// Returns the patch that lets a request wait, or `None` if it says so already.
pub(super) fn pend(request: &CertificateRequest, message: &str, now: Now) -> Option<StatusPatch> {
    let says = |ready: &RequestCondition| {
        ready.reason.as_deref() == Some("Pending") && ready.message.as_deref() == Some(message)
    };
    if request.condition("Ready").is_some_and(says) {
        return None;
    }
    let mut conditions = conditions(request);
    set(&mut conditions, "Ready", "False", "Pending", message, now.timestamp());
    let status = CertificateRequestStatus {
        conditions,
        ..Default::default()
    };
    Some(request_patch(request, &status))
}

/// Returns the patch that claims a request.
pub(super) fn claim(request: &CertificateRequest, claim: RequestCondition) -> StatusPatch {
    let mut conditions = conditions(request);
    conditions.retain(|condition| condition.kind != claim.kind);
    conditions.push(claim);
    request_patch(
        request,
        &CertificateRequestStatus {
            conditions,
            ..Default::default()
        },
    )
}

/// Returns the patch that says whether an issuer is ready, or `None` if it says so already.
pub(super) fn ready(
    of: Key,
    issuer: &ObservedIssuer,
    verdict: Result<(), (&'static str, String)>,
    now: Now,
) -> Option<StatusPatch> {
    let (status, reason, message) = match verdict {
        Ok(()) => (ConditionStatus::True, "VaultVerified", "Vault verified".to_owned()),
        Err((reason, message)) => (ConditionStatus::False, reason, message),
    };
    let before = issuer.status.ready();
    let changed = before.is_none_or(|before| before.status != status);
    let since = before.filter(|_| !changed).map(|before| before.last_transition_time);
    let condition = Condition {
        kind: "Ready".to_owned(),
        status,
        observed_generation: Some(issuer.generation),
        last_transition_time: since.unwrap_or_else(|| now.timestamp()),
        reason: reason.to_owned(),
        message,
    };
    if before == Some(&condition) {
        return None;
    }
    let mut conditions = issuer.status.conditions.clone();
    conditions.retain(|condition| condition.kind != "Ready");
    conditions.push(condition);
    let status = IssuerStatus { conditions };
    Some(StatusPatch {
        of,
        body: body(&issuer.uid, &issuer.resource_version, &status),
    })
}

fn request_patch(request: &CertificateRequest, status: &CertificateRequestStatus) -> StatusPatch {
    debug_assert!(!is_terminal(request), "S3, S4: it is finished");
    let (uid, version) = (request::uid(request), request::version(request));
    StatusPatch {
        of: Key::Request(request::key(request)),
        body: body(uid, version, status),
    }
}

fn body(uid: &str, resource_version: &str, status: &impl Serialize) -> Value {
    json!({ "metadata": { "uid": uid, "resourceVersion": resource_version }, "status": status })
}

fn conditions(request: &CertificateRequest) -> Vec<RequestCondition> {
    request
        .status
        .as_ref()
        .map_or_else(Vec::new, |status| status.conditions.clone())
}

fn set(conditions: &mut Vec<RequestCondition>, kind: &str, status: &str, reason: &str, message: &str, at: Timestamp) {
    let before = conditions
        .iter()
        .position(|c| c.kind == kind)
        .map(|i| conditions.remove(i));
    let since = before
        .filter(|c| c.status == status)
        .and_then(|c| c.last_transition_time);
    conditions.push(RequestCondition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        last_transition_time: Some(since.unwrap_or(at)),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
    });
}
