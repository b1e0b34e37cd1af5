//! The task that checks an issuer and writes its status.

use std::time::Duration;

use super::drop_in::{BUILT_IN_ACTIVE, IssuerStatusMode, READY_GRACE};
use super::issuer::Epoch;
use super::issuer_events;
use super::observed::ObservedIssuer;
use super::outcome::{Again, Ending, Event, Key, Outcome, Verdict, WriteError};
use super::state::State;
use super::status::{self, StatusPatch};
use crate::access::{self, AccessError, Held, ServerHealth, Warning};
use crate::reference::{ConfigMapRef, IssuerKey, SecretRef, TokenSource};
use crate::target::Target;
use crate::{Now, Request};

/// The time after which a status that was not saved is written again, and the longest by which the API server can delay a
/// check.
const UNSAVED: Duration = Duration::from_secs(15);

/// The time after which it is written again if the object had changed.
const CONFLICT: Duration = Duration::from_secs(1);

/// The check of one issuer.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Task {
    key: IssuerKey,
    uid: String,
    /// The generation and epoch of the issuer when the check began.
    revision: (i64, Epoch),
}

/// A question of this task.
pub(super) enum Step {
    Exchange(Request, Task, access::AwaitReply),
    MintToken(TokenSource, Task, access::AwaitToken),
    ReadConfigMap(ConfigMapRef, Task, access::AwaitConfigMap),
    ReadSecret(SecretRef, Task, access::AwaitSecret),
    Write(StatusPatch, Writing),
    Publish(Event, Ending),
    Done(Outcome),
}

/// Begins to check an issuer: its spec, its Secrets, its Vault.
pub(super) fn begin(state: &mut State, now: Now, key: IssuerKey) -> Step {
    let namespace = state.secret_namespace(&key);
    // Where two controllers sign for an issuer, each request costs two certificates.
    if state.withdrawn.contains(&key.kind) {
        return withdrawn(state, key);
    }
    let Some(issuer) = state.issuers.get(&key) else {
        return end(state, key, Outcome::Idle, Again::Never);
    };
    let mut held = Held {
        access: issuer.access.clone(),
        secret_id: issuer.secret_id.clone(),
        refused: issuer.refused.clone(),
        room: state.issuers.room(&key),
    };
    if let Some(access) = &mut held.access {
        // Many issuers may share one server, whose health is then read once for all of them.
        if state.servers.is_healthy(&access.vault, now) {
            access.skip_health();
        }
        state.compare(access);
    }
    let target = if issuer.size.is_beyond {
        Err(AccessError::Quota)
    } else {
        let parsed = Target::parse(&issuer.observed.spec, &key, &namespace, &state.config.policy);
        parsed.map_err(AccessError::from)
    };
    let task = Task {
        uid: issuer.observed.uid.clone(),
        revision: issuer.revision(),
        key,
    };
    let step = match target {
        Ok(target) => {
            state.sources.assign(
                &task.key,
                access::sources(&target, &namespace).into_iter().collect(),
                now,
            );
            access::begin(target, &namespace, held, now)
        }
        // The token is kept: it is good again as soon as the spec is corrected.
        Err(error) => access::Step::Done(access::CheckOutcome::failed(held.access, error)),
    };
    task.advance(state, now, step)
}

/// Publishes once that another controller signs for an issuer.
fn withdrawn(state: &mut State, key: IssuerKey) -> Step {
    let outcome = Outcome::NotReady(BUILT_IN_ACTIVE);
    let Some(issuer) = state.issuers.get_mut(&key) else {
        return end(state, key, Outcome::Idle, Again::Never);
    };
    if issuer.handover.last_event.replace(BUILT_IN_ACTIVE) == Some(BUILT_IN_ACTIVE) {
        return end(state, key, Outcome::Idle, Again::Never);
    }
    let event = issuer_events::withdrawn(key.clone(), issuer.observed.uid.clone());
    Step::Publish(event, Ending::new(Key::Issuer(key), outcome, Again::Never))
}

fn end(state: &mut State, key: IssuerKey, outcome: Outcome, again: impl Into<Again>) -> Step {
    Step::Done(state.end(Ending::new(Key::Issuer(key), outcome, again)))
}

impl Task {
    pub(super) fn advance(self, state: &mut State, now: Now, step: access::Step) -> Step {
        match step {
            access::Step::Exchange(request, access) => Step::Exchange(request, self, access),
            access::Step::MintToken(source, access) => Step::MintToken(source, self, access),
            access::Step::ReadConfigMap(config_map, access) => Step::ReadConfigMap(config_map, self, access),
            access::Step::ReadSecret(secret, access) => Step::ReadSecret(secret, self, access),
            access::Step::Done(outcome) => self.on_checked(state, now, outcome),
        }
    }

    /// Keeps the access that the check returned, records its verdict, and writes the status.
    fn on_checked(self, state: &mut State, now: Now, checked: access::CheckOutcome) -> Step {
        let access::CheckOutcome {
            access,
            superseded,
            secret_id,
            refused,
            health,
            verdict,
        } = checked;
        if let Some(ServerHealth { vault, good }) = health {
            let until = now.monotonic + state.config.check_interval;
            state.servers.note(&vault, good.then_some(until), now);
        }
        let known = state.issuers.get_mut(&self.key);
        let Some(issuer) = known.filter(|issuer| issuer.observed.uid == self.uid) else {
            // The access that the issuer held was retired with it.
            state.retire(&self.key, access, now.monotonic);
            return end(state, self.key, Outcome::Idle, Again::Never);
        };
        let superseded = issuer.keep(access, superseded);
        issuer.secret_id = secret_id.or_else(|| issuer.secret_id.take());
        issuer.refused = refused.filter(|_| issuer.observed.generation == self.revision.0);
        let (revision, observed) = (issuer.revision(), issuer.observed.clone());
        let warning = issuer.warning(now);
        state.issuers.measure(&self.key);
        state.supersede(&self.key, superseded, now);
        if revision != self.revision {
            return self.on_outdated(state, now, revision.0, verdict);
        }
        let (outcome, again) = state.apply_verdict(&self.key, &verdict, now);
        let epoch = state
            .issuers
            .get(&self.key)
            .map_or(revision.1, |issuer| issuer.revision().1);
        let warning = warning.filter(|_| verdict.is_ok());
        let verdict = verdict.map_err(|error| (error.reason(), error.to_string()));
        let key = Key::Issuer(self.key.clone());
        let patch = match state.status_mode(&self.key) {
            None => status::issuer(key.clone(), &observed, verdict.clone(), warning, now),
            Some(mode) if !mode.writes(observed.ready_writers) => {
                return self.publish_verdict(
                    state,
                    mode,
                    &observed,
                    (verdict, warning),
                    Ending::new(key, outcome, again),
                );
            }
            Some(mode) => {
                if let Some(until) = self.left_to_others_until(state, mode, &observed, now) {
                    let again = again.map_or(until, |again| again.min(until));
                    return end(state, self.key, outcome, Some(again));
                }
                // Server-side apply refuses to take a condition over from another manager unless it is forced.
                let force = mode == IssuerStatusMode::Own;
                status::drop_in(&self.key, &observed, verdict.clone(), force, now)
            }
        };
        let Some(patch) = patch else {
            return end(state, self.key, outcome, again);
        };
        let event = issuer_events::written(&observed, key, verdict, warning);
        let writing = Writing {
            key: self.key,
            epoch,
            event,
            outcome,
            again,
        };
        Step::Write(patch, writing)
    }

    /// Drops a verdict on an issuer that has changed, or for which a signature has failed, since the check began.
    ///
    /// The next check is due already, but must not ask this Vault before it wants to be asked again.
    fn on_outdated(self, state: &mut State, now: Now, generation: i64, verdict: Result<(), AccessError>) -> Step {
        state.issuers.doubt(&self.key);
        let same_spec = generation == self.revision.0;
        let least = verdict
            .err()
            .filter(|_| same_spec)
            .and_then(|error| error.retry_after());
        if let Some(least) = least {
            state.postpone_check(&self.key, now.monotonic + least);
        }
        end(state, self.key, Outcome::Idle, Again::Never)
    }

    /// Returns the time until which a condition is left to others, if it is.
    fn left_to_others_until(
        &self,
        state: &mut State,
        mode: IssuerStatusMode,
        observed: &ObservedIssuer,
        now: Now,
    ) -> Option<Duration> {
        let issuer = state.issuers.get_mut(&self.key)?;
        let until = *issuer.handover.write_after.get_or_insert(now.monotonic + READY_GRACE);
        (mode.is_open(observed.ready_writers) && now.monotonic < until).then_some(until)
    }

    /// Publishes a verdict that is not written, if it is news.
    fn publish_verdict(
        self,
        state: &mut State,
        mode: IssuerStatusMode,
        observed: &ObservedIssuer,
        (verdict, warning): (Verdict, Option<Warning>),
        ending: Ending,
    ) -> Step {
        let Some(issuer) = state.issuers.get_mut(&self.key) else {
            return Step::Done(state.end(ending));
        };
        let handover = &mut issuer.handover;
        let event = if mode.yields(observed.ready_writers) && !std::mem::replace(&mut handover.left_to_others, true) {
            Some(issuer_events::yielded(observed, ending.key.clone()))
        } else {
            let event = issuer_events::unwritten(observed, ending.key.clone(), verdict, warning, handover.last_event);
            handover.last_event = event.as_ref().map(|event| event.reason).or(handover.last_event);
            event
        };
        match event {
            Some(event) => Step::Publish(event, ending),
            None => Step::Done(state.end(ending)),
        }
    }
}

/// The write of an issuer's status.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Writing {
    key: IssuerKey,
    epoch: Epoch,
    event: Option<Event>,
    outcome: Outcome,
    again: Option<Duration>,
}

impl Writing {
    pub(super) fn resume(self, state: &mut State, now: Now, answer: Result<(), WriteError>) -> Step {
        let Self {
            key,
            epoch,
            event,
            outcome,
            again,
        } = self;
        let suspended = state
            .issuers
            .get(&key)
            .is_some_and(|issuer| issuer.revision().1 != epoch);
        match answer {
            Ok(()) => match event {
                Some(event) => Step::Publish(event, Ending::new(Key::Issuer(key), outcome, again)),
                None => end(state, key, outcome, again),
            },
            // If the issuer is gone, the watch will show that, and cancel the next check.
            Err(WriteError::NotFound) => end(state, key, outcome, again),
            // The next check, which must not become due sooner, writes what it finds.
            Err(_) if suspended => end(state, key, Outcome::Unsaved, Again::Never),
            // The next check writes what it finds; before that, the same would be refused.
            Err(WriteError::Refused) => end(state, key, Outcome::Unsaved, again),
            // The next check follows soon and writes the status; it must not be brought forward.
            Err(error) if matches!(outcome, Outcome::NotReady(_)) && again.is_some() => {
                let least = now.monotonic + error.wait().min(UNSAVED);
                end(state, key, Outcome::Unsaved, again.map(|again| again.max(least)))
            }
            Err(error) => {
                // A conflict is over as soon as the watch shows the other write; other failures may last.
                let wait = if error == WriteError::Conflict {
                    CONFLICT
                } else {
                    UNSAVED
                };
                let soon = now.monotonic + wait;
                let again = again.map_or(soon, |again| again.min(soon));
                end(state, key, Outcome::Unsaved, Some(again))
            }
        }
    }
}
