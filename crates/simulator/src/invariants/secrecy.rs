use issuer_core::Operation;
use issuer_core::reconcile::Key;

use crate::fixture::{self, CANARY, HOSTS, IssuerId};
use crate::observation::Observation;
use crate::record::TokenRecord;
use crate::world::{Finding, World, ensure};

/// S8.
pub(super) fn credentials_of_issuer(world: &World, observation: &Observation) -> Finding {
    let own = |key: &Key, namespace: &str| {
        let issuer = world.issuer_of(key);
        let of_issuer = matches!(key, Key::Issuer(_)) && issuer.is_some_and(|issuer| issuer.namespace() == namespace);
        ensure(of_issuer, || format!("{key:?} reads in namespace {namespace}"))
    };
    match observation {
        Observation::SecretRead(_, key, secret) => own(key, &secret.namespace),
        Observation::TokenRequested(_, key, spec) => own(key, &spec.namespace),
        Observation::Sent(sent) => {
            let issuer = world.issuer_of(&sent.key);
            if let Some(token) = &sent.token {
                let record = world.record.tokens.get(token.as_str());
                let own = record.is_some_and(|record| issuer.is_none_or(|issuer| record.issuer == issuer));
                ensure(own, || format!("{:?} sends the token of another issuer", sent.key))?;
            }
            let secret = issuer.map(|id| match id {
                IssuerId::Shared => fixture::service_account_token(),
                id => format!("{CANARY}-secret-{}-", id.namespace()),
            });
            let login = sent.operation == Operation::Login;
            ensure(
                !login || secret.is_some_and(|secret| sent.body.contains(&secret)),
                || format!("{:?} logs in with another issuer's credentials", sent.key),
            )
        }
        _ => Ok(()),
    }
}

/// S10.
pub(super) fn secrets_stay_secret(world: &World, observation: &Observation) -> Finding {
    let text = match observation {
        Observation::Published(_, event) => format!("{} {}", event.reason, event.note),
        Observation::Wrote(wrote) => wrote.patch.body.to_string(),
        _ => return Ok(()),
    };
    let token = world
        .vaults
        .iter()
        .flat_map(|vault| vault.grants())
        .any(|grant| text.contains(&*grant.token));
    ensure(!text.contains(CANARY) && !token, || {
        format!("a secret is published: {text}")
    })
}

/// S12.
pub(super) fn credentials_stay_at_origin(world: &World, observation: &Observation) -> Finding {
    let Observation::Sent(sent) = observation else {
        return Ok(());
    };
    ensure(sent.origin.starts_with("https://"), || {
        format!("{:?} sends to {}", sent.key, sent.origin)
    })?;
    let credentials = sent.token.is_some() || sent.operation == Operation::Login;
    ensure(!credentials || sent.known, || {
        format!(
            "{:?} sends credentials to {}, which its issuer never named",
            sent.key, sent.origin
        )
    })?;
    let record = sent.token.as_deref().and_then(|token| world.record.tokens.get(token));
    let at = |record: &TokenRecord| HOSTS.get(record.host).is_some_and(|host| sent.origin.contains(host));
    ensure(record.is_none_or(at), || {
        format!(
            "{:?} sends a token to {}, which did not create it",
            sent.key, sent.origin
        )
    })
}

/// S17.
pub(super) fn replies_are_bounded(_: &World, observation: &Observation) -> Finding {
    let Observation::Sent(sent) = observation else {
        return Ok(());
    };
    ensure(sent.limit <= 256 << 10, || {
        format!("a reply of {} bytes would be read", sent.limit)
    })
}
