//! Kubernetes CertificateSigningRequests: who may ask, and how they end.

use std::collections::BTreeSet;

use issuer_api::AllowedNamespaces;
use serde_json::json;

use super::allowed_namespaces::cluster_issuer;
use super::scenario::{Answer, Scenario, config, csr, csr_key, issuer, issuer_key, request};
use crate::access::ReadError;
use crate::reconcile::{
    Change, Claim, Config, Controller, DropIn, IssuerStatusMode, Outcome, PatchKind, Step, WriteError,
};
use crate::reference::{IssuerKey, IssuerKind, ListScope, RequestKind};

const GRANT: &str = "alice vaultissuers.vault-issuer.io team/vault";

/// A controller with the issuer `team/vault`, which is ready and which `alice` may reference.
fn ready() -> Scenario {
    let mut scenario = Scenario::ready();
    scenario.grants.insert(GRANT);
    scenario
}

fn signatures(log: &[String]) -> usize {
    log.iter().filter(|line| line.starts_with("sign ")).count()
}

#[test]
fn permitted_requester_gets_a_certificate() {
    let mut scenario = ready();
    scenario.add(csr("web").into());
    let review = format!("review {GRANT}");
    assert_eq!(
        scenario.run(),
        [
            review.as_str(),
            "sign web",
            "write web Issued",
            "event web Normal CertificateIssued"
        ]
    );
    let status = scenario.csr("web").status.as_ref().unwrap();
    assert!(status.certificate.is_some() && status.ca.is_none() && status.failure_time.is_none());
    let kinds: Vec<_> = status.conditions.iter().map(|condition| &*condition.kind).collect();
    assert_eq!(kinds, ["Approved"]);
    assert_eq!(scenario.controller.tracked(), 0);
}

#[test]
fn requester_without_permission_is_refused() {
    let mut scenario = Scenario::ready();
    scenario.grants.insert("bob vaultissuers.vault-issuer.io team/vault");
    scenario.grants.insert("alice vaultissuers.vault-issuer.io team/other");
    scenario.grants.insert("alice signers.cert-manager.io team/vault");
    scenario.add(csr("web").into());
    assert_eq!(
        scenario.run(),
        [
            "review alice vaultissuers.vault-issuer.io team/vault",
            "review alice vaultissuers.vault-issuer.io team/*",
            "write web DeniedReference",
            "event web Warning DeniedReference"
        ]
    );
    assert!(scenario.csr("web").is_terminal());
    let failed = scenario.csr("web").status.as_ref().unwrap().conditions.last().unwrap();
    assert_eq!((&*failed.kind, &*failed.status), ("Failed", "True"));
    assert_eq!(
        failed.message.as_deref(),
        Some(
            "The requester may not use this issuer: no role grants the verb reference on vaultissuers.vault-issuer.io in \
             namespace team with its name"
        )
    );
    assert!(scenario.pass(3600).iter().all(|line| !line.contains("web")));
}

#[test]
fn permission_for_all_names_suffices() {
    let mut scenario = Scenario::ready();
    scenario.grants.insert("alice vaultissuers.vault-issuer.io team/*");
    scenario.add(csr("web").into());
    assert_eq!(signatures(&scenario.run()), 1);
}

#[test]
fn unapproved_csr_asks_nobody() {
    let mut scenario = ready();
    let mut unapproved = csr("web");
    unapproved.status = None;
    scenario.add(unapproved.into());
    let log = scenario.pass(3600);
    let asked: Vec<_> = log.iter().filter(|line| line.contains("web")).collect();
    assert_eq!(asked, ["event web Normal WaitingForApproval"]);
    assert_eq!(
        scenario.notes,
        ["Not signing CertificateSigningRequest until it is Approved"]
    );
}

#[test]
fn finished_csr_is_left_alone() {
    for kind in ["Denied", "Failed"] {
        let mut scenario = ready();
        let mut finished = csr("web");
        let condition = super::builder::condition(kind, "Other", "");
        finished.status.as_mut().unwrap().conditions.push(condition);
        scenario.add(finished.into());
        assert!(scenario.run().is_empty(), "{kind}");
        assert_eq!(scenario.controller.tracked(), 0, "{kind}");
    }
}

#[test]
fn unanswered_review_is_repeated() {
    for error in [ReadError::Forbidden, ReadError::Unavailable] {
        let mut scenario = ready();
        scenario.review_errors.push_back(error);
        scenario.add(csr("web").into());
        assert_eq!(scenario.run()[1..], ["event web Warning ReferenceUnknown"], "{error:?}");
        assert_eq!(signatures(&scenario.pass(60)), 1, "{error:?}");
    }
}

#[test]
fn requesters_take_turns() {
    let mut scenario = ready();
    scenario.grants.extend([
        "bob vaultissuers.vault-issuer.io team/vault",
        "system:serviceaccount:web:a vaultissuers.vault-issuer.io team/vault",
        "system:serviceaccount:web:b vaultissuers.vault-issuer.io team/vault",
    ]);
    let names = ["alice-0", "alice-1", "alice-2", "alice-3", "bob", "web-a", "web-b"];
    for name in names {
        let mut csr = csr(name);
        csr.spec.username = match name.split_once('-') {
            Some(("web", account)) => format!("system:serviceaccount:web:{account}"),
            Some((user, _)) => user.to_owned(),
            None => name.to_owned(),
        };
        scenario.add(csr.into());
    }
    let log = scenario.run();
    let order: Vec<_> = log.iter().filter_map(|line| line.strip_prefix("sign ")).collect();
    // The service accounts of a namespace are one requester.
    assert_eq!(
        order,
        ["alice-0", "bob", "web-a", "alice-1", "web-b", "alice-2", "alice-3"]
    );
}

#[test]
fn permission_is_asked_for_each_attempt() {
    let mut scenario = ready();
    scenario.signs.insert("web".to_owned(), Answer::Lost);
    scenario.add(csr("web").into());
    let mut log = scenario.run();
    scenario.signs.clear();
    scenario.grants.clear();
    log.extend(scenario.pass(600));
    assert_eq!(signatures(&log), 1, "{log:?}");
    assert!(log.contains(&"write web DeniedReference".to_owned()), "{log:?}");
}

#[test]
fn events_alone_say_why_it_waits() {
    let mut scenario = Scenario::empty(config());
    scenario.grants.insert(GRANT);
    scenario.checks = Answer::Refuses(503, "Vault is sealed");
    scenario.change(Change::Issuer(issuer_key(), issuer(1)));
    scenario.run();
    scenario.add(csr("web").into());
    let log = scenario.pass(3600);
    let about: Vec<_> = log.iter().filter(|line| line.contains("web")).collect();
    assert_eq!(about, ["event web Normal IssuerNotReady"]);
    scenario.checks = Answer::Well;
    assert_eq!(signatures(&scenario.pass(600)), 1);
}

#[test]
fn deletion_during_the_review_ends_it() {
    let mut scenario = ready();
    scenario.add(csr("web").into());
    let (_, step) = scenario.controller.poll(scenario.now).unwrap();
    let Step::ReviewReference(_, waits) = step else {
        panic!("{step:?}");
    };
    scenario.change(Change::RequestGone(csr_key("web")));
    let step = waits.resume(&mut scenario.controller, scenario.now, Ok(true));
    assert!(matches!(step, Step::Done(Outcome::Idle)), "{step:?}");
}

/// The API server takes labels and annotations from a status of this kind that is replaced.
#[test]
fn status_is_patched_with_its_version() {
    let mut scenario = Scenario::ready();
    scenario.add(csr("web").into());
    let (_, mut step) = scenario.controller.poll(scenario.now).unwrap();
    let patch = loop {
        step = match step {
            Step::ReviewReference(_, waits) => waits.resume(&mut scenario.controller, scenario.now, Ok(false)),
            Step::WriteStatus(patch, _) => break patch,
            step => panic!("{step:?}"),
        };
    };
    assert_eq!(patch.kind, PatchKind::Merge);
    assert_eq!(
        patch.value()["metadata"],
        json!({ "uid": "uid-web", "resourceVersion": "1" })
    );
}

#[test]
fn conflict_costs_no_second_signature() {
    let mut scenario = ready();
    scenario
        .write_errors
        .extend([WriteError::Conflict, WriteError::Unavailable]);
    scenario.add(csr("web").into());
    let mut log = scenario.run();
    log.extend(scenario.pass(60));
    assert_eq!(signatures(&log), 1, "{log:?}");
    assert!(scenario.csr("web").is_terminal());
}

#[test]
fn claimed_csr_is_signed_once() {
    let identity = "a".to_owned();
    let mut scenario = Scenario::with(Config {
        claim: Some(Claim { identity }),
        ..config()
    });
    scenario.grants.insert(GRANT);
    scenario.add(csr("web").into());
    let log = scenario.run();
    let writes: Vec<_> = log.iter().filter(|line| line.starts_with("write")).collect();
    assert_eq!(writes, ["write web Claimed", "write web Issued"]);
    assert_eq!(signatures(&log), 1);
}

#[test]
fn malformed_csr_of_kubernetes_fails() {
    let mut scenario = ready();
    let mut malformed = csr("web");
    malformed.spec.request = issuer_api::Base64::encode("no PEM");
    scenario.add(malformed.into());
    let log = scenario.run();
    assert!(log.contains(&"write web InvalidRequest".to_owned()), "{log:?}");
}

#[test]
fn csr_with_short_duration_fails() {
    for (annotation, expiration, is_signed) in [
        ("0s", None, false),
        ("0s", Some(3600), true),
        ("9m", Some(3600), false),
        ("2160h", Some(3600), true),
    ] {
        let mut scenario = ready();
        let mut short = csr("web");
        let name = issuer_api::CertificateSigningRequest::DURATION.to_owned();
        short.metadata.annotations = Some([(name, annotation.to_owned())].into());
        short.spec.expiration_seconds = expiration;
        scenario.add(short.into());
        let log = scenario.run();
        assert_eq!(signatures(&log), usize::from(is_signed), "{annotation}: {log:?}");
        let fails = log.contains(&"write web InvalidRequest".to_owned());
        assert_eq!(fails, !is_signed, "{annotation}: {log:?}");
    }
}

#[test]
fn cluster_issuer_needs_permission_too() {
    for (grant, reason) in [
        ("alice vaultclusterissuers.vault-issuer.io /vault", "Issued"),
        (GRANT, "DeniedReference"),
    ] {
        let mut scenario = Scenario::empty(config());
        scenario.grants.insert(grant);
        scenario.change(cluster_issuer(1, None));
        scenario.run();
        let mut of_cluster = csr("web");
        of_cluster.spec.signer_name = "vaultclusterissuers.vault-issuer.io/vault".to_owned();
        scenario.add(of_cluster.into());
        let log = scenario.run();
        assert!(log.contains(&format!("write web {reason}")), "{log:?}");
    }
}

#[test]
fn allowed_namespaces_exclude_csrs() {
    let mut scenario = Scenario::empty(config());
    scenario.change(cluster_issuer(
        1,
        Some(AllowedNamespaces {
            names: vec!["team".to_owned()],
            selector: None,
        }),
    ));
    scenario.run();
    let mut of_cluster = csr("web");
    of_cluster.spec.signer_name = "vaultclusterissuers.vault-issuer.io/vault".to_owned();
    scenario.add(of_cluster.into());
    let log = scenario.run();
    assert_eq!(
        log,
        ["write web NamespaceNotAllowed", "event web Warning NamespaceNotAllowed"]
    );
}

#[test]
fn cert_managers_permission_counts_for_its_issuers() {
    let drop_in = DropIn {
        cluster_resource_namespace: "cert-manager".to_owned(),
        issuer_status: IssuerStatusMode::Leave,
    };
    for (kind, namespace, signer, grant) in [
        (
            IssuerKind::DropInNamespaced,
            "team",
            "issuers.cert-manager.io/team.vault",
            Some("review alice signers.cert-manager.io team/vault"),
        ),
        (
            IssuerKind::DropInCluster,
            "",
            "clusterissuers.cert-manager.io/vault",
            None,
        ),
    ] {
        let mut scenario = Scenario::empty(Config {
            drop_in: Some(drop_in.clone()),
            ..config()
        });
        scenario.grants.insert("alice signers.cert-manager.io team/vault");
        let key = IssuerKey {
            kind,
            namespace: namespace.into(),
            ..issuer_key()
        };
        scenario.change(Change::Issuer(key, issuer(1)));
        scenario.run();
        let mut of_theirs = csr("web");
        of_theirs.spec.signer_name = signer.to_owned();
        scenario.add(of_theirs.into());
        let log = scenario.run();
        let review = log.iter().find(|line| line.starts_with("review")).map(String::as_str);
        assert_eq!(review, grant);
        assert_eq!(signatures(&log), 1, "{log:?}");
    }
}

#[test]
fn foreign_signers_are_not_ours() {
    for signer in [
        "issuers.cert-manager.io/team.vault",
        "kubernetes.io/kube-apiserver-client-kubelet",
        "vaultissuers.vault-issuer.io/vault",
    ] {
        let mut scenario = ready();
        let mut foreign = csr("web");
        foreign.spec.signer_name = signer.to_owned();
        scenario.add(foreign.into());
        assert!(scenario.run().is_empty(), "{signer}");
        assert_eq!(scenario.controller.tracked(), 0, "{signer}");
    }
}

#[test]
fn a_list_is_of_one_kind() {
    let mut scenario = ready();
    scenario.create(request("web"));
    let mut unapproved = csr("web");
    unapproved.status = None;
    scenario.add(unapproved.into());
    scenario.change(Change::Requests(
        RequestKind::CertificateRequest,
        ListScope::Cluster,
        BTreeSet::new(),
    ));
    assert_eq!(scenario.controller.tracked(), 1);
    scenario.change(Change::Requests(
        RequestKind::CertificateSigningRequest,
        ListScope::Cluster,
        BTreeSet::new(),
    ));
    assert_eq!(scenario.controller.tracked(), 0);
}

#[test]
fn nothing_begins_before_csrs_are_listed() {
    let mut controller = Controller::new(
        Config {
            kubernetes_csrs: true,
            ..config()
        },
        1,
    );
    let now = super::scenario::at(0);
    for kind in IssuerKind::ALL {
        controller.observe(now, Change::Issuers(kind, ListScope::Cluster, BTreeSet::new()));
    }
    controller.observe(now, Change::Issuer(issuer_key(), issuer(1)));
    controller.observe(
        now,
        Change::Requests(RequestKind::CertificateRequest, ListScope::Cluster, BTreeSet::new()),
    );
    assert!(controller.poll(now).is_none());
    let csrs = Change::Requests(
        RequestKind::CertificateSigningRequest,
        ListScope::Cluster,
        BTreeSet::new(),
    );
    controller.observe(now, csrs);
    assert!(controller.poll(now).is_some());
}
