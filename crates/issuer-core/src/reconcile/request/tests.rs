use std::collections::BTreeSet;

use issuer_api::{CertificateRequestStatus, IssuerRef, RequestCondition};

use super::*;
use crate::Signatures;
use crate::reconcile::{Change, Config};
use crate::reference::IssuerKind;

fn at(monotonic: Duration) -> Now {
    let unix = Duration::from_secs(1_000_000) + monotonic;
    Now { monotonic, unix }
}

/// A request that was denied: its conclusion needs no Vault to come to.
fn denied() -> CertificateRequest {
    let mut request = CertificateRequest::default();
    request.metadata.namespace = Some("team".to_owned());
    request.metadata.name = Some("web".to_owned());
    request.metadata.uid = Some("uid-1".to_owned());
    request.spec.issuer_ref = IssuerRef {
        name: "vault".to_owned(),
        kind: Some("VaultIssuer".to_owned()),
        group: Some(issuer_api::GROUP.to_owned()),
    };
    request.status = Some(CertificateRequestStatus {
        conditions: vec![RequestCondition {
            kind: "Denied".to_owned(),
            status: "True".to_owned(),
            last_transition_time: None,
            reason: None,
            message: None,
        }],
        ..CertificateRequestStatus::default()
    });
    request
}

fn controller() -> Controller {
    let config = Config {
        allow_http: false,
        claim: None,
        check_interval: Duration::from_secs(60),
        cluster_resource_namespace: "home".to_owned(),
        max_concurrent_reconciles: 1,
        signatures: Signatures(&[]),
    };
    let mut controller = Controller::new(config, 1);
    for kind in [IssuerKind::Cluster, IssuerKind::Namespaced] {
        controller.observe(at(Duration::ZERO), Change::Issuers(kind, BTreeSet::new()));
    }
    controller.observe(at(Duration::ZERO), Change::Request(denied()));
    controller.observe(at(Duration::ZERO), Change::Requests(BTreeSet::from([key(&denied())])));
    controller
}

/// Has the task that is due fail to save, and checks that the next comes after `wait`, in seconds, and up to a tenth
/// more; when it comes.
fn unsaved(controller: &mut Controller, now: Now, wait: u64) -> Now {
    let Some((_, Step::WriteStatus(_, write))) = controller.poll(now) else {
        panic!("nothing is to be saved");
    };
    let step = write.resume(controller, now, Err(WriteError::Unavailable));
    assert!(matches!(step, Step::Done(Outcome::Unsaved)));
    let (due, wait) = (controller.next_due().unwrap(), Duration::from_secs(wait));
    assert!((wait..=wait * 11 / 10).contains(&(due - now.monotonic)));
    at(due)
}

#[test]
fn what_cannot_be_saved_is_tried_ever_later_but_each_second_at_the_end() {
    let mut controller = controller();
    let mut now = at(Duration::ZERO);
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        now = unsaved(&mut controller, now, wait);
    }
    controller.stop(now);
    assert!(!controller.is_drained());
    for _ in 0..8 {
        now = unsaved(&mut controller, now, 1);
    }
    let Some((_, Step::WriteStatus(_, write))) = controller.poll(now) else {
        panic!("nothing is to be saved");
    };
    assert!(matches!(write.resume(&mut controller, now, Ok(())), Step::Done(_)));
    assert!(controller.is_drained());
}
