//! The table of CertificateRequests: the operations of an issuer, and those of other clients meanwhile.

use serde_json::{Value, json};

use super::Earlier::{First, Last};
use super::{ApiCase, ApiOperation, Earlier, Preconditions};
use crate::object::merge;

/// Returns the table, in the order in which the operations follow each other.
pub(super) fn cases() -> Vec<ApiCase> {
    [
        nothing(),
        statuses(),
        refused(),
        others(),
        namesakes(),
        watches(),
        replacements(),
    ]
    .concat()
}

pub(super) fn case(name: &'static str, operation: ApiOperation, status: u16) -> ApiCase {
    ApiCase {
        name,
        operation,
        status,
    }
}

pub(super) fn patch(name: &'static str, given: Preconditions, body: Value, status: u16) -> ApiCase {
    case(name, ApiOperation::Patch(given, body), status)
}

pub(super) fn patch_status(name: &'static str, given: Preconditions, body: Value, status: u16) -> ApiCase {
    case(name, ApiOperation::PatchStatus(given, body), status)
}

fn replace_status(name: &'static str, given: Preconditions, body: Value, status: u16) -> ApiCase {
    case(name, ApiOperation::ReplaceStatus(given, body), status)
}

/// No preconditions.
pub(super) const ANY: Preconditions = Preconditions {
    uid: None,
    version: None,
};

pub(super) fn version(version: Earlier) -> Preconditions {
    Preconditions {
        version: Some(version),
        ..ANY
    }
}

pub(super) fn uid(uid: Earlier) -> Preconditions {
    Preconditions { uid: Some(uid), ..ANY }
}

pub(super) fn both(uid: Earlier, version: Earlier) -> Preconditions {
    Preconditions {
        uid: Some(uid),
        version: Some(version),
    }
}

/// Returns a status with these conditions.
pub(super) fn conditions(kinds: &[&str]) -> Value {
    let condition = |kind| json!({ "type": kind, "status": "True", "reason": "Because", "message": "it is so" });
    let conditions: Vec<Value> = kinds.iter().map(condition).collect();
    json!({ "status": { "conditions": conditions } })
}

/// Returns a status with this certificate.
pub(super) fn certificate(base64: Value) -> Value {
    json!({ "status": { "certificate": base64 } })
}

fn meta(field: &str, text: &str) -> Value {
    json!({ "metadata": { field: text } })
}

pub(super) fn note(text: Value) -> Value {
    json!({ "metadata": { "annotations": { "example.com/note": text } } })
}

fn nothing() -> Vec<ApiCase> {
    vec![
        case("list nothing", ApiOperation::List, 200),
        case("read nothing", ApiOperation::Get, 404),
        case("delete nothing", ApiOperation::Delete(None), 404),
        patch("patch nothing", ANY, note(json!("x")), 404),
        patch_status("patch the status of nothing", ANY, conditions(&["Ready"]), 404),
        case(
            "create with a status",
            ApiOperation::Create(conditions(&["Ready"])),
            200,
        ),
        case("read", ApiOperation::Get, 200),
        case("create again", ApiOperation::Create(json!({})), 409),
    ]
}

fn statuses() -> Vec<ApiCase> {
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
            "conditions replaced as a whole",
            version(Last),
            conditions(&["Approved"]),
            200,
        ),
        patch_status("a part removed", version(Last), certificate(Value::Null), 200),
        patch_status("of no version", ANY, meta("resourceVersion", ""), 422),
        patch_status("of no uid", ANY, meta("uid", ""), 200),
        case("read the status", ApiOperation::Get, 200),
    ]
}

fn refused() -> Vec<ApiCase> {
    let condition = json!({ "status": { "conditions": [{ "type": "Ready" }] } });
    vec![
        patch_status("of an old version", version(First), conditions(&["Ready"]), 409),
        patch_status(
            "an unchanged status of an old version",
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
            "conditions that are a string",
            ANY,
            json!({ "status": { "conditions": "none" } }),
            422,
        ),
        patch_status("a condition without a status", ANY, condition, 422),
        patch_status("a certificate that is a number", ANY, certificate(json!(1)), 422),
        patch(
            "an old version of the spec",
            version(First),
            json!({ "spec": { "duration": "2h0m0s" } }),
            409,
        ),
        patch(
            "an issuer name that is a number",
            ANY,
            json!({ "spec": { "issuerRef": { "name": 1 } } }),
            422,
        ),
        patch(
            "an issuer that is null",
            ANY,
            json!({ "spec": { "issuerRef": null } }),
            422,
        ),
        case("read what was refused", ApiOperation::Get, 200),
    ]
}

fn others() -> Vec<ApiCase> {
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
        case("list one", ApiOperation::List, 200),
    ]
}

fn namesakes() -> Vec<ApiCase> {
    let ready = || conditions(&["Ready"]);
    vec![
        case("delete", ApiOperation::Delete(Some(Last)), 200),
        patch_status("of a deleted object", both(Last, Last), ready(), 404),
        case("create a namesake", ApiOperation::Create(json!({})), 200),
        patch_status("of the deleted one", both(First, First), ready(), 409),
        patch_status("of the deleted one's version", version(First), ready(), 409),
        // The status subresource ignores metadata, the uid included.
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
        case("delete the deleted one", ApiOperation::Delete(Some(First)), 409),
        patch_status("of this uid and version", both(Last, Last), ready(), 200),
        case("read the namesake", ApiOperation::Get, 200),
    ]
}

fn watches() -> Vec<ApiCase> {
    vec![
        case("watch from the beginning", ApiOperation::Watch(Some(First)), 200),
        case("watch from the list of one", ApiOperation::Watch(Some(Last)), 200),
        case("list the namesake", ApiOperation::List, 200),
        case("watch from now", ApiOperation::Watch(Some(Last)), 200),
        case("delete the namesake", ApiOperation::Delete(None), 200),
        case("watch the deletion", ApiOperation::Watch(Some(Last)), 200),
        case("watch from long ago", ApiOperation::Watch(None), 410),
        case("list nothing again", ApiOperation::List, 200),
    ]
}

fn replacements() -> Vec<ApiCase> {
    let whole = |value: &str, duration: &str| {
        let mut object = json!({ "spec": { "duration": duration } });
        merge(&mut object, &note(json!(value)));
        object
    };
    let mut other = whole("y", "2h0m0s");
    merge(&mut other, &conditions(&["Approved", "Ready"]));
    let nobody = json!({ "metadata": { "uid": "none" } });
    vec![
        replace_status("replace nothing", both(Last, Last), conditions(&["Ready"]), 404),
        case("create a last one", ApiOperation::Create(whole("x", "1h0m0s")), 200),
        replace_status("a status alone", both(Last, Last), conditions(&["Approved"]), 200),
        replace_status("the same alone", both(Last, Last), conditions(&["Approved"]), 200),
        replace_status("a status without uid", version(Last), conditions(&["Ready"]), 200),
        replace_status("a status with another spec", both(Last, Last), other, 200),
        replace_status("a certificate alone", both(Last, Last), certificate(json!("eA==")), 200),
        replace_status("alone, of no version", uid(Last), conditions(&["Ready"]), 422),
        replace_status(
            "alone, of an old version",
            both(Last, First),
            conditions(&["Ready"]),
            409,
        ),
        replace_status(
            "alone, of the first one",
            both(First, Last),
            conditions(&["Ready"]),
            409,
        ),
        replace_status("alone, of nobody", version(Last), nobody, 409),
        replace_status("a number alone", both(Last, Last), certificate(json!(1)), 422),
        case("read what was replaced", ApiOperation::Get, 200),
        replace_status("nothing alone", both(Last, Last), json!({}), 200),
        case("delete the last one", ApiOperation::Delete(None), 200),
    ]
}
