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
fn request_that_is_gone_is_forgotten() {
    let mut scenario = Scenario::ready();
    scenario.create(request("web").approved());
    scenario.write_errors.push_back(WriteError::NotFound);
    scenario.run();
    assert_eq!((scenario.controller.pending(), scenario.controller.unsaved()), (0, 0));
}
