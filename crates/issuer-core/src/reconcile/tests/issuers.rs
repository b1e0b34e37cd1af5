use std::collections::BTreeSet;

use issuer_api::{Condition, ConditionStatus};

use super::scenario::{at, config, issuer, issuer_key};
use crate::access::AccessError;
use crate::reconcile::issuers::{Issuers, Observed};
use crate::reconcile::state::State;
use crate::reconcile::{Change, Controller, ObservedIssuer};
use crate::reference::IssuerKind;
use crate::vault::VaultError;

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
fn relist_removes_only_missing_issuers_of_its_kind() {
    use IssuerKind::{Cluster, Namespaced};
    for (kind, listed, left) in [
        (Cluster, BTreeSet::new(), 1),
        (Namespaced, BTreeSet::from([issuer_key()]), 1),
        (Namespaced, BTreeSet::new(), 0),
    ] {
        let mut controller = Controller::new(config(), 1);
        controller.observe(at(0), Change::Issuer(issuer_key(), issuer(1)));
        controller.observe(at(1), Change::Issuers(kind, listed));
        assert_eq!(controller.readiness().count(), left);
    }
}
