//! cert-manager's own issuers and their requests.

use issuer_api::{Condition, ConditionStatus};

use super::built_in::{VAULT_MANAGERS, answer};
use super::scenario::{Answer, RequestBuilder, Scenario, at, config, issuer, issuer_key, request};
use crate::reconcile::{Change, Config, DropIn, IssuerStatusMode, Key, NamedIssuer, PatchKind, ReadyWriters, Step};
use crate::reference::{IssuerKey, IssuerKind};

/// A controller that serves cert-manager's issuers, of which it knows none.
fn empty(issuer_status: IssuerStatusMode) -> Scenario {
    let drop_in = DropIn {
        cluster_resource_namespace: "cert-manager".to_owned(),
        issuer_status,
    };
    let mut scenario = Scenario::empty(Config {
        drop_in: Some(drop_in),
        ..config()
    });
    scenario.issuer_key.kind = IssuerKind::DropInNamespaced;
    scenario
}

/// The same with cert-manager's Issuer `team/vault`, which is ready and whose status is left alone.
pub(super) fn ready() -> Scenario {
    let mut scenario = empty(IssuerStatusMode::Leave);
    scenario.modify_issuer(|_| {});
    let log = scenario.run();
    assert!(log.iter().all(|line| !line.starts_with("write")), "{log:?}");
    scenario
}

/// An approved request of cert-manager's Issuer `team/vault`.
pub(super) fn of_issuer(name: &str) -> RequestBuilder {
    request(name).approved().with(|request| {
        request.spec.issuer_ref.kind = None;
        request.spec.issuer_ref.group = None;
    })
}

pub(super) fn lines(scenario: &mut Scenario) -> Vec<String> {
    let mut log = scenario.run();
    log.retain(|line| line.starts_with("sign") || line.starts_with("write") || line.starts_with("event"));
    log
}

fn gone(scenario: &mut Scenario) {
    let key = scenario.issuer_key.clone();
    scenario.change(Change::IssuerGone(key));
}

/// The condition Ready, as another controller writes it.
fn ready_by_others(scenario: &mut Scenario) {
    scenario.issuer.status.conditions = vec![Condition {
        kind: "Ready".to_owned(),
        status: ConditionStatus::True,
        observed_generation: Some(1),
        last_transition_time: at(0).timestamp().to_string(),
        reason: "VaultVerified".to_owned(),
        message: "Vault verified".to_owned(),
    }];
    scenario.issuer.ready_writers.others = true;
}

#[test]
fn failure_after_the_issuer_has_gone_is_left() {
    let mut scenario = ready();
    scenario.signs.insert("web".to_owned(), Answer::Held);
    scenario.create(of_issuer("web"));
    assert_eq!(lines(&mut scenario), ["sign web"]);
    gone(&mut scenario);
    let log = scenario.release("web", &Answer::Refuses(500, "storage"));
    assert!(log.is_empty(), "{log:?}");
    assert_eq!(scenario.controller.tracked(), 0);
}

#[test]
fn cert_managers_issuer_signs() {
    let mut scenario = ready();
    scenario.create(of_issuer("web"));
    let log = lines(&mut scenario);
    assert_eq!(
        log,
        ["sign web", "write web Issued", "event web Normal CertificateIssued"]
    );
}

#[test]
fn both_kinds_may_have_one_name() {
    let mut scenario = ready();
    scenario.change(Change::Issuer(issuer_key(), issuer(1)));
    scenario.run();
    assert_eq!(scenario.controller.readiness().count(), 2);
    scenario.create(of_issuer("theirs"));
    gone(&mut scenario);
    scenario.create(request("ours").approved());
    assert_eq!(lines(&mut scenario)[0], "sign ours");
    assert_eq!(scenario.reason("theirs"), "none");
}

#[test]
fn other_issuers_cost_nothing() {
    let mut scenario = ready();
    for index in 0..100 {
        scenario.create(of_issuer(&format!("acme-{index}")).with(|request| {
            request.spec.issuer_ref.name = "acme".to_owned();
        }));
    }
    assert!(scenario.pass(600).iter().all(|line| !line.contains("acme")));
    assert_eq!((scenario.controller.tracked(), scenario.controller.pending()), (0, 0));
}

#[test]
fn not_served_by_default() {
    let mut scenario = Scenario::ready();
    scenario.create(of_issuer("web"));
    assert!(lines(&mut scenario).is_empty());
    assert_eq!(scenario.controller.tracked(), 0);
}

#[test]
fn issuer_of_another_type_is_left() {
    let mut scenario = ready();
    scenario.checks = Answer::Refuses(503, "Vault is sealed");
    scenario.pass(120);
    scenario.create(of_issuer("web"));
    assert_eq!(lines(&mut scenario)[0], "write web Pending");
    gone(&mut scenario);
    scenario.show("web");
    assert!(scenario.pass(600).is_empty());
    assert_eq!(scenario.controller.tracked(), 0);
}

#[test]
fn signed_certificate_outlives_its_issuer() {
    let mut scenario = ready();
    scenario.signs.insert("web".to_owned(), Answer::Held);
    scenario.create(of_issuer("web"));
    scenario.run();
    gone(&mut scenario);
    scenario.show("web");
    let log = scenario.release("web", &Answer::Well);
    assert!(
        log.iter().any(|line| line == "write web Issued") || scenario.reason("web") == "Issued",
        "{log:?}"
    );
}

#[test]
fn cluster_issuers_have_own_namespace() {
    let mut scenario = empty(IssuerStatusMode::Leave);
    let key = IssuerKey {
        kind: IssuerKind::DropInCluster,
        namespace: "".into(),
        name: "vault".into(),
    };
    scenario.change(Change::Issuer(key, issuer(1)));
    let (_, step) = scenario.controller.poll(scenario.now).unwrap();
    let Step::ReadSecret(secret, _) = step else {
        panic!("no Secret is read");
    };
    assert_eq!(secret.namespace, "cert-manager");
}

#[test]
fn unwritten_verdict_is_published_once() {
    let mut scenario = ready();
    for (checks, event) in [
        (Answer::Refuses(503, "Vault is sealed"), "event issuer VaultSealed"),
        (Answer::Well, "event issuer VaultVerified"),
    ] {
        scenario.checks = checks;
        let mut log = scenario.pass(240);
        log.retain(|line| line.starts_with("event"));
        assert_eq!(log, [event]);
    }
}

#[test]
fn unwritten_status_is_ours() {
    let mut scenario = empty(IssuerStatusMode::Auto);
    scenario.modify_issuer(|_| {});
    assert!(lines(&mut scenario).is_empty(), "others get the time to write it");
    let log = scenario.pass(11);
    assert!(log.iter().any(|line| line.starts_with("write issuer")), "{log:?}");
    assert_eq!(scenario.issuer.status.ready().unwrap().observed_generation, Some(2));
    scenario.issuer.ready_writers.ours = true;
    assert!(scenario.pass(30).iter().all(|line| !line.starts_with("write")));
}

#[test]
fn status_of_others_is_left() {
    let mut scenario = empty(IssuerStatusMode::Auto);
    ready_by_others(&mut scenario);
    scenario.modify_issuer(|_| {});
    scenario.checks = Answer::Refuses(503, "Vault is sealed");
    let log = scenario.pass(120);
    assert!(log.iter().all(|line| !line.starts_with("write")), "{log:?}");
}

#[test]
fn second_writer_stops_writing() {
    let mut scenario = empty(IssuerStatusMode::Auto);
    ready_by_others(&mut scenario);
    scenario.issuer.ready_writers.ours = true;
    scenario.modify_issuer(|_| {});
    let log = scenario.pass(600);
    let events: Vec<_> = log.iter().filter(|line| line.starts_with("event")).collect();
    assert_eq!(events, ["event issuer StatusYielded"], "{log:?}");
    assert!(log.iter().all(|line| !line.starts_with("write")), "{log:?}");
}

#[test]
fn own_status_is_applied_by_force() {
    for (mode, forced) in [(IssuerStatusMode::Own, true), (IssuerStatusMode::Auto, false)] {
        let mut scenario = empty(mode);
        scenario.issuer.ready_writers = ReadyWriters {
            ours: !forced,
            others: forced,
        };
        scenario.checks = Answer::Refuses(503, "Vault is sealed");
        scenario.modify_issuer(|_| {});
        let (key, mut step) = scenario.controller.poll(scenario.now).unwrap();
        let patch = loop {
            step = match step {
                Step::ReadSecret(_, waits) => {
                    let missing = Err(crate::access::ReadError::NotFound);
                    waits.resume(&mut scenario.controller, scenario.now, missing)
                }
                Step::WriteStatus(patch, _) => break patch,
                _ => panic!("another question"),
            };
        };
        assert_eq!(key, Key::Issuer(scenario.issuer_key.clone()));
        assert_eq!(patch.kind, PatchKind::Apply { force: forced });
        let body = patch.value();
        assert_eq!(body["apiVersion"], "cert-manager.io/v1");
        assert_eq!(body["kind"], "Issuer");
        assert_eq!(body["metadata"]["resourceVersion"], *scenario.issuer.resource_version);
        assert_eq!(body["status"]["conditions"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn unneeded_requests_are_recognized() {
    let mut scenario = ready();
    let needs = |scenario: &Scenario, name: &str, issuer: &str, group: Option<&str>| {
        let request = of_issuer(name).with(|request| {
            request.spec.issuer_ref.name = issuer.to_owned();
            request.spec.issuer_ref.group = group.map(str::to_owned);
        });
        let request = request.build();
        let key = crate::reference::RequestKey::of(&request);
        let issuer = NamedIssuer::Reference(&request.spec.issuer_ref);
        scenario.controller.needs(&key, request.uid(), issuer)
    };
    assert!(needs(&scenario, "web", "vault", None));
    assert!(needs(&scenario, "web", "vault", Some("cert-manager.io")));
    assert!(needs(&scenario, "web", "vault", Some("vault-issuer.io")));
    assert!(!needs(&scenario, "web", "acme", None));
    assert!(!needs(&scenario, "web", "vault", Some("awspca.cert-manager.io")));
    let key = crate::reference::RequestKey {
        kind: crate::reference::RequestKind::CertificateSigningRequest,
        namespace: "".into(),
        name: "csr".into(),
    };
    for (signer, expected) in [
        ("issuers.cert-manager.io/team.vault", true),
        ("vaultissuers.vault-issuer.io/team.other", true),
        ("issuers.cert-manager.io/team.acme", false),
        ("clusterissuers.cert-manager.io/vault", false),
        ("kubernetes.io/kubelet-serving", false),
    ] {
        let needed = scenario.controller.needs(&key, "uid", NamedIssuer::Signer(signer));
        assert_eq!(needed, expected, "{signer}");
    }

    // What is being signed is needed until the watch has shown that it is saved, though its issuer has gone.
    scenario.signs.insert("web".to_owned(), Answer::Held);
    scenario.create(of_issuer("web"));
    scenario.run();
    gone(&mut scenario);
    assert!(needs(&scenario, "web", "vault", None));
    scenario.watch_lags = true;
    scenario.release("web", &Answer::Well);
    assert!(needs(&scenario, "web", "vault", None));
    scenario.show("web");
    assert!(!needs(&scenario, "web", "vault", None));
}

#[test]
fn requests_go_with_their_issuer() {
    let leave: [fn(&mut Scenario); 2] = [gone, |scenario| {
        answer(scenario, "other", VAULT_MANAGERS[2], 600);
    }];
    for leave in leave {
        let mut scenario = ready();
        scenario.checks = Answer::Refuses(503, "Vault is sealed");
        scenario.pass(120);
        scenario.create(of_issuer("web"));
        assert_eq!(lines(&mut scenario)[0], "write web Pending");
        assert_eq!(scenario.controller.tracked(), 1);
        leave(&mut scenario);
        assert_eq!(scenario.controller.tracked(), 0);
        let log = scenario.pass(600);
        assert!(log.iter().all(|line| !line.contains("web")), "{log:?}");
    }
}
