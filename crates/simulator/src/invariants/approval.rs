use issuer_api::CertificateRequest;
use issuer_core::Operation;
use issuer_core::reference::IssuerKey;

use crate::observation::{Observation, Sent};
use crate::world::{Finding, World, ensure};

/// Returns a sign request, with the newest version of the CertificateRequest that the process has seen.
fn sign(observation: &Observation) -> Option<(&Sent, Option<&CertificateRequest>)> {
    match observation {
        Observation::Sent(sent) if sent.operation == Operation::Sign => {
            Some((sent, sent.view.as_ref().and_then(|view| view.request())))
        }
        _ => None,
    }
}

/// S1.
pub(super) fn signs_only_approved(_: &World, observation: &Observation) -> Finding {
    let Some((sent, view)) = sign(observation) else {
        return Ok(());
    };
    ensure(
        view.is_some_and(|view| view.is("Approved") && !view.is("Denied")),
        || format!("{:?} signs {:?}, which is not approved", sent.process, sent.key),
    )
}

/// S2.
pub(super) fn leaves_others_alone(_: &World, observation: &Observation) -> Finding {
    if let Some((sent, view)) = sign(observation) {
        let open = |view: &CertificateRequest| is_ours(view) && !is_terminal(view) && !view.is("InvalidRequest");
        ensure(view.is_some_and(open), || {
            format!(
                "{:?} signs {:?}, which is finished or another issuer's",
                sent.process, sent.key
            )
        })?;
    }
    if let Observation::Wrote(wrote) = observation
        && let Some(request) = wrote.before.as_ref().and_then(|before| before.request())
    {
        ensure(is_ours(request), || {
            format!(
                "{:?} writes the status of {:?}, which is another issuer's",
                wrote.process, wrote.patch.of
            )
        })?;
    }
    Ok(())
}

fn is_ours(request: &CertificateRequest) -> bool {
    let namespace = request.metadata.namespace.as_deref().unwrap_or_default();
    IssuerKey::of(&request.spec.issuer_ref, namespace).is_some()
}

/// Returns `true` if a request is finished.
pub(super) fn is_terminal(request: &CertificateRequest) -> bool {
    let reason = request.condition("Ready").and_then(|ready| ready.reason.as_deref());
    matches!(reason, Some("Denied" | "Failed" | "Issued"))
}
