//! Status writes, as data for the driver.

use issuer_api::{Base64, CertificateRequestStatus, Condition, ConditionStatus, IssuerStatus, RequestCondition};
use serde::Serialize;
use serde_json::Value;

use super::claim;
use super::ledger::Conclusion;
use super::observed::ObservedIssuer;
use super::observed_request::ObservedRequest;
use super::outcome::{Key, Verdict};
use crate::Now;
use crate::access::Warning;
use crate::reference::IssuerKey;

/// A write of a `status` subresource.
///
/// It carries the uid and the resourceVersion of the object that it was made from, so the API server refuses it (409) if
/// the object has changed or was replaced by another of the same name. A patch of a `status` subresource is not refused
/// for its uid, but a resourceVersion is never that of another object.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusPatch {
    /// The issuer or request whose status is written.
    pub of: Key,
    /// The patch, or the object without its spec, as JSON.
    pub body: String,
    /// How the body is applied.
    pub kind: PatchKind,
}

impl StatusPatch {
    /// Returns the body, decoded; null if it is not JSON. A driver sends the text.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// How the body of a write is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// As a server-side apply under the controller's field manager.
    Apply {
        /// Whether fields that others have written are taken over; otherwise they are a conflict.
        force: bool,
    },
    /// As a JSON merge patch.
    Merge,
    /// As a replacement (PUT), which costs the API server less than a patch. It takes the status alone from the body; the
    /// spec and the rest of the metadata stay as they are.
    Replace,
}

/// Returns the patch that records the conclusion of a request.
pub(super) fn conclude(request: &ObservedRequest, conclusion: &Conclusion, now: Now) -> StatusPatch {
    let mut status = status_of(request);
    // The claim has served its purpose, and names a process that means nothing to the user.
    status.conditions.retain(|condition| condition.kind != claim::CONDITION);
    let at = &now.timestamp().to_string();
    match request {
        ObservedRequest::CertManager(_) => conclude_request(&mut status, conclusion, at),
        ObservedRequest::Kubernetes(_) => conclude_csr(&mut status, conclusion, at),
    }
    request_patch(request, &status)
}

/// Concludes a Kubernetes CSR, whose status has a condition for a failure only
/// (<https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#signer-control-plane>).
fn conclude_csr(status: &mut CertificateRequestStatus, conclusion: &Conclusion, at: &str) {
    let mut fail = |reason: &str| {
        let message = conclusion.message();
        set(&mut status.conditions, "Failed", "True", reason, message, at);
    };
    match conclusion {
        // The denial itself has finished it.
        Conclusion::Denied => {}
        Conclusion::Failed(reason, _) => fail(reason),
        Conclusion::Invalid(_) => fail("InvalidRequest"),
        Conclusion::Issued(verified) => status.certificate = Some(Base64::encode(&verified.chain().certificate)),
    }
}

/// Concludes a CertificateRequest (<https://cert-manager.io/docs/contributing/external-issuers/#conditions>).
fn conclude_request(status: &mut CertificateRequestStatus, conclusion: &Conclusion, at: &str) {
    let message = conclusion.message();
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
            status.certificate = Some(Base64::encode(&chain.certificate));
            status.ca = chain.ca.as_ref().map(Base64::encode);
            ("True", "Issued")
        }
    };
    set(&mut status.conditions, "Ready", ready, reason, message, at);
    if ready == "False" {
        // cert-manager counts its backoff from this time, so a repeated write must not move it.
        status.failure_time.get_or_insert_with(|| at.to_owned());
    }
}

/// Returns the patch that sets `Ready=False/Pending` with `message`, or `None` if it is already set or, as in a Kubernetes
/// CSR, the status has no place for it.
pub(super) fn pend(request: &ObservedRequest, message: &str, now: Now) -> Option<StatusPatch> {
    let same = |ready: &RequestCondition| {
        ready.reason.as_deref() == Some("Pending") && ready.message.as_deref() == Some(message)
    };
    let is_kubernetes = matches!(request, ObservedRequest::Kubernetes(_));
    if is_kubernetes || request.condition("Ready").is_some_and(same) {
        return None;
    }
    let mut status = status_of(request);
    set(
        &mut status.conditions,
        "Ready",
        "False",
        "Pending",
        message,
        &now.timestamp().to_string(),
    );
    Some(request_patch(request, &status))
}

/// Returns the patch that claims a request.
pub(super) fn claim(request: &ObservedRequest, claim: RequestCondition) -> StatusPatch {
    let mut status = status_of(request);
    status.conditions.retain(|condition| condition.kind != claim.kind);
    status.conditions.push(claim);
    request_patch(request, &status)
}

/// Returns the patch that sets the conditions of an issuer, or `None` if they are already set.
pub(super) fn issuer(
    of: Key,
    issuer: &ObservedIssuer,
    verdict: Verdict,
    warning: Option<Warning>,
    now: Now,
) -> Option<StatusPatch> {
    let ready = ready(issuer, verdict, now);
    let warning = warning.map(|warning| {
        let message = warning.message().to_owned();
        condition(
            issuer,
            "Warning",
            (ConditionStatus::True, warning.reason(), message),
            now,
        )
    });
    let others = issuer.status.conditions.iter();
    let others = others.filter(|condition| !matches!(&*condition.kind, "Ready" | "Warning"));
    let conditions: Vec<Condition> = others.cloned().chain([ready]).chain(warning).collect();
    let same = issuer.status.observed_generation == Some(issuer.generation)
        && conditions.len() == issuer.status.conditions.len()
        && conditions
            .iter()
            .all(|condition| issuer.status.conditions.contains(condition));
    let status = IssuerStatus {
        observed_generation: Some(issuer.generation),
        conditions,
    };
    (!same).then(|| StatusPatch {
        of,
        body: merge(&issuer.uid, &issuer.resource_version, &status),
        kind: PatchKind::Merge,
    })
}

/// Returns the patch that sets the condition Ready of one of cert-manager's issuers, or `None` if it is already set. It
/// says nothing of the other conditions, which are not ours.
pub(super) fn drop_in(
    of: &IssuerKey,
    issuer: &ObservedIssuer,
    verdict: Verdict,
    force: bool,
    now: Now,
) -> Option<StatusPatch> {
    let ready = ready(issuer, verdict, now);
    let same = issuer.status.ready() == Some(&ready);
    (!same).then(|| StatusPatch {
        of: Key::Issuer(of.clone()),
        body: encode(&Object {
            api_version: Some(&of.kind.api_version()),
            kind: Some(of.kind.as_str()),
            metadata: Metadata {
                name: Some(&of.name),
                namespace: None,
                uid: &issuer.uid,
                resource_version: &issuer.resource_version,
            },
            status: IssuerStatus {
                observed_generation: None,
                conditions: vec![ready],
            },
        }),
        kind: PatchKind::Apply { force },
    })
}

fn ready(issuer: &ObservedIssuer, verdict: Verdict, now: Now) -> Condition {
    let (status, reason, message) = match verdict {
        Ok(()) => (ConditionStatus::True, "VaultVerified", "Vault verified".to_owned()),
        Err((reason, message)) => (ConditionStatus::False, reason, message),
    };
    condition(issuer, "Ready", (status, reason, message), now)
}

/// Returns a condition, which has the time of the last change of its status.
fn condition(
    issuer: &ObservedIssuer,
    kind: &str,
    (status, reason, message): (ConditionStatus, &str, String),
    now: Now,
) -> Condition {
    let before = issuer.status.condition(kind).filter(|before| before.status == status);
    let since = before.map(|before| before.last_transition_time.clone());
    // A reason whose message varies, as with a time that Vault quotes, is not written again and again.
    let known = before.filter(|before| before.reason == reason && is_variant(&before.message, &message));
    Condition {
        kind: kind.to_owned(),
        status,
        observed_generation: Some(issuer.generation),
        last_transition_time: since.unwrap_or_else(|| now.timestamp().to_string()),
        reason: reason.to_owned(),
        message: known.map_or(message, |known| known.message.clone()),
    }
}

/// Returns `true` if two messages differ in nothing but digits.
fn is_variant(one: &str, other: &str) -> bool {
    let words = |text: &str| -> String { text.chars().filter(|c| !c.is_ascii_digit()).collect() };
    words(one) == words(other)
}

/// The part of an object that is written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Object<'a, Status> {
    #[serde(skip_serializing_if = "Option::is_none")]
    api_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    metadata: Metadata<'a>,
    status: Status,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    uid: &'a str,
    resource_version: &'a str,
}

fn request_patch(request: &ObservedRequest, status: &CertificateRequestStatus) -> StatusPatch {
    debug_assert!(!request.is_terminal(), "S3, S4: the request has finished");
    let of = request.key();
    let (uid, resource_version) = (request.uid(), request.version());
    let (body, kind) = match request {
        ObservedRequest::CertManager(_) => {
            let object = Object {
                api_version: Some(of.kind.api_version()),
                kind: Some(of.kind.as_str()),
                metadata: Metadata {
                    name: Some(&of.name),
                    namespace: Some(&of.namespace),
                    uid,
                    resource_version,
                },
                status,
            };
            (encode(&object), PatchKind::Replace)
        }
        // Of a kind that is no custom resource, a replacement of the status replaces labels and annotations too.
        ObservedRequest::Kubernetes(_) => (merge(uid, resource_version, status), PatchKind::Merge),
    };
    StatusPatch {
        of: Key::Request(of),
        body,
        kind,
    }
}

/// Returns a merge patch.
fn merge(uid: &str, resource_version: &str, status: &impl Serialize) -> String {
    encode(&Object {
        api_version: None,
        kind: None,
        metadata: Metadata {
            name: None,
            namespace: None,
            uid,
            resource_version,
        },
        status,
    })
}

fn encode(body: &impl Serialize) -> String {
    // Encoding fails only for maps whose keys are not strings; there are none.
    serde_json::to_string(body).unwrap_or_default()
}

fn status_of(request: &ObservedRequest) -> CertificateRequestStatus {
    // The status is replaced as a whole, so what others have written is sent along. A certificate is empty at most, since
    // a request that has one has finished.
    CertificateRequestStatus {
        certificate: None,
        ..request.status().cloned().unwrap_or_default()
    }
}

fn set(conditions: &mut Vec<RequestCondition>, kind: &str, status: &str, reason: &str, message: &str, at: &str) {
    let before = conditions
        .iter()
        .position(|c| c.kind == kind)
        .map(|i| conditions.remove(i));
    let others = before.as_ref().map(|c| c.others.clone()).unwrap_or_default();
    let since = before
        .filter(|c| c.status == status)
        .and_then(|c| c.last_transition_time);
    conditions.push(RequestCondition {
        others,
        kind: kind.to_owned(),
        status: status.to_owned(),
        last_transition_time: Some(since.unwrap_or_else(|| at.to_owned())),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
    });
}
