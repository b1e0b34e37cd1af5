use std::time::Duration;

use issuer_api::{CertificateRequest, ConditionStatus};
use issuer_core::reconcile::Key;
use serde_json::Value;

use super::safety::is_terminal;
use super::{Finding, ensure};
use crate::fact::{Fact, Wrote};
use crate::fixture::Flaw;
use crate::world::{World, certificate};

/// How old the probe may be that an issuer is called ready for.
const FRESH: Duration = Duration::from_secs(60);

/// Every reason that a condition of an issuer or an event may have.
const REASONS: [&str; 35] = [
    "AuthMountNotFound",
    "CaExpires",
    "CaMissing",
    "CaMismatch",
    "CertificateIssued",
    "CertificateMismatch",
    "Denied",
    "Failed",
    "InvalidConnection",
    "InvalidRequest",
    "InvalidSpec",
    "Issued",
    "IssuerNotFound",
    "IssuerNotReady",
    "LoginDenied",
    "PathNotFound",
    "Pending",
    "PermissionDenied",
    "RoleNotFound",
    "SecretForbidden",
    "SecretInvalid",
    "SecretNotFound",
    "SecretUnavailable",
    "ServiceAccountNotFound",
    "SignRefused",
    "TlsFailed",
    "TokenForbidden",
    "TokenUnavailable",
    "VaultMisbehaved",
    "VaultRedirects",
    "VaultSealed",
    "VaultThrottled",
    "VaultUnavailable",
    "VaultUnreachable",
    "VaultVerified",
];

/// Returns the requests before and after a status of one was taken.
fn requests(fact: &Fact) -> Option<(&CertificateRequest, &CertificateRequest)> {
    let Fact::Wrote(wrote) = fact else {
        return None;
    };
    let (before, after) = (wrote.before.as_ref()?, wrote.after.as_ref().ok()?);
    Some((before.request()?, after.request()?))
}

fn reason(request: &CertificateRequest) -> Option<&str> {
    request.condition("Ready").and_then(|ready| ready.reason.as_deref())
}

pub(super) fn s3(_: &World, fact: &Fact) -> Finding {
    let Fact::Wrote(Wrote {
        before: Some(before),
        after: Ok(after),
        ..
    }) = fact
    else {
        return Ok(());
    };
    let was = certificate(before);
    ensure(was.is_none() || was == certificate(after), || {
        format!("the certificate of {} is another now", before.uid())
    })
}

pub(super) fn s4(_: &World, fact: &Fact) -> Finding {
    let Fact::Wrote(wrote) = fact else {
        return Ok(());
    };
    let given = |field: &str| {
        let value = wrote
            .patch
            .body
            .pointer(&format!("/metadata/{field}"))
            .and_then(Value::as_str);
        value.is_some_and(|value| !value.is_empty())
    };
    ensure(given("uid") && given("resourceVersion"), || {
        format!(
            "the status of {:?} is written without uid and resourceVersion",
            wrote.patch.of
        )
    })?;
    let Some((before, after)) = requests(fact) else {
        return Ok(());
    };
    ensure(!is_terminal(before) || before.status == after.status, || {
        format!(
            "{:?} was {:?} and is {:?}",
            wrote.patch.of,
            reason(before),
            reason(after)
        )
    })
}

pub(super) fn s11(_: &World, fact: &Fact) -> Finding {
    let clean = |text: &str| text.len() <= 700 && !text.contains(|c: char| c.is_control() || c == '<' || c == '{');
    let look = |reason: &str, message: &str| {
        ensure(REASONS.contains(&reason), || format!("{reason} is no known reason"))?;
        ensure(clean(message), || format!("a message is not clean: {message:?}"))
    };
    match fact {
        Fact::Tells(_, event) => look(event.reason, &event.note),
        Fact::Wrote(wrote) => {
            let conditions = wrote.patch.body.pointer("/status/conditions").and_then(Value::as_array);
            let text = |condition: &Value, field| {
                condition
                    .get(field)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let mut ours = conditions
                .into_iter()
                .flatten()
                .filter(|condition| matches!(text(condition, "type").as_str(), "Ready" | "InvalidRequest"));
            ours.try_for_each(|condition| look(&text(condition, "reason"), &text(condition, "message")))
        }
        _ => Ok(()),
    }
}

pub(super) fn s13(_: &World, fact: &Fact) -> Finding {
    let Some((before, after)) = requests(fact) else {
        return Ok(());
    };
    let failed = |request: &CertificateRequest| request.status.as_ref().and_then(|status| status.failure_time.clone());
    let ends = matches!(reason(after), Some("Denied" | "Failed"));
    ensure(!ends || failed(after).is_some(), || {
        "a request fails without a time of failure".to_owned()
    })?;
    let once = failed(before).is_none() || failed(before) == failed(after);
    ensure(once, || "the time of failure changes".to_owned())
}

pub(super) fn s14(world: &World, fact: &Fact) -> Finding {
    let Some((before, after)) = requests(fact) else {
        return Ok(());
    };
    if reason(after) != Some("Failed") || reason(before) == Some("Failed") {
        return Ok(());
    }
    let uid = after.metadata.uid.as_deref().unwrap_or_default();
    let known = world.record.request(uid);
    ensure(
        known.is_some_and(|known| known.refused || known.want.flaw != Flaw::None),
        || format!("{uid} fails, and nobody has refused it"),
    )
}

pub(super) fn s15(_: &World, fact: &Fact) -> Finding {
    if let Some((before, after)) = requests(fact) {
        let status = after.status.as_ref();
        for now in status.into_iter().flat_map(|status| &status.conditions) {
            let was = before.condition(&now.kind).filter(|was| was.status == now.status);
            let kept = was.is_none_or(|was| was.last_transition_time == now.last_transition_time);
            ensure(kept && now.last_transition_time.is_some(), || {
                format!("{} has another time, but no other status", now.kind)
            })?;
        }
        let approvals = |request: &CertificateRequest| [request.is("Approved"), request.is("Denied")];
        return ensure(approvals(before) == approvals(after), || {
            "an approval is changed".to_owned()
        });
    }
    let Fact::Wrote(Wrote {
        before: Some(before),
        after: Ok(after),
        ..
    }) = fact
    else {
        return Ok(());
    };
    let Some(ready) = after.ready() else {
        return Ok(());
    };
    ensure(ready.observed_generation == after.meta().generation, || {
        format!(
            "generation {:?} is said of {:?}",
            ready.observed_generation,
            after.meta().generation
        )
    })?;
    let was = before.ready().filter(|was| was.status == ready.status);
    ensure(
        was.is_none_or(|was| was.last_transition_time == ready.last_transition_time),
        || "Ready has another time, but no other status".to_owned(),
    )
}

pub(super) fn s16(world: &World, fact: &Fact) -> Finding {
    let Fact::Wrote(Wrote {
        who,
        patch,
        after: Ok(after),
        ..
    }) = fact
    else {
        return Ok(());
    };
    let (Key::Issuer(key), Some(ready), Some(spec)) = (&patch.of, after.ready(), after.spec()) else {
        return Ok(());
    };
    if ready.status != ConditionStatus::True {
        return Ok(());
    }
    let url = format!("{}/v1/{}", spec.server, spec.path);
    let probe = world
        .issuer_of(&patch.of)
        .and_then(|issuer| world.record.verified.get(&(*who, issuer)));
    ensure(
        probe.is_some_and(|(at, probed)| **probed == url && world.now <= *at + FRESH),
        || format!("{key} is called ready, but {url} was not probed: {probe:?}"),
    )
}
