use std::time::Duration;

use super::controller::Controller;
use super::{
    AwaitPublish, AwaitReply, AwaitSecret, AwaitToken, AwaitWrite, Event, Key, Outcome, Replied, Step, WriteError,
    Wrote, status,
};
use crate::Now;
use crate::access;
use crate::reference::IssuerKey;
use crate::target::Target;

/// How long a superseded token is left to the requests that are being signed with it.
const IN_USE: Duration = Duration::from_secs(30);

/// The check of one issuer.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Task {
    key: IssuerKey,
    uid: String,
    /// The generation that the check is about.
    generation: i64,
    epoch: u64,
}

/// Begins to check an issuer: its spec, its Secrets, its Vault.
pub(super) fn begin(controller: &mut Controller, now: Now, key: IssuerKey) -> Step {
    let namespace = controller.secret_namespace(&key);
    let Some(issuer) = controller.issuers.get(&key) else {
        return controller.finish(&Key::Issuer(key), Outcome::Idle, None);
    };
    let observed = &issuer.observed;
    let held = issuer.access.clone();
    let (generation, epoch) = (observed.generation, issuer.epoch);
    let task = Task {
        key,
        uid: observed.uid.clone(),
        generation,
        epoch,
    };
    let step = match Target::parse(&observed.spec, &task.key, controller.config.allow_http) {
        Ok(target) => access::begin(target, &namespace, held, now),
        Err(error) => access::Step::Done(access::Outcome::failed(held, error)),
    };
    task.advance(controller, now, step)
}

impl Task {
    pub(super) fn advance(self, controller: &mut Controller, now: Now, step: access::Step) -> Step {
        match step {
            access::Step::Exchange(request, state) => Step::Exchange(request, AwaitReply(Replied::Issuer(self, state))),
            access::Step::MintToken(spec, state) => Step::MintToken(spec, AwaitToken(self, state)),
            access::Step::ReadSecret(secret, state) => Step::ReadSecret(secret, AwaitSecret(self, state)),
            access::Step::Done(outcome) => self.checked(controller, now, outcome),
        }
    }

    /// Keeps what the check found, wakes the requests that wait for it, and tells the user.
    fn checked(self, controller: &mut Controller, now: Now, found: access::Outcome) -> Step {
        let key = Key::Issuer(self.key.clone());
        let access::Outcome {
            access,
            superseded,
            verdict,
        } = found;
        let known = controller.issuers.get_mut(&self.key);
        let Some(issuer) = known.filter(|issuer| issuer.observed.uid == self.uid) else {
            // What it held before was let go of with the issuer.
            controller.retire(access, now.monotonic);
            return controller.finish(&key, Outcome::Idle, None);
        };
        issuer.access = access;
        let current = (issuer.observed.generation, issuer.epoch) == (self.generation, self.epoch);
        let observed = issuer.observed.clone();
        controller.retire(superseded, now.monotonic + IN_USE);
        if !current {
            // The spec has changed, or a signature has failed, since the check began: the next one is due already, but
            // not before this Vault wants to be asked again.
            let same = observed.generation == self.generation;
            let least = verdict.err().filter(|_| same).and_then(|error| error.retry_after());
            if let Some(least) = least {
                controller.queue.postpone(&key, now.monotonic + least);
            }
            return controller.finish(&key, Outcome::Idle, None);
        }
        let (outcome, again) = controller.settle(&self.key, &verdict, now);
        let told = verdict.map_err(|error| (error.reason(), error.to_string()));
        let Some(patch) = status::ready(key.clone(), &observed, told.clone(), now) else {
            return controller.finish(&key, outcome, again);
        };
        let reason = told.as_ref().map_or_else(|(reason, _)| *reason, |()| "VaultVerified");
        let turned = observed.status.ready().is_none_or(|before| before.reason != reason);
        let event = turned.then(|| Event {
            regarding: key.clone(),
            uid: self.uid,
            warning: told.is_err(),
            reason,
            note: told.map_or_else(|(_, message)| message, |()| "Vault verified".to_owned()),
        });
        let writing = Writing {
            key: self.key,
            epoch: self.epoch,
            event,
            outcome,
            again,
        };
        Step::WriteStatus(patch, AwaitWrite(Wrote::Issuer(writing)))
    }
}

/// The write of an issuer's status.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Writing {
    key: IssuerKey,
    epoch: u64,
    event: Option<Event>,
    outcome: Outcome,
    again: Option<Duration>,
}

impl Writing {
    pub(super) fn resume(self, controller: &mut Controller, now: Now, answer: Result<(), WriteError>) -> Step {
        let Self {
            key,
            epoch,
            event,
            outcome,
            again,
        } = self;
        let suspected = controller.issuers.get(&key).is_some_and(|issuer| issuer.epoch != epoch);
        let key = Key::Issuer(key);
        match answer {
            Ok(()) => match event {
                Some(event) => Step::Publish(event, AwaitPublish { key, outcome, again }),
                None => controller.finish(&key, outcome, again),
            },
            Err(WriteError::NotFound) => controller.finish(&key, outcome, None),
            // The next check, which is due no sooner for this, will write what it finds.
            Err(_) if suspected => controller.finish(&key, Outcome::Unsaved, None),
            Err(_) if matches!(outcome, Outcome::NotReady(_)) && again.is_some() => {
                controller.finish(&key, Outcome::Unsaved, again)
            }
            Err(error) => {
                let wait = Duration::from_secs(if error == WriteError::Conflict { 1 } else { 15 });
                let soon = now.monotonic + wait;
                controller.finish(
                    &key,
                    Outcome::Unsaved,
                    Some(again.map_or(soon, |again| again.min(soon))),
                )
            }
        }
    }
}
