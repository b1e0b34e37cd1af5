//! Whose fault a failure is: a request's own failures delay no other request.

use issuer_api::ConditionStatus;

use super::scenario::{Answer, Scenario, issuer, issuer_key, request};
use crate::reconcile::{Change, Key};

const POISON: Answer = Answer::Refuses(500, "x509: unhandled critical extension");
const CA_EXPIRES: Answer = Answer::Refuses(
    400,
    "cannot satisfy request, as TTL would result in notAfter of 2036-01-01T00:00:00.1Z that is beyond the expiration \
     of the CA certificate at 2030-01-01T00:00:00Z",
);

fn count(log: &[String], line: &str) -> usize {
    log.iter().filter(|logged| *logged == line).count()
}

fn poisoned(scenario: &mut Scenario, answer: &Answer, requests: u32) {
    for number in 0..requests {
        let name = format!("poison-{number}");
        scenario.signs.insert(name.clone(), answer.clone());
        scenario.create(request(&name).approved());
    }
}

#[test]
fn good_request_overtakes_poison() {
    for answer in [
        POISON,
        CA_EXPIRES,
        Answer::Lost,
        Answer::Refuses(403, "permission denied"),
        Answer::Postpones(502, 600),
    ] {
        let mut scenario = Scenario::ready();
        poisoned(&mut scenario, &answer, 100);
        for second in 0..30 {
            let name = format!("good-{second}");
            scenario.create(request(&name).approved());
            let log = scenario.run();
            assert_eq!(count(&log, &format!("sign {name}")), 1, "{answer:?}");
            assert_eq!(scenario.reason(&name), "Issued", "{answer:?}");
            scenario.pass(17);
        }
    }
}

#[test]
fn lost_answers_fail_a_request() {
    for answer in [POISON, Answer::Lost] {
        let mut scenario = Scenario::ready();
        poisoned(&mut scenario, &answer, 1);
        let log = scenario.pass(60);
        assert_eq!(count(&log, "sign poison-0"), 2, "{log:?}");
        assert_eq!(scenario.reason("poison-0"), "Pending");
        let log = scenario.pass(24 * 60 * 60);
        assert_eq!(count(&log, "sign poison-0"), 1, "{log:?}");
        assert_eq!(count(&log, "event poison-0 Warning AnswersLost"), 1, "{log:?}");
        assert_eq!(scenario.reason("poison-0"), "Failed");
    }
}

#[test]
fn failing_endpoint_fails_no_request() {
    for (answer, requests) in [(POISON, 3), (POISON, 200), (Answer::Lost, 50)] {
        let mut scenario = Scenario::ready();
        poisoned(&mut scenario, &answer, requests);
        scenario.pass(300);
        let log = scenario.pass(3600);
        let signs = log.iter().filter(|line| line.starts_with("sign ")).count();
        // However many wait, one is tried every 15 s.
        assert!((200..=242).contains(&signs), "{requests}: {signs}");
        let warning = scenario.issuer.status.condition("Warning");
        assert_eq!(warning.map(|warning| &*warning.reason), Some("SignaturesFail"));
        assert!((0..requests).all(|number| scenario.reason(&format!("poison-{number}")) == "Pending"));
        scenario.signs.clear();
        scenario.pass(20);
        assert!((0..requests).all(|number| scenario.reason(&format!("poison-{number}")) == "Issued"));
        scenario.pass(70);
        assert_eq!(scenario.issuer.status.condition("Warning"), None);
    }
}

#[test]
fn many_poisoned_requests_fail_beside_good_ones() {
    let mut scenario = Scenario::ready();
    poisoned(&mut scenario, &POISON, 20);
    for number in 0..60 {
        scenario.create(request(&format!("good-{number}")).approved());
        scenario.pass(30);
    }
    assert!((0..20).all(|number| scenario.reason(&format!("poison-{number}")) == "Failed"));
    assert_eq!(scenario.issuer.status.condition("Warning"), None);
}

#[test]
fn outage_is_not_the_fault_of_a_request() {
    let mut scenario = Scenario::ready();
    scenario.create(request("web").approved());
    scenario.signs.insert("web".to_owned(), Answer::Held);
    for _ in 0..10 {
        assert_eq!(count(&scenario.pass(16), "sign web"), 1);
        scenario.checks = Answer::Refuses(503, "Vault is sealed");
        scenario.release("web", &Answer::Lost);
        scenario.pass(60);
        scenario.checks = Answer::Well;
    }
    scenario.signs.clear();
    scenario.pass(16);
    assert_eq!(scenario.reason("web"), "Issued");
}

#[test]
fn loss_during_an_outage_is_not_blamed() {
    let mut scenario = Scenario::ready();
    scenario.signs.insert("web".to_owned(), Answer::Held);
    scenario.signs.insert("other".to_owned(), Answer::Lost);
    scenario.create(request("web").approved());
    scenario.run();
    scenario.checks = Answer::Refuses(503, "Vault is sealed");
    scenario.create(request("other").approved());
    scenario.pass(5);
    loses_nothing_by_the_outage(&mut scenario);
}

#[test]
fn loss_after_an_outage_is_not_blamed() {
    let mut scenario = Scenario::ready();
    scenario.signs.insert("web".to_owned(), Answer::Held);
    scenario.create(request("web").approved());
    scenario.run();
    // No signature, but a check notices the outage.
    scenario.checks = Answer::Refuses(503, "Vault is sealed");
    while scenario.issuer.status.ready().unwrap().status == ConditionStatus::True {
        scenario.pass(1);
    }
    loses_nothing_by_the_outage(&mut scenario);
}

/// Ends the outage, and loses the answer that `web` requested before it: the next attempt follows after the usual second.
fn loses_nothing_by_the_outage(scenario: &mut Scenario) {
    scenario.checks = Answer::Well;
    scenario.signs.clear();
    scenario.pass(20);
    scenario.release("web", &Answer::Lost);
    assert_eq!(count(&scenario.pass(2), "sign web"), 1);
}

#[test]
fn failure_during_a_check_is_probed() {
    let mut scenario = Scenario::ready();
    scenario.pass(120);
    scenario.signs.insert("web".to_owned(), Answer::Held);
    scenario.create(request("web").approved());
    assert_eq!(scenario.run(), ["sign web"]);
    scenario.now.monotonic = scenario.controller.next_due().unwrap();
    let (key, step) = scenario.controller.poll(scenario.now).unwrap();
    assert_eq!(key, Key::Issuer(issuer_key()));
    // The check relies on the probe before, and cannot know that a signature has failed since.
    scenario.release("web", &Answer::Lost);
    scenario.answer(&key, step);
    assert_eq!(count(&scenario.run(), "probe"), 1);
}

#[test]
fn expiring_ca_checks_and_tells_once() {
    let mut scenario = Scenario::ready();
    poisoned(&mut scenario, &CA_EXPIRES, 1);
    let log = scenario.run();
    assert_eq!(
        log,
        [
            "sign poison-0",
            "write poison-0 Pending",
            "event poison-0 Warning CaExpires"
        ]
    );
    let other = "cannot satisfy request, as TTL would result in notAfter of 2036-01-01T00:00:00.2Z that is beyond the \
                 expiration of the CA certificate at 2030-01-01T00:00:00Z";
    scenario
        .signs
        .insert("poison-0".to_owned(), Answer::Refuses(400, other));
    let log = scenario.pass(24 * 60 * 60);
    assert_eq!(count(&log, "write poison-0 Pending"), 0);
    assert!(count(&log, "sign poison-0") < 70, "{}", count(&log, "sign poison-0"));
}

#[test]
fn rate_limit_pauses_before_the_check() {
    let mut scenario = Scenario::ready();
    scenario
        .signs
        .insert("web".to_owned(), Answer::Refuses(429, "rate limit quota exceeded"));
    scenario.create(request("web").approved());
    let log = scenario.run();
    assert_eq!(
        log,
        ["sign web", "write web Pending", "event web Warning VaultThrottled"]
    );
    scenario.create(request("other").approved());
    assert!(scenario.run().is_empty());
    scenario.signs.clear();
    let log = scenario.pass(2);
    assert_eq!((count(&log, "sign web"), count(&log, "sign other")), (1, 1), "{log:?}");
}

#[test]
fn corrected_issuer_ends_all_backoff() {
    let mut scenario = Scenario::ready();
    scenario
        .signs
        .insert("web".to_owned(), Answer::Refuses(403, "permission denied"));
    scenario.create(request("web").approved());
    scenario.pass(2000);
    scenario.signs.clear();
    assert!(count(&scenario.run(), "sign web") == 0);
    scenario.issuer = issuer(2);
    scenario.change(Change::Issuer(issuer_key(), issuer(2)));
    assert_eq!(count(&scenario.run(), "sign web"), 1);
}

#[test]
fn backoff_begins_anew_after_a_correction() {
    let mut scenario = Scenario::ready();
    scenario
        .signs
        .insert("web".to_owned(), Answer::Refuses(403, "permission denied"));
    scenario.create(request("web").approved());
    scenario.pass(2000);
    scenario.modify_issuer(|_| {});
    assert_eq!(count(&scenario.run(), "sign web"), 1);
    assert_eq!(count(&scenario.pass(2), "sign web"), 1);
}

#[test]
fn correction_excuses_lost_answers() {
    let mut scenario = Scenario::ready();
    poisoned(&mut scenario, &POISON, 1);
    for _ in 0..3 {
        // One more would fail the request.
        assert_eq!(count(&scenario.pass(60), "sign poison-0"), 2);
        scenario.modify_issuer(|_| {});
    }
    assert_eq!(scenario.reason("poison-0"), "Pending");
}

#[test]
fn replaced_issuer_ends_all_backoff() {
    // More than one turn makes ready.
    const CROWD: usize = 100;
    let mut scenario = Scenario::ready();
    for number in 0..CROWD {
        let name = format!("web-{number}");
        scenario.signs.insert(name.clone(), CA_EXPIRES);
        scenario.create(request(&name).approved());
    }
    scenario.pass(2000);
    scenario.signs.clear();
    assert!(scenario.run().is_empty());
    scenario.issuer.uid = "uid-next".to_owned();
    scenario.change(Change::Issuer(issuer_key(), scenario.issuer.clone()));
    let log = scenario.run();
    assert_eq!(log.iter().filter(|line| line.starts_with("sign ")).count(), CROWD);
}

#[test]
fn metric_agrees_with_the_condition() {
    for (checks, ready) in [
        (Answer::Well, ConditionStatus::True),
        (Answer::Refuses(503, "Vault is sealed"), ConditionStatus::False),
    ] {
        let mut scenario = Scenario::ready();
        scenario.signs.insert("web".to_owned(), Answer::Lost);
        scenario.checks = checks;
        scenario.create(request("web").approved());
        // The signature, which suspends the issuer, then the check, which decides.
        while let Some((key, step)) = scenario.controller.poll(scenario.now) {
            scenario.answer(&key, step);
            let condition = scenario.issuer.status.ready().unwrap().status;
            let metric = scenario.controller.readiness().all(|(_, is_ready)| is_ready);
            assert_eq!(metric, condition == ConditionStatus::True);
        }
        assert_eq!(scenario.issuer.status.ready().unwrap().status, ready);
    }
}
