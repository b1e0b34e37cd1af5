//! The events about issuers.

use super::drop_in::BUILT_IN_ACTIVE;
use super::observed::ObservedIssuer;
use super::outcome::{Event, Key, Verdict};
use crate::access::Warning;
use crate::reference::IssuerKey;

/// Returns the event for a change of the reason of a condition, if one has changed.
pub(super) fn written(
    observed: &ObservedIssuer,
    regarding: Key,
    verdict: Verdict,
    warning: Option<Warning>,
) -> Option<Event> {
    let changed = |kind: &str, reason: &str| {
        let before = observed.status.condition(kind);
        before.is_none_or(|before| before.reason != reason)
    };
    let event = |is_warning: bool, reason: &'static str, note: String| Event {
        regarding,
        uid: observed.uid.clone(),
        warning: is_warning,
        reason,
        note,
    };
    match (verdict, warning) {
        (Err((reason, message)), _) => changed("Ready", reason).then(|| event(true, reason, message)),
        (Ok(()), Some(warning)) if changed("Warning", warning.reason()) => {
            Some(event(true, warning.reason(), warning.message().to_owned()))
        }
        (Ok(()), _) => {
            changed("Ready", "VaultVerified").then(|| event(false, "VaultVerified", "Vault verified".to_owned()))
        }
    }
}

/// Returns the event that a kind is no longer served.
pub(super) fn withdrawn(key: IssuerKey, uid: String) -> Event {
    let note = format!(
        "Another controller signs for cert-manager's {} with Vault, so this one has stopped: start cert-manager with \
         --controllers=*,-certificaterequests-issuer-vault, then restart vault-issuer",
        key.kind.as_str()
    );
    Event {
        regarding: Key::Issuer(key),
        uid,
        warning: true,
        reason: BUILT_IN_ACTIVE,
        note,
    }
}

/// Returns the event that this controller no longer writes the condition Ready.
pub(super) fn yielded(observed: &ObservedIssuer, regarding: Key) -> Event {
    Event {
        regarding,
        uid: observed.uid.clone(),
        warning: true,
        reason: "StatusYielded",
        note: "Another controller writes the condition Ready too; it is left to that one (--issuer-status)".to_owned(),
    }
}

/// Returns the event for a verdict that is not written, unless the last event had the same reason. A success is news only
/// after an event about something else.
pub(super) fn unwritten(
    observed: &ObservedIssuer,
    regarding: Key,
    verdict: Verdict,
    warning: Option<Warning>,
    last: Option<&'static str>,
) -> Option<Event> {
    let (warning, reason, note) = match (verdict, warning) {
        (Err((reason, message)), _) => (true, reason, message),
        (Ok(()), Some(warning)) => (true, warning.reason(), warning.message().to_owned()),
        (Ok(()), None) => (false, "VaultVerified", "Vault verified".to_owned()),
    };
    let is_known = last.map_or(!warning, |last| last == reason);
    (!is_known).then(|| Event {
        regarding,
        uid: observed.uid.clone(),
        warning,
        reason,
        note,
    })
}
