//! The table itself: what an issuer does to an API server, and what others do meanwhile.

use serde_json::{Value, json};

use super::Which::{First, Last};
use super::{Case, Given, Operation, Which};
use crate::cluster::object::merge;

/// Returns the table, in the order in which it is to be asked.
pub fn cases() -> Vec<Case> {
    [nothing(), statuses(), refused(), others(), namesakes(), watches()].concat()
}

fn case(name: &'static str, operation: Operation, status: u16) -> Case {
    Case {
        name,
        operation,
        status,
    }
}

fn patch(name: &'static str, given: Given, body: Value, status: u16) -> Case {
    case(name, Operation::Patch(given, body), status)
}

fn patch_status(name: &'static str, given: Given, body: Value, status: u16) -> Case {
    case(name, Operation::PatchStatus(given, body), status)
}

/// Says nothing of the object that a patch is for.
const ANY: Given = Given {
    uid: None,
    version: None,
};

fn version(version: Which) -> Given {
    Given {
        version: Some(version),
        ..ANY
    }
}

fn uid(uid: Which) -> Given {
    Given { uid: Some(uid), ..ANY }
}

fn both(uid: Which, version: Which) -> Given {
    Given {
        uid: Some(uid),
        version: Some(version),
    }
}

/// Returns a status with these conditions.
fn conditions(kinds: &[&str]) -> Value {
    let condition = |kind| json!({ "type": kind, "status": "True", "reason": "Because", "message": "it is so" });
    let conditions: Vec<Value> = kinds.iter().map(condition).collect();
    json!({ "status": { "conditions": conditions } })
}

/// Returns a status with this certificate.
fn certificate(base64: Value) -> Value {
    json!({ "status": { "certificate": base64 } })
}

fn meta(field: &str, text: &str) -> Value {
    json!({ "metadata": { field: text } })
}

fn note(text: Value) -> Value {
    json!({ "metadata": { "annotations": { "example.com/note": text } } })
}

fn nothing() -> Vec<Case> {
    vec![
        case("list nothing", Operation::List, 200),
        case("read nothing", Operation::Get, 404),
        case("delete nothing", Operation::Delete(None), 404),
        patch("patch nothing", ANY, note(json!("x")), 404),
        patch_status("patch the status of nothing", ANY, conditions(&["Ready"]), 404),
        case("create with a status", Operation::Create(conditions(&["Ready"])), 200),
        case("read", Operation::Get, 200),
        case("create again", Operation::Create(json!({})), 409),
    ]
}

fn statuses() -> Vec<Case> {
    let mut more = json!({
        "metadata": { "annotations": { "example.com/note": "x" } },
        "spec": { "duration": "1h0m0s" },
    });
    merge(&mut more, &conditions(&["Approved", "Ready"]));
    vec![
        patch_status("a first status", ANY, conditions(&["Approved"]), 200),
        patch_status("the same status", ANY, conditions(&["Approved"]), 200),
        patch_status(
            "the same status of its version",
            version(Last),
            conditions(&["Approved"]),
            200,
        ),
        patch_status("no status", ANY, json!({}), 200),
        patch_status("no status of an old version", version(First), json!({}), 409),
        patch_status("a status and more", ANY, more, 200),
        patch_status("a part of the status", version(Last), certificate(json!("eA==")), 200),
        patch_status(
            "the conditions at a whole",
            version(Last),
            conditions(&["Approved"]),
            200,
        ),
        patch_status("a part less", version(Last), certificate(Value::Null), 200),
        patch_status("of no version", ANY, meta("resourceVersion", ""), 422),
        patch_status("of no uid", ANY, meta("uid", ""), 200),
        case("read the status", Operation::Get, 200),
    ]
}

fn refused() -> Vec<Case> {
    let condition = json!({ "status": { "conditions": [{ "type": "Ready" }] } });
    vec![
        patch_status("of an old version", version(First), conditions(&["Ready"]), 409),
        patch_status(
            "what it is already, of an old version",
            version(First),
            conditions(&["Approved"]),
            409,
        ),
        patch_status(
            "of an old version, its uid",
            both(First, First),
            conditions(&["Ready"]),
            409,
        ),
        patch_status(
            "conditions that are none",
            ANY,
            json!({ "status": { "conditions": "none" } }),
            422,
        ),
        patch_status("a condition without a status", ANY, condition, 422),
        patch_status("a certificate that is none", ANY, certificate(json!(1)), 422),
        patch(
            "an old version of the spec",
            version(First),
            json!({ "spec": { "duration": "2h0m0s" } }),
            409,
        ),
        patch(
            "a name that is none",
            ANY,
            json!({ "spec": { "issuerRef": { "name": 1 } } }),
            422,
        ),
        patch(
            "an issuer that is missing",
            ANY,
            json!({ "spec": { "issuerRef": null } }),
            422,
        ),
        case("read what was refused", Operation::Get, 200),
    ]
}

fn others() -> Vec<Case> {
    vec![
        patch("an annotation", ANY, note(json!("x")), 200),
        patch("the same annotation", ANY, note(json!("x")), 200),
        patch(
            "a duration",
            version(Last),
            json!({ "spec": { "duration": "2h0m0s" } }),
            200,
        ),
        patch("a status beside the subresource", ANY, conditions(&["Denied"]), 200),
        patch("no version", ANY, meta("resourceVersion", ""), 422),
        patch("no uid", ANY, meta("uid", ""), 200),
        patch("another uid", ANY, meta("uid", "none"), 422),
        patch("another name", ANY, meta("name", "none"), 400),
        patch("no annotation", both(Last, Last), note(Value::Null), 200),
        patch_status("after others", version(Last), conditions(&["Approved", "Ready"]), 200),
        case("list one", Operation::List, 200),
    ]
}

fn namesakes() -> Vec<Case> {
    let ready = || conditions(&["Ready"]);
    vec![
        case("delete", Operation::Delete(Some(Last)), 200),
        patch_status("of what is deleted", both(Last, Last), ready(), 404),
        case("create a namesake", Operation::Create(json!({})), 200),
        patch_status("of the deleted one", both(First, First), ready(), 409),
        patch_status("of the deleted one's version", version(First), ready(), 409),
        // The subresource takes nothing but the status, and so looks at no uid.
        patch_status("of the deleted one's uid", uid(First), ready(), 200),
        patch_status(
            "of the deleted one's uid and this version",
            both(First, Last),
            conditions(&["Approved"]),
            200,
        ),
        patch_status(
            "of this uid and the deleted one's version",
            both(Last, First),
            ready(),
            409,
        ),
        patch("an annotation of the deleted one", uid(First), note(json!("x")), 422),
        case("delete the deleted one", Operation::Delete(Some(First)), 409),
        patch_status("of this uid and version", both(Last, Last), ready(), 200),
        case("read the namesake", Operation::Get, 200),
    ]
}

fn watches() -> Vec<Case> {
    vec![
        case("watch from the beginning", Operation::Watch(Some(First)), 200),
        case("watch from the list of one", Operation::Watch(Some(Last)), 200),
        case("list the namesake", Operation::List, 200),
        case("watch from now", Operation::Watch(Some(Last)), 200),
        case("delete the namesake", Operation::Delete(None), 200),
        case("watch the deletion", Operation::Watch(Some(Last)), 200),
        case("watch from long ago", Operation::Watch(None), 410),
        case("list nothing again", Operation::List, 200),
    ]
}
