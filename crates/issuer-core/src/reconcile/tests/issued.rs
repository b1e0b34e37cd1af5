use super::scenario::{Answer, Scenario, request};
use crate::reconcile::WriteError;

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
