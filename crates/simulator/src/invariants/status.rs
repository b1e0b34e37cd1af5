//! Promises about status writes and events.

use fake_kube::Object;
use issuer_api::{CertificateRequest, ConditionStatus};
use issuer_core::reconcile::{Key, ObservedRequest};
use serde_json::Value;

use super::approval::is_terminal;
use crate::observation::{Observation, Wrote};
use crate::world::{Finding, World, ensure};

/// Every reason of our conditions and events.
const REASONS: [&str; 61] = [
    "AnswersLost",
    "AuthMountNotFound",
    "AwsDenied",
    "AwsUnavailable",
    "BuiltInActive",
    "CaExpires",
    "CaMissing",
    "CaMismatch",
    "CertificateIssued",
    "CertificateMismatch",
    "CertificatesLeased",
    "ConfigMapForbidden",
    "ConfigMapInvalid",
    "ConfigMapNotFound",
    "ConfigMapUnavailable",
    "Denied",
    "DeniedReference",
    "Failed",
    "InvalidConnection",
    "InvalidRequest",
    "InvalidSpec",
    "Issued",
    "IssuerNotFound",
    "IssuerNotReady",
    "LoginDenied",
    "NameNotSupported",
    "NamespaceForbidden",
    "NamespaceNotAllowed",
    "PathNotFound",
    "Pending",
    "PermissionDenied",
    "ProbeInconclusive",
    "ProxyFailed",
    "QuotaExceeded",
    "ReferenceUnknown",
    "SignaturesFail",
    "RoleNotFound",
    "SecretForbidden",
    "SecretInvalid",
    "SecretNotAllowed",
    "SecretNotFound",
    "SecretUnavailable",
    "ServiceAccountNotFound",
    "SignRefused",
    "StatusRefused",
    "StatusYielded",
    "TlsFailed",
    "TokenForbidden",
    "TokenRefused",
    "TokenUsesLimited",
    "TokenUnavailable",
    "VaultMisbehaved",
    "VaultRedirects",
    "VaultSealed",
    "VaultThrottled",
    "VaultUnavailable",
    "VaultUnreachable",
    "VaultVerified",
    "WaitingForApproval",
    "WrappingTokenMismatch",
    "WrappingTokenSpent",
];

/// Returns an object before and after a status write.
fn written(observation: &Observation) -> Option<(&Object, &Object)> {
    let Observation::Wrote(wrote) = observation else {
        return None;
    };
    Some((wrote.before.as_deref()?, wrote.after.as_deref().ok()?))
}

/// Returns a request before and after a status write.
fn requests(observation: &Observation) -> Option<(&CertificateRequest, &CertificateRequest)> {
    let (before, after) = written(observation)?;
    Some((before.request()?, after.request()?))
}

/// Returns a request of either kind before and after a status write.
fn observed(observation: &Observation) -> Option<(ObservedRequest, ObservedRequest)> {
    let (before, after) = written(observation)?;
    Some((before.observed()?, after.observed()?))
}

/// Returns `true` if a request has failed.
fn has_failed(request: &ObservedRequest) -> bool {
    match request {
        ObservedRequest::CertManager(request) => reason(request) == Some("Failed"),
        ObservedRequest::Kubernetes(_) => request.is("Failed"),
    }
}

fn reason(request: &CertificateRequest) -> Option<&str> {
    request.condition("Ready").and_then(|ready| ready.reason.as_deref())
}

/// S3: a certificate, once written, never changes.
pub(super) fn certificate_is_final(_: &World, observation: &Observation) -> Finding {
    let Observation::Wrote(Wrote {
        before: Some(before),
        after: Ok(after),
        ..
    }) = observation
    else {
        return Ok(());
    };
    let was = before.certificate();
    ensure(was.is_none() || was == after.certificate(), || {
        format!("the certificate of {} has changed", before.uid())
    })
}

/// S4: every status carries uid and resourceVersion, and a terminal one is never overwritten.
pub(super) fn writes_are_guarded(_: &World, observation: &Observation) -> Finding {
    let Observation::Wrote(wrote) = observation else {
        return Ok(());
    };
    let given = |field: &str| {
        let value = wrote
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
    let Some((before, after)) = observed(observation) else {
        return Ok(());
    };
    ensure(!is_terminal(&before) || before.status() == after.status(), || {
        format!(
            "{:?} was {:?} and is {:?}",
            wrote.patch.of,
            before.status(),
            after.status()
        )
    })
}

/// S11: reasons are of a fixed set, messages are short and printable.
pub(super) fn messages_are_clean(_: &World, observation: &Observation) -> Finding {
    let clean = |text: &str| text.len() <= 700 && !text.contains(|c: char| c.is_control() || c == '<' || c == '{');
    let check = |reason: &str, message: &str| {
        ensure(REASONS.contains(&reason), || format!("unknown reason {reason}"))?;
        ensure(clean(message), || format!("unclean message: {message:?}"))
    };
    match observation {
        Observation::Published(_, event) => check(event.reason, &event.note),
        Observation::Wrote(wrote) => {
            let conditions = wrote.body.pointer("/status/conditions").and_then(Value::as_array);
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
                .filter(|condition| matches!(text(condition, "type").as_str(), "Ready" | "InvalidRequest" | "Failed"));
            ours.try_for_each(|condition| check(&text(condition, "reason"), &text(condition, "message")))
        }
        _ => Ok(()),
    }
}

/// S13: a denied request ends as Denied, with a failureTime that is set once; at every status write.
pub(super) fn failure_time_is_final(_: &World, observation: &Observation) -> Finding {
    let Some((before, after)) = requests(observation) else {
        return Ok(());
    };
    let failed = |request: &CertificateRequest| request.status.as_ref().and_then(|status| status.failure_time.clone());
    let ends = matches!(reason(after), Some("Denied" | "Failed"));
    ensure(!ends || failed(after).is_some(), || {
        "a request fails without failureTime".to_owned()
    })?;
    let once = failed(before).is_none() || failed(before) == failed(after);
    ensure(once, || "the failureTime changes".to_owned())
}

/// S14: a request fails only after a definite refusal.
pub(super) fn fails_only_if_refused(world: &World, observation: &Observation) -> Finding {
    let Some((before, after)) = observed(observation) else {
        return Ok(());
    };
    if !has_failed(&after) || has_failed(&before) {
        return Ok(());
    }
    let uid = after.uid();
    let known = world.record.request(uid);
    ensure(
        known.is_some_and(|known| {
            known.refused
                || known.unadmitted
                || known.unselected
                || known.unanswered >= world.setup.config.max_lost_answers
                || !known.fixture.flaw.reaches_vault()
        }),
        || format!("{uid} fails without a refusal"),
    )
}

/// S15: conditions have the right generation and transition time, approvals are left alone.
pub(super) fn conditions_are_well_formed(_: &World, observation: &Observation) -> Finding {
    if let Some((before, after)) = observed(observation) {
        for now in after.status().into_iter().flat_map(|status| &status.conditions) {
            let was = before.condition(&now.kind).filter(|was| was.status == now.status);
            let kept = was.is_none_or(|was| was.last_transition_time == now.last_transition_time);
            ensure(kept && now.last_transition_time.is_some(), || {
                format!("{} has a new transition time with an old status", now.kind)
            })?;
        }
        let approvals = |request: &ObservedRequest| [request.is("Approved"), request.is("Denied")];
        return ensure(approvals(&before) == approvals(&after), || {
            "an approval changes".to_owned()
        });
    }
    let Observation::Wrote(Wrote {
        before: Some(before),
        after: Ok(after),
        ..
    }) = observation
    else {
        return Ok(());
    };
    let Some(ready) = after.ready() else {
        return Ok(());
    };
    ensure(ready.observed_generation == after.meta().generation, || {
        format!(
            "observedGeneration is {:?}, the generation {:?}",
            ready.observed_generation,
            after.meta().generation
        )
    })?;
    let was = before.ready().filter(|was| was.status == ready.status);
    ensure(
        was.is_none_or(|was| was.last_transition_time == ready.last_transition_time),
        || "Ready has a new transition time with an old status".to_owned(),
    )
}

/// S16: an issuer is Ready only after its current endpoint has answered a probe or signed.
pub(super) fn ready_means_probed(world: &World, observation: &Observation) -> Finding {
    let Observation::Wrote(Wrote {
        process,
        patch,
        after: Ok(after),
        ..
    }) = observation
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
        .and_then(|issuer| world.record.verified.get(&(*process, issuer)));
    ensure(probe.is_some_and(|probed| probed.contains_key(url.as_str())), || {
        format!("{key} is ready, but {url} has neither answered a probe nor signed: {probe:?}")
    })
}
