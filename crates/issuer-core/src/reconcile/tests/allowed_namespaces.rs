//! Cluster issuers that sign for some namespaces only.

use issuer_api::AllowedNamespaces;

use super::scenario::{Scenario, config, issuer, request};
use crate::reconcile::Change;
use crate::reference::{IssuerKey, IssuerKind};

/// A cluster issuer that signs for these namespaces, and a request of the namespace `team`.
fn signs_for(names: &[&str], generation: i64) -> Change {
    let mut observed = issuer(generation);
    observed.spec.allowed_namespaces = Some(AllowedNamespaces {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    });
    let key = IssuerKey {
        kind: IssuerKind::Cluster,
        namespace: String::new(),
        name: "vault".to_owned(),
    };
    Change::Issuer(key, observed)
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
