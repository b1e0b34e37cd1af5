//! A controller that is limited to some namespaces.

use std::collections::BTreeSet;

use super::scenario::{Scenario, at, config, issuer, issuer_key, key, request};
use crate::reconcile::{Change, Config, Controller};
use crate::reference::{IssuerKey, IssuerKind, ListScope, Namespaces, RequestKey, RequestKind};

/// Serves the namespaces `team` and `web`.
fn limited() -> Config {
    Config {
        namespaces: Namespaces::listed(["team", "web"].map(str::to_owned)),
        ..config()
    }
}

fn scope(namespace: &str) -> ListScope {
    ListScope::Namespace(namespace.to_owned())
}

fn issuers(namespace: &str, all: &[IssuerKey]) -> Change {
    Change::Issuers(IssuerKind::Namespaced, scope(namespace), all.iter().cloned().collect())
}

fn requests(namespace: &str, all: &[RequestKey]) -> Change {
    Change::Requests(
        RequestKind::CertificateRequest,
        scope(namespace),
        all.iter().cloned().collect(),
    )
}

/// A scenario in which both namespaces are listed, and empty.
fn listed() -> Scenario {
    let mut scenario = Scenario::empty(limited());
    for namespace in ["team", "web"] {
        scenario.change(issuers(namespace, &[]));
        scenario.change(requests(namespace, &[]));
    }
    scenario
}

#[test]
fn every_namespace_is_listed_first() {
    let mut controller = Controller::new(limited(), 1);
    let now = at(0);
    controller.observe(now, Change::Issuer(issuer_key(), issuer(1)));
    let lists = [
        requests("team", &[]),
        issuers("team", &[issuer_key()]),
        // Those of the whole cluster are not asked for.
        Change::Requests(RequestKind::CertificateRequest, ListScope::Cluster, BTreeSet::new()),
        requests("web", &[]),
        issuers("web", &[]),
    ];
    let last = lists.len() - 1;
    for (number, list) in lists.into_iter().enumerate() {
        controller.observe(now, list);
        assert_eq!(controller.poll(now).is_some(), number == last, "after list {number}");
    }
}

/// Returns the numbers of requests and of issuers that the controller knows.
fn counts(scenario: &Scenario) -> (usize, usize) {
    let controller = &scenario.controller;
    (controller.tracked(), controller.readiness().count())
}

#[test]
fn list_affects_only_its_namespace() {
    let mut scenario = listed();
    scenario.change(Change::Issuer(issuer_key(), issuer(1)));
    scenario.run();
    scenario.create(request("web"));
    scenario.change(requests("web", &[]));
    scenario.change(issuers("web", &[]));
    assert_eq!(counts(&scenario), (1, 1));
    scenario.change(requests("team", &[key("web")]));
    scenario.change(issuers("team", &[issuer_key()]));
    assert_eq!(counts(&scenario), (1, 1));
    scenario.change(requests("team", &[]));
    scenario.change(issuers("team", &[]));
    assert_eq!(counts(&scenario), (0, 0));
}

#[test]
fn requests_of_cluster_issuers_are_left_alone() {
    assert_eq!(limited().kinds().collect::<Vec<_>>(), [IssuerKind::Namespaced]);
    let mut scenario = listed();
    scenario.change(Change::Issuer(issuer_key(), issuer(1)));
    scenario.run();
    scenario.create(request("shared").approved().of("VaultClusterIssuer", "vault"));
    scenario.create(request("own").approved());
    let asked = scenario.pass(60);
    assert!(!asked.iter().any(|asked| asked.contains("shared")), "{asked:?}");
    assert_eq!((scenario.reason("shared"), scenario.reason("own")), ("none", "Issued"));
}
