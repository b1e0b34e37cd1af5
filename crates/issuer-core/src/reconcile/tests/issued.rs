//! Signed certificates until they are saved.

use issuer_api::VerificationMode;

use super::scenario::{Answer, Scenario, config, request};
use crate::Signatures;
use crate::fixture::counted::{Counted, verified};
use crate::reconcile::{Config, WriteError};

#[test]
fn certificate_survives_an_outage_of_the_api_server() {
    let mut scenario = Scenario::ready();
    scenario.create(request("web").approved());
    scenario.write_errors.extend([WriteError::Unavailable; 5]);
    let log = scenario.pass(120);
    assert_eq!(log.iter().filter(|line| *line == "sign web").count(), 1);
    assert_eq!(scenario.reason("web"), "Issued");
    assert_eq!(scenario.controller.unsaved(), 0);
}

#[test]
fn request_is_not_signed_twice_at_once() {
    let mut scenario = Scenario::ready();
    scenario.signs.insert("web".to_owned(), Answer::Held);
    scenario.create(request("web").approved());
    assert_eq!(scenario.run(), ["sign web"]);
    scenario.show("web");
    assert!(scenario.run().is_empty());
    assert_eq!(scenario.controller.unsaved(), 1);
    let log = scenario.release("web", &Answer::Well);
    assert_eq!(log.first().map(String::as_str), Some("write web Issued"));
}

#[test]
fn names_may_be_left_to_vault() {
    for (verification, reason) in [
        (VerificationMode::Strict, "Failed"),
        (VerificationMode::Vault, "Issued"),
    ] {
        let mut scenario = Scenario::ready();
        scenario.modify_issuer(|spec| spec.verification = Some(verification));
        scenario.signs.insert("web".to_owned(), Answer::Names("other"));
        scenario.create(request("web").approved());
        scenario.run();
        assert_eq!(scenario.reason("web"), reason);
    }
}

#[test]
fn signature_of_the_ca_is_verified_once() {
    let mut scenario = Scenario::with(Config {
        verify: Signatures(&[&Counted]).into(),
        ..config()
    });
    let counts = ["a", "b", "c"].map(|name| {
        let before = verified();
        scenario.create(request(name).approved());
        scenario.run();
        verified() - before
    });
    // Of the CSR, of the certificate, and once of the CA.
    assert_eq!(counts, [3, 2, 2]);
}

#[test]
fn event_names_usages_that_were_not_granted() {
    let mut scenario = Scenario::ready();
    scenario.create(request("granted").approved().usages(&["server auth"]));
    scenario.create(
        request("refused")
            .approved()
            .usages(&["server auth", "client auth", "code signing"]),
    );
    scenario.run();
    assert_eq!(
        scenario.notes,
        [
            "Certificate fetched from issuer successfully",
            "Certificate fetched from issuer successfully, but Vault did not grant the usages client auth, code signing, \
             which were requested; see key_usage and ext_key_usage of its role",
        ]
    );
    let ready = scenario.object("refused").condition("Ready").unwrap();
    assert_eq!(
        ready.message.as_deref(),
        Some("Certificate fetched from issuer successfully")
    );
}
