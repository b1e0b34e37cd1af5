use super::{Step, Task};
use crate::Now;
use crate::reconcile::ledger::Conclusion;
use crate::reconcile::outcome::{Again, Ending, Event, Key, Outcome, WriteError};
use crate::reconcile::state::State;

/// The number of conflicts after which a task waits instead of reading the request again.
const REREADS: u8 = 3;

const NOT_SAVED: &str = "The certificate was signed, but the API server refuses to save it: the status is against an admission \
                         policy, or too large";

const NOT_CLAIMED: &str =
    "Not signed: the API server refuses the claim on this request, which is against an admission policy";

/// The write of a request's status.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(in crate::reconcile) struct Writing {
    pub(super) task: Task,
    pub(super) purpose: Purpose,
    pub(super) event: Option<Event>,
    /// Whether the event says no more than the status.
    pub(super) is_routine: bool,
    pub(super) outcome: Outcome,
    pub(super) again: Again,
}

/// What a status is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
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
            (Err(_), Purpose::Wait(_)) => match self.again {
                Again::At(again) => self.task.end(state, Outcome::Unsaved, Again::At(again)),
                Again::Never | Again::WhenReady => self.task.retry_later(state, now),
            },
            (Err(WriteError::Conflict), _) if self.task.rereads < REREADS => {
                let mut task = self.task;
                task.rereads += 1;
                Step::Read(task.key.clone(), task)
            }
            // If the request is gone, the watch will show that. Until then a 404 may be an API server that lags.
            (Err(_), _) => self.task.retry_later(state, now),
        }
    }

    /// Ends the request, or leaves it as it is: the same write would be refused each time, and nothing is signed twice.
    fn on_refused(self, state: &mut State, now: Now) -> Step {
        match (self.purpose, self.outcome) {
            (Purpose::Conclude, Outcome::Issued) => self.fail(state, now, NOT_SAVED),
            (Purpose::Claim, _) => self.fail(state, now, NOT_CLAIMED),
            // Only the event says it.
            (Purpose::Conclude | Purpose::Wait(_), _) => self.on_written(state, now),
        }
    }

    fn fail(self, state: &mut State, now: Now, message: &str) -> Step {
        let conclusion = Conclusion::Failed("StatusRefused", message.to_owned());
        self.task.conclude(state, now, conclusion)
    }

    fn on_written(self, state: &mut State, now: Now) -> Step {
        let Self {
            task,
            purpose,
            event,
            is_routine,
            outcome,
            again,
        } = self;
        match purpose {
            Purpose::Claim => return Step::Read(task.key.clone(), task),
            Purpose::Conclude => state.finish_request(&task.key, task.uid()),
            Purpose::Wait(reason) => state.record_told(&task.key, task.uid(), reason),
        }
        let ending = Ending::new(Key::Request(task.key), outcome, again);
        let rate = state.config.event_rate;
        match event.filter(|_| !is_routine || state.events.take(rate, now.monotonic)) {
            Some(event) => Step::Publish(event, ending),
            None => Step::Done(state.end(ending)),
        }
    }
}
