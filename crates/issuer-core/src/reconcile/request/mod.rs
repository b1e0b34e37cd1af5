use std::sync::Arc;
use std::time::Duration;

use issuer_api::CertificateRequest;

use super::backoff::backoff;
use super::claim::Holder;
use super::controller::Controller;
use super::ledger::{Entry, Ledger};
use super::status::{self, Conclusion};
use super::{
    AwaitPublish, AwaitReply, AwaitRequest, AwaitWrite, Event, Key, Outcome, Replied, Step, WriteError, Wrote,
};
use crate::access::ReadError;
use crate::reference::{IssuerKey, RequestKey, is_object_name};
use crate::vault::{Disposition, Sign, SignError};
use crate::{Flow, Now, Reply, SigningRequest};

/// How often one task reads a request anew after a conflict, before it waits.
const REREADS: u8 = 3;

/// The reason to wait for an issuer that is there.
const NOT_READY: &str = "IssuerNotReady";

/// How the message begins that says that the issuer is not there.
const MISSING: &str = "Waiting for the creation of";

/// One request, as the watch or the API server last showed it.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Task {
    key: RequestKey,
    object: Arc<CertificateRequest>,
    rereads: u8,
}

/// Returns the key of a request.
pub(super) fn key(request: &CertificateRequest) -> RequestKey {
    let meta = &request.metadata;
    RequestKey {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
    }
}

/// Returns the uid of a request.
pub(super) fn uid(request: &CertificateRequest) -> &str {
    request.metadata.uid.as_deref().unwrap_or_default()
}

/// Returns the resourceVersion of a request.
pub(super) fn version(request: &CertificateRequest) -> &str {
    request.metadata.resource_version.as_deref().unwrap_or_default()
}

pub(super) fn begin(controller: &mut Controller, now: Now, key: RequestKey) -> Step {
    match controller.requests.get(&key) {
        Some(tracked) => {
            let object = Arc::clone(&tracked.object);
            Task {
                key,
                object,
                rereads: 0,
            }
            .decide(controller, now)
        }
        None => controller.finish(&Key::Request(key), Outcome::Idle, None),
    }
}

impl Task {
    fn uid(&self) -> &str {
        uid(&self.object)
    }

    fn end(self, controller: &mut Controller, outcome: Outcome, again: Option<Duration>) -> Step {
        controller.finish(&Key::Request(self.key), outcome, again)
    }

    /// Says what comes next for the request as it stands.
    fn decide(self, controller: &mut Controller, now: Now) -> Step {
        let request = Arc::clone(&self.object);
        let decided = match controller.ledger.find(self.uid()) {
            Some(Entry::Signing) => return self.end(controller, Outcome::Idle, None),
            Some(Entry::Concluded(conclusion)) => Some(conclusion.clone()),
            None => None,
        };
        if status::is_terminal(&request) {
            controller.finished(&self.key, self.uid());
            return self.end(controller, Outcome::Idle, None);
        }
        if request.is("Denied") {
            return self.conclude(controller, now, Conclusion::Denied);
        }
        if let Some(conclusion) = decided {
            return self.conclude(controller, now, conclusion);
        }
        if request.is("InvalidRequest") || !request.is("Approved") {
            return self.end(controller, Outcome::Idle, None);
        }
        let (spec, signatures) = (&request.spec, controller.config.signatures);
        match SigningRequest::parse(&spec.request.0, spec.duration.as_deref(), spec.is_ca, &signatures) {
            Ok(wanted) => self.place(controller, now, wanted),
            Err(error) => {
                let message = format!("The request cannot be signed: {error}");
                self.conclude(controller, now, Conclusion::Invalid(message))
            }
        }
    }

    /// Has the order signed, if its issuer is ready to.
    fn place(self, controller: &mut Controller, now: Now, wanted: SigningRequest) -> Step {
        let reference = &self.object.spec.issuer_ref;
        let Some(key) = IssuerKey::of(reference, &self.key.namespace) else {
            return self.end(controller, Outcome::Idle, None);
        };
        let Some(issuer) = controller.issuers.get(&key) else {
            let message = match is_object_name(&key.name) {
                true => format!("{MISSING} {key}"),
                false => format!("{MISSING} an issuer, whose name cannot be that in spec.issuerRef.name"),
            };
            return self.pend(controller, now, "IssuerNotFound", message, None);
        };
        let Some(access) = issuer.access_to_sign(now) else {
            let message = format!("Waiting for {key} to become ready");
            controller.check_if_expired(&key, now);
            return self.pend(controller, now, NOT_READY, message, None);
        };
        if let Err(mismatch) = access.path.takes(wanted.is_ca()) {
            let message = format!("{key} cannot sign this: {mismatch}");
            return self.conclude(controller, now, Conclusion::Failed("CaMismatch", message));
        }
        let (access, epoch) = (access.clone(), issuer.epoch);
        if controller.ledger.unsaved() >= Ledger::CAPACITY {
            return self.end(controller, Outcome::Idle, Some(now.monotonic + Duration::from_secs(1)));
        }
        match controller.holder(&self.key, &self.object, now) {
            Holder::Us => {}
            Holder::Nobody => return self.claim(controller, now),
            Holder::Other(until) => return self.end(controller, Outcome::Pending("Claimed"), Some(until)),
        }
        debug_assert!(
            self.object.is("Approved") && !self.object.is("Denied"),
            "S1: it is not approved"
        );
        debug_assert!(!status::is_terminal(&self.object), "S2: it is finished");
        debug_assert!(access.lease.is_usable(now), "S19: the token is at its end");
        let signatures = controller.config.signatures;
        match Sign::begin(&access.vault, &access.path, &access.lease, wanted, signatures) {
            crate::Step::Send(request, flow) => {
                controller.ledger.set(self.uid(), Entry::Signing);
                let signing = Signing {
                    task: self,
                    issuer: key,
                    epoch,
                    flow,
                };
                Step::Exchange(request, AwaitReply(Replied::Sign(Box::new(signing))))
            }
            crate::Step::Done(result) => self.signed(controller, now, (&key, epoch), result),
        }
    }

    /// Claims the request, and looks at it anew.
    fn claim(self, controller: &mut Controller, now: Now) -> Step {
        let Some(patch) = controller.claim(&self.key, &self.object, now) else {
            return self.end(controller, Outcome::Idle, None);
        };
        let writing = Writing {
            task: self,
            purpose: Purpose::Claim,
            event: None,
            outcome: Outcome::Idle,
            again: None,
        };
        Step::WriteStatus(patch, AwaitWrite(Wrote::Request(Box::new(writing))))
    }

    fn signed(
        self,
        controller: &mut Controller,
        now: Now,
        (issuer, epoch): (&IssuerKey, u64),
        result: <Sign as Flow>::Output,
    ) -> Step {
        match result {
            Ok(verified) => {
                controller.signed(issuer, epoch);
                self.conclude(controller, now, Conclusion::Issued(verified))
            }
            Err(error) => {
                controller.ledger.forget(self.uid());
                self.refused(controller, now, (issuer, epoch), error)
            }
        }
    }

    fn refused(
        self,
        controller: &mut Controller,
        now: Now,
        (issuer, epoch): (&IssuerKey, u64),
        error: SignError,
    ) -> Step {
        match error.disposition() {
            Disposition::Fail => {
                let conclusion = Conclusion::Failed(error.reason(), error.to_string());
                self.conclude(controller, now, conclusion)
            }
            Disposition::Recheck => {
                controller.suspect(issuer, epoch, &error, now);
                let attempts = controller.failed_attempt(&self.key, self.uid());
                let wait = backoff(attempts, Duration::from_secs(1), Duration::from_secs(300));
                let again = now.monotonic + controller.jitter.over(wait);
                let message = format!("Not signed yet, it is tried again: {error}");
                self.pend(controller, now, error.reason(), message, Some(again))
            }
        }
    }

    /// Takes the request as the API server has it now.
    pub(super) fn read(
        self,
        controller: &mut Controller,
        now: Now,
        answer: Result<CertificateRequest, ReadError>,
    ) -> Step {
        match answer {
            Ok(read) if read.metadata.uid == self.object.metadata.uid => match controller.refresh(&self.key, read) {
                Some(object) => Self { object, ..self }.decide(controller, now),
                None => self.end(controller, Outcome::Idle, None),
            },
            // The watch will tell of the other request of this name, or that there is none.
            Ok(other) => {
                controller.refresh(&self.key, other);
                controller.finished(&self.key, self.uid());
                self.end(controller, Outcome::Idle, None)
            }
            Err(ReadError::NotFound) => {
                controller.finished(&self.key, self.uid());
                self.end(controller, Outcome::Idle, None)
            }
            Err(ReadError::Forbidden | ReadError::Unavailable) => self.later(controller, now),
        }
    }

    fn later(self, controller: &mut Controller, now: Now) -> Step {
        let attempts = controller.failed_attempt(&self.key, self.uid());
        // A process that ends has only seconds left to save what is signed.
        let most = if controller.stopping { 1 } else { 60 };
        let wait = backoff(attempts, Duration::from_secs(1), Duration::from_secs(most));
        let again = now.monotonic + controller.jitter.over(wait);
        self.end(controller, Outcome::Unsaved, Some(again))
    }

    /// Writes what the request has come to. The ledger keeps it until it is saved.
    fn conclude(self, controller: &mut Controller, now: Now, conclusion: Conclusion) -> Step {
        let patch = status::conclude(&self.object, &conclusion, now);
        let note = conclusion.message().to_owned();
        let (outcome, event) = match &conclusion {
            Conclusion::Denied => (Outcome::Denied, None),
            Conclusion::Failed(reason, _) => (Outcome::Failed(reason), Some((true, *reason))),
            Conclusion::Invalid(_) => (Outcome::Failed("InvalidRequest"), Some((true, "InvalidRequest"))),
            Conclusion::Issued(_) => (Outcome::Issued, Some((false, "CertificateIssued"))),
        };
        controller.ledger.set(self.uid(), Entry::Concluded(conclusion));
        let event = event.map(|(warning, reason)| self.event(warning, reason, note));
        let writing = Writing {
            task: self,
            purpose: Purpose::Conclude,
            event,
            outcome,
            again: None,
        };
        Step::WriteStatus(patch, AwaitWrite(Wrote::Request(Box::new(writing))))
    }

    /// Lets the request wait: until `again`, or until its issuer becomes ready.
    fn pend(
        self,
        controller: &mut Controller,
        now: Now,
        reason: &'static str,
        message: String,
        again: Option<Duration>,
    ) -> Step {
        let outcome = Outcome::Pending(reason);
        let parked = again.is_none();
        controller.park(&self.key, self.uid(), parked);
        // To wait for the issuer to become ready says less than the cause that may be there already.
        let says = self
            .object
            .condition("Ready")
            .filter(|c| c.reason.as_deref() == Some("Pending"));
        let says = says.and_then(|ready| ready.message.as_deref());
        let known = says.is_some() && reason == NOT_READY && !says.is_some_and(|m| m.starts_with(MISSING));
        let patch = if known {
            None
        } else {
            status::pend(&self.object, &message, now)
        };
        let Some(patch) = patch else {
            return self.end(controller, outcome, again);
        };
        let event = Some(self.event(!parked, reason, message));
        let writing = Writing {
            task: self,
            purpose: Purpose::Wait,
            event,
            outcome,
            again,
        };
        Step::WriteStatus(patch, AwaitWrite(Wrote::Request(Box::new(writing))))
    }

    fn event(&self, warning: bool, reason: &'static str, note: String) -> Event {
        let regarding = Key::Request(self.key.clone());
        Event {
            regarding,
            uid: self.uid().to_owned(),
            warning,
            reason,
            note,
        }
    }
}

/// A request whose certificate is being signed.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Signing {
    task: Task,
    issuer: IssuerKey,
    epoch: u64,
    flow: Sign,
}

impl Signing {
    pub(super) fn resume(self, controller: &mut Controller, now: Now, reply: Reply) -> Step {
        let Self {
            task,
            issuer,
            epoch,
            flow,
        } = self;
        match flow.resume(now, reply) {
            crate::Step::Send(request, flow) => {
                let signing = Self {
                    task,
                    issuer,
                    epoch,
                    flow,
                };
                Step::Exchange(request, AwaitReply(Replied::Sign(Box::new(signing))))
            }
            // The request was deleted meanwhile; its certificate belongs to nobody.
            crate::Step::Done(_) if controller.ledger.find(task.uid()).is_none() => {
                task.end(controller, Outcome::Idle, None)
            }
            crate::Step::Done(result) => task.signed(controller, now, (&issuer, epoch), result),
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
    pub(super) fn resume(self, controller: &mut Controller, now: Now, answer: Result<(), WriteError>) -> Step {
        let Self {
            mut task,
            purpose,
            event,
            outcome,
            again,
        } = self;
        match (answer, purpose) {
            (Ok(()), Purpose::Claim) => Step::ReadRequest(task.key.clone(), AwaitRequest(task)),
            (Ok(()), Purpose::Conclude | Purpose::Wait) => {
                if purpose == Purpose::Conclude {
                    controller.finished(&task.key, task.uid());
                }
                let key = Key::Request(task.key);
                match event {
                    Some(event) => Step::Publish(event, AwaitPublish { key, outcome, again }),
                    None => controller.finish(&key, outcome, again),
                }
            }
            (Err(WriteError::NotFound), _) => {
                controller.finished(&task.key, task.uid());
                task.end(controller, Outcome::Idle, None)
            }
            // That a request waits is told again later; it does not bring forward what it waits for.
            (Err(_), Purpose::Wait) => match again {
                Some(again) => task.end(controller, Outcome::Unsaved, Some(again)),
                None => task.later(controller, now),
            },
            (Err(WriteError::Conflict), _) if task.rereads < REREADS => {
                task.rereads += 1;
                Step::ReadRequest(task.key.clone(), AwaitRequest(task))
            }
            (Err(WriteError::Conflict | WriteError::Forbidden | WriteError::Unavailable), _) => {
                task.later(controller, now)
            }
        }
    }
}

#[cfg(test)]
mod tests;
