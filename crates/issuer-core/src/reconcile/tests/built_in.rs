//! Another controller signs for cert-manager's issuers, or somebody forges that.

use std::collections::{BTreeMap, BTreeSet};

use issuer_api::{Base64, CertificateRequest, CertificateSigningRequest};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;

use super::drop_in::{lines, of_issuer, ready};
use super::scenario::{Answer, Scenario, at, csr, issuer, issuer_key, request};
use crate::reconcile::{Change, ObservedRequest, Step, WriteError};
use crate::reference::IssuerKind;

/// The field managers of cert-manager's controllers for Vault, and of their successor.
pub(super) const VAULT_MANAGERS: [&str; 3] = [
    "cert-manager-certificaterequests-issuer-vault",
    "cert-manager-certificatesigningrequests-issuer-vault",
    "vault.cert-manager.io",
];

const CANNOT_LOG_IN: &str = "Failed to initialise vault client for signing: no reply";

const CANNOT_SIGN: &str = "Vault failed to sign certificate: permission denied";

const SUCCESSOR_BEGINS: &str = "vault.cert-manager.io has started reconciling this CertificateRequest";

/// The message of a Kubernetes CSR that Vault has not signed.
const CSR_NOT_SIGNED: &str = "Vault failed to sign: permission denied";

/// The record of a write so long after the start.
fn entry(manager: &str, subresource: Option<&str>, seconds: i64) -> ManagedFieldsEntry {
    let start = at(0).timestamp().as_second();
    ManagedFieldsEntry {
        manager: Some(manager.to_owned()),
        time: Some(Time(Timestamp::from_second(start + seconds).unwrap())),
        subresource: subresource.map(str::to_owned),
        ..ManagedFieldsEntry::default()
    }
}

fn record(meta: &mut ObjectMeta, entry: ManagedFieldsEntry) {
    meta.managed_fields.get_or_insert_default().push(entry);
}

fn set_certificate(request: &mut CertificateRequest) {
    request.status.get_or_insert_default().certificate = Some(Base64::encode("certificate"));
}

/// Lets the watch show an open request, and then the certificate of another controller, written so long after the start.
pub(super) fn answer(scenario: &mut Scenario, name: &str, manager: &str, seconds: i64) {
    scenario.create(of_issuer(name));
    scenario.create(of_issuer(name).with(|request| {
        record(&mut request.metadata, entry(manager, Some("status"), seconds));
        set_certificate(request);
    }));
}

/// Gives a request the condition Ready, as it became `False` so long after the start.
fn set_ready(request: &mut CertificateRequest, reason: &str, message: &str, seconds: u64) {
    let conditions = &mut request.status.get_or_insert_default().conditions;
    conditions.retain(|condition| condition.kind != "Ready");
    let mut ready = super::builder::condition("Ready", reason, message);
    ready.last_transition_time = Some(at(seconds).timestamp().to_string());
    conditions.push(ready);
}

/// An approved Kubernetes CSR of cert-manager's Issuer `team/vault`.
fn csr_of_issuer(change: impl FnOnce(&mut CertificateSigningRequest)) -> ObservedRequest {
    let mut csr = csr("other");
    csr.spec.signer_name = "issuers.cert-manager.io/team.vault".to_owned();
    change(&mut csr);
    csr.into()
}

fn set_csr_certificate(csr: &mut CertificateSigningRequest) {
    csr.status.get_or_insert_default().certificate = Some(Base64::encode("certificate"));
}

fn withdrawn(scenario: &Scenario) -> usize {
    scenario.controller.withdrawn().count()
}

#[test]
fn never_signs_beside_built_in() {
    for manager in VAULT_MANAGERS {
        let mut scenario = ready();
        scenario.change(Change::Issuer(issuer_key(), issuer(1)));
        scenario.run();
        answer(&mut scenario, "other", manager, 60);
        assert_eq!(lines(&mut scenario), ["event issuer BuiltInActive"]);
        let kinds: BTreeSet<_> = scenario.controller.withdrawn().collect();
        assert_eq!(kinds, [IssuerKind::DropInNamespaced].into());
        scenario.create(of_issuer("web"));
        scenario.modify_issuer(|_| {});
        let log = scenario.pass(600);
        assert!(
            log.iter()
                .all(|line| !line.contains("BuiltInActive") && !line.contains("web")),
            "{log:?}"
        );
        scenario.create(request("ours").approved());
        assert_eq!(lines(&mut scenario)[0], "sign ours");
    }
}

#[test]
fn status_betrays_built_in() {
    let changes: [fn(&mut CertificateRequest); 4] = [
        |request| set_ready(request, "Pending", CANNOT_LOG_IN, 60),
        |request| set_ready(request, "Failed", CANNOT_SIGN, 60),
        |request| set_ready(request, "Initializing", SUCCESSOR_BEGINS, 60),
        // It has been False since before the switch, and failed later.
        |request| {
            set_ready(request, "Failed", CANNOT_SIGN, 0);
            request.status.as_mut().unwrap().failure_time = Some(at(60).timestamp().to_string());
        },
    ];
    for change in changes {
        let mut scenario = ready();
        scenario.create(of_issuer("other").with(change));
        scenario.run();
        assert_eq!(withdrawn(&scenario), 1);
    }
}

#[test]
fn answers_with_old_times_betray_built_in() {
    let changes: [fn(&mut CertificateRequest); 2] = [
        |request| set_ready(request, "Pending", CANNOT_LOG_IN, 0),
        |request| set_ready(request, "Failed", "in other words", 0),
    ];
    for change in changes {
        let waiting = || of_issuer("other").with(|request| set_ready(request, "Pending", "Waiting", 0));
        let mut scenario = ready();
        scenario.create(waiting());
        scenario.create(waiting().with(|request| {
            change(request);
            record(&mut request.metadata, entry(VAULT_MANAGERS[0], Some("status"), 60));
        }));
        assert_eq!(withdrawn(&scenario), 1);
    }
}

#[test]
fn answered_csr_betrays_built_in() {
    let condition = |kind: &'static str| {
        move |csr: &mut CertificateSigningRequest| {
            let condition = super::builder::condition(kind, "Other", "");
            csr.status.as_mut().unwrap().conditions.push(condition);
        }
    };
    type Change = Box<dyn Fn(&mut CertificateSigningRequest)>;
    let changes: [(Change, usize); 3] = [
        (Box::new(set_csr_certificate), 1),
        (Box::new(condition("Failed")), 1),
        // That is what the approver says.
        (Box::new(condition("Denied")), 0),
    ];
    for (change, expected) in changes {
        let mut scenario = ready();
        scenario.add(csr_of_issuer(|_| {}));
        scenario.add(csr_of_issuer(|csr| {
            change(csr);
            record(&mut csr.metadata, entry(VAULT_MANAGERS[1], Some("status"), 60));
        }));
        assert_eq!(withdrawn(&scenario), expected);
    }
}

/// Kubernetes tracks no managers of a CSR that was created without labels and annotations.
#[test]
fn csr_without_managers_betrays_built_in() {
    // At first, a leader before this one may have answered.
    for (seconds, expected) in [(60, 0), (61, 1)] {
        let mut scenario = ready();
        scenario.add(csr_of_issuer(|_| {}));
        scenario.now = at(seconds);
        scenario.add(csr_of_issuer(set_csr_certificate));
        assert_eq!(withdrawn(&scenario), expected, "{seconds}");
    }
}

#[test]
fn own_answers_to_csrs_mean_nothing() {
    let mut scenario = ready();
    scenario.grants.insert("alice signers.cert-manager.io team/vault");
    scenario.now = at(300);
    // The watch shows the certificate before the API server has answered, after that, and after the request is forgotten.
    scenario.write_errors.push_back(WriteError::Unavailable);
    scenario.add(csr_of_issuer(|_| {}));
    scenario.run();
    assert_eq!(scenario.controller.unsaved(), 1);
    scenario.now = at(305);
    let (key, Step::WriteStatus(patch, waits)) = scenario.controller.poll(scenario.now).unwrap() else {
        panic!("the certificate is not written again");
    };
    let saved = csr_of_issuer(|csr| csr.status = serde_json::from_value(patch.value()["status"].clone()).unwrap());
    scenario.change(Change::Request(saved.clone()));
    scenario.answer(&key, Step::WriteStatus(patch, waits));
    scenario.run();
    for _ in 0..2 {
        scenario.change(Change::Request(saved.clone()));
        scenario.run();
    }
    assert_eq!(withdrawn(&scenario), 0);
}

#[test]
fn failed_csr_betrays_built_in() {
    for (message, seconds, expected) in [
        (CSR_NOT_SIGNED, 60, 1),
        (CSR_NOT_SIGNED, 0, 0),
        ("Vault is sealed", 60, 0),
    ] {
        let mut scenario = ready();
        scenario.add(csr_of_issuer(|csr| {
            let mut failed = super::builder::condition("Failed", "ErrorSigning", message);
            failed.last_transition_time = Some(at(seconds).timestamp().to_string());
            csr.status.as_mut().unwrap().conditions.push(failed);
        }));
        scenario.run();
        assert_eq!(withdrawn(&scenario), expected, "{message} {seconds}");
    }
}

#[test]
fn earlier_writes_mean_nothing() {
    let mut scenario = ready();
    answer(&mut scenario, "before", VAULT_MANAGERS[0], 0);
    answer(&mut scenario, "of-ca", "cert-manager-certificaterequests-issuer-ca", 60);
    scenario.create(of_issuer("failed").with(|request| set_ready(request, "Failed", CANNOT_SIGN, 0)));
    scenario.create(of_issuer("web"));
    assert_eq!(lines(&mut scenario)[0], "sign web");
    assert_eq!(withdrawn(&scenario), 0);
}

type Forgery = Box<dyn Fn(&mut ObservedRequest)>;

/// Everything that a user can write who may create and update requests, but not their status.
fn forgeries() -> Vec<(String, Forgery)> {
    let mut all: Vec<(String, Forgery)> = Vec::new();
    for manager in VAULT_MANAGERS {
        for subresource in [None, Some(""), Some("status")] {
            for seconds in [-3_000_000_000, 0, 60, 3_000_000_000] {
                let entry = entry(manager, subresource, seconds);
                let name = format!("{manager} {subresource:?} {seconds}");
                all.push((name, Box::new(move |request| record(metadata(request), entry.clone()))));
            }
        }
    }
    for text in [CANNOT_LOG_IN, CANNOT_SIGN, CSR_NOT_SIGNED, SUCCESSOR_BEGINS] {
        let map = BTreeMap::from([(VAULT_MANAGERS[2].to_owned(), text.to_owned())]);
        let texts = move |request: &mut ObservedRequest| {
            metadata(request).annotations = Some(map.clone());
            metadata(request).labels = Some(map.clone());
            if let ObservedRequest::CertManager(request) = request {
                request.spec.duration = Some(text.to_owned());
                request.spec.usages = vec![text.to_owned()];
            }
        };
        all.push((text.to_owned(), Box::new(texts)));
    }
    all
}

fn metadata(request: &mut ObservedRequest) -> &mut ObjectMeta {
    match request {
        ObservedRequest::CertManager(request) => &mut request.metadata,
        ObservedRequest::Kubernetes(csr) => &mut csr.metadata,
    }
}

#[test]
fn forger_stops_no_kind() {
    for (what, forge) in forgeries() {
        let forged = |mut request: ObservedRequest| {
            forge(&mut request);
            request
        };
        let mut scenario = ready();
        scenario.grants.insert("alice signers.cert-manager.io team/vault");
        // Requests that are created with it.
        scenario.add(forged(of_issuer("open").build().into()));
        scenario.add(forged(csr_of_issuer(|_| {})));
        scenario.add(forged(of_issuer("unseen").with(set_certificate).build().into()));
        // Requests that had it from when they were being signed, were signed, or were denied.
        scenario.signs.insert("held".to_owned(), Answer::Held);
        for request in [of_issuer("held"), of_issuer("signed"), of_issuer("denied").denied()] {
            scenario.create(request);
        }
        scenario.run();
        assert_eq!(
            (scenario.reason("signed"), scenario.reason("denied")),
            ("Issued", "Denied")
        );
        for name in ["held", "signed", "denied"] {
            let request = scenario.object(name).clone();
            scenario.add(forged(request.into()));
        }
        // Any of cert-manager's controllers writes that a request is denied, and that for Venafi that a Secret is missing.
        for (name, reason, message) in [
            (
                "denied-there",
                "Denied",
                "The CertificateRequest was denied by an approval controller",
            ),
            (
                "of-venafi",
                "Pending",
                "Required secret resource not found: secret \"a\" not found",
            ),
        ] {
            scenario.create(of_issuer(name));
            let answered = of_issuer(name).with(|request| set_ready(request, reason, message, 60));
            let answered = if reason == "Denied" {
                answered.denied()
            } else {
                answered
            };
            scenario.add(forged(answered.build().into()));
        }
        scenario.release("held", &Answer::Well);
        assert_eq!(scenario.reason("held"), "Issued", "{what}");
        scenario.show("held");
        scenario.create(of_issuer("web"));
        assert!(lines(&mut scenario).contains(&"sign web".to_owned()), "{what}");
        assert_eq!(withdrawn(&scenario), 0, "{what}");
    }
}

#[test]
fn forgery_costs_its_own_request() {
    let mut scenario = ready();
    let mark = |request: &mut CertificateRequest| {
        record(&mut request.metadata, entry(VAULT_MANAGERS[2], Some("status"), 60));
    };
    scenario.create(of_issuer("forged").with(mark));
    scenario.create(of_issuer("web"));
    let log = scenario.run();
    let of_forged: Vec<_> = log.iter().filter(|line| line.contains("forged")).collect();
    assert_eq!(of_forged, ["event forged Warning BuiltInActive"]);
    assert_eq!(scenario.reason("web"), "Issued");
    // It is said once, and holds for as long as the entry is there.
    scenario.show("forged");
    assert!(scenario.pass(600).iter().all(|line| !line.contains("forged")));
    scenario.create(of_issuer("forged"));
    assert_eq!(lines(&mut scenario)[0], "sign forged");
}

#[test]
fn unsaved_certificate_is_told_from_anothers() {
    for (is_ours, expected) in [(true, 0), (false, 1)] {
        let mut scenario = ready();
        scenario.write_errors.push_back(WriteError::Unavailable);
        scenario.create(of_issuer("web"));
        scenario.run();
        assert_eq!(scenario.controller.unsaved(), 1);
        scenario.now = at(5);
        let (_, Step::WriteStatus(patch, _)) = scenario.controller.poll(scenario.now).unwrap() else {
            panic!("the certificate is not written again");
        };
        scenario.create(of_issuer("web").with(|request| {
            request.status = serde_json::from_value(patch.value()["status"].clone()).unwrap();
            if !is_ours {
                set_certificate(request);
            }
            record(&mut request.metadata, entry(VAULT_MANAGERS[0], Some("status"), 60));
        }));
        assert_eq!(withdrawn(&scenario), expected, "{is_ours}");
    }
}

/// Returns a scenario in which Vault has not answered the signature of `web` when the built-in controller shows itself.
fn held_beside_built_in() -> Scenario {
    let mut scenario = ready();
    scenario.signs.insert("web".to_owned(), Answer::Held);
    scenario.create(of_issuer("web"));
    scenario.run();
    answer(&mut scenario, "other", VAULT_MANAGERS[2], 60);
    scenario.run();
    scenario
}

#[test]
fn signed_is_saved_beside_built_in() {
    let mut scenario = held_beside_built_in();
    scenario.release("web", &Answer::Well);
    assert_eq!(scenario.reason("web"), "Issued");
    assert_eq!(scenario.controller.unsaved(), 0);
}

#[test]
fn lost_answer_is_forgotten_beside_built_in() {
    let mut scenario = held_beside_built_in();
    let uid = of_issuer("web").build().metadata.uid.unwrap();
    scenario.release("web", &Answer::Lost);
    // S18: no check will decide whose fault it was.
    let kept = format!("{:?}", scenario.controller);
    assert!(!kept.contains(&format!("{uid:?}")), "{kept}");
}

#[test]
fn read_shows_built_in() {
    let mut scenario = ready();
    // A CSR of this length is read again before it is signed.
    scenario.create(of_issuer("web").with(|request| {
        let mut csr = request.spec.request.decode().unwrap();
        csr.extend([b'\n'; 5000]);
        request.spec.request = Base64::encode(csr);
    }));
    for object in scenario.objects.values_mut() {
        if let ObservedRequest::CertManager(request) = object {
            record(&mut request.metadata, entry(VAULT_MANAGERS[2], Some("status"), 60));
            set_certificate(request);
        }
    }
    assert_eq!(lines(&mut scenario), ["event issuer BuiltInActive"]);
}
