//! The requests of a check to Vault and their order.

use super::*;

#[test]
fn first_check_logs_in_and_probes() {
    let checked = issuer(app_role()).run();
    assert_eq!(checked.asked, ["Secret team/approle", "health", "login", "probe"]);
    assert_eq!(checked.outcome.superseded, None);
    assert!(checked.ready().lease.token() == &Secret::from("hvs.of-a"));
}

#[test]
fn idle_check_asks_for_health_only() {
    let held = held(app_role());
    let checked = issuer(app_role()).holds(&held).at(39).run();
    assert_eq!(checked.asked, ["health"]);
    assert_eq!(checked.ready().lease, held.lease);
}

#[test]
fn known_health_is_not_asked_for() {
    let mut access = held(app_role());
    access.skip_health();
    let checked = issuer(app_role()).holds(&access).at(39).run();
    assert!(checked.asked.is_empty() && checked.outcome.health.is_none());
    let checked = issuer(app_role()).holds(&checked.ready()).at(39).run();
    assert_eq!(checked.asked, ["health"], "it is known once");
    assert!(checked.outcome.health.unwrap().good);

    access.doubt();
    let checked = issuer(app_role()).holds(&access).run();
    assert_eq!(checked.asked, ["health", "probe"], "after a failure it is asked for");
}

#[test]
fn secrets_are_read_every_tenth_check() {
    let mut access = held(app_role());
    let mut reads = 0;
    for _ in 0..33 {
        let checked = issuer(app_role()).holds(&access).run();
        reads += checked.count("Secret team/approle");
        access = checked.ready();
    }
    assert_eq!(reads, 3);
}

#[test]
fn new_token_may_lag_once() {
    for reply in [denied(), refusal(412, "required index state not present")] {
        let checked = issuer(app_role()).replies(Operation::Probe, reply.clone()).run();
        assert_eq!(
            checked.asked,
            ["Secret team/approle", "health", "login", "probe", "probe"]
        );
        checked.ready();
        let checked = issuer(app_role()).always(Operation::Probe, reply).run();
        assert_eq!(checked.count("probe"), 2);
        assert!(checked.outcome.verdict.is_err());
    }
}

#[test]
fn lost_server_is_an_outage() {
    for (operation, reply, reason, outage) in [
        (Operation::Health, refusal(503, "Vault is sealed"), "VaultSealed", true),
        (
            Operation::Health,
            reply(501, r#"{"initialized":false}"#),
            "VaultUninitialized",
            true,
        ),
        (Operation::Health, reply(472, ""), "VaultUnhealthy", true),
        (
            Operation::Health,
            Err(TransportError::Timeout),
            "VaultUnreachable",
            true,
        ),
        (Operation::Login, Err(TransportError::Reset), "VaultUnreachable", true),
        (Operation::Login, refusal(503, "Vault is sealed"), "VaultSealed", true),
        (Operation::Login, denied(), "LoginDenied", false),
        (
            Operation::Login,
            refusal(400, "invalid role or secret ID"),
            "LoginDenied",
            false,
        ),
        (Operation::Login, refusal(404, "no handler"), "AuthMountNotFound", false),
        (Operation::Login, refusal(500, "storage"), "VaultUnavailable", false),
        (Operation::Probe, Err(TransportError::Reset), "VaultUnreachable", true),
        (Operation::Probe, denied(), "PermissionDenied", false),
        (Operation::Probe, refusal(404, "no handler"), "PathNotFound", false),
        (
            Operation::Probe,
            refusal(400, "unknown role: web"),
            "RoleNotFound",
            false,
        ),
        (Operation::Probe, refusal(400, "no"), "SignRefused", false),
        (
            Operation::Probe,
            refusal(500, "error fetching CA certificate: x"),
            "CaMissing",
            false,
        ),
        (Operation::Probe, refusal(502, "bad gateway"), "VaultUnavailable", false),
    ] {
        let checked = issuer(app_role()).always(operation, reply).run();
        let error = checked.outcome.verdict.unwrap_err();
        assert_eq!(
            (error.reason(), error.is_outage()),
            (reason, outage),
            "{operation:?} {error}"
        );
    }
}

#[test]
fn refused_address_is_named() {
    let refused = Err(crate::ConnectError::NotAllowed.into());
    let checked = issuer(app_role()).always(Operation::Health, refused).run();
    let (reason, message) = checked.not_ready();
    assert_eq!(reason, "VaultUnreachable");
    assert!(
        message.contains("not allowed") && message.contains("--allowed-servers"),
        "{message}"
    );
}

#[test]
fn failure_is_followed_by_a_probe() {
    let held = held(app_role());
    let failed = issuer(app_role())
        .holds(&held)
        .replies(Operation::Health, refusal(503, "x"))
        .run();
    let failed = failed.outcome.access.unwrap();
    let checked = issuer(app_role()).holds(&failed).run();
    assert_eq!(checked.asked, ["health", "probe"]);
    let checked = issuer(app_role()).holds(&checked.ready()).run();
    assert_eq!(checked.asked, ["health"]);
}

#[test]
fn tls_failure_rereads_the_secrets() {
    let held = held(app_role());
    let tls = || Err(TransportError::Tls(crate::TlsError::UnknownIssuer));
    let failed = issuer(app_role()).holds(&held).replies(Operation::Health, tls()).run();
    let checked = issuer(app_role()).holds(&failed.outcome.access.unwrap()).run();
    assert_eq!(checked.asked, ["Secret team/approle", "health", "probe"]);
}

#[test]
fn definite_failures_end_readiness() {
    let mut held = not_renewable();
    held.demand();
    for login in [
        denied(),
        refusal(400, "invalid role or secret ID"),
        refusal(404, "no handler"),
    ] {
        let checked = issuer(app_role())
            .holds(&held)
            .at(41)
            .replies(Operation::Login, login)
            .run();
        assert!(checked.outcome.verdict.is_err());
        assert_eq!(checked.outcome.access.unwrap().lease, held.lease);
    }
    held.reread();
    for error in [ReadError::Forbidden, ReadError::NotFound] {
        let checked = issuer(app_role()).holds(&held).no_secret("approle", error).run();
        assert_eq!(checked.asked, ["Secret team/approle"]);
        assert!(checked.outcome.verdict.is_err());
    }
}

#[test]
fn denied_signature_is_followed_by_a_probe() {
    let mut held = held(app_role());
    held.denied();
    let checked = issuer(app_role()).holds(&held).at(1).run();
    assert_eq!(checked.asked, ["health", "probe"]);
    assert_eq!(checked.ready().lease, held.lease);
}

#[test]
fn probe_is_repeated_for_a_lag_only() {
    let unknown = refusal(400, "unknown role: web");
    let checked = issuer(app_role()).always(Operation::Probe, unknown.clone()).run();
    assert_eq!(checked.count("probe"), 1);

    let mut held = held(app_role());
    held.doubt();
    let check = issuer(app_role()).holds(&held).at(1);
    let checked = check.always(Operation::Probe, unknown).run();
    assert_eq!(checked.asked, ["health", "probe"], "no login repairs a missing role");
    assert_eq!(checked.not_ready().0, "RoleNotFound");
}

#[test]
fn known_health_ends_with_new_secrets() {
    let mut access = held(app_role());
    access.skip_health();
    access.reread();
    let changed = issuer(app_role()).secret("approle", "2", &[("secretId", "y")]);
    let checked = changed.holds(&access).run();
    assert_eq!(checked.asked[..2], ["Secret team/approle", "health"]);
    let checked = issuer(app_role()).holds(&access).run();
    assert_eq!(checked.asked, ["Secret team/approle"]);
    let checked = issuer(app_role()).holds(&checked.ready()).run();
    assert_eq!(checked.asked, ["health"]);
}

#[test]
fn failed_login_with_new_secrets_is_repeated() {
    let mut held = held(app_role());
    held.reread();
    let check = issuer(app_role()).secret("approle", "2", &[("secretId", "y")]);
    let checked = check
        .holds(&held)
        .replies(Operation::Login, refusal(500, "storage"))
        .run();
    assert_eq!(checked.asked, ["Secret team/approle", "health", "login", "probe"]);
    let kept = checked.ready();
    assert_eq!(kept.lease, held.lease);
    let check = issuer(app_role()).secret("approle", "2", &[("secretId", "y")]);
    let checked = check.holds(&kept).run();
    assert_eq!(checked.asked, ["Secret team/approle", "health", "login", "probe"]);
}
