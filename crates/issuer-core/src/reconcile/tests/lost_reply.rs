//! Lost replies to requests to sign.

use super::scenario::{Answer, Scenario, request};

#[test]
fn lost_reply_is_followed_by_a_check() {
    let mut scenario = Scenario::ready();
    scenario.signs.insert("web".to_owned(), Answer::Lost);
    scenario.create(request("web").approved());
    let log = scenario.run();
    assert_eq!(log.first().map(String::as_str), Some("sign web"));
    assert!(log.contains(&"health".to_owned()), "{log:?}");
    scenario.signs.clear();
    scenario.pass(600);
    assert_eq!(scenario.reason("web"), "Issued");
}

#[test]
fn failure_that_is_a_refusal_is_final() {
    let mut scenario = Scenario::ready();
    let refusal = Answer::Refuses(400, "common name web not allowed by this role");
    scenario.signs.insert("web".to_owned(), refusal);
    scenario.create(request("web").approved());
    assert_eq!(
        scenario.run(),
        ["sign web", "write web Failed", "event web Warning SignRefused"]
    );
}
