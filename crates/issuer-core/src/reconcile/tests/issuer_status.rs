//! The status of an issuer: when it is written again, and which events go with it.

use std::time::Duration;

use issuer_api::{Condition, ConditionStatus};
use serde_json::json;

use super::scenario::{Answer, Scenario, config, issuer, issuer_key, request};
use super::vault_replies::{postponed, reply};
use crate::access::{SecretData, Warning};
use crate::reconcile::issuer_events::written;
use crate::reconcile::{AwaitReply, AwaitWrite, Change, Event, Key, Outcome, Step, WriteError};
use crate::reference::IssuerKey;
use crate::{Operation, Secret};

/// Begins the check that is due, and goes on until it asks for the server's health.
fn until_health(scenario: &mut Scenario) -> AwaitReply {
    let (key, mut step) = scenario.controller.poll(scenario.now).unwrap();
    assert_eq!(key, Key::Issuer(issuer_key()));
    loop {
        step = match step {
            Step::Exchange(request, waits) if request.operation == Operation::Health => return waits,
            Step::ReadSecret(_, waits) => {
                let secret = SecretData {
                    resource_version: "1".to_owned(),
                    data: [("token".to_owned(), Secret::from("hvs.static"))].into(),
                    servers: None,
                };
                waits.resume(&mut scenario.controller, scenario.now, Ok(secret))
            }
            other => panic!("{other:?}"),
        };
    }
}

/// Continues a check with good answers until it writes the status.
fn until_write(scenario: &mut Scenario, mut step: Step) -> AwaitWrite {
    loop {
        step = match step {
            Step::Exchange(request, waits) => {
                let answer = match request.operation {
                    Operation::Probe => reply(400, &json!({ "errors": ["\"csr\" is empty"] })),
                    _ => reply(200, &json!({ "data": { "ttl": 0 } })),
                };
                waits.resume(&mut scenario.controller, scenario.now, answer)
            }
            Step::WriteStatus(_, waits) => return waits,
            other => panic!("{other:?}"),
        };
    }
}

/// A first check whose server is healthy or sealed, and which writes the status of its issuer.
fn writing(healthy: bool) -> (Scenario, AwaitWrite) {
    let mut scenario = Scenario::empty(config());
    scenario.change(Change::Issuer(issuer_key(), issuer(1)));
    let waits = until_health(&mut scenario);
    let (status, sealed) = if healthy { (200, false) } else { (503, true) };
    let health = reply(status, &json!({ "initialized": true, "sealed": sealed }));
    let step = waits.resume(&mut scenario.controller, scenario.now, health);
    let write = until_write(&mut scenario, step);
    (scenario, write)
}

/// Answers the write; returns the outcome and the seconds until the next task.
fn answered(scenario: &mut Scenario, write: AwaitWrite, answer: Result<(), WriteError>) -> (Outcome, f64) {
    match write.resume(&mut scenario.controller, scenario.now, answer) {
        Step::Done(outcome) => {
            let wait = scenario.controller.next_due().unwrap() - scenario.now.monotonic;
            (outcome, wait.as_secs_f64())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn unsaved_readiness_is_written_soon() {
    for (error, wait) in [
        (WriteError::Conflict, 1.0),
        (WriteError::Forbidden, 15.0),
        (WriteError::Unavailable, 15.0),
    ] {
        let (mut scenario, write) = writing(true);
        let outcome = answered(&mut scenario, write, Err(error));
        assert_eq!(outcome, (Outcome::Unsaved, wait), "{error:?}");
    }
}

#[test]
fn missing_issuer_is_not_written_again() {
    let (mut scenario, write) = writing(true);
    let (outcome, wait) = answered(&mut scenario, write, Err(WriteError::NotFound));
    assert_eq!(outcome, Outcome::Ready);
    assert!((30.0..=60.0).contains(&wait), "{wait}");
}

#[test]
fn failed_write_brings_no_check_forward() {
    for error in [WriteError::Conflict, WriteError::Unavailable] {
        let (mut scenario, write) = writing(false);
        let (outcome, wait) = answered(&mut scenario, write, Err(error));
        assert_eq!(outcome, Outcome::Unsaved);
        // The check of a sealed server is due after a second and up to a tenth more.
        assert!(wait > 1.0 && wait <= 1.1, "{wait}");
    }
}

#[test]
fn asked_wait_delays_one_issuer() {
    for (healthy, asked, waited) in [
        (true, 7, 15.0),
        (true, 3600, 15.0),
        (false, 7, 7.0),
        (false, 3600, 15.0),
    ] {
        let (mut scenario, write) = writing(healthy);
        let error = WriteError::Postponed(Duration::from_secs(asked));
        let outcome = answered(&mut scenario, write, Err(error));
        assert_eq!(outcome, (Outcome::Unsaved, waited), "{healthy} {asked}");
    }
}

#[test]
fn wrong_spec_is_written_until_saved() {
    let mut scenario = Scenario::empty(config());
    scenario.issuer.spec.path = "pki/roles/web".to_owned();
    scenario.modify_issuer(|_| {});
    let (_, step) = scenario.controller.poll(scenario.now).unwrap();
    let write = until_write(&mut scenario, step);
    let outcome = answered(&mut scenario, write, Err(WriteError::Unavailable));
    assert_eq!(outcome, (Outcome::Unsaved, 15.0));
    assert_eq!(scenario.pass(15), ["write issuer \"InvalidSpec\""]);
    // A check cannot repair it.
    assert!(scenario.pass(24 * 60 * 60).is_empty());
    assert_eq!(scenario.controller.next_due(), None);
}

#[test]
fn suspension_outlasts_a_failed_write() {
    let (mut scenario, write) = writing(true);
    let limit = Answer::Refuses(429, "rate limit quota exceeded");
    scenario.signs.insert("web".to_owned(), limit);
    scenario.create(request("web").approved());
    assert_eq!(scenario.run().first().map(String::as_str), Some("sign web"));
    // The check that decides follows the pause that Vault asked for, and no sooner.
    let (outcome, wait) = answered(&mut scenario, write, Err(WriteError::Conflict));
    assert_eq!(outcome, Outcome::Unsaved);
    assert!(wait > 1.0 && wait <= 1.1, "{wait}");
}

#[test]
fn outdated_check_still_heeds_retry_after() {
    for (modified, wait) in [(false, 30.0), (true, 0.0)] {
        let mut scenario = Scenario::ready();
        scenario.now.monotonic += Duration::from_secs(70);
        let health = until_health(&mut scenario);
        if modified {
            scenario.modify_issuer(|spec| spec.path = "pki/sign/mail".to_owned());
        } else {
            scenario.signs.insert("web".to_owned(), Answer::Lost);
            scenario.create(request("web").approved());
            assert_eq!(scenario.run().first().map(String::as_str), Some("sign web"));
        }
        let step = health.resume(&mut scenario.controller, scenario.now, postponed(429, 30));
        assert!(matches!(step, Step::Done(Outcome::Idle)), "{step:?}");
        let due = scenario.controller.next_due().unwrap();
        let waits = due.saturating_sub(scenario.now.monotonic);
        assert_eq!(waits.as_secs_f64(), wait, "modified: {modified}");
    }
}

#[test]
fn other_writer_does_not_shorten_retry_after() {
    let mut scenario = Scenario::ready();
    scenario.now.monotonic += Duration::from_secs(70);
    let health = until_health(&mut scenario);
    // While the check runs, the watch shows what another process has written.
    let mut written = scenario.issuer.clone();
    written.status.conditions[0].status = ConditionStatus::False;
    scenario.change(Change::Issuer(issuer_key(), written));
    let step = health.resume(&mut scenario.controller, scenario.now, postponed(429, 30));
    scenario.answer(&Key::Issuer(issuer_key()), step);
    let due = scenario.controller.next_due().unwrap();
    assert!(due >= scenario.now.monotonic + Duration::from_secs(30), "{due:?}");
}

#[test]
fn token_of_a_deleted_issuer_is_revoked() {
    let login = json!({ "client_token": "hvs.first", "lease_duration": 600 });
    let mut scenario = Scenario::with_login(login);
    scenario.auth["client_token"] = "hvs.second".into();
    scenario.modify_issuer(|spec| spec.path = "pki/sign/mail".to_owned());
    let (check, step) = scenario.controller.poll(scenario.now).unwrap();
    scenario.change(Change::IssuerGone(issuer_key()));
    assert_eq!(scenario.run(), ["revoke"]);
    // The check that was under way has logged in.
    scenario.answer(&check, step);
    assert_eq!(scenario.run(), ["health", "login", "probe", "revoke"]);
    assert!(scenario.controller.next_due().is_none());
}

#[test]
fn issuers_of_one_server_share_its_health() {
    let mut scenario = Scenario::ready();
    for number in 0..9 {
        let name = format!("other-{number}").into();
        scenario.change(Change::Issuer(IssuerKey { name, ..issuer_key() }, issuer(1)));
    }
    scenario.run();
    let log = scenario.pass(3600);
    let asked = log.iter().filter(|line| *line == "health").count();
    // About one a minute for all ten.
    assert!((50..=75).contains(&asked), "{asked}");
}

/// Returns the event of a verdict on an issuer that has these conditions, by type and reason.
fn event(conditions: &[(&str, &str)], verdict: Result<(), &'static str>, warning: Option<Warning>) -> Option<Event> {
    let mut observed = issuer(1);
    let condition = |(kind, reason): &(&str, &str)| Condition {
        kind: (*kind).to_owned(),
        status: ConditionStatus::True,
        observed_generation: Some(1),
        last_transition_time: "2026-01-01T00:00:00Z".to_owned(),
        reason: (*reason).to_owned(),
        message: String::new(),
    };
    observed.status.conditions = conditions.iter().map(condition).collect();
    let verdict = verdict.map_err(|reason| (reason, "It says why.".to_owned()));
    written(&observed, Key::Issuer(issuer_key()), verdict, warning)
}

#[test]
fn new_reasons_are_events() {
    let verified = &[("Ready", "VaultVerified")][..];
    let sealed = &[("Ready", "VaultSealed")][..];
    let limited = &[("Ready", "VaultVerified"), ("Warning", "TokenUsesLimited")][..];
    let uses = Some(Warning::TokenUsesLimited);
    let reason = |event: Option<Event>| event.map(|event| (event.warning, event.reason));
    for (conditions, verdict, warning, expected) in [
        (&[][..], Ok(()), None, Some((false, "VaultVerified"))),
        (verified, Ok(()), None, None),
        (sealed, Ok(()), None, Some((false, "VaultVerified"))),
        (verified, Err("VaultSealed"), None, Some((true, "VaultSealed"))),
        (sealed, Err("VaultSealed"), None, None),
        (sealed, Err("VaultSealed"), uses, None),
        (verified, Ok(()), uses, Some((true, "TokenUsesLimited"))),
        (limited, Ok(()), uses, None),
        (
            limited,
            Ok(()),
            Some(Warning::CertificatesLeased),
            Some((true, "CertificatesLeased")),
        ),
    ] {
        let published = reason(event(conditions, verdict, warning));
        assert_eq!(published, expected, "{conditions:?} {verdict:?} {warning:?}");
    }
    let event = event(&[], Err("VaultSealed"), None).unwrap();
    assert_eq!((&*event.uid, &*event.note), ("uid-issuer", "It says why."));
}
