//! Requests that wait, and the messages that say why.

use std::collections::BTreeMap;

use super::scenario::{Answer, Scenario, config, issuer, issuer_key, key, request};
use crate::reconcile::Change;

#[test]
fn missing_issuer_is_named_once() {
    let mut scenario = Scenario::empty(config());
    scenario.create(request("web").approved());
    assert_eq!(scenario.run(), ["write web Pending", "event web Normal IssuerNotFound"]);
    let ready = scenario.object("web").condition("Ready").unwrap();
    assert_eq!(
        ready.message.as_deref(),
        Some("Waiting for the creation of VaultIssuer team/vault")
    );
    assert!(scenario.pass(24 * 60 * 60).is_empty());
}

#[test]
fn request_waits_for_its_issuer() {
    let mut scenario = Scenario::empty(config());
    scenario.create(request("web").approved());
    scenario.run();
    scenario.change(Change::Issuer(issuer_key(), issuer(1)));
    let log = scenario.pass(1);
    assert!(log.contains(&"sign web".to_owned()), "{log:?}");
    assert_eq!(scenario.reason("web"), "Issued");
}

#[test]
fn unready_issuer_costs_no_signature() {
    let mut scenario = Scenario::empty(config());
    scenario.checks = Answer::Refuses(503, "Vault is sealed");
    scenario.change(Change::Issuer(issuer_key(), issuer(1)));
    scenario.create(request("web").approved());
    let log = scenario.pass(3600);
    assert!(!log.contains(&"sign web".to_owned()), "{log:?}");
    assert_eq!(log.iter().filter(|line| line.starts_with("write web")).count(), 1);
    scenario.checks = Answer::Well;
    let log = scenario.pass(16);
    assert!(log.contains(&"sign web".to_owned()), "{log:?}");
}

#[test]
fn cluster_issuer_serves_every_namespace() {
    let mut scenario = Scenario::ready();
    scenario.create(
        request("web")
            .approved()
            .of("VaultClusterIssuer", "ca")
            .in_namespace("other"),
    );
    let log = scenario.run();
    assert_eq!(log, ["write web Pending", "event web Normal IssuerNotFound"]);
    let (_, object) = scenario.objects.first_key_value().unwrap();
    let message = object.condition("Ready").unwrap().message.as_deref();
    assert_eq!(message, Some("Waiting for the creation of VaultClusterIssuer ca"));
}

#[test]
fn unknown_fields_of_conditions_are_written_back() {
    let mut scenario = Scenario::ready();
    let mut object = request("web").approved().build();
    let conditions = &mut object.status.as_mut().unwrap().conditions;
    let unknown = BTreeMap::from([("observedGeneration".to_owned(), serde_json::json!(3))]);
    conditions[0].others.clone_from(&unknown);
    scenario.objects.insert(key("web"), object.into());
    scenario.show("web");
    scenario.run();
    assert_eq!(scenario.reason("web"), "Issued");
    assert_eq!(scenario.object("web").condition("Approved").unwrap().others, unknown);
}

#[test]
fn existing_issuer_replaces_the_message() {
    let mut scenario = Scenario::empty(config());
    scenario.checks = Answer::Refuses(503, "Vault is sealed");
    scenario.create(request("web").approved());
    scenario.run();
    scenario.change(Change::Issuer(issuer_key(), issuer(1)));
    let log = scenario.pass(3600);
    let written = log.iter().filter(|line| line.starts_with("write web")).count();
    assert_eq!(written, 1, "{log:?}");
    assert_eq!(message(&scenario), "Waiting for VaultIssuer team/vault to become ready");
}

#[test]
fn failed_signature_says_more_than_its_issuer() {
    let mut scenario = Scenario::ready();
    scenario
        .signs
        .insert("web".to_owned(), Answer::Refuses(503, "Vault is sealed"));
    scenario.checks = Answer::Refuses(503, "Vault is sealed");
    scenario.create(request("web").approved());
    scenario.pass(3600);
    assert_eq!(message(&scenario), "Not signed yet, it is tried again: Vault is sealed");
}

#[test]
fn only_another_reason_is_written_again() {
    let mut scenario = Scenario::ready();
    scenario.create(request("web").approved());
    let mut fail = |status, text, seconds| {
        scenario.signs.insert("web".to_owned(), Answer::Refuses(status, text));
        let log = scenario.pass(seconds);
        let count = |asked| log.iter().filter(|line| *line == asked).count();
        assert_ne!(count("sign web"), 0);
        count("write web Pending")
    };
    assert_eq!(fail(500, "storage of node a", 1), 1);
    assert_eq!(fail(500, "storage of node b", 60), 0);
    assert_eq!(fail(403, "permission denied", 140), 1);
}

fn message(scenario: &Scenario) -> &str {
    let ready = scenario.object("web").condition("Ready");
    ready.and_then(|ready| ready.message.as_deref()).unwrap_or_default()
}
