//! The shutdown of a controller.

use super::scenario::{Answer, Scenario, issuer, issuer_key, request};
use crate::reconcile::{Change, ObservedIssuer};

#[test]
fn stopping_controller_signs_nothing_more() {
    let mut scenario = Scenario::ready();
    scenario.controller.stop(scenario.now);
    scenario.create(request("web").approved());
    assert!(scenario.pass(3600).is_empty());
    assert!(scenario.controller.is_drained());
}

#[test]
fn stopping_controller_saves_what_is_being_signed() {
    let mut scenario = Scenario::ready();
    scenario.signs.insert("web".to_owned(), Answer::Held);
    scenario.create(request("web").approved());
    scenario.run();
    scenario.controller.stop(scenario.now);
    assert!(!scenario.controller.is_drained());
    let log = scenario.release("web", &Answer::Well);
    assert_eq!(log.first().map(String::as_str), Some("write web Issued"));
    assert!(scenario.controller.is_drained());
}

#[test]
fn stopping_controller_keeps_known_issuers_only() {
    let mut scenario = Scenario::ready();
    scenario.controller.stop(scenario.now);
    for (uid, count) in [("uid-issuer", 1), ("uid-next", 0)] {
        let observed = ObservedIssuer {
            uid: uid.to_owned(),
            ..issuer(1)
        };
        scenario.change(Change::Issuer(issuer_key(), observed));
        assert_eq!(scenario.controller.readiness().count(), count, "{uid}");
    }
}

#[test]
fn tokens_are_retired_after_the_stop() {
    let mut scenario = Scenario::ready();
    scenario.controller.stop(scenario.now);
    scenario.controller.retire_all();
    // A token that was given is not ours to revoke.
    assert!(scenario.run().is_empty());
    assert!(scenario.controller.is_retired());
}
