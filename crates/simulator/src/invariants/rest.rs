use std::collections::BTreeSet;

use fake_kube::{Kind, Object};
use issuer_core::reconcile::Key;

use super::safety::live_tokens;
use super::{Finding, ensure};
use crate::world::World;

pub(super) fn s13(world: &World) -> Finding {
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
            let ended = reason == Some("Issued") || failed;
            let foreign = request.spec.issuer_ref.group.as_deref() != Some(issuer_api::GROUP);
            ensure(!request.is("Denied") || foreign || ended, || {
                format!("{:?} is denied and {reason:?}", request.metadata.name)
            })
        })
}

pub(super) fn s18(world: &World) -> Finding {
    let all = world.cluster.list(Kind::Requests);
    let open: BTreeSet<&str> = all
        .filter(|request| is_open(request))
        .map(|request| request.uid())
        .collect();
    for (who, process) in world.running() {
        let pending = process.controller.pending();
        ensure(pending == open.len(), || {
            format!("{who:?} keeps {pending} requests, {} are open", open.len())
        })?;
        let kept = format!("{:?}", process.controller);
        let over = |uid: &&str| world.record.request(uid).is_some() && !open.contains(*uid);
        if let Some(uid) = kept.split('"').find(over) {
            return Err(format!("{who:?} keeps something of {uid}, which is finished or gone"));
        }
    }
    Ok(())
}

/// Tells whether something may yet come of a request of ours.
fn is_open(object: &Object) -> bool {
    object.request().is_some_and(|request| {
        let ours = request.spec.issuer_ref.group.as_deref() == Some(issuer_api::GROUP);
        ours && !super::safety::is_terminal(request)
    })
}

pub(super) fn s20(world: &World) -> Finding {
    let issuers = [Kind::Issuers, Kind::ClusterIssuers]
        .into_iter()
        .flat_map(|kind| world.cluster.list(kind));
    let keys: Vec<_> = issuers
        .filter_map(|issuer| {
            if let Key::Issuer(key) = issuer.key() {
                Some(key)
            } else {
                None
            }
        })
        .collect();
    let orphans = usize::try_from(world.record.orphans).unwrap_or(usize::MAX);
    let most = world.running().count() * keys.len() + orphans;
    let live = live_tokens(world, None);
    ensure(live <= most, || format!("{live} tokens are alive, {most} may be"))
}
