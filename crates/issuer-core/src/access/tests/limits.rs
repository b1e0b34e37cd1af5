//! Limited uses, leases, probes and errors of a check.

use proptest::prelude::*;

use super::*;
use crate::vault::{HealthError, ProbeError, VaultError};

#[test]
fn limited_uses_are_left_to_signatures() {
    let limited = reply(
        200,
        r#"{"auth":{"client_token":"a","lease_duration":60,"renewable":true,"num_uses":10}}"#,
    );
    let checked = issuer(app_role()).replies(Operation::Login, limited).run();
    assert_eq!(checked.asked, ["Secret team/approle", "health", "login"]);
    let mut access = checked.ready();
    assert_eq!(access.warning(), Some(Warning::TokenUsesLimited));
    for seconds in [1, 40, 60, 6000] {
        let checked = issuer(app_role()).holds(&access).at(seconds).run();
        assert_eq!(checked.count("health"), checked.asked.len(), "{:?}", checked.asked);
        access = checked.ready();
    }
    access.doubt();
    assert_eq!(issuer(app_role()).holds(&access).run().asked, ["health"]);
    access.denied();
    let checked = issuer(app_role()).holds(&access).run();
    assert_eq!(
        checked.asked.get(..3),
        Some(&["health", "Secret team/approle", "login"].map(str::to_owned)[..])
    );

    let lookup = reply(200, r#"{"data":{"ttl":60,"renewable":true,"num_uses":10}}"#);
    let checked = issuer(given_token()).replies(Operation::Lookup, lookup).run();
    assert_eq!(checked.asked, ["Secret team/token", "health", "lookup"]);
}

#[test]
fn failing_probe_is_inconclusive_until_one_passed() {
    let failing = || refusal(500, "error evaluating mainProgram: no such key: csr");
    let access = issuer(app_role()).replies(Operation::Probe, failing()).run().ready();
    assert_eq!(access.warning(), Some(Warning::ProbeInconclusive));
    let checked = issuer(app_role()).holds(&access).run();
    assert_eq!(checked.asked, ["health"], "an unwelcome probe is not repeated");

    let mut signed = access;
    signed.signed(false);
    assert_eq!(signed.warning(), None);

    let mut proven = held(app_role());
    proven.doubt();
    let checked = issuer(app_role())
        .holds(&proven)
        .replies(Operation::Probe, failing())
        .run();
    assert_eq!(checked.not_ready().0, "VaultUnavailable");
}

proptest! {
    /// An endpoint that has never passed a probe may fail it with 500, whatever it says; no other error of a server lets
    /// the issuer become ready.
    #[test]
    fn only_an_internal_error_is_inconclusive(status in prop_oneof![Just(500_u16), 500_u16..600], text in "[ -~]{0,80}") {
        let checked = issuer(app_role()).always(Operation::Probe, refusal(status, &text)).run();
        let warning = checked.outcome.access.as_ref().and_then(Access::warning);
        prop_assert_eq!(checked.outcome.verdict.is_ok(), status == 500);
        prop_assert_eq!(warning == Some(Warning::ProbeInconclusive), status == 500);
    }
}

#[test]
fn spec_may_forbid_probes() {
    let never = || {
        let mut check = issuer(app_role());
        check.spec.probe = Some(issuer_api::ProbeMode::Never);
        check
    };
    let checked = never().run();
    assert_eq!(checked.asked, ["Secret team/approle", "health", "login"]);
    let mut access = checked.ready();
    assert_eq!(access.warning(), None);
    access.doubt();
    assert_eq!(never().holds(&access).run().asked, ["health"]);
    access.denied();
    let checked = never().holds(&access).run();
    assert_eq!(checked.asked, ["health", "Secret team/approle", "login"]);
}

#[test]
fn leases_are_remembered() {
    let mut access = held(app_role());
    access.signed(true);
    assert_eq!(access.warning(), Some(Warning::CertificatesLeased));
    let checked = issuer(app_role()).holds(&access).at(40).run();
    assert_eq!(checked.asked, ["health", "renew"]);
    assert!(checked.ready().lease.bears_leases());
}

#[test]
fn retry_after_reaches_the_caller() {
    let throttled = || {
        let mut throttled = reply(429, "").unwrap();
        throttled.headers_mut().insert("retry-after", "7".parse().unwrap());
        Ok(throttled)
    };
    for operation in [Operation::Health, Operation::Login, Operation::Probe] {
        let checked = issuer(app_role()).replies(operation, throttled()).run();
        let error = checked.outcome.verdict.unwrap_err();
        assert_eq!(error.retry_after(), Some(Duration::from_secs(7)), "{operation:?}");
        assert_eq!(error.reason(), "VaultThrottled");
    }
}

#[test]
fn errors_have_no_source() {
    let vault = || VaultError::Transport(TransportError::Tls(crate::TlsError::Name));
    for error in [
        AccessError::Health(HealthError::Vault(vault())),
        AccessError::Login(vault()),
        AccessError::Probe(ProbeError::Vault(vault())),
        AccessError::Secret(SecretError::CaBundle),
    ] {
        assert!(
            std::error::Error::source(&error).is_none(),
            "{error} has its cause in its message"
        );
    }
}
