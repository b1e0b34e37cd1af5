//! The table of server-side apply: how the controller writes the condition `Ready` of cert-manager's issuers, which others
//! write too.

use serde_json::{Value, json};

use super::Earlier::{First, Last};
use super::cases::{ANY, case, uid, version};
use super::{ApiCase, ApiOperation, Preconditions};

pub(super) fn cases() -> Vec<ApiCase> {
    [alone(), beside_another(), others_condition(), namesake()].concat()
}

fn apply(name: &'static str, given: Preconditions, condition: Value, status: u16) -> ApiCase {
    let body = json!({ "status": { "conditions": [condition] } });
    let force = false;
    case(name, ApiOperation::Apply { given, body, force }, status)
}

fn force(name: &'static str, given: Preconditions, condition: Value, status: u16) -> ApiCase {
    let body = json!({ "status": { "conditions": [condition] } });
    let force = true;
    case(name, ApiOperation::Apply { given, body, force }, status)
}

fn other(name: &'static str, conditions: &[Value]) -> ApiCase {
    let body = json!({ "status": { "conditions": conditions } });
    case(name, ApiOperation::PatchStatusAsOther(body), 200)
}

fn condition(kind: &str, status: &str, reason: &str) -> Value {
    json!({
        "type": kind,
        "status": status,
        "reason": reason,
        "message": "it is so",
        "lastTransitionTime": "2027-01-15T08:00:00Z",
        "observedGeneration": 1,
    })
}

fn ready(status: &str, reason: &str) -> Value {
    condition("Ready", status, reason)
}

fn alone() -> Vec<ApiCase> {
    vec![
        apply("apply to nothing", ANY, ready("True", "A"), 404),
        case("create", ApiOperation::Create(json!({})), 200),
        apply("apply", version(Last), ready("True", "A"), 200),
        apply("apply the same", version(Last), ready("True", "A"), 200),
        apply("apply something else", version(Last), ready("False", "B"), 200),
        apply("apply without a version", ANY, ready("False", "C"), 200),
        apply("apply to an old version", version(First), ready("True", "D"), 409),
        force("force an old version", version(First), ready("True", "D"), 409),
        force("force an unknown status", ANY, ready("Maybe", "D"), 422),
        force("force no status", ANY, json!({ "type": "Ready" }), 422),
    ]
}

fn beside_another() -> Vec<ApiCase> {
    vec![
        other("another updates it", &[ready("True", "E")]),
        apply("apply against another", version(Last), ready("True", "F"), 409),
        apply("apply what another has set", version(Last), ready("True", "E"), 200),
        apply("apply against the other owner", version(Last), ready("False", "E"), 409),
        force("force", version(Last), ready("True", "F"), 200),
        apply("apply what was forced", version(Last), ready("True", "G"), 200),
        apply("apply what another still has", version(Last), ready("False", "G"), 409),
    ]
}

fn others_condition() -> Vec<ApiCase> {
    let more = || condition("Other", "True", "X");
    vec![
        other("another adds a condition", &[ready("True", "H"), more()]),
        force("force beside its condition", version(Last), ready("True", "I"), 200),
        other("another removes ours", &[more()]),
        apply("apply beside its condition", version(Last), ready("False", "J"), 200),
        case("read", ApiOperation::Get, 200),
    ]
}

fn namesake() -> Vec<ApiCase> {
    vec![
        case("delete", ApiOperation::Delete(None), 200),
        apply("apply to a deleted one", version(Last), ready("True", "A"), 404),
        case("create a namesake", ApiOperation::Create(json!({})), 200),
        apply(
            "apply to the deleted one's version",
            version(First),
            ready("True", "A"),
            409,
        ),
        // The status subresource ignores the uid: the version is what protects a namesake.
        apply("apply to the deleted one's uid", uid(First), ready("True", "A"), 200),
        case("delete the namesake", ApiOperation::Delete(None), 200),
    ]
}
