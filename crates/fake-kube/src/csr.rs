//! CertificateSigningRequests: the API server guards their conditions and their certificate, and takes approvals by a
//! subresource of its own (<https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/>).
//!
//! It sets the time of a condition that has none; the model, which has no clock, leaves such a condition without.

use issuer_api::{Base64, CertificateRequestStatus, CertificateSigningRequest, RequestCondition};
use serde_json::{Map, Value};

use crate::{Object, Refusal, patch};

/// The conditions that stay once they are set.
const FINAL: [&str; 3] = ["Approved", "Denied", "Failed"];

/// The decisions of approvers.
const DECISIONS: [&str; 2] = ["Approved", "Denied"];

/// A subresource that contains a part of the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subresource {
    /// The conditions, by approvers.
    Approval,
    /// All but the decisions of approvers, by signers.
    Status,
}

/// Returns `true` if the API server creates this request: it contains the PEM of a CSR. Its DER is not checked.
pub(crate) fn is_valid(csr: &CertificateSigningRequest) -> bool {
    has_block(&csr.spec.request, "CERTIFICATE REQUEST")
}

/// Returns a request with a merge patch applied to a part of its status. Unlike that of a custom resource, it may change
/// labels and annotations too, and may not name another uid.
pub(crate) fn patched(current: &Object, patch: &Value, part: Subresource) -> Result<Object, Refusal> {
    if patch.pointer("/metadata/resourceVersion") != Some(&Value::String(String::new())) {
        patch::check_version(current, patch)?;
    }
    patch::check_uid(current, patch)?;
    let status = patch.get("status").cloned().unwrap_or_else(|| Map::new().into());
    let next = current.with_status(&status).ok_or(Refusal::Invalid)?;
    let mut next = next.with_patch(&metadata(patch)).ok_or(Refusal::Invalid)?;
    let (Object::Csr(before), Object::Csr(after)) = (current, &mut next) else {
        return Err(Refusal::NotFound);
    };
    let before = before.status.clone().unwrap_or_default();
    let after = after.status.get_or_insert_default();
    if part == Subresource::Approval {
        after.certificate.clone_from(&before.certificate);
    }
    let is_valid = are_valid(&after.conditions) && follow(&before, after, part) && is_kept(&before, after);
    if is_valid { Ok(next) } else { Err(Refusal::Invalid) }
}

/// Returns the part of a patch that changes labels and annotations.
fn metadata(patch: &Value) -> Value {
    let metadata = patch.get("metadata").and_then(Value::as_object).into_iter().flatten();
    let metadata = metadata.filter(|(field, _)| matches!(field.as_str(), "annotations" | "labels"));
    let metadata = metadata.map(|(field, value)| (field.clone(), value.clone()));
    Value::Object(Map::from_iter([(
        "metadata".to_owned(),
        Value::Object(metadata.collect()),
    )]))
}

fn has(conditions: &[RequestCondition], kind: &str) -> bool {
    conditions.iter().any(|condition| condition.kind == kind)
}

/// Returns `true` if these conditions may be together.
fn are_valid(conditions: &[RequestCondition]) -> bool {
    let is_true_or = |condition: &RequestCondition| match condition.status.as_str() {
        "True" => true,
        "False" | "Unknown" => !FINAL.contains(&condition.kind.as_str()),
        _ => false,
    };
    let mut kinds: Vec<&str> = conditions.iter().map(|condition| condition.kind.as_str()).collect();
    kinds.sort_unstable();
    let is_unique = kinds.is_sorted_by(|one, other| one < other);
    let is_decided_twice = DECISIONS.iter().all(|kind| has(conditions, kind));
    is_unique && !is_decided_twice && conditions.iter().all(is_true_or)
}

/// Returns `true` if no final condition is removed, and no decision is added where signers write.
fn follow(before: &CertificateRequestStatus, after: &CertificateRequestStatus, part: Subresource) -> bool {
    let is_lost = |kind: &&str| has(&before.conditions, kind) && !has(&after.conditions, kind);
    let is_new = |kind: &&str| !has(&before.conditions, kind) && has(&after.conditions, kind);
    let adds_decision = part == Subresource::Status && DECISIONS.iter().any(is_new);
    !FINAL.iter().any(is_lost) && !adds_decision
}

/// Returns `true` if a certificate that is set is not changed, and a new one is PEM.
fn is_kept(before: &CertificateRequestStatus, after: &CertificateRequestStatus) -> bool {
    let given = |status: &CertificateRequestStatus| status.certificate.clone().filter(|pem| !pem.is_empty());
    match (given(before), given(after)) {
        (None, None) => true,
        (None, Some(new)) => has_block(&new, "CERTIFICATE"),
        (old, new) => old == new,
    }
}

fn has_block(text: &Base64, kind: &str) -> bool {
    let decoded = text.decode().unwrap_or_default();
    String::from_utf8_lossy(&decoded).contains(&format!("-----BEGIN {kind}-----"))
}
