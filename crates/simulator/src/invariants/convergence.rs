//! Promises that hold after convergence.

use std::collections::BTreeSet;

use fake_kube::{Kind, Object};
use issuer_core::reconcile::{Key, ObservedRequest};

use super::approval::{is_ours, is_terminal};
use super::token::live_tokens;
use crate::world::{Finding, World, ensure};

/// S13: a denied request ends as Denied, with a failureTime that is set once; after convergence.
pub(super) fn denied_is_finished(world: &World) -> Finding {
    world
        .cluster
        .list(Kind::Requests)
        .filter_map(|object| object.request())
        .try_for_each(|request| {
            let failed = request
                .status
                .as_ref()
                .is_some_and(|status| status.failure_time.is_some());
            let reason = request.condition("Ready").and_then(|ready| ready.reason.as_deref());
            let finished = reason == Some("Issued") || failed;
            let is_served = is_served(world, &request.clone().into());
            ensure(!request.is("Denied") || !is_served || finished, || {
                format!("{:?} is denied, but its reason is {reason:?}", request.metadata.name)
            })
        })
}

/// S18: nothing is kept of requests that are finished or gone.
pub(super) fn finished_is_forgotten(world: &World) -> Finding {
    let open: BTreeSet<&str> = world
        .requests()
        .filter(|object| is_open(world, object))
        .map(|request| request.uid())
        .collect();
    for (id, process) in world.running() {
        let pending = process.controller.tracked();
        ensure(pending == open.len(), || {
            format!("{id:?} keeps {pending} requests, {} are open", open.len())
        })?;
        // Every field of the controller shows in its `Debug` output, so a uid anywhere in its state is found.
        let state = format!("{:?}", process.controller);
        let forgotten = |uid: &&str| world.record.request(uid).is_some() && !open.contains(*uid);
        if let Some(uid) = state.split('"').find(forgotten) {
            return Err(format!("{id:?} keeps something of {uid}, which is finished or gone"));
        }
    }
    Ok(())
}

/// Returns `true` if a request is ours and not finished.
fn is_open(world: &World, object: &Object) -> bool {
    object
        .observed()
        .is_some_and(|request| is_served(world, &request) && !is_terminal(&request))
}

/// Returns `true` if a request is of our group, or of one of cert-manager's issuers that exists.
fn is_served(world: &World, request: &ObservedRequest) -> bool {
    let issuer = request.issuer();
    match issuer.filter(|issuer| issuer.kind.is_drop_in()) {
        Some(issuer) => world.cluster.get(&Key::Issuer(issuer)).is_ok(),
        None => is_ours(request),
    }
}

/// S20: one token per issuer and process, and none is left behind; after convergence.
pub(super) fn no_token_left_behind(world: &World) -> Finding {
    let issuers = [Kind::Issuers, Kind::ClusterIssuers, Kind::DropInIssuers]
        .into_iter()
        .flat_map(|kind| world.cluster.list(kind));
    let issuers = issuers.filter(|issuer| matches!(issuer.key(), Key::Issuer(_))).count();
    let orphans = usize::try_from(world.record.orphans).unwrap_or(usize::MAX);
    let most = world.running().count() * issuers + orphans;
    let live = live_tokens(world, None);
    ensure(live <= most, || format!("{live} live tokens, at most {most} expected"))
}
