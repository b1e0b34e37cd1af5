//! The write of a request's status, its conflicts and its retries.

use std::sync::Arc;
use std::time::Duration;

use super::{Step, Task, UNSAVED};
use crate::Now;
use crate::reconcile::ledger::Conclusion;
use crate::reconcile::outcome::{Again, Ending, Event, Key, Outcome, WriteError};
use crate::reconcile::state::State;

/// The number of conflicts after which a task waits instead of reading the request again.
const REREADS: u8 = 3;

/// The number of attempts to save a certificate after which a refusal is final: an admission webhook may fail for a moment.
const ATTEMPTS: u32 = 3;

/// The longest time between two attempts to write a failure that the API server refuses.
const REFUSED: Duration = Duration::from_secs(600);

const NOT_SAVED: &str = "The certificate was signed, but the API server refuses the status that holds it: an admission policy \
                         forbids it, or it is too large";

const NOT_CLAIMED: &str =
    "Not signed: the API server refuses the claim on this request, for example because of an admission policy";

/// The write of a request's status.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(in crate::reconcile) struct Writing {
    pub(super) task: Task,
    pub(super) purpose: WritePurpose,
    pub(super) event: Option<Event>,
    /// Whether the event says no more than the status.
    pub(super) is_routine: bool,
    pub(super) outcome: Outcome,
    pub(super) again: Again,
}

/// Why a status is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum WritePurpose {
    Claim,
    Conclude,
    /// To say that the request waits, for this reason.
    Wait(&'static str),
}

impl Writing {
    pub(in crate::reconcile) fn resume(self, state: &mut State, now: Now, answer: Result<(), WriteError>) -> Step {
        match (answer, self.purpose) {
            (Ok(()), _) => self.on_written(state, now),
            (Err(WriteError::Refused), _) => self.on_refused(state, now),
            // The cause is written again later; this must not bring forward the next attempt.
            (Err(error), WritePurpose::Wait(_)) => match self.again {
                Again::At(again) => {
                    let again = again.max(now.monotonic + error.wait().min(UNSAVED));
                    self.task.end(state, Outcome::Unsaved, Again::At(again))
                }
                Again::Never | Again::WhenReady => self.task.retry_after(state, now, error.wait()),
            },
            (Err(WriteError::Conflict), _) if self.task.rereads < REREADS => {
                let mut task = self.task;
                task.rereads += 1;
                Step::Read(task.key.clone(), task)
            }
            // If the request is gone, the watch will show that. Until then a 404 may be an API server that lags.
            (Err(error), _) => self.task.retry_after(state, now, error.wait()),
        }
    }

    /// Fails the request, since the same write would be refused again. If the failure cannot be written either, an event says
    /// so and the write is repeated: cert-manager tries again only once a request has failed.
    fn on_refused(self, state: &mut State, now: Now) -> Step {
        match (self.purpose, self.outcome) {
            (WritePurpose::Conclude, Outcome::Issued) if state.attempts(&self.task.key) < ATTEMPTS => {
                self.task.retry_later(state, now)
            }
            (WritePurpose::Conclude, Outcome::Issued) => self.fail(state, now, NOT_SAVED),
            (WritePurpose::Claim, _) => self.fail(state, now, NOT_CLAIMED),
            (WritePurpose::Conclude, _) if !state.stopping => {
                let (key, uid) = (&self.task.key, self.task.uid());
                let reason = self.outcome.reason().unwrap_or_default();
                let is_news = state.announce_reason(key, uid, reason);
                let again = state.back_off(key, uid, REFUSED, now);
                let event = self.event.filter(|_| is_news);
                Self { event, ..self }.publish(state, now, Outcome::Unsaved, Again::At(again))
            }
            // A process that stops leaves it to the next one.
            (WritePurpose::Conclude, _) => Self {
                outcome: Outcome::Unsaved,
                ..self
            }
            .on_written(state, now),
            (WritePurpose::Wait(_), _) => self.on_written(state, now),
        }
    }

    fn fail(self, state: &mut State, now: Now, message: &str) -> Step {
        let conclusion = Conclusion::Failed("StatusRefused", message.to_owned());
        self.task.conclude(state, now, conclusion)
    }

    fn on_written(self, state: &mut State, now: Now) -> Step {
        let (outcome, again) = (self.outcome, self.again);
        match self.purpose {
            WritePurpose::Claim => return Step::Read(self.task.key.clone(), self.task),
            WritePurpose::Conclude => state.finish_request(&self.task.key, self.task.uid()),
            WritePurpose::Wait(reason) => state.record_reported(&self.task.key, self.task.uid(), reason),
        }
        self.publish(state, now, outcome, again)
    }

    /// Ends the task, and publishes its event unless that is routine and the budget of such events is used up.
    fn publish(self, state: &mut State, now: Now, outcome: Outcome, again: Again) -> Step {
        let (is_routine, rate) = (self.is_routine, state.config.event_rate);
        let tenant = Arc::clone(&self.task.key.namespace);
        let ending = Ending::new(Key::Request(self.task.key), outcome, again);
        match self
            .event
            .filter(|_| !is_routine || state.events.take(tenant, rate, now.monotonic))
        {
            Some(event) => Step::Publish(event, ending),
            None => Step::Done(state.end(ending)),
        }
    }
}
