//! Which events are published.

use super::scenario::{Answer, Scenario, config, request};
use crate::reconcile::Config;

/// Returns the number of lines that begin with `event` and end with `reason`.
fn events(log: &[String], reason: &str) -> usize {
    let is_event = |line: &&String| line.starts_with("event ") && line.ends_with(reason);
    log.iter().filter(is_event).count()
}

#[test]
fn success_events_are_rate_limited() {
    let mut scenario = Scenario::ready();
    let mut burst = |name: &str, count: usize, seconds: u64| {
        for number in 0..count {
            scenario.create(request(&format!("{name}-{number}")).approved());
        }
        let log = scenario.pass(seconds);
        let written = log.iter().filter(|line| line.ends_with(" Issued")).count();
        assert_eq!(written, count);
        events(&log, "Normal CertificateIssued")
    };
    assert_eq!(burst("first", 150, 2), 100);
    assert_eq!(burst("second", 50, 3600), 20);
    assert_eq!(burst("third", 50, 0), 50);
}

#[test]
fn success_that_needs_a_note_is_always_told() {
    let mut scenario = Scenario::with(Config {
        event_rate: 0,
        ..config()
    });
    scenario.create(request("plain").approved());
    scenario.create(request("short").approved().usages(&["server auth", "code signing"]));
    let log = scenario.run();
    assert_eq!(events(&log, "Normal CertificateIssued"), 1, "{log:?}");
    assert!(scenario.notes[0].contains("code signing"), "{:?}", scenario.notes);
}

#[test]
fn warnings_are_always_told() {
    let mut scenario = Scenario::with(Config {
        event_rate: 0,
        ..config()
    });
    for number in 0..200 {
        let name = format!("web-{number}");
        scenario
            .signs
            .insert(name.clone(), Answer::Refuses(400, "not allowed by this role"));
        scenario.create(request(&name).approved());
    }
    assert_eq!(events(&scenario.run(), "Warning SignRefused"), 200);
}
