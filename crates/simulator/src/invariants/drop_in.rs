//! Promises about cert-manager's own issuers.

use fake_kube::{CONTROLLER, Object, ready_managers};
use issuer_core::Operation;
use issuer_core::reconcile::{IssuerStatusMode, Key};

use crate::fixture::IssuerId;
use crate::observation::Observation;
use crate::world::{Finding, World, ensure};

/// S26: nothing is signed for cert-manager's issuers once another controller is seen to sign for them.
pub(super) fn never_beside_built_in(world: &World, observation: &Observation) -> Finding {
    let Observation::Sent(sent) = observation else {
        return Ok(());
    };
    let signs = sent.operation == Operation::Sign && world.issuer_of(&sent.key) == Some(IssuerId::DropIn);
    ensure(!signs || !sent.beside_built_in, || {
        format!("{:?} signs {:?} beside the built-in controller", sent.process, sent.key)
    })
}

/// S31: a kind of cert-manager's issuers is given up only if another controller has answered a request, even if
/// managed fields say so.
pub(super) fn forgers_stop_no_kind(world: &World, observation: &Observation) -> Finding {
    let Observation::Published(process, event) = observation else {
        return Ok(());
    };
    let gives_up = event.reason == "BuiltInActive" && matches!(event.regarding, Key::Issuer(_));
    ensure(!gives_up || world.built_in, || {
        format!(
            "{process:?} gives up {:?}, and no other controller runs",
            event.regarding
        )
    })
}

/// S27: the condition Ready of cert-manager's issuers that another controller writes is left to it.
pub(super) fn ready_of_others_is_left(world: &World, observation: &Observation) -> Finding {
    let Observation::Wrote(wrote) = observation else {
        return Ok(());
    };
    let (Some(before), Ok(after)) = (&wrote.before, &wrote.after) else {
        return Ok(());
    };
    let (Object::DropInIssuer(_), Some(drop_in)) = (&**before, &world.setup.config.drop_in) else {
        return Ok(());
    };
    let has_other_writer = ready_managers(before.meta()).any(|manager| manager != CONTROLLER);
    let allowed = match drop_in.issuer_status {
        IssuerStatusMode::Auto => !has_other_writer,
        IssuerStatusMode::Leave => false,
        IssuerStatusMode::Own => true,
    };
    ensure(allowed, || {
        format!(
            "{:?} replaces {:?} by {:?}",
            wrote.process,
            before.ready(),
            after.ready()
        )
    })
}
