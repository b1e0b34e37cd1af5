//! The task of a request: decides whether to sign, waits, signs, and saves the result.

mod namespace;
mod review;
mod signing;
mod writing;

use std::sync::Arc;
use std::time::Duration;

pub(super) use self::review::Reviewing;
pub use self::review::{ReferenceReview, Requester};
use self::signing::Context;
pub(super) use self::signing::Signing;
use self::writing::WritePurpose;
pub(super) use self::writing::Writing;
use super::cause::Cause;
use super::claim::Holder;
use super::drop_in::BUILT_IN_ACTIVE;
use super::issuer::{Epoch, LostAnswer, Phase};
use super::ledger::{Conclusion, Entry};
use super::observed_request::ObservedRequest;
use super::outcome::{Again, Ending, Event, Key, Outcome};
use super::snapshot::Snapshot;
use super::state::State;
use super::status::{self, StatusPatch};
use super::tracked::Reported;
use crate::access::{Access, ReadError};
use crate::reference::{IssuerKey, IssuerKind, RequestKey, RequestKind};
use crate::target::{Admission, NamespaceLabels};
use crate::vault::{Disposition, Sign, SignError};
use crate::{Now, Request, RequestSpec, SigningRequest, VerifyOptions};

/// The longest wait before a request is signed again.
const SIGN_FAILED: Duration = Duration::from_secs(300);

/// The longest wait before a request is signed again that would outlive the CA: that changes when the CA is renewed.
const CA_EXPIRES: Duration = Duration::from_secs(1800);

/// The longest wait before a status is written again.
const UNSAVED: Duration = Duration::from_secs(60);

/// The same for a process that stops, which has only seconds left to save what is signed.
const UNSAVED_STOPPING: Duration = Duration::from_secs(1);

/// One request, as the watch or the API server last showed it.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Task {
    key: RequestKey,
    object: Snapshot,
    rereads: u8,
    /// The labels of its namespace, once they have been read.
    labels: Option<NamespaceLabels>,
    /// Whether the API server has said that the requester may use the issuer.
    may_reference: bool,
}

/// A question of this task.
pub(super) enum Step {
    Send(Request, Box<Signing>),
    Read(RequestKey, Task),
    ReadNamespace(Arc<str>, Task),
    Review(ReferenceReview, Box<Reviewing>),
    Write(StatusPatch, Box<Writing>),
    Publish(Event, Ending),
    Done(Outcome),
}

pub(super) fn begin(state: &mut State, now: Now, key: RequestKey) -> Step {
    let object = state.requests.get_mut(&key).and_then(|tracked| {
        tracked.end_wait(now);
        tracked.object.decode(&key)
    });
    let Some(object) = object else {
        return Step::Done(state.end(Ending::new(Key::Request(key), Outcome::Idle, Again::Never)));
    };
    let task = Task {
        key,
        object,
        rereads: 0,
        labels: None,
        may_reference: false,
    };
    if state.must_read(&task.key) {
        return Step::Read(task.key.clone(), task);
    }
    task.decide(state, now)
}

impl Task {
    fn uid(&self) -> &str {
        self.object.uid()
    }

    fn end(self, state: &mut State, outcome: Outcome, again: impl Into<Again>) -> Step {
        Step::Done(state.end(Ending::new(Key::Request(self.key), outcome, again)))
    }

    /// Decides what the request, as it is now, needs next.
    fn decide(self, state: &mut State, now: Now) -> Step {
        // The ledger before the object: what the watch shows may be older than what was done here (S2).
        let concluded = match state.ledger.find(self.uid()) {
            Some(Entry::Signing) => return self.end(state, Outcome::Idle, Again::Never),
            Some(Entry::Concluded(conclusion)) => Some(conclusion.clone()),
            None => None,
        };
        if self.object.is_terminal() {
            state.finish_request(&self.key, self.uid());
            return self.end(state, Outcome::Idle, Again::Never);
        }
        // A denial wins over a certificate that is not saved yet.
        if self.object.is("Denied") {
            return self.conclude(state, now, Conclusion::Denied);
        }
        if let Some(conclusion) = concluded {
            return self.conclude(state, now, conclusion);
        }
        if self.object.is("InvalidRequest") {
            return self.end(state, Outcome::Idle, Again::Never);
        }
        if !self.object.is("Approved") {
            return self.await_approval(state);
        }
        if state.is_left_to_built_in(&self.key) {
            return self.leave_to_built_in(state);
        }
        if let Some(conclusion) = state.lost_answers(&self.key, self.uid()) {
            return self.conclude(state, now, conclusion);
        }
        self.sign_when_ready(state, now)
    }

    /// Publishes once that the request waits for approval, as cert-manager's own issuers do.
    fn await_approval(self, state: &mut State) -> Step {
        if !state.announce(&self.key, self.uid()) {
            return self.end(state, Outcome::Idle, Again::Never);
        }
        let note = format!("Not signing {} until it is Approved", self.key.kind.as_str());
        let event = self.event(false, "WaitingForApproval", note);
        let ending = Ending::new(
            Key::Request(self.key),
            Outcome::Pending("WaitingForApproval"),
            Again::Never,
        );
        Step::Publish(event, ending)
    }

    /// Publishes once that the request is left to the built-in controller.
    fn leave_to_built_in(self, state: &mut State) -> Step {
        let outcome = Outcome::Pending(BUILT_IN_ACTIVE);
        if !state.announce_reason(&self.key, self.uid(), BUILT_IN_ACTIVE) {
            return self.end(state, outcome, Again::Never);
        }
        let note = "Not signed: by its managed fields, cert-manager's own Vault issuer writes its status. If that is not so, \
                    remove the entry";
        let event = self.event(true, BUILT_IN_ACTIVE, note.to_owned());
        Step::Publish(event, Ending::new(Key::Request(self.key), outcome, Again::Never))
    }

    /// Signs the request if its issuer is ready; otherwise lets it wait.
    ///
    /// The CSR is parsed last: with many requests waiting, that is the work that counts.
    fn sign_when_ready(self, state: &mut State, now: Now) -> Step {
        let object = self.object.clone();
        let Some(issuer) = object.issuer() else {
            let cause = match object
                .issuer_ref()
                .filter(|reference| IssuerKind::of(reference).is_none())
            {
                Some(reference) => Cause::KindUnknown(reference.kind.as_deref()),
                None => Cause::NameInvalid,
            };
            return self.pend(state, now, cause, Again::Never);
        };
        let admission = self.admission(state, &issuer);
        if admission == Admission::Refused {
            return self.refuse_namespace(state, now, &issuer);
        }
        match state.issuers.phase(&issuer) {
            Phase::Ready => {}
            // No status: the check is due, and decides within seconds.
            Phase::Checking => return self.end(state, Outcome::Idle, Again::WhenReady),
            Phase::Missing => return self.pend(state, now, Cause::IssuerMissing(&issuer), Again::WhenReady),
            Phase::NotReady => return self.pend(state, now, Cause::IssuerNotReady(&issuer), Again::WhenReady),
        }
        let Some((access, epoch)) = state.issuers.access_to_sign(&issuer, now) else {
            state.report_expiry(&issuer, now);
            return self.end(state, Outcome::Idle, Again::WhenReady);
        };
        if admission == Admission::DependsOnLabels {
            return Step::ReadNamespace(Arc::clone(&self.key.namespace), self);
        }
        match self.question(&issuer) {
            Some(question) => self.review(question),
            None => self.parse_and_sign(state, now, (issuer, epoch), &access),
        }
    }

    fn parse_and_sign(self, state: &mut State, now: Now, (issuer, epoch): (IssuerKey, Epoch), access: &Access) -> Step {
        // Its CSR is not read either while there is no room, so it must not be judged by that.
        if !state.has_room(&self.key, &issuer) {
            return self.end(state, Outcome::Idle, Again::WhenReady);
        }
        let object = self.object.clone();
        // Broken base64 leaves an empty text, which is reported as one without PEM.
        let csr = object.csr().decode().unwrap_or_default();
        let duration = object.duration();
        let spec = RequestSpec {
            csr: &csr,
            duration: duration.as_deref(),
            least_duration: object.least_duration(),
            is_ca: object.is_ca(),
            usages: object.usages(),
        };
        let wanted = match SigningRequest::parse(spec, &state.config.verify.signatures) {
            Ok(wanted) => wanted,
            Err(error) => {
                let message = format!("The request cannot be signed: {error}");
                return self.conclude(state, now, Conclusion::Invalid(message));
            }
        };
        if let Err(mismatch) = access.path.takes(wanted.is_ca()) {
            let message = format!("{issuer} cannot sign this: {mismatch}");
            return self.conclude(state, now, Conclusion::Failed("CaMismatch", message));
        }
        if state.stopping {
            // The process was asked to stop while this task read the request; another one signs it.
            return self.end(state, Outcome::Idle, Again::Never);
        }
        match state.holder(&self.key, &self.object, access, now) {
            Holder::Us => self.sign(state, now, (issuer, epoch), access, wanted),
            Holder::Nobody => self.claim(state, now),
            Holder::Other(until) => self.end(state, Outcome::Pending("Claimed"), Again::At(until)),
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
        let options = VerifyOptions {
            known: state.known.clone(),
            mode: access.verification(),
            ..state.config.verify.clone()
        };
        let step = Sign::begin(&access.vault, &access.path, &access.lease, wanted, options);
        state.begin_signing(&self.key, self.uid(), &issuer);
        let context = Context {
            task: self,
            issuer,
            epoch,
            lease: access.lease.clone(),
            timeout: state.sign_timeout(access),
        };
        context.advance(state, now, step)
    }

    /// Claims the request, and reads it again.
    fn claim(self, state: &mut State, now: Now) -> Step {
        let Some(patch) = state.claim(&self.key, &self.object, now) else {
            return self.end(state, Outcome::Idle, Again::Never);
        };
        let writing = Writing {
            task: self,
            purpose: WritePurpose::Claim,
            event: None,
            is_routine: false,
            outcome: Outcome::Idle,
            again: Again::Never,
        };
        Step::Write(patch, Box::new(writing))
    }

    /// Decides what follows from a failed signature: only what may be the issuer's fault suspends the issuer, and only until
    /// a check has decided whose it is.
    fn on_sign_failed(
        self,
        state: &mut State,
        now: Now,
        (issuer, epoch): (&IssuerKey, Epoch),
        error: &SignError,
    ) -> Step {
        match error.disposition() {
            Disposition::Fail => {
                let conclusion = Conclusion::Failed(error.reason(), error.to_string());
                self.conclude(state, now, conclusion)
            }
            Disposition::Retry => {
                let again = state.back_off(&self.key, self.uid(), CA_EXPIRES, now);
                self.pend(state, now, Cause::SignFailed(error), Again::At(again))
            }
            Disposition::Recheck => {
                let lost = error.is_lost_answer().then(|| LostAnswer {
                    key: self.key.clone(),
                    uid: self.uid().to_owned(),
                    epoch,
                    error: error.to_string(),
                });
                state.report_sign_failure(issuer, error, lost, now);
                let again = state.back_off(&self.key, self.uid(), SIGN_FAILED, now);
                self.pend(state, now, Cause::SignFailed(error), Again::At(again))
            }
        }
    }

    /// Continues with the request as the API server has it now.
    pub(super) fn on_read(self, state: &mut State, now: Now, answer: Result<ObservedRequest, ReadError>) -> Step {
        if let Ok(read) = &answer {
            // A read may show the built-in controller before the watch does.
            state.yield_to_built_in(read, read.issuer().as_ref(), now);
        }
        match answer {
            Ok(read) if read.uid() == self.uid() => match state.requests.refresh(&self.key, read) {
                Some(object) => Self { object, ..self }.decide(state, now),
                None => self.end(state, Outcome::Idle, Again::Never),
            },
            // The watch will show the other request of this name, or that there is none.
            Ok(other) => {
                state.requests.refresh(&self.key, other);
                state.finish_request(&self.key, self.uid());
                self.end(state, Outcome::Idle, Again::Never)
            }
            // If the request is gone, the watch will show that. Until then a 404 may be an API server that lags.
            Err(ReadError::Forbidden | ReadError::Invalid | ReadError::NotFound | ReadError::Unavailable) => {
                self.retry_later(state, now)
            }
        }
    }

    fn retry_later(self, state: &mut State, now: Now) -> Step {
        self.retry_after(state, now, Duration::ZERO)
    }

    /// As [`retry_later`](Self::retry_later), but not before `least` has passed, unless that is longer than the longest
    /// backoff.
    fn retry_after(self, state: &mut State, now: Now, least: Duration) -> Step {
        let most = if state.stopping { UNSAVED_STOPPING } else { UNSAVED };
        let again = state.back_off(&self.key, self.uid(), most, now);
        let again = again.max(now.monotonic + least.min(most));
        self.end(state, Outcome::Unsaved, Again::At(again))
    }

    /// Writes the conclusion. The ledger keeps it until it is saved.
    fn conclude(self, state: &mut State, now: Now, conclusion: Conclusion) -> Step {
        let patch = status::conclude(&self.object, &conclusion, now);
        let note = conclusion.note();
        let is_routine = conclusion.is_routine();
        let (outcome, event) = match &conclusion {
            Conclusion::Denied => (Outcome::Denied, None),
            Conclusion::Failed(reason, _) => (Outcome::Failed(reason), Some((true, *reason))),
            Conclusion::Invalid(_) => (Outcome::Failed("InvalidRequest"), Some((true, "InvalidRequest"))),
            Conclusion::Issued(_) => (Outcome::Issued, Some((false, "CertificateIssued"))),
        };
        state.record_conclusion(self.uid(), conclusion);
        let event = event.map(|(warning, reason)| self.event(warning, reason, note));
        let writing = Writing {
            task: self,
            purpose: WritePurpose::Conclude,
            event,
            is_routine,
            outcome,
            again: Again::Never,
        };
        Step::Write(patch, Box::new(writing))
    }

    /// Lets the request wait until `again`, and its status say why.
    fn pend(self, state: &mut State, now: Now, cause: Cause<'_>, again: Again) -> Step {
        if state.leave_to_others(&self.key) {
            return self.end(state, Outcome::Idle, Again::Never);
        }
        let (reason, message) = (cause.reason(), cause.message());
        let outcome = Outcome::Pending(reason);
        let reported = state
            .requests
            .get(&self.key)
            .map_or(Reported::No, |tracked| tracked.reported);
        if self.is_reported(reported, cause) {
            state.record_reported(&self.key, self.uid(), reason);
            return self.end(state, outcome, again);
        }
        let patch = status::pend(&self.object, &message, now);
        let event = self.event(cause.is_warning(), reason, message);
        let Some(patch) = patch else {
            state.record_reported(&self.key, self.uid(), reason);
            return match self.key.kind {
                RequestKind::CertificateRequest => self.end(state, outcome, again),
                // The status has no place for it.
                RequestKind::CertificateSigningRequest => {
                    Step::Publish(event, Ending::new(Key::Request(self.key), outcome, again))
                }
            };
        };
        let writing = Writing {
            event: Some(event),
            task: self,
            purpose: WritePurpose::Wait(reason),
            is_routine: false,
            outcome,
            again,
        };
        Step::Write(patch, Box::new(writing))
    }

    /// Returns `true` if the status already gives this cause, perhaps in words that differ each time, or a more specific
    /// one. From specific to general: a failed signature, issuer not ready, issuer missing.
    fn is_reported(&self, reported: Reported, cause: Cause<'_>) -> bool {
        match (reported, cause) {
            (Reported::No, _) => false,
            (Reported::Cause(reason), Cause::IssuerNotReady(issuer)) => reason != Cause::IssuerMissing(issuer).reason(),
            (Reported::Before, Cause::IssuerNotReady(issuer)) => {
                let ready = self.object.condition("Ready");
                let message = ready.and_then(|ready| ready.message.as_deref());
                message.is_none_or(|message| message != Cause::IssuerMissing(issuer).message())
            }
            (Reported::Cause(reason), cause) => reason == cause.reason(),
            (Reported::Before, _) => false,
        }
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
