//! Promises about Vault tokens.

use std::time::Duration;

use issuer_core::Operation;

use crate::fixture::IssuerId;
use crate::observation::Observation;
use crate::world::{Finding, World, ensure};

/// How long after a change of an issuer a process may still log in by what it was before.
const LAG: Duration = Duration::from_secs(120);

/// S19: no token is used after its expiry.
pub(super) fn no_expired_token(world: &World, observation: &Observation) -> Finding {
    let Observation::Sent(sent) = observation else {
        return Ok(());
    };
    // After a lost renewal the expiry is unknown, and the token is revoked all the same.
    if sent.operation == Operation::Revoke {
        return Ok(());
    }
    let record = sent.token.as_deref().and_then(|token| world.record.tokens.get(token));
    // By the clock of the process, which may be slow.
    let clock = world.setup.clocks.get(sent.process.index());
    let slow = clock.map_or(0, |clock| clock.rate.min(0).unsigned_abs());
    let lifetime = world.setup.token_ttl * (1000 + slow) / 1000;
    let expired = record.is_some_and(|record| record.at + lifetime <= world.now);
    ensure(!expired, || format!("{:?} uses a token after its expiry", sent.key))
}

/// S20: one token per issuer and process, and none is left behind; at every login.
pub(super) fn one_token_at_login(world: &World, observation: &Observation) -> Finding {
    let Observation::Served(served) = observation else {
        return Ok(());
    };
    let Some((grant, _)) = &served.granted else {
        return Ok(());
    };
    let Some(issuer) = world.issuer_of(&served.key) else {
        return Ok(());
    };
    // For each process one token and those that it replaces. The process that logs in is not among the running ones.
    let each = 2 + world.record.changes(issuer, world.now);
    let orphans = usize::try_from(world.record.orphans).unwrap_or(usize::MAX);
    let most = each * (1 + world.running().count()) + orphans;
    let live = live_tokens(world, Some(issuer)) + usize::from(!world.record.tokens.contains_key(&grant.token));
    ensure(live <= most, || format!("{issuer:?} has {live} tokens"))
}

/// Returns the number of live tokens of an issuer, or of all issuers. Tokens with leases do not count: they are kept.
pub(super) fn live_tokens(world: &World, issuer: Option<IssuerId>) -> usize {
    let live = world.vaults.iter().flat_map(|vault| vault.grants());
    let records = live.map(|grant| world.record.tokens.get(&grant.token));
    let counts = records.filter(|record| match (record, issuer) {
        (Some(record), Some(issuer)) => record.issuer == issuer && !record.leased,
        (Some(record), None) => !record.leased,
        (None, issuer) => issuer.is_none(),
    });
    counts.count()
}

/// S23: a live token is revoked only if it is replaced, its issuer changes or is given up, or its process stops.
pub(super) fn good_token_is_kept(world: &World, observation: &Observation) -> Finding {
    let Observation::Sent(sent) = observation else {
        return Ok(());
    };
    let record = sent.token.as_deref().and_then(|token| world.record.tokens.get(token));
    let Some(record) = record.filter(|_| sent.operation == Operation::Revoke) else {
        return Ok(());
    };
    let tokens = world.record.tokens.values();
    let mut newer = tokens.filter(|other| other.order > record.order);
    let replaced = newer.any(|other| (other.issuer, other.process) == (record.issuer, record.process));
    let changed = world.record.last_change(record.issuer);
    let changed = changed.is_some_and(|at| at + LAG >= record.created);
    let deleted = world.issuer(record.issuer).is_none();
    let given_up = sent.beside_built_in && record.issuer == IssuerId::DropIn;
    ensure(replaced || changed || deleted || given_up || sent.stopping, || {
        format!("{:?} revokes the token that {:?} uses", sent.key, record.issuer)
    })
}

/// S24: a token whose replies carried a lease is never revoked, which would revoke the certificates.
pub(super) fn leased_token_is_kept(world: &World, observation: &Observation) -> Finding {
    let Observation::Sent(sent) = observation else {
        return Ok(());
    };
    let record = sent.token.as_deref().and_then(|token| world.record.tokens.get(token));
    let leased = record.is_some_and(|record| record.leased);
    ensure(sent.operation != Operation::Revoke || !leased, || {
        format!("{:?} revokes a token with leases", sent.key)
    })
}

/// S25: limited uses of a token are not spent on checks.
pub(super) fn uses_are_for_signing(world: &World, observation: &Observation) -> Finding {
    let Observation::Sent(sent) = observation else {
        return Ok(());
    };
    let checks = matches!(sent.operation, Operation::Lookup | Operation::Probe);
    ensure(world.setup.token_uses == 0 || !checks, || {
        format!("{:?} spends a use of a token on {:?}", sent.key, sent.operation)
    })
}

/// L4: Retry-After is honored.
pub(super) fn retry_after_is_honored(world: &World, observation: &Observation) -> Finding {
    let Observation::Sent(sent) = observation else {
        return Ok(());
    };
    let issuer = world.issuer_of(&sent.key).map(|issuer| (sent.process, issuer));
    let Some((since, until)) = issuer.and_then(|issuer| world.record.held_off.get(&issuer)) else {
        return Ok(());
    };
    // A task that had begun before may continue, and clocks differ a little.
    let early = sent.begun > *since && world.now + Duration::from_millis(50) < *until;
    ensure(!early, || {
        format!(
            "{:?} sends a request {:?} before Retry-After is over",
            sent.key,
            until.saturating_sub(world.now)
        )
    })
}
