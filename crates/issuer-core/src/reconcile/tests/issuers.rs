//! Issuers: observed changes, and the verdicts of checks.

use std::collections::BTreeSet;

use issuer_api::{Condition, ConditionStatus};
use serde_json::json;

use super::scenario::{Scenario, at, config, issuer, issuer_key};
use crate::access::AccessError;
use crate::reconcile::issuers::{Issuers, Observed};
use crate::reconcile::state::State;
use crate::reconcile::{Change, Controller, ObservedIssuer};
use crate::reference::{IssuerKind, ListScope};
use crate::vault::{SignError, VaultError};

/// The issuer, as a watch shows it with this status.
fn observed(version: &str, ready: Option<ConditionStatus>) -> ObservedIssuer {
    let mut observed = issuer(1);
    observed.resource_version = version.to_owned();
    observed.status.conditions.extend(ready.map(|status| Condition {
        kind: "Ready".to_owned(),
        status,
        observed_generation: Some(1),
        last_transition_time: at(0).timestamp().to_string(),
        reason: "Any".to_owned(),
        message: String::new(),
    }));
    observed
}

fn sealed() -> AccessError {
    AccessError::Login(VaultError::Sealed)
}

#[test]
fn stale_status_is_corrected_by_a_check() {
    use ConditionStatus::{False, True};
    let follows = |verdict: Result<(), AccessError>, status| {
        let mut issuers = Issuers::default();
        issuers.observe(issuer_key(), observed("1", None));
        issuers.settle(&issuer_key(), &verdict, at(0));
        issuers.observe(issuer_key(), observed("2", status))
    };
    assert_eq!(follows(Ok(()), Some(False)), Observed::CheckNow);
    assert_eq!(follows(Ok(()), Some(True)), Observed::Unchanged);
    assert_eq!(follows(Ok(()), None), Observed::Unchanged);
    assert_eq!(follows(Err(sealed()), Some(True)), Observed::Unchanged);
    assert_eq!(follows(Err(sealed()), Some(False)), Observed::Unchanged);
}

#[test]
fn outage_is_polled_every_15_seconds() {
    let wait = |state: &mut State, error: VaultError| {
        let (_, again) = state.apply_verdict(&issuer_key(), &Err(AccessError::Login(error)), at(0));
        (again.unwrap() - at(0).monotonic).as_secs_f64()
    };
    let mut state = State::new(config(), 1);
    state.observe_issuer(issuer_key(), issuer(1), at(0));
    let waits = [(); 9].map(|()| wait(&mut state, VaultError::Sealed));
    for (wait, least) in waits.into_iter().zip([1.0, 2.0, 4.0, 8.0]) {
        assert!((least..=least * 1.1).contains(&wait), "{waits:?}");
    }
    assert!(waits.iter().skip(4).all(|wait| *wait == 15.0), "{waits:?}");
    let retry_after = Some(std::time::Duration::from_secs(90));
    let throttled = wait(&mut state, VaultError::Throttled { retry_after });
    assert!((90.0..=99.0).contains(&throttled), "{throttled}");
}

#[test]
fn refused_login_is_repeated_each_minute() {
    let mut state = State::new(config(), 1);
    state.observe_issuer(issuer_key(), issuer(1), at(0));
    for least in [5.0, 10.0, 20.0, 40.0, 60.0, 60.0] {
        let denied = Err(AccessError::Login(VaultError::Denied));
        let (_, again) = state.apply_verdict(&issuer_key(), &denied, at(0));
        let wait = (again.unwrap() - at(0).monotonic).as_secs_f64();
        assert!((least..=least * 1.1).contains(&wait), "{least}: {wait}");
    }
}

#[test]
fn relist_removes_only_missing_issuers_of_its_kind() {
    use IssuerKind::{Cluster, Namespaced};
    for (kind, listed, left) in [
        (Cluster, BTreeSet::new(), 1),
        (Namespaced, BTreeSet::from([issuer_key()]), 1),
        (Namespaced, BTreeSet::new(), 0),
    ] {
        let mut controller = Controller::new(config(), 1);
        controller.observe(at(0), Change::Issuer(issuer_key(), issuer(1)));
        controller.observe(at(1), Change::Issuers(kind, ListScope::Cluster, listed));
        assert_eq!(controller.readiness().count(), left);
    }
}

#[test]
fn readiness_follows_the_last_check() {
    let mut issuers = Issuers::default();
    issuers.observe(issuer_key(), issuer(1));
    let ready = |issuers: &Issuers| issuers.readiness().map(|(_, ready)| ready).collect::<Vec<_>>();
    assert_eq!(ready(&issuers), [false]);
    issuers.settle(&issuer_key(), &Ok(()), at(0));
    assert_eq!(ready(&issuers), [true]);
    issuers.settle(&issuer_key(), &Err(sealed()), at(0));
    assert_eq!(ready(&issuers), [false]);
}

#[test]
fn first_interval_is_shorter() {
    let mut state = State::new(config(), 1);
    state.observe_issuer(issuer_key(), issuer(1), at(0));
    let intervals = [(); 3].map(|()| {
        let (_, again) = state.apply_verdict(&issuer_key(), &Ok(()), at(0));
        (again.unwrap() - at(0).monotonic).as_secs_f64()
    });
    assert!((30.0..=60.0).contains(&intervals[0]), "{intervals:?}");
    for interval in &intervals[1..] {
        assert!((60.0..=66.0).contains(interval), "{intervals:?}");
    }
}

#[test]
fn signature_ends_the_backoff_of_a_rate_limit() {
    let mut issuers = Issuers::default();
    issuers.observe(issuer_key(), issuer(1));
    let limit = SignError::Vault(VaultError::Throttled { retry_after: None });
    let wait = |issuers: &mut Issuers| {
        issuers.settle(&issuer_key(), &Ok(()), at(0));
        issuers.suspend(&issuer_key(), &limit, None).map(|wait| wait.as_secs())
    };
    assert_eq!([(); 3].map(|()| wait(&mut issuers)), [Some(1), Some(2), Some(4)]);
    issuers.get_mut(&issuer_key()).unwrap().signed(None, false);
    assert_eq!(wait(&mut issuers), Some(1));
}

#[test]
fn check_of_an_older_spec_decides_nothing() {
    let mut scenario = Scenario::empty(config());
    scenario.change(Change::Issuer(issuer_key(), issuer(1)));
    let (key, step) = scenario.controller.poll(scenario.now).unwrap();
    scenario.modify_issuer(|spec| spec.path = "pki/sign/mail".to_owned());
    scenario.answer(&key, step);
    assert!(scenario.controller.readiness().all(|(_, ready)| !ready));
    let log = scenario.run();
    assert_eq!(
        log.iter().filter(|line| line.starts_with("write issuer")).count(),
        1,
        "{log:?}"
    );
    assert!(scenario.controller.readiness().all(|(_, ready)| ready));
}

#[test]
fn replaced_issuer_is_checked_anew() {
    let mut scenario = Scenario::with_login(json!({ "client_token": "hvs.made", "lease_duration": 600 }));
    scenario.issuer.uid.push_str("-new");
    scenario.change(Change::Issuer(issuer_key(), scenario.issuer.clone()));
    assert!(scenario.controller.readiness().all(|(_, ready)| !ready));
    let log = scenario.run();
    assert!(
        log.contains(&"revoke".to_owned()) && log.contains(&"login".to_owned()),
        "{log:?}"
    );
}
