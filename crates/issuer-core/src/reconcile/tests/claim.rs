//! Claims on requests by one of two controllers.

use super::scenario::{Scenario, config, request};
use crate::reconcile::{Claim, Config};

fn claiming() -> Scenario {
    let identity = "a".to_owned();
    Scenario::with(Config {
        claim: Some(Claim { identity }),
        ..config()
    })
}

#[test]
fn request_is_claimed_before_it_is_signed() {
    let mut scenario = claiming();
    scenario.create(request("web").approved());
    assert_eq!(
        scenario.run(),
        [
            "write web Claimed",
            "read web",
            "sign web",
            "write web Issued",
            "event web Normal CertificateIssued"
        ]
    );
    assert!(scenario.object("web").condition("Claimed").is_none());
}

#[test]
fn foreign_claim_is_waited_for() {
    let mut scenario = claiming();
    scenario.create(request("web").approved().condition("Claimed", "b", "Being signed by b"));
    assert!(scenario.run().is_empty());
    assert!(scenario.pass(59).iter().all(|line| line != "sign web"));
    let log = scenario.pass(1);
    assert_eq!(log.first().map(String::as_str), Some("write web Claimed"));
}
