//! Requests before and after approval or denial.

use super::scenario::{Scenario, request};

#[test]
fn approved_request_is_signed_once() {
    let mut scenario = Scenario::ready();
    scenario.create(request("web").approved());
    assert_eq!(
        scenario.run(),
        ["sign web", "write web Issued", "event web Normal CertificateIssued"]
    );
    assert!(scenario.object("web").is_terminal());
    assert_eq!(scenario.controller.pending(), 0);
    scenario.show("web");
    assert!(scenario.run().is_empty());
}

#[test]
fn unapproved_request_is_left_alone() {
    let mut scenario = Scenario::ready();
    scenario.create(request("web"));
    assert!(scenario.run().is_empty());
    assert_eq!((scenario.controller.pending(), scenario.controller.tracked()), (0, 1));
    scenario.create(request("web").approved());
    assert_eq!((scenario.controller.pending(), scenario.controller.tracked()), (1, 1));
    assert_eq!(scenario.run().first().map(String::as_str), Some("sign web"));
}

#[test]
fn denied_request_fails_without_vault() {
    let mut scenario = Scenario::ready();
    scenario.create(request("web").approved().denied());
    assert_eq!(scenario.run(), ["write web Denied"]);
    let status = scenario.object("web").status.as_ref().unwrap();
    assert!(status.failure_time.is_some());
}

#[test]
fn denied_request_of_unknown_kind_fails() {
    for kind in ["", "ClusterIssuer", "<b>"] {
        for request in [request("web").denied(), request("web").approved().denied()] {
            let mut scenario = Scenario::ready();
            scenario.create(request.of(kind, "vault"));
            assert_eq!(scenario.run(), ["write web Denied"], "{kind}");
            let status = scenario.object("web").status.as_ref().unwrap();
            assert!(status.failure_time.is_some());
        }
    }
}

#[test]
fn request_declared_invalid_is_left_alone() {
    let mut scenario = Scenario::ready();
    scenario.create(request("web").approved().condition("InvalidRequest", "Other", ""));
    assert!(scenario.run().is_empty());
    assert_eq!((scenario.controller.pending(), scenario.controller.tracked()), (0, 1));
}

#[test]
fn malformed_csr_fails_without_vault() {
    let mut scenario = Scenario::ready();
    scenario.create(request("web").approved().with_csr(b"no PEM"));
    assert_eq!(scenario.run(), ["write web Failed", "event web Warning InvalidRequest"]);
    assert!(scenario.object("web").is("InvalidRequest"));
}
