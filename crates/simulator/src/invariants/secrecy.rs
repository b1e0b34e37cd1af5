//! Promises about credentials and other secrets.

use std::borrow::Cow;

use issuer_core::Operation;
use issuer_core::reconcile::Key;

use crate::aws;
use crate::fixture::{self, CANARY, HOSTS, IssuerId};
use crate::login::LoginRequest;
use crate::observation::{Observation, Sent};
use crate::record::TokenRecord;
use crate::world::{Finding, World, ensure};

/// S8: an issuer only uses its own Secrets and tokens.
pub(super) fn credentials_of_issuer(world: &World, observation: &Observation) -> Finding {
    let own = |key: &Key, namespace: &str| {
        let issuer = world.issuer_of(key);
        let of_issuer = matches!(key, Key::Issuer(_)) && issuer.is_some_and(|issuer| issuer.namespace() == namespace);
        ensure(of_issuer, || format!("{key:?} reads in namespace {namespace}"))
    };
    match observation {
        Observation::SecretRead(_, key, secret) => own(key, &secret.namespace),
        Observation::TokenRequested(_, key, spec) => {
            own(key, &spec.namespace)?;
            let issuer = world.issuer_of(key);
            ensure(
                issuer.is_some_and(|issuer| fixture::has_audiences(issuer, spec)),
                || format!("{key:?} requests a token for {:?}", spec.audiences),
            )
        }
        Observation::Sent(sent) => {
            let issuer = world.issuer_of(&sent.key);
            if let Some(token) = sent.token.as_deref().filter(|_| sent.wrapping.is_none()) {
                let record = world.record.tokens.get(token);
                let own = record.is_some_and(|record| issuer.is_none_or(|issuer| record.issuer == issuer));
                ensure(own, || format!("{:?} sends the token of another issuer", sent.key))?;
            }
            let own = |issuer, login| logs_in_as(world, issuer, login, sent);
            ensure(
                sent.login
                    .is_none_or(|login| issuer.is_some_and(|issuer| own(issuer, login))),
                || format!("{:?} logs in with another issuer's credentials", sent.key),
            )
        }
        _ => Ok(()),
    }
}

/// Returns `true` if a request of a login has the credentials of an issuer.
fn logs_in_as(world: &World, issuer: IssuerId, login: LoginRequest, sent: &Sent) -> bool {
    match login {
        LoginRequest::AwsKeys => sent.body.contains(&fixture::service_account_token(issuer)),
        LoginRequest::Lookup | LoginRequest::Unwrap => {
            let wrapping = sent.wrapping.as_deref();
            issuer == IssuerId::Wrapped && wrapping.is_some_and(|token| world.record.wrapping.contains_key(token))
        }
        LoginRequest::Token => match issuer {
            IssuerId::Aws => aws::is_signed(&sent.body),
            IssuerId::Jwt | IssuerId::Shared => sent.body.contains(&fixture::service_account_token(issuer)),
            IssuerId::Team | IssuerId::Other | IssuerId::DropIn | IssuerId::Wrapped => {
                let secret_ids = format!("{CANARY}-secret-{}-", issuer.namespace());
                sent.body.contains(&secret_ids)
            }
        },
    }
}

/// S10: no secret appears in an event or a status.
pub(super) fn secrets_stay_secret(world: &World, observation: &Observation) -> Finding {
    let text = match observation {
        Observation::Published(_, event) => Cow::Owned(format!("{} {}", event.reason, event.note)),
        Observation::Wrote(wrote) => Cow::Borrowed(&*wrote.patch.body),
        _ => return Ok(()),
    };
    let token = world
        .vaults
        .iter()
        .flat_map(|vault| vault.grants())
        .any(|grant| text.contains(&*grant.token));
    let wrapping = world.record.wrapping.keys().any(|token| text.contains(&**token));
    ensure(!text.contains(CANARY) && !token && !wrapping, || {
        format!("a secret is published: {text}")
    })
}

/// S12: credentials go only to the server of the issuer, over https.
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
    // AWS gets the token that is for it and nothing else, and nobody gets the key that logins are signed with.
    let for_aws = sent.body.contains(&fixture::service_account_token(IssuerId::Aws));
    let parted = for_aws == (sent.origin == fixture::aws::STS) && !sent.body.contains(&fixture::aws::secret_key());
    ensure(parted, || {
        format!("{:?} sends credentials for another server to {}", sent.key, sent.origin)
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

/// S30. Two processes at once may both look up a token that one of them then unwraps, so a world with such an issuer has
/// one process.
pub(super) fn unwrapped_once(world: &World, observation: &Observation) -> Finding {
    let Observation::Sent(sent) = observation else {
        return Ok(());
    };
    let wrapping = sent
        .wrapping
        .as_deref()
        .and_then(|token| world.record.wrapping.get(token));
    let Some(wrapping) = wrapping else {
        return Ok(());
    };
    ensure(!wrapping.received.contains(&sent.process), || {
        format!("{:?} asks for a secret ID that it has", sent.process)
    })?;
    let unwraps = sent.login == Some(LoginRequest::Unwrap);
    ensure(!unwraps || wrapping.looked_up.contains(&sent.process), || {
        format!("{:?} unwraps a secret ID without a lookup", sent.process)
    })?;
    let host = HOSTS.iter().position(|host| sent.origin.contains(host));
    let is_spent = host.is_some_and(|host| wrapping.unwrapped.contains(&host));
    ensure(!unwraps || !is_spent, || {
        format!("{:?} unwraps a secret ID a second time", sent.process)
    })
}

/// S17: replies are read up to 256 KiB.
pub(super) fn replies_are_bounded(_: &World, observation: &Observation) -> Finding {
    let Observation::Sent(sent) = observation else {
        return Ok(());
    };
    ensure(sent.limit <= 256 << 10, || {
        format!("a reply of {} bytes would be read", sent.limit)
    })
}
