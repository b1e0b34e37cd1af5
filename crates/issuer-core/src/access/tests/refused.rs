//! Logins that Vault refuses.

use super::*;
use crate::access::RefusedLogin;

/// The times of the first checks of an issuer that fails, in seconds; then there is one each minute.
const CHECKS: [u64; 5] = [0, 5, 15, 35, 75];

/// Checks an issuer whose logins are refused; returns whether the check logged in, and what it remembers.
fn check(auth: Auth, version: &str, held: Option<Box<RefusedLogin>>) -> (bool, Option<Box<RefusedLogin>>) {
    let mut check = issuer(auth)
        .secret("approle", version, &[("secretId", "wrong")])
        .always(Operation::Login, refusal(400, "invalid role or secret ID"));
    check.held.refused = held;
    let checked = check.run();
    let message = "the login failed: invalid role or secret ID".to_owned();
    assert_eq!(checked.not_ready(), ("LoginDenied", message));
    (checked.count("login") > 0, checked.outcome.refused)
}

/// Vault locks an AppRole at the fifth refusal unless 15 minutes lie between two. A day of them locks none, and neither do
/// a correction and another one.
#[test]
fn refused_secret_id_locks_no_role() {
    let times = CHECKS.into_iter().chain((135..86_400).step_by(60));
    let (mut counted, mut last, mut most, mut logins) = (0, 0, 0, 0);
    let mut held = None;
    for time in times {
        let (logged_in, refused) = check(app_role(), "1", held);
        held = refused;
        if logged_in {
            counted = if time >= last + 15 * 60 { 1 } else { counted + 1 };
            (last, most, logins) = (time, most.max(counted), logins + 1);
        }
    }
    assert!(most <= 3, "{most} refusals in a row");
    assert!(logins >= 80, "{logins} logins in a day");
}

#[test]
fn changed_secret_is_tried_at_once() {
    let (_, mut held) = check(app_role(), "1", None);
    for _ in 0..4 {
        (_, held) = check(app_role(), "1", held);
    }
    let (logged_in, _) = check(app_role(), "1", held.clone());
    assert!(!logged_in, "the same secret ID");
    let (logged_in, held) = check(app_role(), "2", held);
    assert!(logged_in, "another version of the Secret");
    let (logged_in, _) = check(app_role(), "2", held);
    assert!(logged_in, "its second attempt");
}

/// Vault locks no other method that an issuer can have.
#[test]
fn other_logins_are_repeated_at_each_check() {
    for auth in [jwt(None), kubernetes(None)] {
        let mut held = None;
        for _ in 0..9 {
            let (logged_in, refused) = check(auth.clone(), "1", held);
            assert!(logged_in, "{auth:?}");
            held = refused;
        }
    }
}

#[test]
fn lost_answer_to_a_login_is_no_refusal() {
    let lost = || Err(TransportError::Timeout);
    let checked = issuer(app_role()).always(Operation::Login, lost()).run();
    assert_eq!(checked.outcome.refused, None);
    let (_, held) = check(app_role(), "1", None);
    let mut check = issuer(app_role()).always(Operation::Login, lost());
    check.held.refused = held.clone();
    assert_eq!(check.run().outcome.refused, held);
}

#[test]
fn unreadable_secret_forgets_no_refusal() {
    let (_, held) = check(app_role(), "1", None);
    let mut check = issuer(app_role()).no_secret("approle", ReadError::Unavailable);
    check.held.refused = held.clone();
    assert_eq!(check.run().outcome.refused, held);
}
