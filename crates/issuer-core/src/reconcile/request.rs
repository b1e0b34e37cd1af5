use std::sync::Arc;
use std::time::Duration;

use issuer_api::CertificateRequest;

use super::backoff::backoff;
use super::claim::Holder;
use super::issuers::{Epoch, Unready};
use super::ledger::{Conclusion, Entry, Ledger};
use super::outcome::{Ending, Event, Key, Outcome, WriteError};
use super::state::State;
use super::status::{self, StatusPatch};
use crate::access::{Access, ReadError};
use crate::reference::{IssuerKey, RequestKey, is_object_name};
use crate::vault::{Disposition, Lease, Sign, SignError};
use crate::{Flow, Now, Reply, Request, RequestSpec, SigningRequest, Verified};

/// The number of conflicts after which a task waits instead of reading the request again.
const REREADS: u8 = 3;

/// One request, as the watch or the API server last showed it.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Task {
    key: RequestKey,
    object: Arc<CertificateRequest>,
    rereads: u8,
}

/// A question of this task.
pub(super) enum Step {
    Send(Request, Box<Signing>),
    Read(RequestKey, Task),
    Write(StatusPatch, Box<Writing>),
    Publish(Event, Ending),
    Done(Outcome),
}

/// What a request waits for.
#[derive(Debug)]
enum Cause {
    IssuerMissing,
    IssuerNotReady,
    SignFailed(SignError),
}

impl Cause {
    fn reason(&self) -> &'static str {
        match self {
            Self::IssuerMissing => "IssuerNotFound",
            Self::IssuerNotReady => "IssuerNotReady",
            Self::SignFailed(error) => error.reason(),
        }
    }

    fn message(&self, issuer: &IssuerKey) -> String {
        match self {
            Self::IssuerMissing if is_object_name(&issuer.name) => format!("Waiting for the creation of {issuer}"),
            Self::IssuerMissing => {
                "Waiting for the creation of an issuer, whose name cannot be that in spec.issuerRef.name".to_owned()
            }
            Self::IssuerNotReady => format!("Waiting for {issuer} to become ready"),
            Self::SignFailed(error) => format!("Not signed yet, it is tried again: {error}"),
        }
    }
}

pub(super) fn begin(state: &mut State, now: Now, key: RequestKey) -> Step {
    match state.requests.get(&key) {
        Some(tracked) => {
            let object = Arc::clone(&tracked.object);
            Task {
                key,
                object,
                rereads: 0,
            }
            .decide(state, now)
        }
        None => Step::Done(state.end(Ending::new(Key::Request(key), Outcome::Idle, None))),
    }
}

impl Task {
    fn uid(&self) -> &str {
        self.object.uid()
    }

    fn end(self, state: &mut State, outcome: Outcome, again: Option<Duration>) -> Step {
        Step::Done(state.end(Ending::new(Key::Request(self.key), outcome, again)))
    }

    /// Decides what the request, as it is now, needs next.
    fn decide(self, state: &mut State, now: Now) -> Step {
        let concluded = match state.ledger.find(self.uid()) {
            Some(Entry::Signing) => return self.end(state, Outcome::Idle, None),
            Some(Entry::Concluded(conclusion)) => Some(conclusion.clone()),
            None => None,
        };
        if self.object.is_terminal() {
            state.finish_request(&self.key, self.uid());
            return self.end(state, Outcome::Idle, None);
        }
        if self.object.is("Denied") {
            return self.conclude(state, now, Conclusion::Denied);
        }
        if let Some(conclusion) = concluded {
            return self.conclude(state, now, conclusion);
        }
        if self.object.is("InvalidRequest") || !self.object.is("Approved") {
            return self.end(state, Outcome::Idle, None);
        }
        let spec = &self.object.spec;
        let Some(issuer) = IssuerKey::of(&spec.issuer_ref, &self.key.namespace) else {
            return self.end(state, Outcome::Idle, None);
        };
        let csr = spec.request.decode().unwrap_or_default();
        let spec = RequestSpec {
            csr: &csr,
            duration: spec.duration.as_deref(),
            is_ca: spec.is_ca,
            usages: &spec.usages,
        };
        match SigningRequest::parse(spec, &state.config.verify.signatures) {
            Ok(wanted) => self.sign_when_ready(state, now, issuer, wanted),
            Err(error) => {
                let message = format!("The request cannot be signed: {error}");
                self.conclude(state, now, Conclusion::Invalid(message))
            }
        }
    }

    /// Signs the request if its issuer is ready; otherwise lets it wait.
    fn sign_when_ready(self, state: &mut State, now: Now, issuer: IssuerKey, wanted: SigningRequest) -> Step {
        let (access, epoch) = match state.issuers.access_to_sign(&issuer, now) {
            Ok(ready) => ready,
            Err(Unready::Missing) => return self.pend(state, now, &issuer, &Cause::IssuerMissing, None),
            Err(unready) => {
                if unready == Unready::Expired {
                    // The check logs in at once, so this is not worth a status.
                    state.demand_token(&issuer, now);
                    state.wait_for_issuer(&self.key, self.uid(), true);
                    return self.end(state, Outcome::Pending("TokenExpired"), None);
                }
                return self.pend(state, now, &issuer, &Cause::IssuerNotReady, None);
            }
        };
        if let Err(mismatch) = access.path.takes(wanted.is_ca()) {
            let message = format!("{issuer} cannot sign this: {mismatch}");
            return self.conclude(state, now, Conclusion::Failed("CaMismatch", message));
        }
        if state.ledger.unsaved() >= Ledger::CAPACITY {
            return self.end(state, Outcome::Idle, Some(now.monotonic + Duration::from_secs(1)));
        }
        match state.holder(&self.key, &self.object, now) {
            Holder::Us => self.sign(state, now, (issuer, epoch), &access, wanted),
            Holder::Nobody => self.claim(state, now),
            Holder::Other(until) => self.end(state, Outcome::Pending("Claimed"), Some(until)),
        }
    }

    fn sign(
        self,
        state: &mut State,
        now: Now,
        (issuer, epoch): (IssuerKey, Epoch),
        access: &Access,
        wanted: SigningRequest,
    ) -> Step {
        debug_assert!(
            self.object.is("Approved") && !self.object.is("Denied"),
            "S1: the request is not approved"
        );
        debug_assert!(!self.object.is_terminal(), "S2: the request has finished");
        debug_assert!(access.lease.is_usable(now), "S19: the token has expired");
        let step = Sign::begin(&access.vault, &access.path, &access.lease, wanted, state.config.verify);
        state.ledger.set(self.uid(), Entry::Signing);
        let signing = Context {
            task: self,
            issuer,
            epoch,
            lease: access.lease.clone(),
        };
        signing.advance(state, now, step)
    }

    /// Claims the request, and reads it again.
    fn claim(self, state: &mut State, now: Now) -> Step {
        let Some(patch) = state.claim(&self.key, &self.object, now) else {
            return self.end(state, Outcome::Idle, None);
        };
        let writing = Writing {
            task: self,
            purpose: Purpose::Claim,
            event: None,
            outcome: Outcome::Idle,
            again: None,
        };
        Step::Write(patch, Box::new(writing))
    }

    fn on_refused(self, state: &mut State, now: Now, (issuer, epoch): (IssuerKey, Epoch), error: SignError) -> Step {
        match error.disposition() {
            Disposition::Fail => {
                let conclusion = Conclusion::Failed(error.reason(), error.to_string());
                self.conclude(state, now, conclusion)
            }
            disposition @ (Disposition::Recheck | Disposition::Retry) => {
                if disposition == Disposition::Recheck {
                    state.report_sign_failure(&issuer, epoch, &error, now);
                }
                let attempts = state.count_attempt(&self.key, self.uid());
                let wait = backoff(attempts, Duration::from_secs(1), Duration::from_secs(300));
                let again = now.monotonic + state.jitter.over(wait);
                self.pend(state, now, &issuer, &Cause::SignFailed(error), Some(again))
            }
        }
    }

    /// Continues with the request as the API server has it now.
    pub(super) fn on_read(self, state: &mut State, now: Now, answer: Result<CertificateRequest, ReadError>) -> Step {
        match answer {
            Ok(read) if read.uid() == self.uid() => match state.requests.refresh(&self.key, read) {
                Some(object) => Self { object, ..self }.decide(state, now),
                None => self.end(state, Outcome::Idle, None),
            },
            // The watch will show the other request of this name, or that there is none.
            Ok(other) => {
                state.requests.refresh(&self.key, other);
                state.finish_request(&self.key, self.uid());
                self.end(state, Outcome::Idle, None)
            }
            Err(ReadError::NotFound) => {
                state.finish_request(&self.key, self.uid());
                self.end(state, Outcome::Idle, None)
            }
            Err(ReadError::Forbidden | ReadError::Unavailable) => self.retry_later(state, now),
        }
    }

    fn retry_later(self, state: &mut State, now: Now) -> Step {
        let attempts = state.count_attempt(&self.key, self.uid());
        // A process that stops has only seconds left to save what is signed.
        let most = if state.stopping { 1 } else { 60 };
        let wait = backoff(attempts, Duration::from_secs(1), Duration::from_secs(most));
        let again = now.monotonic + state.jitter.over(wait);
        self.end(state, Outcome::Unsaved, Some(again))
    }

    /// Writes the conclusion. The ledger keeps it until it is saved.
    fn conclude(self, state: &mut State, now: Now, conclusion: Conclusion) -> Step {
        let patch = status::conclude(&self.object, &conclusion, now);
        let note = conclusion.note();
        let (outcome, event) = match &conclusion {
            Conclusion::Denied => (Outcome::Denied, None),
            Conclusion::Failed(reason, _) => (Outcome::Failed(reason), Some((true, *reason))),
            Conclusion::Invalid(_) => (Outcome::Failed("InvalidRequest"), Some((true, "InvalidRequest"))),
            Conclusion::Issued(_) => (Outcome::Issued, Some((false, "CertificateIssued"))),
        };
        state.ledger.set(self.uid(), Entry::Concluded(conclusion));
        let event = event.map(|(warning, reason)| self.event(warning, reason, note));
        let writing = Writing {
            task: self,
            purpose: Purpose::Conclude,
            event,
            outcome,
            again: None,
        };
        Step::Write(patch, Box::new(writing))
    }

    /// Lets the request wait until `again`, or until its issuer becomes ready.
    fn pend(self, state: &mut State, now: Now, issuer: &IssuerKey, cause: &Cause, again: Option<Duration>) -> Step {
        let (reason, message) = (cause.reason(), cause.message(issuer));
        let outcome = Outcome::Pending(reason);
        state.wait_for_issuer(&self.key, self.uid(), again.is_none());
        let patch = if self.has_better_cause(issuer, cause) {
            None
        } else {
            status::pend(&self.object, &message, now)
        };
        let Some(patch) = patch else {
            return self.end(state, outcome, again);
        };
        let event = Some(self.event(again.is_some(), reason, message));
        let writing = Writing {
            task: self,
            purpose: Purpose::Wait,
            event,
            outcome,
            again,
        };
        Step::Write(patch, Box::new(writing))
    }

    /// Returns `true` if the status already gives a cause that says more: an issuer that is not ready says less than the
    /// failure that made it so, but more than an issuer that does not exist.
    fn has_better_cause(&self, issuer: &IssuerKey, cause: &Cause) -> bool {
        let ready = self.object.condition("Ready");
        let pending = ready.filter(|ready| ready.reason.as_deref() == Some("Pending"));
        let message = pending.and_then(|ready| ready.message.as_deref());
        matches!(cause, Cause::IssuerNotReady)
            && message.is_some_and(|message| message != Cause::IssuerMissing.message(issuer))
    }

    fn event(&self, warning: bool, reason: &'static str, note: String) -> Event {
        Event {
            regarding: Key::Request(self.key.clone()),
            uid: self.uid().to_owned(),
            warning,
            reason,
            note,
        }
    }
}

/// A request whose certificate is being signed, and the conversation with Vault.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Signing {
    context: Context,
    flow: Sign,
}

/// The request that is signed, and the issuer that signs it.
#[derive(Clone, Debug, PartialEq, Hash)]
struct Context {
    task: Task,
    issuer: IssuerKey,
    epoch: Epoch,
    /// The token that signs.
    lease: Lease,
}

impl Signing {
    pub(super) fn resume(self, state: &mut State, now: Now, reply: Reply) -> Step {
        let step = self.flow.resume(now, reply);
        self.context.advance(state, now, step)
    }
}

impl Context {
    fn advance(self, state: &mut State, now: Now, step: crate::Step<Sign>) -> Step {
        match step {
            crate::Step::Send(request, flow) => Step::Send(request, Box::new(Signing { context: self, flow })),
            crate::Step::Done(result) => self.on_signed(state, now, result),
        }
    }

    fn on_signed(self, state: &mut State, now: Now, result: Result<Verified, SignError>) -> Step {
        let Self {
            task,
            issuer,
            epoch,
            lease,
        } = self;
        if let Ok(verified) = &result {
            state.signed(&issuer, epoch, &lease, verified.chain().is_leased, now);
        }
        if state.ledger.find(task.uid()).is_none() {
            // The request was deleted meanwhile; nobody wants its certificate.
            return task.end(state, Outcome::Idle, None);
        }
        match result {
            Ok(verified) => task.conclude(state, now, Conclusion::Issued(verified)),
            Err(error) => {
                state.ledger.forget(task.uid());
                task.on_refused(state, now, (issuer, epoch), error)
            }
        }
    }
}

/// The write of a request's status.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Writing {
    task: Task,
    purpose: Purpose,
    event: Option<Event>,
    outcome: Outcome,
    again: Option<Duration>,
}

/// What a status is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Purpose {
    Claim,
    Conclude,
    Wait,
}

impl Writing {
    pub(super) fn resume(self, state: &mut State, now: Now, answer: Result<(), WriteError>) -> Step {
        match (answer, self.purpose) {
            (Ok(()), _) => self.on_written(state),
            (Err(WriteError::NotFound), _) => {
                state.finish_request(&self.task.key, self.task.uid());
                self.task.end(state, Outcome::Idle, None)
            }
            // The cause is written again later; this must not bring forward the next attempt.
            (Err(_), Purpose::Wait) => match self.again {
                Some(again) => self.task.end(state, Outcome::Unsaved, Some(again)),
                None => self.task.retry_later(state, now),
            },
            (Err(WriteError::Conflict), _) if self.task.rereads < REREADS => {
                let mut task = self.task;
                task.rereads += 1;
                Step::Read(task.key.clone(), task)
            }
            (Err(WriteError::Conflict | WriteError::Forbidden | WriteError::Unavailable), _) => {
                self.task.retry_later(state, now)
            }
        }
    }

    fn on_written(self, state: &mut State) -> Step {
        let Self {
            task,
            purpose,
            event,
            outcome,
            again,
        } = self;
        match purpose {
            Purpose::Claim => return Step::Read(task.key.clone(), task),
            Purpose::Conclude => state.finish_request(&task.key, task.uid()),
            Purpose::Wait => {}
        }
        let ending = Ending::new(Key::Request(task.key), outcome, again);
        match event {
            Some(event) => Step::Publish(event, ending),
            None => Step::Done(state.end(ending)),
        }
    }
}
