//! Status writes that meet a newer version of a request.

use super::scenario::{Scenario, request};
use crate::reconcile::WriteError;

#[test]
fn conflict_is_resolved_by_reading_again() {
    let mut scenario = Scenario::ready();
    scenario.create(request("web").approved());
    scenario.write_errors.push_back(WriteError::Conflict);
    let log = scenario.run();
    assert_eq!(
        log,
        [
            "sign web",
            "write web Issued: Conflict",
            "read web",
            "write web Issued",
            "event web Normal CertificateIssued"
        ]
    );
}

#[test]
fn repeated_conflicts_back_off() {
    let mut scenario = Scenario::ready();
    scenario.create(request("web").approved());
    scenario.write_errors.extend([WriteError::Conflict; 4]);
    let log = scenario.run();
    assert_eq!(log.iter().filter(|line| *line == "read web").count(), 3);
    assert_eq!(log.last().map(String::as_str), Some("unsaved"));
    let log = scenario.pass(2);
    assert_eq!(log, ["write web Issued", "event web Normal CertificateIssued"]);
}

#[test]
fn denial_that_comes_with_the_conflict_wins() {
    let mut scenario = Scenario::ready();
    scenario.create(request("web").approved());
    scenario.write_errors.push_back(WriteError::Conflict);
    let denied = request("web").approved().denied().build();
    scenario.objects.insert(super::scenario::key("web"), denied.into());
    let log = scenario.run();
    assert!(log.contains(&"write web Denied".to_owned()), "{log:?}");
    assert!(scenario.object("web").status.as_ref().unwrap().certificate.is_none());
}

#[test]
fn stale_watch_after_saving_is_ignored() {
    let mut scenario = Scenario::ready();
    scenario.watch_lags = true;
    scenario.create(request("web").approved());
    scenario.run();
    let stale = request("web").approved();
    scenario.change(crate::reconcile::Change::Request(stale.build().into()));
    assert!(scenario.run().is_empty());
}
