//! The table of Kubernetes' CertificateSigningRequests: the operations of a signer, and those of approvers meanwhile.

use issuer_api::Base64;
use serde_json::{Value, json};

use super::Earlier::{First, Last};
use super::cases::{ANY, both, case, certificate, conditions, note, patch, patch_status, uid, version};
use super::{ApiCase, ApiOperation, Preconditions};
use crate::object::merge;

/// A CSR for `web`.
const CSR: &str = "\
-----BEGIN CERTIFICATE REQUEST-----
MIHHMHACAQAwDjEMMAoGA1UEAwwDd2ViMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcD
QgAERzkOTX/W3v4JFs34OEKQCwMcwJylYFrdv4SK+ucolkAZQyzbLkeyDYub4HjT
U/VxJRLzcy1rXRUK9SKIV1bHpKAAMAoGCCqGSM49BAMCA0cAMEQCIB61265pFm/S
Azl9GMwSoqx2EYAriA8EmZfPjMYyGdOnAiBHvv6xiKdcQeKGUmgFSyV4gbWYVXMp
23uUZKSWvS56wQ==
-----END CERTIFICATE REQUEST-----
";

/// A certificate for it.
const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBcTCCARegAwIBAgIUErI1KYNOpKM9xEkogebHZi8HPxQwCgYIKoZIzj0EAwIw
DjEMMAoGA1UEAwwDd2ViMB4XDTI2MTEyODE5MTEwNVoXDTI2MTIwODE5MTEwNVow
DjEMMAoGA1UEAwwDd2ViMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEzSexKpbv
YY0iRtjgeYMiNxdsfKSigbwZFtijpP+PmvxneMgvAxmN6S6cEB8IoTLy3HbbkZJY
evPtkgfAJgMG4qNTMFEwHQYDVR0OBBYEFM8oKLZw5d3M7JEfvF9YoM5Sah5tMB8G
A1UdIwQYMBaAFM8oKLZw5d3M7JEfvF9YoM5Sah5tMA8GA1UdEwEB/wQFMAMBAf8w
CgYIKoZIzj0EAwIDSAAwRQIhAP/8AbCWp0cryTR+EFK+tVEfxCenLt6l4c16aBlN
MruFAiAsqmHwlgrHd2c5akHFXq22foqZ8Jpkib98t2mbdm/Glw==
-----END CERTIFICATE-----
";

pub(super) fn spec() -> Value {
    let request = Base64::encode(CSR);
    json!({ "request": request, "signerName": "example.com/nobody", "usages": ["client auth"] })
}

pub(super) fn cases() -> Vec<ApiCase> {
    [
        created(),
        unapproved(),
        approved(),
        spec_and_metadata(),
        issued(),
        denied(),
        failed(),
        managed(),
    ]
    .concat()
}

fn approve(name: &'static str, given: Preconditions, body: Value, status: u16) -> ApiCase {
    case(name, ApiOperation::PatchApproval(given, body), status)
}

fn create(name: &'static str, more: Value, status: u16) -> ApiCase {
    case(name, ApiOperation::Create(more), status)
}

fn pem(text: &str) -> Value {
    certificate(json!(Base64::encode(text)))
}

fn created() -> Vec<ApiCase> {
    vec![
        patch_status("patch the status of nothing", ANY, conditions(&["Ready"]), 404),
        approve("approve nothing", ANY, conditions(&["Approved"]), 404),
        create("create without a CSR", json!({ "spec": { "request": "Q1NS" } }), 422),
        create("create with a status", conditions(&["Approved"]), 200),
        create("create again", json!({}), 409),
        case("read", ApiOperation::Get, 200),
    ]
}

fn unapproved() -> Vec<ApiCase> {
    let condition = |condition: Value| json!({ "status": { "conditions": [condition] } });
    vec![
        patch_status("a decision in the status", ANY, conditions(&["Approved"]), 422),
        patch_status("a denial in the status", ANY, conditions(&["Denied"]), 422),
        patch_status("a condition", version(Last), conditions(&["Ready"]), 200),
        patch_status("a condition of an old version", version(First), conditions(&[]), 409),
        patch_status("the same condition twice", ANY, conditions(&["Ready", "Ready"]), 422),
        patch_status(
            "a condition without a status",
            ANY,
            condition(json!({ "type": "Ready" })),
            422,
        ),
        patch_status(
            "a failure that is not",
            ANY,
            condition(json!({ "type": "Failed", "status": "False" })),
            422,
        ),
        patch_status(
            "conditions that are a string",
            ANY,
            json!({ "status": { "conditions": "none" } }),
            422,
        ),
        patch_status("no condition", version(Last), conditions(&[]), 200),
    ]
}

fn approved() -> Vec<ApiCase> {
    vec![
        approve("approve an old version", version(First), conditions(&["Approved"]), 409),
        approve("approve", version(Last), conditions(&["Approved"]), 200),
        approve("deny what is approved", ANY, conditions(&["Approved", "Denied"]), 422),
        approve("withdraw the approval", ANY, conditions(&[]), 422),
        patch_status("withdraw the approval in the status", ANY, conditions(&["Ready"]), 422),
        patch_status(
            "a condition beside the approval",
            ANY,
            conditions(&["Approved", "Ready"]),
            200,
        ),
        approve("an approval alone", ANY, conditions(&["Approved"]), 200),
        approve("a certificate beside the approval", ANY, pem(CERTIFICATE), 200),
    ]
}

fn spec_and_metadata() -> Vec<ApiCase> {
    let mut noted = conditions(&["Approved", "Ready"]);
    merge(&mut noted, &note(json!("x")));
    merge(&mut noted, &json!({ "spec": { "expirationSeconds": 7200 } }));
    let longer = json!({ "spec": { "expirationSeconds": 7200 } });
    let no_version = json!({ "metadata": { "resourceVersion": "", "annotations": { "example.com/note": "z" } } });
    vec![
        patch_status("a status and more", version(Last), noted, 200),
        patch("an annotation", ANY, note(json!("y")), 200),
        patch("another spec", ANY, longer, 200),
        patch("a status beside the subresource", ANY, conditions(&["Failed"]), 200),
        patch_status("of no version", ANY, no_version, 200),
        case("read what has changed", ApiOperation::Get, 200),
    ]
}

fn issued() -> Vec<ApiCase> {
    let other = format!("{CERTIFICATE}\n");
    vec![
        patch_status("a certificate of an old version", version(First), pem(CERTIFICATE), 409),
        patch_status("a certificate that is none", ANY, pem("x"), 422),
        patch_status("a certificate that is a number", ANY, certificate(json!(1)), 422),
        patch_status("a certificate", both(Last, Last), pem(CERTIFICATE), 200),
        patch_status("the same certificate", both(Last, Last), pem(CERTIFICATE), 200),
        patch_status("another certificate", ANY, pem(&other), 422),
        patch_status("no certificate", ANY, certificate(Value::Null), 422),
        case("read the certificate", ApiOperation::Get, 200),
        case("delete", ApiOperation::Delete(Some(Last)), 200),
        patch_status("of a deleted one", both(Last, Last), conditions(&["Failed"]), 404),
    ]
}

fn denied() -> Vec<ApiCase> {
    vec![
        create("create a namesake", json!({}), 200),
        // Unlike that of custom resources, this status subresource does not ignore the uid.
        patch_status("of the deleted one's uid", uid(First), conditions(&["Ready"]), 422),
        patch_status("of the deleted one", both(First, First), conditions(&["Ready"]), 409),
        approve("deny", version(Last), conditions(&["Denied"]), 200),
        approve("approve what is denied", ANY, conditions(&["Approved"]), 422),
        patch_status(
            "a certificate of what is denied",
            both(Last, Last),
            pem(CERTIFICATE),
            200,
        ),
        case("delete what is denied", ApiOperation::Delete(None), 200),
    ]
}

fn failed() -> Vec<ApiCase> {
    vec![
        create("create a last one", json!({}), 200),
        approve("approve the last one", ANY, conditions(&["Approved"]), 200),
        patch_status("a failure", both(Last, Last), conditions(&["Approved", "Failed"]), 200),
        patch_status("withdraw the failure", ANY, conditions(&["Approved"]), 422),
        case("delete the last one", ApiOperation::Delete(None), 200),
    ]
}

/// Only where somebody owns the labels or annotations from the beginning, managed fields show who has signed.
fn managed() -> Vec<ApiCase> {
    let other = |name, body| case(name, ApiOperation::PatchStatusAsOther(body), 200);
    vec![
        create("create one without annotations", json!({}), 200),
        approve("approve the unmanaged one", ANY, conditions(&["Approved"]), 200),
        patch("an annotation of the unmanaged one", ANY, note(json!("x")), 200),
        other("another signs the unmanaged one", pem(CERTIFICATE)),
        case("delete the unmanaged one", ApiOperation::Delete(None), 200),
        create("create one with an annotation", note(json!("x")), 200),
        approve("approve the managed one", ANY, conditions(&["Approved"]), 200),
        other(
            "another adds a condition to the managed one",
            conditions(&["Approved", "Ready"]),
        ),
        other("another signs the managed one", pem(CERTIFICATE)),
        case("delete the managed one", ApiOperation::Delete(None), 200),
    ]
}
