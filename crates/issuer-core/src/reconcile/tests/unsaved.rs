//! Status writes of requests that fail, and what is read after a conflict.

use std::time::Duration;

use super::scenario::{Answer, Scenario, config, key, request};
use crate::reconcile::{Change, Step, WriteError};

/// The refusal of a certificate that would outlive the CA.
const EXPIRES: &str = "cannot satisfy request, as TTL would result in notAfter of 2036-01-01T00:00:00Z that is beyond the \
                       expiration of the CA certificate at 2030-01-01T00:00:00Z";

#[test]
fn unsaved_cause_is_written_again() {
    let mut scenario = Scenario::empty(config());
    scenario.create(request("web").approved());
    scenario.write_errors.push_back(WriteError::Unavailable);
    assert_eq!(scenario.run(), ["write web Pending: Unavailable", "unsaved"]);
    assert_eq!(
        scenario.pass(2),
        ["write web Pending", "event web Normal IssuerNotFound"]
    );
    assert!(scenario.pass(3600).is_empty());
}

#[test]
fn unsaved_cause_delays_no_attempt() {
    let mut scenario = Scenario::ready();
    scenario.signs.insert("web".to_owned(), Answer::Refuses(400, EXPIRES));
    scenario.create(request("web").approved());
    scenario.write_errors.push_back(WriteError::Conflict);
    assert_eq!(scenario.run(), ["sign web", "write web Pending: Conflict", "unsaved"]);
    let log = ["sign web", "write web Pending", "event web Warning CaExpires"];
    assert_eq!(scenario.pass(2), log);
}

#[test]
fn refused_certificate_is_signed_once() {
    let mut scenario = Scenario::ready();
    scenario.write_errors.extend([WriteError::Refused; 4]);
    scenario.create(request("web").approved());
    let mut log = scenario.run();
    log.extend(scenario.pass(30));
    let refused = ["write web Issued: Refused", "unsaved"];
    let failed = [
        "write web Issued: Refused",
        "write web Failed",
        "event web Warning StatusRefused",
    ];
    assert_eq!(log, [&["sign web"][..], &refused, &refused, &refused, &failed].concat());
    assert_eq!(scenario.controller.unsaved(), 0);
    // Nor if the watch shows it again.
    scenario.show("web");
    assert!(scenario.pass(24 * 3600).iter().all(|line| !line.contains("web")));
}

#[test]
fn refused_failure_is_saved_later() {
    let mut scenario = Scenario::ready();
    scenario.write_errors.extend([WriteError::Refused; 2]);
    scenario.create(request("ca").approved().with(|request| request.spec.is_ca = true));
    let log = ["write ca Failed: Refused", "event ca Warning CaMismatch", "unsaved"];
    assert_eq!(scenario.run(), log);
    assert_eq!(scenario.pass(2), ["write ca Failed: Refused", "unsaved"]);
    assert_eq!(scenario.pass(5), ["write ca Failed", "event ca Warning CaMismatch"]);
    assert_eq!((scenario.controller.unsaved(), scenario.controller.tracked()), (0, 0));
}

#[test]
fn refused_failure_delays_no_stop() {
    let mut scenario = Scenario::ready();
    scenario.write_errors.extend([WriteError::Refused; 9]);
    scenario.create(request("ca").approved().with(|request| request.spec.is_ca = true));
    scenario.run();
    scenario.controller.stop(scenario.now);
    scenario.pass(60);
    assert!(scenario.controller.is_drained());
}

#[test]
fn stopping_counts_no_refused_failure() {
    for (request, refused) in [
        (request("web").denied(), "write web Denied: Refused"),
        (
            request("web").approved().with(|request| request.spec.is_ca = true),
            "write web Failed: Refused",
        ),
    ] {
        let mut scenario = Scenario::ready();
        scenario.write_errors.extend([WriteError::Refused; 9]);
        scenario.create(request);
        scenario.run();
        scenario.controller.stop(scenario.now);
        let log = scenario.pass(60);
        assert_eq!(log.first().map(String::as_str), Some(refused));
        assert_eq!(log.last().map(String::as_str), Some("unsaved"), "{log:?}");
        assert!(scenario.controller.is_drained());
    }
}

#[test]
fn refused_cause_is_not_repeated() {
    let mut scenario = Scenario::empty(config());
    scenario.create(request("web").approved());
    scenario.write_errors.push_back(WriteError::Refused);
    let log = ["write web Pending: Refused", "event web Normal IssuerNotFound"];
    assert_eq!(scenario.run(), log);
    assert!(scenario.pass(24 * 3600).is_empty());
}

/// The waits that an admission webhook may ask for, in seconds, and those that follow.
const ASKED: [(u64, u64); 3] = [(0, 2), (7, 7), (3600, 60)];

#[test]
fn asked_wait_delays_one_request() {
    for (asked, waited) in ASKED {
        let mut scenario = Scenario::ready();
        scenario
            .write_errors
            .push_back(WriteError::Postponed(Duration::from_secs(asked)));
        scenario.create(request("web").approved());
        let log = scenario.run();
        assert_eq!(log.last().map(String::as_str), Some("unsaved"), "{log:?}");
        scenario.create(request("other").approved());
        assert_eq!(scenario.run()[..2], ["sign other", "write other Issued"]);
        scenario.show("web");
        assert!(scenario.pass(waited - 1).is_empty(), "{asked}");
        let log = ["write web Issued", "event web Normal CertificateIssued"];
        assert_eq!(scenario.pass(1), log, "{asked}");
    }
}

#[test]
fn asked_wait_delays_a_cause() {
    for (asked, waited) in ASKED {
        let error = WriteError::Postponed(Duration::from_secs(asked));
        // One that waits for its issuer, and one that is tried again.
        let mut missing = Scenario::empty(config());
        missing.create(request("web").approved());
        let mut failing = Scenario::ready();
        failing.signs.insert("web".to_owned(), Answer::Refuses(400, EXPIRES));
        failing.create(request("web").approved());
        for mut scenario in [missing, failing] {
            scenario.write_errors.push_back(error);
            let log = scenario.run();
            assert_eq!(log.last().map(String::as_str), Some("unsaved"), "{log:?}");
            assert!(scenario.pass(waited - 1).is_empty(), "{asked}");
            let log = scenario.pass(1);
            assert!(log.contains(&"write web Pending".to_owned()), "{log:?}");
        }
    }
}

#[test]
fn asked_wait_delays_no_stop() {
    let mut scenario = Scenario::ready();
    scenario
        .write_errors
        .extend([WriteError::Postponed(Duration::from_secs(3600)); 3]);
    scenario.create(request("web").approved());
    scenario.run();
    scenario.controller.stop(scenario.now);
    scenario.pass(4);
    assert!(scenario.controller.is_drained());
    assert_eq!(scenario.reason("web"), "Issued");
}

#[test]
fn conflict_with_a_successor_drops_the_certificate() {
    let mut scenario = Scenario::ready();
    scenario.create(request("web").approved());
    scenario.write_errors.push_back(WriteError::Conflict);
    let successor = request("web").uid("uid-2").build();
    scenario.objects.insert(key("web"), successor.clone().into());
    assert_eq!(scenario.run(), ["sign web", "write web Issued: Conflict", "read web"]);
    assert_eq!(scenario.controller.unsaved(), 0);
    scenario.change(Change::Request(successor.into()));
    assert!(scenario.run().is_empty());
    assert_eq!(scenario.controller.tracked(), 1);
    assert_eq!(scenario.reason("web"), "none");
}

#[test]
fn failed_read_after_a_conflict_is_repeated() {
    let mut scenario = Scenario::ready();
    scenario.create(request("web").approved());
    let object = scenario.objects.remove(&key("web")).unwrap();
    scenario.write_errors.push_back(WriteError::Conflict);
    assert_eq!(
        scenario.run(),
        ["sign web", "write web Issued: Conflict", "read web", "unsaved"]
    );
    scenario.objects.insert(key("web"), object);
    assert_eq!(
        scenario.pass(2),
        ["write web Issued", "event web Normal CertificateIssued"]
    );
}

#[test]
fn request_that_finished_elsewhere_is_left_alone() {
    let mut scenario = Scenario::ready();
    scenario.create(request("web").approved());
    scenario.write_errors.push_back(WriteError::Conflict);
    let issued = request("web").approved().condition("Ready", "Issued", "by another");
    scenario.objects.insert(key("web"), issued.build().into());
    assert_eq!(scenario.run(), ["sign web", "write web Issued: Conflict", "read web"]);
    assert_eq!((scenario.controller.unsaved(), scenario.controller.tracked()), (0, 0));
}

#[test]
fn reading_controller_that_stops_signs_nothing() {
    let mut scenario = Scenario::ready();
    let whole = request("web").approved().build();
    let long = [b"#".repeat(5000), b"\n".to_vec(), whole.spec.request.decode().unwrap()].concat();
    scenario.create(request("web").approved().with_csr(&long));
    let (read, step) = scenario.controller.poll(scenario.now).unwrap();
    assert!(matches!(step, Step::ReadRequest(..)), "{step:?}");
    scenario.controller.stop(scenario.now);
    scenario.answer(&read, step);
    assert_eq!(scenario.pass(3600), ["read web"]);
    assert!(scenario.controller.is_drained());
}

#[test]
fn ca_certificate_needs_its_own_endpoint() {
    let mut scenario = Scenario::ready();
    scenario.create(request("ca").approved().with(|request| request.spec.is_ca = true));
    assert_eq!(scenario.run(), ["write ca Failed", "event ca Warning CaMismatch"]);
    scenario.modify_issuer(|spec| spec.path = "pki/root/sign-intermediate".to_owned());
    scenario.run();
    scenario.create(request("web").approved());
    assert_eq!(scenario.run(), ["write web Failed", "event web Warning CaMismatch"]);
}
