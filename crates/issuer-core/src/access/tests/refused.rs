//! Logins that Vault refuses.

use super::*;
use crate::access::RefusedLogin;

/// The times of the checks of an issuer that fails, in seconds.
fn checks() -> impl Iterator<Item = u64> {
    [0, 5, 15, 35, 75].into_iter().chain((135..86_400).step_by(60))
}

fn wrong_secret_id() -> Reply {
    refusal(400, "invalid role or secret ID")
}

/// Checks an issuer whose logins have this answer; returns whether the check logged in, and what it remembers.
fn check(
    auth: Auth,
    version: &str,
    answer: Reply,
    held: Option<Box<RefusedLogin>>,
) -> (bool, Option<Box<RefusedLogin>>) {
    let mut check = issuer(auth)
        .secret("approle", version, &[("secretId", "wrong")])
        .secret("role", version, &[("roleId", "r")])
        .always(Operation::Login, answer);
    check.held.refused = held;
    let checked = check.run();
    assert_eq!(checked.not_ready().0, "LoginDenied");
    (checked.count("login") > 0, checked.outcome.refused)
}

/// Vault locks an AppRole at the fifth refusal unless 15 minutes lie between two. A day of them locks none, whenever the
/// secret ID is replaced by another wrong one.
#[test]
fn refused_secret_id_locks_no_role() {
    for replaced in [5, 15, 75, 135, 255, 915, 935, 1095, 86_400] {
        let (mut counted, mut last, mut most, mut logins) = (0, 0, 0, 0);
        let mut held = None;
        for time in checks() {
            let version = if time < replaced { "1" } else { "2" };
            let (logged_in, refused) = check(app_role(), version, wrong_secret_id(), held);
            held = refused;
            if logged_in {
                counted = if time >= last + 15 * 60 { 1 } else { counted + 1 };
                (last, most, logins) = (time, most.max(counted), logins + 1);
            }
        }
        assert!(most <= 4, "{most} refusals in a row, if it is replaced at {replaced}");
        assert!(logins >= 80, "{logins} logins in a day");
    }
}

#[test]
fn changed_secret_is_tried_at_once() {
    let mut held = None;
    let mut logins = 0;
    for _ in 0..9 {
        let (logged_in, refused) = check(app_role(), "1", wrong_secret_id(), held);
        held = refused;
        logins += usize::from(logged_in);
    }
    assert_eq!(logins, 2, "of the same secret ID");
    let (logged_in, _) = check(app_role(), "2", wrong_secret_id(), held);
    assert!(logged_in, "another version of the Secret");
}

#[test]
fn paused_check_repeats_the_answer() {
    let (_, held) = check(app_role(), "1", wrong_secret_id(), None);
    let mut paused = issuer(app_role()).secret("approle", "1", &[("secretId", "wrong")]);
    paused.held.refused = held;
    let checked = paused.run();
    assert_eq!(checked.asked, ["Secret team/approle", "health"]);
    let message = "the login failed: invalid role or secret ID".to_owned();
    assert_eq!(checked.not_ready(), ("LoginDenied", message));
}

/// Vault locks no other method that an issuer can have, no role without secret IDs, and counts nothing that it answers
/// with 403, as it does where a role is locked.
#[test]
fn what_is_not_counted_is_repeated_at_each_check() {
    for (auth, answer) in [
        (jwt(None), wrong_secret_id()),
        (kubernetes(None), wrong_secret_id()),
        (app_role_in_secret(), wrong_secret_id()),
        (app_role(), denied()),
    ] {
        let mut held = None;
        for _ in 0..9 {
            let (logged_in, refused) = check(auth.clone(), "1", answer.clone(), held);
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
}

#[test]
fn unreadable_secret_forgets_no_refusal() {
    let (_, held) = check(app_role(), "1", wrong_secret_id(), None);
    let mut check = issuer(app_role()).no_secret("approle", ReadError::Unavailable);
    check.held.refused = held.clone();
    assert_eq!(check.run().outcome.refused, held);
}
