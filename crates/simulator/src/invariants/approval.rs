//! Promises about approval: S1, S2 and the right to reference an issuer.

use issuer_core::Operation;
use issuer_core::reconcile::ObservedRequest;
use issuer_core::reference::IssuerKey;

use crate::fixture::{Flaw, IssuerId};
use crate::observation::{Observation, Sent};
use crate::world::{Finding, World, ensure};

/// Returns a sign request, with the newest version of the request that the process has seen.
fn sign(observation: &Observation) -> Option<(&Sent, Option<ObservedRequest>)> {
    match observation {
        Observation::Sent(sent) if sent.operation == Operation::Sign => {
            Some((sent, sent.view.as_ref().and_then(|view| view.observed())))
        }
        _ => None,
    }
}

/// S1: only what is Approved and not Denied in the newest view is signed.
pub(super) fn signs_only_approved(_: &World, observation: &Observation) -> Finding {
    let Some((sent, view)) = sign(observation) else {
        return Ok(());
    };
    ensure(
        view.is_some_and(|view| view.is("Approved") && !view.is("Denied")),
        || format!("{:?} signs {:?}, which is not approved", sent.process, sent.key),
    )
}

/// S2: requests of other issuers are not touched, finished ones are not signed.
pub(super) fn leaves_others_alone(_: &World, observation: &Observation) -> Finding {
    if let Some((sent, view)) = sign(observation) {
        let open = |view: &ObservedRequest| is_ours(view) && !is_terminal(view) && !view.is("InvalidRequest");
        ensure(view.as_ref().is_some_and(open), || {
            format!(
                "{:?} signs {:?}, which is finished or another issuer's",
                sent.process, sent.key
            )
        })?;
    }
    if let Observation::Wrote(wrote) = observation
        && let Some(request) = wrote.before.as_ref().and_then(|before| before.observed())
    {
        ensure(is_ours(&request), || {
            format!(
                "{:?} writes the status of {:?}, which is another issuer's",
                wrote.process, wrote.patch.of
            )
        })?;
    }
    Ok(())
}

/// Returns `true` if a request names one of our issuers.
pub(super) fn is_ours(request: &ObservedRequest) -> bool {
    let issuer = match request {
        ObservedRequest::CertManager(request) => {
            let namespace = request.metadata.namespace.as_deref().unwrap_or_default();
            IssuerKey::of(&request.spec.issuer_ref, namespace)
        }
        ObservedRequest::Kubernetes(csr) => IssuerKey::of_signer(&csr.spec.signer_name),
    };
    issuer.is_some()
}

/// Returns `true` if a request is finished.
pub(super) fn is_terminal(request: &ObservedRequest) -> bool {
    match request {
        ObservedRequest::CertManager(request) => {
            let reason = request.condition("Ready").and_then(|ready| ready.reason.as_deref());
            matches!(reason, Some("Denied" | "Failed" | "Issued"))
        }
        ObservedRequest::Kubernetes(csr) => csr.status.as_ref().is_some_and(|status| {
            let ends = |kind: &str| matches!(kind, "Denied" | "Failed");
            status.certificate.is_some() || status.conditions.iter().any(|condition| ends(&condition.kind))
        }),
    }
}

/// S28: a Kubernetes CSR is signed only if its requester may reference the issuer.
pub(super) fn requester_may_reference(world: &World, observation: &Observation) -> Finding {
    let Some((sent, _)) = sign(observation) else {
        return Ok(());
    };
    let request = sent.csr.and_then(|csr| world.record.requests.get(&csr));
    ensure(
        request.is_none_or(|request| request.fixture.flaw != Flaw::Stranger),
        || {
            format!(
                "{:?} signs {:?}, whose requester may not reference the issuer",
                sent.process, sent.key
            )
        },
    )
}

/// S29: a cluster issuer with a selector signs a request only in an attempt that has read labels of its namespace
/// which it selects.
pub(super) fn namespace_is_selected(world: &World, observation: &Observation) -> Finding {
    let Some((sent, _)) = sign(observation) else {
        return Ok(());
    };
    let selects = world.issuer_of(&sent.key) == Some(IssuerId::Shared);
    let read = world.record.namespaces_read.get(&(sent.process, sent.key.clone()));
    ensure(!selects || read == Some(&true), || {
        let found = match read {
            Some(_) => "whose labels the issuer does not select",
            None => "whose labels were not read",
        };
        format!("{:?} signs {:?} of a namespace {found}", sent.process, sent.key)
    })
}
