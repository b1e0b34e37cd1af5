//! Servers that answer nothing delay no other tenant (L6).

use std::collections::BTreeSet;

use serde_json::json;

use super::scenario::{Answer, Scenario, issuer, issuer_key, request};
use crate::Request;
use crate::reconcile::Change;
use crate::reference::{IssuerKey, IssuerKind};

fn namespaced(namespace: &str, name: &str) -> IssuerKey {
    IssuerKey {
        namespace: namespace.into(),
        name: name.into(),
        ..issuer_key()
    }
}

fn cluster(name: &str) -> IssuerKey {
    IssuerKey {
        kind: IssuerKind::Cluster,
        namespace: "".into(),
        name: name.into(),
    }
}

fn add(scenario: &mut Scenario, key: IssuerKey, server: &str) {
    let mut observed = issuer(1);
    observed.uid = format!("uid-{key}");
    observed.spec.server = format!("https://{server}");
    scenario.change(Change::Issuer(key, observed));
}

/// Has each issuer asked for a number of signatures that Vault holds back; returns the issuers that sign, once for each.
fn hold(scenario: &mut Scenario, namespace: &str, issuers: &[IssuerKey], requests: u32) -> Vec<String> {
    for key in issuers {
        for number in 0..requests {
            let name = format!("{}.{number}", key.name);
            scenario.signs.insert(name.clone(), Answer::Held);
            let request = request(&name).approved().in_namespace(namespace);
            scenario.create(request.of(key.kind.as_str(), &key.name));
        }
    }
    let log = scenario.run();
    let signs = log
        .iter()
        .filter_map(|line| line.strip_prefix("sign ")?.split_once('.'));
    signs.map(|(issuer, _)| issuer.to_owned()).collect()
}

/// Creates a request, and asserts that it is signed at once.
fn assert_signed(scenario: &mut Scenario, namespace: &str, issuer: &IssuerKey) {
    let name = format!("for-{namespace}");
    let request = request(&name).approved().in_namespace(namespace);
    scenario.create(request.of(issuer.kind.as_str(), &issuer.name));
    assert_eq!(scenario.run().first(), Some(&format!("sign {name}")));
}

#[test]
fn silent_signer_leaves_slots_to_others() {
    let mut scenario = Scenario::ready();
    let hostile: Vec<_> = (0..26)
        .map(|number| namespaced("hostile", &format!("vault-{number}")))
        .collect();
    let others = [
        ("hostile", namespaced("hostile", "other")),
        ("team-b", namespaced("team-b", "vault")),
        ("team-c", cluster("shared")),
    ];
    for key in hostile.iter().chain(others.iter().map(|(_, key)| key)) {
        add(&mut scenario, key.clone(), "vault");
    }
    scenario.run();
    let signing = hold(&mut scenario, "hostile", &hostile, 10);
    // A share, and the first of each issuer.
    assert!((32..=64).contains(&signing.len()), "{signing:?}");
    assert_eq!(signing.iter().collect::<BTreeSet<_>>().len(), 26);
    for (namespace, key) in others {
        assert_signed(&mut scenario, namespace, &key);
    }
}

#[test]
fn many_silent_tenants_leave_slots_to_others() {
    let mut scenario = Scenario::ready();
    let silent: Vec<_> = (0..60).map(|number| cluster(&format!("vault-{number}"))).collect();
    let other = namespaced("team-b", "vault");
    for key in silent.iter().chain([&other]) {
        add(&mut scenario, key.clone(), "vault");
    }
    scenario.run();
    // As many as run in total, and the first of each tenant, though each might sign ten.
    let signing = hold(&mut scenario, "team-a", &silent, 10);
    assert!((512..=512 + 60).contains(&signing.len()), "{signing:?}");
    assert_eq!(signing.iter().collect::<BTreeSet<_>>().len(), 60);
    assert_signed(&mut scenario, "team-b", &other);
}

#[test]
fn silent_server_delays_no_other_check() {
    let mut scenario = Scenario::ready();
    scenario.silent = Some("silent");
    for number in 0..100 {
        add(
            &mut scenario,
            namespaced("hostile", &format!("vault-{number}")),
            "silent",
        );
    }
    let log = scenario.run();
    // Half of the slots of a server, since no request waits for these issuers.
    assert_eq!(log, vec!["unanswered health"; 8]);
    let key = namespaced("team-b", "vault");
    add(&mut scenario, key.clone(), "good");
    scenario.run();
    let ready = scenario.controller.readiness().find(|(issuer, _)| **issuer == key);
    assert_eq!(ready, Some((&key, true)));
}

impl Scenario {
    /// Returns `true` if the server that is asked answers nothing.
    pub(super) fn is_silent(&self, request: &Request) -> bool {
        let host = request.http.uri().host().unwrap_or_default().to_ascii_lowercase();
        self.silent.is_some_and(|silent| host.starts_with(silent))
    }
}

/// Adds an issuer at a server that answers, and asserts that it is checked at once.
fn assert_checked(scenario: &mut Scenario, key: &IssuerKey) {
    add(scenario, key.clone(), "good");
    scenario.run();
    let ready = scenario.controller.readiness().find(|(issuer, _)| *issuer == key);
    assert_eq!(ready, Some((key, true)));
}

#[test]
fn paths_of_one_host_are_one_server() {
    let mut scenario = Scenario::ready();
    scenario.silent = Some("silent");
    for number in 0..100 {
        let server = ["silent", "SILENT", "silent:443"][number % 3];
        let key = namespaced("hostile", &format!("vault-{number}"));
        add(&mut scenario, key, &format!("{server}/below/{number}"));
    }
    assert_eq!(scenario.run(), vec!["unanswered health"; 8]);
}

#[test]
fn tenant_of_many_servers_delays_no_other_check() {
    let mut scenario = Scenario::ready();
    scenario.silent = Some("silent");
    for number in 0..1000 {
        let key = namespaced("hostile", &format!("vault-{number}"));
        add(&mut scenario, key, &format!("silent-{number}"));
    }
    let mut log = Vec::new();
    while scenario
        .controller
        .next_due()
        .is_some_and(|due| due <= scenario.now.monotonic)
    {
        log.extend(scenario.run());
    }
    assert_eq!(log, vec!["unanswered health"; 32]);
    assert_checked(&mut scenario, &namespaced("team-b", "vault"));
    assert_checked(&mut scenario, &cluster("shared"));
    // At the server of others it waits for its own checks, and delays none of theirs.
    add(&mut scenario, namespaced("hostile", "good"), "good");
    assert!(scenario.run().is_empty());
    assert_checked(&mut scenario, &namespaced("team-c", "vault"));
}

/// Has the issuers of many namespaces checked, each at a server of its own that does not answer; returns the number of
/// checks that have begun.
fn hold_checks(scenario: &mut Scenario, namespaces: usize) -> usize {
    scenario.silent = Some("silent");
    for number in 0..10 * namespaces {
        let key = namespaced(&format!("hostile-{}", number % namespaces), &format!("vault-{number}"));
        add(scenario, key, &format!("silent-{number}"));
    }
    let mut checks = 0;
    while scenario
        .controller
        .next_due()
        .is_some_and(|due| due <= scenario.now.monotonic)
    {
        checks += scenario.run().len();
    }
    checks
}

#[test]
fn crowd_of_namespaces_delays_no_other_check() {
    for (namespaces, least) in [(20, 200), (40, 288), (96, 288)] {
        let mut scenario = Scenario::ready();
        let checks = hold_checks(&mut scenario, namespaces);
        assert!((least..384).contains(&checks), "{namespaces}: {checks}");
        assert_checked(&mut scenario, &namespaced("team-b", "vault"));
        assert_checked(&mut scenario, &cluster("shared"));
    }
}

#[test]
fn checks_of_all_namespaces_are_bounded() {
    for namespaces in [384, 600] {
        let mut scenario = Scenario::ready();
        assert_eq!(hold_checks(&mut scenario, namespaces), 384);
    }
}

#[test]
fn held_signatures_delay_no_check() {
    let mut scenario = Scenario::ready();
    let silent: Vec<_> = (0..60).map(|number| cluster(&format!("vault-{number}"))).collect();
    for key in &silent {
        add(&mut scenario, key.clone(), "vault");
    }
    scenario.run();
    assert!(hold(&mut scenario, "team-a", &silent, 10).len() >= 512);
    for number in 0..40 {
        add(&mut scenario, namespaced("team-b", &format!("new-{number}")), "good");
    }
    scenario.run();
    let ready = scenario.controller.readiness();
    let new = ready.filter(|(key, is_ready)| &*key.namespace == "team-b" && *is_ready);
    assert_eq!(new.count(), 40);
}

#[test]
fn held_signature_delays_no_revocation() {
    let auth = json!({ "client_token": "hvs.made", "lease_duration": 600, "renewable": true });
    let mut scenario = Scenario::with_login(auth);
    scenario.signs.insert("web".to_owned(), Answer::Held);
    scenario.create(request("web").approved());
    scenario.run();
    scenario.controller.stop(scenario.now);
    scenario.controller.retire_all();
    assert_eq!(scenario.run(), ["revoke"]);
    // All that is left is the signature.
    assert!(scenario.controller.is_retired() && !scenario.controller.is_drained());
}

/// The check has logged in, and still waits for the signing endpoint.
#[test]
fn stop_waits_for_the_token_of_a_check() {
    let auth = json!({ "client_token": "hvs.made", "lease_duration": 600, "renewable": true });
    let mut scenario = Scenario::with_login(auth);
    scenario.modify_issuer(|spec| spec.path = "pki/sign/other".to_owned());
    let (key, step) = scenario.controller.poll(scenario.now).unwrap();
    scenario.controller.stop(scenario.now);
    scenario.controller.retire_all();
    scenario.run();
    assert!(!scenario.controller.is_retired());
    scenario.answer(&key, step);
    scenario.run();
    assert!(scenario.controller.is_retired());
}
