use std::collections::BTreeSet;

use issuer_api::{Condition, IssuerStatus, VaultSpec};

use super::*;
use crate::Signatures;
use crate::reconcile::{Change, Config};
use crate::vault::{CheckError, VaultError};

fn at(seconds: u64) -> Now {
    Now {
        monotonic: Duration::from_secs(seconds),
        unix: Duration::from_secs(1_000_000 + seconds),
    }
}

fn key() -> IssuerKey {
    IssuerKey {
        kind: IssuerKind::Namespaced,
        namespace: "team".to_owned(),
        name: "vault".to_owned(),
    }
}

fn observed(version: &str, ready: Option<ConditionStatus>) -> ObservedIssuer {
    let ready = ready.map(|status| Condition {
        kind: "Ready".to_owned(),
        status,
        observed_generation: Some(1),
        last_transition_time: at(0).timestamp(),
        reason: "Any".to_owned(),
        message: String::new(),
    });
    ObservedIssuer {
        uid: "uid-1".to_owned(),
        generation: 1,
        resource_version: version.to_owned(),
        spec: VaultSpec {
            server: "https://vault".to_owned(),
            path: "pki/sign/web".to_owned(),
            ..VaultSpec::default()
        },
        status: IssuerStatus {
            conditions: ready.into_iter().collect(),
        },
    }
}

/// A controller whose issuer has just been checked.
fn checked(readiness: Readiness) -> Controller {
    let config = Config {
        allow_http: false,
        claim: None,
        check_interval: Duration::from_secs(300),
        cluster_resource_namespace: "home".to_owned(),
        max_concurrent_reconciles: 1,
        signatures: Signatures(&[]),
    };
    let mut controller = Controller::new(config, 1);
    controller.observe(at(0), Change::Requests(BTreeSet::new()));
    for kind in [IssuerKind::Cluster, IssuerKind::Namespaced] {
        controller.observe(at(0), Change::Issuers(kind, BTreeSet::new()));
    }
    controller.observe(at(0), Change::Issuer(key(), observed("1", None)));
    controller.queue.cancel(&Key::Issuer(key()));
    controller.issuers.get_mut(&key()).unwrap().readiness = readiness;
    controller
}

#[test]
fn one_that_is_ready_is_checked_at_once_when_its_status_says_otherwise() {
    use ConditionStatus::{False, True};
    let due = |readiness, says| {
        let mut controller = checked(readiness);
        controller.observe(at(9), Change::Issuer(key(), observed("2", says)));
        controller.next_due()
    };
    assert_eq!(due(Readiness::Ready, Some(False)), Some(at(9).monotonic));
    assert_eq!(due(Readiness::Ready, Some(True)), None);
    assert_eq!(due(Readiness::Ready, None), None);
    assert_eq!(due(Readiness::NotReady, Some(True)), None);
    assert_eq!(due(Readiness::NotReady, Some(False)), None);
}

#[test]
fn a_server_that_is_out_is_asked_every_15_s_or_when_it_wants_to_be() {
    let wait = |controller: &mut Controller, error: VaultError| {
        let (_, again) = controller.settle(&key(), &Err(CheckError::Login(error).into()), at(0));
        again.unwrap().as_secs_f64()
    };
    let mut controller = checked(Readiness::NotReady);
    let waits = [(); 9].map(|()| wait(&mut controller, VaultError::Sealed));
    for (wait, least) in waits.into_iter().zip([1.0, 2.0, 4.0, 8.0]) {
        assert!((least..=least * 1.1).contains(&wait), "{waits:?}");
    }
    assert!(waits.iter().skip(4).all(|wait| *wait == 15.0), "{waits:?}");
    let retry_after = Some(Duration::from_secs(90));
    let throttled = wait(&mut controller, VaultError::Throttled { retry_after });
    assert!((90.0..=99.0).contains(&throttled), "{throttled}");
}

#[test]
fn a_new_list_ends_what_is_not_in_it_of_its_kind_alone() {
    use IssuerKind::{Cluster, Namespaced};
    for (kind, listed, left) in [
        (Cluster, BTreeSet::new(), 1),
        (Namespaced, BTreeSet::from([key()]), 1),
        (Namespaced, BTreeSet::new(), 0),
    ] {
        let mut controller = checked(Readiness::Ready);
        controller.observe(at(1), Change::Issuers(kind, listed));
        assert_eq!(controller.readiness().count(), left);
    }
}
