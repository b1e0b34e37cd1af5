use std::time::Duration;

use issuer_api::CertificateRequest;
use issuer_core::Operation;
use issuer_core::reconcile::Key;
use issuer_core::reference::IssuerKey;

use super::{Finding, ensure};
use crate::fact::{Asks, Fact};
use crate::fixture::{self, CANARY, HOSTS, IssuerId};
use crate::record::Token;
use crate::world::World;

/// Returns the request to sign that a fact is, with the newest view of what it is for.
fn sign(fact: &Fact) -> Option<(&Asks, Option<&CertificateRequest>)> {
    match fact {
        Fact::Asks(asks) if asks.operation == Operation::Sign => {
            Some((asks, asks.view.as_ref().and_then(|view| view.request())))
        }
        _ => None,
    }
}

pub(super) fn s1(_: &World, fact: &Fact) -> Finding {
    let Some((asks, view)) = sign(fact) else {
        return Ok(());
    };
    ensure(
        view.is_some_and(|view| view.is("Approved") && !view.is("Denied")),
        || format!("{:?} has {:?} signed, which is not approved", asks.who, asks.key),
    )
}

pub(super) fn s2(_: &World, fact: &Fact) -> Finding {
    if let Some((asks, view)) = sign(fact) {
        let open = |view: &CertificateRequest| ours(view) && !is_terminal(view) && !view.is("InvalidRequest");
        ensure(view.is_some_and(open), || {
            format!(
                "{:?} has {:?} signed, which is finished or another's",
                asks.who, asks.key
            )
        })?;
    }
    if let Fact::Wrote(wrote) = fact
        && let Some(request) = wrote.before.as_ref().and_then(|before| before.request())
    {
        ensure(ours(request), || {
            format!(
                "{:?} writes the status of another issuer's {:?}",
                wrote.who, wrote.patch.of
            )
        })?;
    }
    Ok(())
}

fn ours(request: &CertificateRequest) -> bool {
    let namespace = request.metadata.namespace.as_deref().unwrap_or_default();
    IssuerKey::of(&request.spec.issuer_ref, namespace).is_some()
}

/// Tells whether a request is finished.
pub(super) fn is_terminal(request: &CertificateRequest) -> bool {
    let reason = request.condition("Ready").and_then(|ready| ready.reason.as_deref());
    matches!(reason, Some("Denied" | "Failed" | "Issued"))
}

pub(super) fn s8(world: &World, fact: &Fact) -> Finding {
    let own = |key: &Key, namespace: &str| {
        let issuer = world.issuer_of(key);
        let of_issuer = matches!(key, Key::Issuer(_)) && issuer.is_some_and(|issuer| issuer.namespace() == namespace);
        ensure(of_issuer, || format!("{key:?} reads in namespace {namespace}"))
    };
    match fact {
        Fact::Reads(_, key, secret) => own(key, &secret.namespace),
        Fact::Mints(_, key, spec) => own(key, &spec.namespace),
        Fact::Asks(asks) => {
            let issuer = world.issuer_of(&asks.key);
            if let Some(token) = &asks.token {
                let made = world.record.tokens.get(token.as_str());
                let own = made.is_some_and(|made| issuer.is_none_or(|issuer| made.issuer == issuer));
                ensure(own, || format!("{:?} sends the token of another issuer", asks.key))?;
            }
            let secret = issuer.map(|id| match id {
                IssuerId::Shared => fixture::service_account_token(),
                id => format!("{CANARY}-secret-{}-", id.namespace()),
            });
            let login = asks.operation == Operation::Login;
            ensure(
                !login || secret.is_some_and(|secret| asks.body.contains(&secret)),
                || format!("{:?} logs in with another issuer's credentials", asks.key),
            )
        }
        _ => Ok(()),
    }
}

pub(super) fn s9(world: &World, fact: &Fact) -> Finding {
    let Fact::Served(served) = fact else {
        return Ok(());
    };
    let request = served.signed.and_then(|csr| world.record.requests.get(&csr));
    ensure(request.is_none_or(|request| request.credit > 0), || {
        format!(
            "a signature too many for uid-{}, asked for by {:?}",
            served.signed.unwrap_or_default(),
            served.who
        )
    })
}

pub(super) fn s10(world: &World, fact: &Fact) -> Finding {
    let text = match fact {
        Fact::Tells(_, event) => format!("{} {}", event.reason, event.note),
        Fact::Wrote(wrote) => wrote.patch.body.to_string(),
        _ => return Ok(()),
    };
    let token = world
        .vaults
        .iter()
        .flat_map(|vault| vault.grants())
        .any(|grant| text.contains(&*grant.token));
    ensure(!text.contains(CANARY) && !token, || format!("a secret is told: {text}"))
}

pub(super) fn s12(world: &World, fact: &Fact) -> Finding {
    let Fact::Asks(asks) = fact else {
        return Ok(());
    };
    ensure(asks.origin.starts_with("https://"), || {
        format!("{:?} asks {}", asks.key, asks.origin)
    })?;
    let credentials = asks.token.is_some() || asks.operation == Operation::Login;
    ensure(!credentials || asks.known, || {
        format!(
            "{:?} sends credentials to {}, where its issuer never was",
            asks.key, asks.origin
        )
    })?;
    let made = asks.token.as_deref().and_then(|token| world.record.tokens.get(token));
    let at = |made: &Token| HOSTS.get(made.host).is_some_and(|host| asks.origin.contains(host));
    ensure(made.is_none_or(at), || {
        format!("{:?} sends a token to {}, which did not make it", asks.key, asks.origin)
    })
}

pub(super) fn s17(_: &World, fact: &Fact) -> Finding {
    let Fact::Asks(asks) = fact else {
        return Ok(());
    };
    ensure(asks.limit <= 1 << 20, || {
        format!("a reply of {} bytes would be read", asks.limit)
    })
}

pub(super) fn s19(world: &World, fact: &Fact) -> Finding {
    let Fact::Asks(asks) = fact else {
        return Ok(());
    };
    let token = asks.token.as_deref().and_then(|token| world.record.tokens.get(token));
    // One whose end cannot be known for sure, since a renewal was lost, is revoked all the same.
    if asks.operation == Operation::Revoke {
        return Ok(());
    }
    // By the clock of the process, which may be slow.
    let clock = world.setup.clocks.get(asks.who.index());
    let slow = clock.map_or(0, |clock| clock.rate.min(0).unsigned_abs());
    let life = world.setup.token_ttl * (1000 + slow) / 1000;
    let over = token.is_some_and(|token| token.at + life <= world.now);
    ensure(!over, || format!("{:?} uses a token after its end", asks.key))
}

pub(super) fn s20(world: &World, fact: &Fact) -> Finding {
    let Fact::Served(served) = fact else {
        return Ok(());
    };
    let Some((grant, _)) = &served.granted else {
        return Ok(());
    };
    let Some(issuer) = world.issuer_of(&served.key) else {
        return Ok(());
    };
    // A token and those that it takes the place of, for each process; the one that asks is out of its slot.
    let each = 2 + world.record.changes(issuer, world.now);
    let orphans = usize::try_from(world.record.orphans).unwrap_or(usize::MAX);
    let most = each * (1 + world.running().count()) + orphans;
    let live = live_tokens(world, Some(issuer)) + usize::from(!world.record.tokens.contains_key(&grant.token));
    ensure(live <= most, || format!("{issuer:?} has {live} tokens"))
}

/// Returns how many tokens are alive that were made for an issuer, or for any.
pub(super) fn live_tokens(world: &World, issuer: Option<IssuerId>) -> usize {
    let live = world.vaults.iter().flat_map(|vault| vault.grants());
    let made_for = |token: &str| world.record.tokens.get(token).map(|made| made.issuer);
    live.filter(|grant| issuer.is_none_or(|issuer| made_for(&grant.token) == Some(issuer)))
        .count()
}

pub(super) fn l4(world: &World, fact: &Fact) -> Finding {
    let Fact::Asks(asks) = fact else {
        return Ok(());
    };
    let issuer = world.issuer_of(&asks.key).map(|issuer| (asks.who, issuer));
    let Some((since, until)) = issuer.and_then(|issuer| world.record.held_off.get(&issuer)) else {
        return Ok(());
    };
    // A task that was under way goes on; clocks differ by a little.
    let early = asks.begun > *since && world.now + Duration::from_millis(50) < *until;
    ensure(!early, || {
        format!(
            "{:?} asks {:?} before Retry-After is over",
            asks.key,
            until.saturating_sub(world.now)
        )
    })
}

pub(super) fn l9(_: &World, fact: &Fact) -> Finding {
    let Fact::Stopped(stopped) = fact else {
        return Ok(());
    };
    ensure(stopped.unsaved == 0 || stopped.hindered, || {
        format!("{:?} stops with {} certificates unsaved", stopped.who, stopped.unsaved)
    })
}
