//! Requests that are deleted while they are signed or saved.

use super::scenario::{Answer, Scenario, key, request};
use crate::reconcile::{Change, WriteError};

#[test]
fn certificate_of_a_deleted_request_is_dropped() {
    let mut scenario = Scenario::ready();
    scenario.signs.insert("web".to_owned(), Answer::Held);
    scenario.create(request("web").approved());
    scenario.run();
    scenario.objects.clear();
    scenario.change(Change::RequestGone(key("web")));
    assert!(scenario.release("web", &Answer::Well).is_empty());
    assert_eq!((scenario.controller.pending(), scenario.controller.unsaved()), (0, 0));
}

#[test]
fn certificate_never_reaches_a_successor() {
    let mut scenario = Scenario::ready();
    scenario.signs.insert("web".to_owned(), Answer::Held);
    scenario.create(request("web").approved());
    scenario.run();
    scenario.create(request("web").uid("uid-2"));
    let log = scenario.release("web", &Answer::Well);
    assert!(log.is_empty(), "{log:?}");
    assert_eq!(scenario.reason("web"), "none");
}

#[test]
fn certificate_survives_a_spurious_404() {
    let mut scenario = Scenario::ready();
    scenario.create(request("web").approved());
    scenario.write_errors.push_back(WriteError::NotFound);
    let log = scenario.pass(2);
    assert_eq!(
        log,
        [
            "sign web",
            "write web Issued: NotFound",
            "unsaved",
            "write web Issued",
            "event web Normal CertificateIssued"
        ]
    );
}

#[test]
fn deletion_in_the_watch_forgets_the_request() {
    let mut scenario = Scenario::ready();
    scenario.create(request("web").approved());
    scenario.objects.clear();
    scenario.run();
    assert_eq!((scenario.controller.pending(), scenario.controller.unsaved()), (1, 1));
    scenario.change(Change::RequestGone(key("web")));
    assert_eq!((scenario.controller.pending(), scenario.controller.unsaved()), (0, 0));
    assert!(scenario.pass(30).is_empty());
}
