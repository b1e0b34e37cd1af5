//! Cluster issuers that sign for some namespaces only.

use issuer_api::{AllowedNamespaces, LabelOperator, LabelRequirement, LabelSelector};

use super::scenario::{Answer, Scenario, config, issuer, request};
use crate::access::ReadError;
use crate::reconcile::{Change, Step};
use crate::reference::{IssuerKey, IssuerKind};
use crate::target::NamespaceLabels;

/// The VaultClusterIssuer `vault`, of this generation, for these namespaces.
pub(super) fn cluster_issuer(generation: i64, allowed: Option<AllowedNamespaces>) -> Change {
    let mut observed = issuer(generation);
    observed.spec.allowed_namespaces = allowed;
    let key = IssuerKey {
        kind: IssuerKind::Cluster,
        namespace: "".into(),
        name: "vault".into(),
    };
    Change::Issuer(key, observed)
}

/// A cluster issuer that signs for these namespaces, and a request of the namespace `team`.
fn signs_for(names: &[&str], generation: i64) -> Change {
    let allowed = AllowedNamespaces {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        selector: None,
    };
    cluster_issuer(generation, Some(allowed))
}

#[test]
fn other_namespaces_are_refused() {
    let mut scenario = Scenario::empty(config());
    scenario.change(signs_for(&["teams", "tea"], 1));
    scenario.run();
    scenario.create(request("web").approved().of("VaultClusterIssuer", "vault"));
    let asked = scenario.run();
    assert_eq!(scenario.reason("web"), "Failed");
    assert!(!asked.iter().any(|asked| asked.starts_with("sign")), "{asked:?}");
    let message = scenario.object("web").condition("Ready").unwrap().message.clone();
    assert_eq!(
        message.as_deref(),
        Some("VaultClusterIssuer vault does not sign for namespace team: its allowedNamespaces do not name it")
    );
    // The refusal is final, as cert-manager expects; only a new request is signed after a correction.
    scenario.change(signs_for(&["other", "team"], 2));
    scenario.create(request("again").approved().of("VaultClusterIssuer", "vault"));
    scenario.run();
    assert_eq!((scenario.reason("web"), scenario.reason("again")), ("Failed", "Issued"));
}

#[test]
fn unapproved_requests_are_not_refused() {
    let mut scenario = Scenario::empty(config());
    scenario.change(signs_for(&["other"], 1));
    scenario.run();
    scenario.create(request("web").of("VaultClusterIssuer", "vault"));
    scenario.run();
    assert_eq!(scenario.reason("web"), "none");
}

/// A cluster issuer that signs for namespaces with the label `vault: yes`.
fn selects_by_label(generation: i64) -> Change {
    let Change::Issuer(key, mut observed) = signs_for(&[], generation) else {
        panic!("no issuer");
    };
    let allowed = observed.spec.allowed_namespaces.as_mut().unwrap();
    allowed.selector = Some(LabelSelector {
        match_labels: labels("yes"),
        ..LabelSelector::default()
    });
    Change::Issuer(key, observed)
}

fn labels(value: &str) -> NamespaceLabels {
    NamespaceLabels::from([("vault".to_owned(), value.to_owned())])
}

/// A scenario with that issuer, which is ready.
fn selecting() -> Scenario {
    let mut scenario = Scenario::empty(config());
    scenario.change(selects_by_label(1));
    scenario.run();
    scenario
}

#[test]
fn labels_are_read_for_each_request() {
    let mut scenario = selecting();
    scenario.labels = Ok(labels("yes"));
    scenario.create(request("web").approved().of("VaultClusterIssuer", "vault"));
    let asked = scenario.run();
    assert_eq!(asked[..2], ["read namespace team", "sign web"]);
    // The label is gone by the next request.
    scenario.labels = Ok(labels("no"));
    scenario.create(request("again").approved().of("VaultClusterIssuer", "vault"));
    scenario.run();
    assert_eq!((scenario.reason("web"), scenario.reason("again")), ("Issued", "Failed"));
    let message = scenario.object("again").condition("Ready").unwrap().message.clone();
    assert_eq!(
        message.as_deref(),
        Some(
            "VaultClusterIssuer vault does not sign for namespace team: its allowedNamespaces neither name it nor \
             select its labels"
        )
    );
}

#[test]
fn named_namespaces_need_no_labels() {
    let Change::Issuer(key, mut observed) = selects_by_label(1) else {
        panic!("no issuer");
    };
    observed.spec.allowed_namespaces.as_mut().unwrap().names = vec!["team".to_owned()];
    let mut scenario = Scenario::empty(config());
    scenario.labels = Err(ReadError::Forbidden);
    scenario.change(Change::Issuer(key, observed));
    scenario.create(request("web").approved().of("VaultClusterIssuer", "vault"));
    let asked = scenario.run();
    assert!(
        !asked.iter().any(|asked| asked.starts_with("read namespace")),
        "{asked:?}"
    );
    assert_eq!(scenario.reason("web"), "Issued");
}

/// An issuer that cannot sign costs no reads for the requests that wait for it.
#[test]
fn waiting_requests_read_no_labels() {
    let mut scenario = Scenario::empty(config());
    scenario.checks = Answer::Refuses(503, "sealed");
    scenario.labels = Ok(labels("yes"));
    scenario.change(selects_by_label(1));
    scenario.create(request("web").approved().of("VaultClusterIssuer", "vault"));
    let asked = scenario.pass(60);
    assert!(
        !asked.iter().any(|asked| asked.starts_with("read namespace")),
        "{asked:?}"
    );
    assert_eq!(scenario.reason("web"), "Pending");
    scenario.checks = Answer::Well;
    scenario.pass(60);
    assert_eq!(scenario.reason("web"), "Issued");
}

#[test]
fn unreadable_labels_leave_requests_pending() {
    for error in [ReadError::Unavailable, ReadError::NotFound, ReadError::Forbidden] {
        let mut scenario = selecting();
        scenario.labels = Err(error);
        scenario.create(request("web").approved().of("VaultClusterIssuer", "vault"));
        let asked = scenario.pass(600);
        let reads = asked.iter().filter(|asked| *asked == "read namespace team").count();
        assert!((2..=20).contains(&reads), "{error:?}: {reads} reads");
        assert!(
            !asked.iter().any(|asked| asked.starts_with("sign")),
            "{error:?}: {asked:?}"
        );
        let status = scenario.object("web").condition("Ready").cloned();
        if error == ReadError::Forbidden {
            let message = status.unwrap().message.unwrap();
            assert!(message.contains("grant it the verb get on namespaces"), "{message}");
            let warned = asked
                .iter()
                .filter(|asked| *asked == "event web Warning NamespaceForbidden");
            assert_eq!(warned.count(), 1, "{asked:?}");
        } else {
            assert_eq!(status, None, "{error:?}");
        }
        scenario.labels = Ok(labels("yes"));
        scenario.pass(300);
        assert_eq!(scenario.reason("web"), "Issued", "{error:?}");
    }
}

/// A change that the watch shows while the labels are read overrides the state of the task (S1).
#[test]
fn denial_during_the_read_wins() {
    let mut scenario = selecting();
    scenario.create(request("web").approved().of("VaultClusterIssuer", "vault"));
    let (key, step) = scenario.controller.poll(scenario.now).unwrap();
    let Step::ReadNamespace(name, waits) = step else {
        panic!("{step:?}");
    };
    assert_eq!(&*name, "team");
    let denied = request("web").approved().denied().of("VaultClusterIssuer", "vault");
    scenario.create(denied);
    let step = waits.resume(&mut scenario.controller, scenario.now, Ok(labels("yes")));
    scenario.answer(&key, step);
    let asked = scenario.run();
    assert!(!asked.iter().any(|asked| asked.starts_with("sign")), "{asked:?}");
    assert_eq!(scenario.reason("web"), "Denied");
}

#[test]
fn malformed_selector_signs_nothing() {
    let Change::Issuer(key, mut observed) = selects_by_label(1) else {
        panic!("no issuer");
    };
    let selector = observed
        .spec
        .allowed_namespaces
        .as_mut()
        .unwrap()
        .selector
        .as_mut()
        .unwrap();
    selector.match_expressions.push(LabelRequirement {
        key: "vault".to_owned(),
        operator: LabelOperator::NotIn,
        values: Vec::new(),
    });
    let mut scenario = Scenario::empty(config());
    scenario.labels = Ok(labels("yes"));
    scenario.change(Change::Issuer(key, observed));
    scenario.create(request("web").approved().of("VaultClusterIssuer", "vault"));
    let asked = scenario.pass(60);
    assert!(!asked.iter().any(|asked| asked.starts_with("sign")), "{asked:?}");
    assert_eq!(scenario.reason("web"), "Pending");
}
