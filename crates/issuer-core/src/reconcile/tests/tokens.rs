//! The life of the token that an issuer logs in for.

use std::time::Duration;

use serde_json::{Value, json};

use super::scenario::{Answer, Scenario, issuer_key, request};
use crate::reconcile::{Change, Outcome, Step};
use crate::reference::IssuerKey;
use crate::{Body, Operation};

fn renewable() -> Value {
    json!({ "client_token": "hvs.made", "lease_duration": 600, "renewable": true })
}

fn fixed() -> Value {
    json!({ "client_token": "hvs.made", "lease_duration": 600, "renewable": false })
}

fn count(log: &[String], asked: &str) -> usize {
    log.iter().filter(|line| *line == asked).count()
}

/// Has the issuer log in anew: the token that it held is superseded.
fn supersede(scenario: &mut Scenario, token: &str) {
    scenario.auth["client_token"] = token.into();
    scenario.modify_issuer(|spec| spec.path = "pki/sign/api".to_owned());
}

#[test]
fn superseded_token_is_revoked() {
    let mut scenario = Scenario::with_login(renewable());
    scenario.create(request("web").approved());
    assert_eq!(count(&scenario.run(), "sign web"), 1);
    supersede(&mut scenario, "hvs.next");
    assert_eq!(count(&scenario.pass(300), "revoke"), 1);
}

#[test]
fn superseded_token_outlives_its_signatures() {
    let mut scenario = Scenario::with_login(renewable());
    scenario.signs.insert("web".to_owned(), Answer::Held);
    scenario.create(request("web").approved());
    scenario.run();
    supersede(&mut scenario, "hvs.next");
    assert_eq!(count(&scenario.pass(29), "revoke"), 0);
    assert_eq!(count(&scenario.pass(2), "revoke"), 1);
}

#[test]
fn signature_brings_no_suspended_check_forward() {
    let mut scenario = Scenario::with_login(renewable());
    scenario.signs.insert("slow".to_owned(), Answer::Held);
    scenario.create(request("slow").approved());
    scenario.pass(390);
    scenario.signs.insert("web".to_owned(), Answer::Postpones(429, 60));
    scenario.create(request("web").approved());
    assert_eq!(count(&scenario.run(), "sign web"), 1);
    scenario.release("slow", &Answer::Well);
    // The token's renewal is due after 400 seconds.
    let asked = |log: &[String]| count(log, "health") + count(log, "renew");
    assert_eq!(asked(&scenario.pass(55)), 0);
    assert!(asked(&scenario.pass(20)) > 0);
}

#[test]
fn leased_certificates_keep_their_token() {
    let mut scenario = Scenario::with_login(renewable());
    scenario.leases = true;
    scenario.create(request("web").approved());
    assert_eq!(count(&scenario.run(), "sign web"), 1);
    supersede(&mut scenario, "hvs.next");
    let log = scenario.pass(3600);
    assert_eq!(count(&log, "revoke"), 0);
    // Both tokens are renewed every 400 s.
    assert!((16..=18).contains(&count(&log, "renew")), "{log:?}");

    scenario.controller.stop(scenario.now);
    scenario.controller.retire_all();
    let log = scenario.run();
    // Only the second token signed nothing.
    assert_eq!(log, ["revoke"]);
    assert!(scenario.controller.is_retired());
}

#[test]
fn late_leased_certificate_keeps_its_token() {
    let mut scenario = Scenario::with_login(renewable());
    scenario.leases = true;
    scenario.signs.insert("web".to_owned(), Answer::Held);
    scenario.create(request("web").approved());
    scenario.run();
    supersede(&mut scenario, "hvs.next");
    scenario.pass(10);
    scenario.release("web", &Answer::Well);
    assert_eq!(count(&scenario.pass(3600), "revoke"), 0);
}

#[test]
fn leased_certificate_during_a_check_keeps_its_token() {
    let mut scenario = Scenario::with_login(renewable());
    scenario.leases = true;
    scenario.create(request("web").approved());
    scenario.run();
    scenario.pass(3600);
    supersede(&mut scenario, "hvs.next");
    assert_eq!(count(&scenario.pass(3600), "revoke"), 0);
}

/// The first login fails, and the wrapping token is spent by then.
#[test]
fn issuer_keeps_its_unwrapped_secret_id() {
    let path = "auth/approle/role/web/secret-id";
    let unwrapped = json!({ "client_token": "", "creation_path": path, "secret_id": "s" });
    let mut scenario = Scenario::with_login(unwrapped);
    scenario.modify_issuer(|spec| {
        let role = spec.auth.app_role.as_mut().unwrap();
        role.secret_id_wrapping_path = Some(path.to_owned());
    });
    // A lookup, the unwrapping, and the login.
    assert_eq!(count(&scenario.run(), "login"), 3);
    scenario.auth = renewable();
    let log = scenario.pass(10);
    assert_eq!(count(&log, "login"), 1, "{log:?}");
    scenario.create(request("web").approved());
    assert_eq!(count(&scenario.run(), "sign web"), 1);
}

#[test]
fn unused_token_is_renewed_until_its_maximum() {
    let mut scenario = Scenario::with_login(renewable());
    scenario.leases = true;
    scenario.create(request("web").approved());
    scenario.run();
    supersede(&mut scenario, "hvs.next");
    scenario.pass(300);
    scenario.auth["renewable"] = false.into();
    scenario.pass(900);
    scenario.controller.stop(scenario.now);
    scenario.controller.retire_all();
    scenario.run();
    assert!(scenario.controller.is_retired());
}

#[test]
fn leases_are_a_warning() {
    let mut scenario = Scenario::with_login(renewable());
    assert!(scenario.issuer.status.condition("Warning").is_none());
    scenario.leases = true;
    scenario.create(request("web").approved());
    scenario.pass(120);
    let warning = scenario.issuer.status.condition("Warning").unwrap();
    assert_eq!(warning.reason, "CertificatesLeased");
    assert!(scenario.issuer.status.ready().is_some());
    // It is written once.
    assert_eq!(count(&scenario.pass(3600), "write issuer \"VaultVerified\""), 0);
}

#[test]
fn idle_issuer_does_not_log_in_again() {
    let mut scenario = Scenario::with_login(fixed());
    let log = scenario.pass(7200);
    assert!(log.iter().all(|asked| asked == "health"), "{log:?}");
    scenario.create(request("web").approved());
    let mut log = scenario.run();
    log.retain(|asked| asked != "health");
    let expected = [
        "login",
        "probe",
        "sign web",
        "write web Issued",
        "event web Normal CertificateIssued",
    ];
    assert_eq!(log, expected);
}

#[test]
fn busy_issuer_replaces_its_token_in_time() {
    let mut scenario = Scenario::with_login(fixed());
    scenario.create(request("web").approved());
    scenario.run();
    assert_eq!(count(&scenario.pass(399), "login"), 0);
    scenario.auth["client_token"] = "hvs.next".into();
    assert_eq!(count(&scenario.pass(2), "login"), 1);
    // The next one signs nothing.
    assert_eq!(count(&scenario.pass(3600), "login"), 0);
}

#[test]
fn request_learns_why_there_is_no_token() {
    let mut scenario = Scenario::with_login(fixed());
    scenario.pass(7200);
    scenario.checks = Answer::Refuses(503, "Vault is sealed");
    scenario.create(request("web").approved());
    scenario.pass(1);
    assert_eq!(scenario.reason("web"), "Pending");
}

#[test]
fn limited_uses_are_left_to_signatures() {
    let mut auth = fixed();
    auth["num_uses"] = 10.into();
    let mut scenario = Scenario::with_login(auth);
    let log = scenario.pass(7200);
    assert!(log.iter().all(|asked| asked == "health"), "{log:?}");
    assert_eq!(
        scenario.issuer.status.condition("Warning").unwrap().reason,
        "TokenUsesLimited"
    );
}

#[test]
fn failed_revocation_is_repeated() {
    let mut scenario = Scenario::with_login(renewable());
    scenario.revocations = Answer::Refuses(503, "Vault is sealed");
    supersede(&mut scenario, "hvs.next");
    let attempts = count(&scenario.pass(180), "revoke");
    assert!((3..=6).contains(&attempts), "{attempts}");
    scenario.revocations = Answer::Well;
    assert_eq!(count(&scenario.pass(330), "revoke"), 1);
    assert_eq!(count(&scenario.pass(3600), "revoke"), 0);
}

#[test]
fn revocation_is_given_up_at_last() {
    for (answer, least, most) in [
        // The token lives for ten minutes.
        (Answer::Refuses(503, "Vault is sealed"), 5, 8),
        (Answer::Refuses(404, "no handler for route"), 5, 8),
        (Answer::Lost, 5, 8),
        (Answer::Refuses(403, "permission denied"), 1, 1),
    ] {
        let mut scenario = Scenario::with_login(renewable());
        scenario.revocations = answer.clone();
        supersede(&mut scenario, "hvs.next");
        let attempts = count(&scenario.pass(24 * 60 * 60), "revoke");
        assert!((least..=most).contains(&attempts), "{answer:?}: {attempts}");
    }
}

/// Stops a controller and revokes its tokens; returns the outcomes, where Vault answers with `status`.
fn last_outcomes(mut scenario: Scenario, status: u16) -> Vec<Outcome> {
    scenario.controller.stop(scenario.now);
    scenario.controller.retire_all();
    std::iter::from_fn(|| {
        let mut step = scenario.controller.poll(scenario.now)?.1;
        while let Step::Exchange(request, waits) = step {
            assert_eq!(request.operation, Operation::Revoke);
            assert!(request.timeout <= Duration::from_secs(3));
            let reply = http::Response::builder().status(status).body(Body::default());
            step = waits.resume(&mut scenario.controller, scenario.now, Ok(reply.unwrap()));
        }
        match step {
            Step::Done(outcome) => Some(outcome),
            step => panic!("{step:?}"),
        }
    })
    .collect()
}

#[test]
fn only_a_revoked_token_counts() {
    for (status, outcome) in [
        (204, Outcome::Revoked),
        (403, Outcome::NotRevoked("PermissionDenied")),
        (404, Outcome::NotRevoked("PathNotFound")),
        (500, Outcome::NotRevoked("VaultUnavailable")),
    ] {
        let scenario = Scenario::with_login(renewable());
        assert_eq!(last_outcomes(scenario, status), [outcome]);
    }
    // A token that was given is left alone, and so is one that bears leases.
    assert_eq!(last_outcomes(Scenario::ready(), 204), [Outcome::Idle]);
    let mut scenario = Scenario::with_login(renewable());
    scenario.leases = true;
    scenario.create(request("web").approved());
    scenario.run();
    assert_eq!(last_outcomes(scenario, 204), [Outcome::Idle]);
}

#[test]
fn unused_token_is_revoked_at_once() {
    let mut scenario = Scenario::with_login(renewable());
    supersede(&mut scenario, "hvs.next");
    assert_eq!(count(&scenario.run(), "revoke"), 1);
}

#[test]
fn few_tokens_of_an_issuer_are_kept() {
    let mut scenario = Scenario::with_login(renewable());
    scenario.leases = true;
    for number in 0..40 {
        scenario.create(request(&format!("web-{number}")).approved());
        scenario.run();
        scenario.auth["client_token"] = format!("hvs.{number}").into();
        scenario.modify_issuer(|spec| spec.path = format!("pki/sign/web-{number}"));
        scenario.run();
    }
    scenario.create(request("last").approved());
    scenario.run();
    scenario.change(Change::IssuerGone(issuer_key()));
    // Each is renewed after 400 s.
    assert_eq!(count(&scenario.pass(401), "renew"), 8);
    // However short the lifetime that the server chooses.
    scenario.auth["lease_duration"] = 1.into();
    scenario.pass(400);
    let renewals = count(&scenario.pass(60), "renew");
    assert!(renewals <= 2 * 8, "{renewals}");
}

/// Creates issuers of a namespace, each of which logs in; returns their keys.
fn log_in(scenario: &mut Scenario, namespace: &str, servers: &[&str]) -> Vec<IssuerKey> {
    let keys = (0..servers.len()).map(|number| IssuerKey {
        namespace: namespace.into(),
        name: format!("vault-{number}").into(),
        ..issuer_key()
    });
    let keys: Vec<_> = keys.collect();
    for (key, server) in keys.iter().zip(servers) {
        let mut observed = scenario.issuer.clone();
        observed.uid = format!("uid-{}-{}", namespace, key.name);
        observed.spec.server = format!("https://{server}");
        scenario.auth["client_token"] = format!("hvs.{namespace}.{}", key.name).into();
        scenario.change(Change::Issuer(key.clone(), observed));
        scenario.run();
    }
    keys
}

#[test]
fn silent_server_delays_no_other_revocation() {
    let mut scenario = Scenario::with_login(renewable());
    let mut servers = vec!["silent"; 40];
    servers.push("other");
    let hostile = log_in(&mut scenario, "hostile", &servers);
    let others = log_in(&mut scenario, "team-b", &["silent"]);
    for key in hostile.into_iter().chain(others) {
        scenario.change(Change::IssuerGone(key));
    }
    scenario.silent = Some("silent");
    let log = scenario.run();
    // Four of one tenant and one of the other.
    assert_eq!((count(&log, "unanswered revoke"), count(&log, "revoke")), (5, 1));
}
