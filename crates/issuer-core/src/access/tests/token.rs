//! When a check renews, replaces, keeps or gives up a token.

use super::*;

#[test]
fn due_token_is_renewed() {
    let held = held(app_role());
    let checked = issuer(app_role()).holds(&held).at(40).run();
    assert_eq!(checked.asked, ["health", "renew"]);
    assert_eq!(checked.outcome.superseded, None);
    let renewed = checked.ready();
    assert!(renewed.lease.token() == held.lease.token());
    assert_eq!(renewed.next_refresh(at(40)), Some(Duration::from_secs(40 + 40)));
}

#[test]
fn token_in_demand_is_replaced() {
    let mut held = not_renewable();
    held.demand();
    let checked = issuer(app_role())
        .replies(Operation::Login, granted("b", 60, false))
        .holds(&held)
        .at(40)
        .run();
    assert_eq!(checked.asked, ["health", "Secret team/approle", "login", "probe"]);
    assert_eq!(checked.outcome.superseded, Some(held));
    assert!(checked.ready().lease.token() == &Secret::from("b"));
}

#[test]
fn idle_token_lapses() {
    let held = not_renewable();
    assert_eq!(held.next_refresh(at(0)), None);
    for seconds in [40, 59, 600] {
        let checked = issuer(app_role()).holds(&held).at(seconds).run();
        assert_eq!(checked.asked, ["health"]);
        assert_eq!(checked.ready().next_refresh(at(seconds)), None);
    }
    let mut in_demand = held;
    in_demand.demand();
    assert!(in_demand.next_refresh(at(0)).is_some());
    let checked = issuer(app_role()).holds(&in_demand).at(600).run();
    assert_eq!(checked.asked, ["health", "Secret team/approle", "login", "probe"]);
}

#[test]
fn given_token_never_lapses() {
    let lookup = reply(200, r#"{"data":{"ttl":60,"renewable":false}}"#);
    let held = issuer(given_token()).replies(Operation::Lookup, lookup).run().ready();
    let check = issuer(given_token()).holds(&held).at(600);
    let checked = check
        .replies(Operation::Lookup, denied())
        .replies(Operation::Probe, denied())
        .run();
    assert_eq!(checked.not_ready().0, "LoginDenied");
}

#[test]
fn changed_secret_replaces_the_token() {
    let mut held = held(app_role());
    held.reread();
    let checked = issuer(app_role())
        .secret("approle", "2", &[("secretId", "y")])
        .replies(Operation::Login, granted("b", 60, true))
        .holds(&held)
        .run();
    assert_eq!(checked.asked, ["Secret team/approle", "health", "login", "probe"]);
    assert_eq!(checked.outcome.superseded, Some(held));
}

#[test]
fn refused_renewal_replaces_the_token() {
    let held = held(app_role());
    for (status, next) in [
        (403, "Secret team/approle"),
        (400, "Secret team/approle"),
        (500, "probe"),
        (503, "probe"),
    ] {
        let check = issuer(app_role()).holds(&held).at(40);
        let checked = check.replies(Operation::Renew, refusal(status, "no")).run();
        assert_eq!(
            checked.asked.get(1..3),
            Some(&["renew".to_owned(), next.to_owned()][..]),
            "{status}"
        );
        checked.ready();
    }
}

#[test]
fn token_expiring_during_renewal_is_replaced() {
    let held = held(app_role());
    for (arrival, next) in [(50, "probe"), (70, "Secret team/approle")] {
        let check = issuer(app_role())
            .holds(&held)
            .at(45)
            .arrives(Operation::Renew, arrival);
        let checked = check.replies(Operation::Renew, Err(TransportError::Timeout)).run();
        assert_eq!(
            checked.asked.get(1..3),
            Some(&["renew".to_owned(), next.to_owned()][..]),
            "{arrival}"
        );
        checked.ready();
    }
}

#[test]
fn denied_token_is_replaced_once() {
    let mut held = held(app_role());
    held.doubt();
    let checked = issuer(app_role())
        .holds(&held)
        .at(1)
        .replies(Operation::Probe, denied())
        .replies(Operation::Login, granted("b", 60, true))
        .run();
    assert_eq!(
        checked.asked,
        ["health", "probe", "Secret team/approle", "login", "probe"]
    );
    let superseded = checked.outcome.superseded.as_ref().map(|access| &access.lease);
    assert_eq!(superseded, Some(&held.lease));
    checked.ready();

    let check = issuer(app_role()).holds(&held).at(1);
    let checked = check.always(Operation::Probe, denied()).run();
    assert_eq!(checked.not_ready().0, "PermissionDenied");
    assert_eq!(checked.count("login"), 1);
}

#[test]
fn token_stays_until_replaced() {
    let held = held(app_role());
    for operation in [Operation::Health, Operation::Login] {
        let moved = issuer(app_role()).server("https://b").holds(&held);
        let moved = moved.replies(operation, refusal(503, "Vault is sealed")).run().outcome;
        assert!(moved.verdict.is_err() && moved.superseded.is_none(), "{operation:?}");
        assert_eq!(moved.access.unwrap().vault, held.vault, "{operation:?}");
    }
    let moved = issuer(app_role()).server("https://b").holds(&held);
    let moved = moved.always(Operation::Probe, denied()).run().outcome;
    assert!(moved.verdict.is_err());
    assert_eq!(moved.access.unwrap().vault.connect.origin.host(), "b");
    assert_eq!(moved.superseded, Some(held));
}

#[test]
fn given_token_stays_with_its_server_until_proven() {
    let held = held(given_token());
    let moved = issuer(given_token()).server("https://b").holds(&held);
    let moved = moved
        .replies(Operation::Probe, refusal(404, "no handler"))
        .run()
        .outcome;
    assert_eq!(moved.access.unwrap().vault.connect.origin.host(), "a");
    let moved = issuer(given_token()).server("https://b").holds(&held).run();
    assert_eq!(moved.outcome.superseded, None);
    assert_eq!(moved.ready().vault.connect.origin.host(), "b");
}

#[test]
fn transient_failures_keep_the_token() {
    for login in [
        refusal(500, "storage"),
        Err(TransportError::Timeout),
        refusal(429, "quota"),
        reply(200, "<html>"),
    ] {
        let mut held = not_renewable();
        held.demand();
        let check = issuer(app_role()).holds(&held).at(41);
        let checked = check.replies(Operation::Login, login).run();
        assert_eq!(checked.asked, ["health", "Secret team/approle", "login", "probe"]);
        assert_eq!(checked.ready().lease, held.lease);
    }
    let mut held = held(app_role());
    held.reread();
    let check = issuer(app_role())
        .holds(&held)
        .no_secret("approle", ReadError::Unavailable);
    let checked = check.run();
    assert_eq!(checked.asked, ["Secret team/approle", "health"]);
    let checked = issuer(app_role()).holds(&checked.ready()).run();
    assert_eq!(checked.asked, ["Secret team/approle", "health"]);

    let mut held = issuer(kubernetes(None))
        .replies(Operation::Login, granted("a", 60, false))
        .run()
        .ready();
    held.demand();
    let check = issuer(kubernetes(None)).holds(&held).at(41);
    let checked = check.no_token(ReadError::Unavailable).run();
    assert_eq!(checked.asked, ["health", "token team/signer", "probe"]);
    assert_eq!(checked.ready().lease, held.lease);
}

#[test]
fn expired_token_is_not_kept() {
    let mut held = not_renewable();
    held.demand();
    let check = issuer(app_role()).holds(&held).at(60);
    let checked = check.replies(Operation::Login, refusal(500, "storage")).run();
    assert_eq!(checked.not_ready().0, "VaultUnavailable");
    held.reread();
    let check = issuer(app_role()).holds(&held).at(60);
    let checked = check.no_secret("approle", ReadError::Unavailable).run();
    assert_eq!(checked.not_ready().0, "SecretUnavailable");
}

#[test]
fn dead_token_is_not_kept() {
    let held = held(app_role());
    let check = issuer(app_role()).holds(&held).at(40);
    let check = check
        .replies(Operation::Renew, denied())
        .replies(Operation::Probe, denied());
    let checked = check.replies(Operation::Login, refusal(500, "storage")).run();
    assert_eq!(checked.not_ready().0, "PermissionDenied");

    let never = || {
        let mut check = issuer(app_role());
        check.spec.probe = Some(issuer_api::ProbeMode::Never);
        check
    };
    let held = never().run().ready();
    let check = never().holds(&held).at(40).replies(Operation::Renew, denied());
    let checked = check.replies(Operation::Login, refusal(500, "storage")).run();
    assert_eq!(checked.not_ready().0, "LoginDenied");
}

#[test]
fn kept_token_must_pass_the_probe() {
    let mut held = not_renewable();
    held.demand();
    let check = issuer(app_role()).holds(&held).at(41);
    let check = check.replies(Operation::Login, refusal(500, "storage"));
    let checked = check.replies(Operation::Probe, denied()).run();
    assert_eq!(checked.not_ready().0, "PermissionDenied");
    assert_eq!(checked.count("login"), 1);
}

#[test]
fn token_of_another_spec_is_not_kept() {
    let mut held = not_renewable();
    held.demand();
    let moved = issuer(app_role()).server("https://b").holds(&held);
    let checked = moved.replies(Operation::Login, refusal(500, "storage")).run();
    assert_eq!(checked.not_ready().0, "VaultUnavailable");
}
