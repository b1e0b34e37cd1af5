//! How a change of a Secret is noticed.

use std::time::Duration;

use super::scenario::{Answer, Scenario, issuer_key, request};
use crate::access::ReadError;
use crate::reconcile::{AwaitSourceEvent, Change, SourceEvent, Step};
use crate::reference::{SecretRef, SourceRef};

/// Begins the watch of the only Secret that is used, as soon as it is due.
fn watch(scenario: &mut Scenario) -> AwaitSourceEvent {
    assert!(scenario.controller.poll_watch(scenario.now).is_none());
    scenario.pass(20);
    assert!(scenario.controller.next_watch_due() <= Some(scenario.now.monotonic));
    let (source, watch) = scenario.controller.poll_watch(scenario.now).unwrap();
    let token = SecretRef {
        namespace: "team".to_owned(),
        name: "token".to_owned(),
    };
    assert_eq!(source, SourceRef::Secret(token));
    assert_eq!(scenario.controller.next_watch_due(), None);
    watch
}

/// Lets the watch show an event.
fn show(scenario: &mut Scenario, watch: AwaitSourceEvent, event: SourceEvent) -> AwaitSourceEvent {
    let watch = watch.resume(&mut scenario.controller, scenario.now, Ok(event));
    watch.unwrap()
}

fn version(version: &str) -> SourceEvent {
    SourceEvent::Version(version.to_owned())
}

/// Lets an hour pass; returns how often a Secret was read.
fn reads_in_an_hour(scenario: &mut Scenario) -> usize {
    let mut reads = 0;
    for _ in 0..3600 {
        scenario.now.monotonic += Duration::from_secs(1);
        while let Some((key, step)) = scenario.controller.poll(scenario.now) {
            reads += usize::from(matches!(step, Step::ReadSecret(..)));
            scenario.answer(&key, step);
        }
    }
    reads
}

#[test]
fn changed_secret_is_noticed_at_once() {
    let mut scenario = Scenario::ready();
    let mut watch = watch(&mut scenario);
    for event in [SourceEvent::Opened, version("1"), SourceEvent::Bookmark, version("1")] {
        watch = show(&mut scenario, watch, event);
        assert!(scenario.run().is_empty());
    }
    scenario.secret_version = "2";
    watch = show(&mut scenario, watch, version("2"));
    assert_eq!(scenario.run(), ["health", "lookup", "probe"]);
    let _ = show(&mut scenario, watch, version("2"));
    assert!(scenario.run().is_empty());
}

#[test]
fn change_during_a_check_is_noticed() {
    let mut scenario = Scenario::ready();
    let watch = watch(&mut scenario);
    let watch = show(&mut scenario, watch, SourceEvent::Opened);
    let watch = show(&mut scenario, watch, version("1"));
    scenario.secret_version = "2";
    let watch = show(&mut scenario, watch, version("2"));
    let (key, step) = scenario.controller.poll(scenario.now).unwrap();
    assert!(matches!(step, Step::ReadSecret(..)), "{step:?}");
    // The check reads what was there before.
    let _ = show(&mut scenario, watch, version("3"));
    scenario.answer(&key, step);
    scenario.secret_version = "3";
    assert!(scenario.run().contains(&"lookup".to_owned()));
    assert!(scenario.pass(59).is_empty());
}

#[test]
fn watched_secret_is_not_read() {
    let mut scenario = Scenario::ready();
    let mut watch = watch(&mut scenario);
    for event in [SourceEvent::Opened, version("1")] {
        watch = show(&mut scenario, watch, event);
    }
    assert_eq!(reads_in_an_hour(&mut scenario), 0);
    // It is opened anew, and has shown nothing yet.
    watch = show(&mut scenario, watch, SourceEvent::Ended);
    assert_eq!(reads_in_an_hour(&mut scenario), 5);
    assert!(
        watch
            .resume(&mut scenario.controller, scenario.now, Err(ReadError::Forbidden))
            .is_none()
    );
    assert!((5..=6).contains(&reads_in_an_hour(&mut scenario)));
}

#[test]
fn changed_secret_ends_the_wait() {
    let mut scenario = Scenario::ready();
    scenario.checks = Answer::Refuses(403, "permission denied");
    scenario.modify_issuer(|spec| spec.path = "pki/sign/api".to_owned());
    scenario.run();
    let watch = watch(&mut scenario);
    let watch = show(&mut scenario, watch, SourceEvent::Opened);
    scenario.checks = Answer::Well;
    scenario.create(request("web").approved());
    scenario.secret_version = "2";
    assert!(scenario.run().iter().all(|asked| asked != "sign web"));
    let _ = show(&mut scenario, watch, version("2"));
    assert!(scenario.run().contains(&"sign web".to_owned()));
}

#[test]
fn watch_ends_with_its_issuer() {
    let mut scenario = Scenario::ready();
    let watch = watch(&mut scenario);
    let watch = show(&mut scenario, watch, SourceEvent::Opened);
    scenario.change(Change::IssuerGone(issuer_key()));
    let closed = watch.resume(&mut scenario.controller, scenario.now, Ok(SourceEvent::Bookmark));
    assert_eq!(closed, None);
    assert_eq!(scenario.controller.next_watch_due(), None);
}

#[test]
fn stopping_controller_watches_nothing() {
    let mut scenario = Scenario::ready();
    let watch = watch(&mut scenario);
    scenario.controller.stop(scenario.now);
    let closed = watch.resume(&mut scenario.controller, scenario.now, Ok(SourceEvent::Opened));
    assert_eq!(closed, None);
    assert!(scenario.controller.poll_watch(scenario.now).is_none());
}
