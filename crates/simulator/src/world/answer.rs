//! Applies the steps in flight and delivers their answers to the controller.

use std::sync::Arc;
use std::time::Duration;

use fake_kube::Object;
use issuer_core::access::ReadError;
use issuer_core::reconcile::{Key, Step, WriteError};
use issuer_core::target::NamespaceLabels;
use issuer_core::{Request, TransportError};
use serde_json::Value;

use super::{Checked, World};
use crate::fixture;
use crate::login::LoginRequest;
use crate::mutant::{self, Mutant};
use crate::observation::{NamespaceRead, Observation, Purpose, Received, Refused};
use crate::process::{ANSWER_TIMEOUT, Answer, Arrival, InFlight, PROMPT, Process};
use crate::record;
use crate::transition::{ProcessId, StepFault};
use crate::vault;

/// The longest time by which the refusal of an issuer's status may delay its next check.
const CHECK_DELAY: Duration = Duration::from_secs(15);

impl World {
    pub(super) fn answer(&mut self, id: ProcessId, at: u8) -> Checked {
        self.apply(id, at, None)?;
        self.deliver(id, at)
    }

    /// Makes a step take effect, with or without a fault.
    pub(super) fn apply(&mut self, id: ProcessId, at: u8, fault: Option<StepFault>) -> Checked {
        let Some(key) = self.key_in_flight(id, at) else {
            return Ok(());
        };
        self.with_process(id, |world, process| {
            let Some(mut in_flight) = process.in_flight.remove(&key) else {
                return Ok(());
            };
            in_flight.answer = Some(world.effect(id, process, &key, &in_flight.step, fault)?);
            in_flight.slow |= fault == Some(StepFault::Slow);
            process.in_flight.insert(key, in_flight);
            Ok(())
        })
    }

    pub(super) fn deliver(&mut self, id: ProcessId, at: u8) -> Checked {
        let Some(key) = self.key_in_flight(id, at) else {
            return Ok(());
        };
        self.with_process(id, |world, process| {
            let Some(in_flight) = process.in_flight.remove(&key) else {
                return Ok(());
            };
            world.resume(id, process, key, in_flight)?;
            world.run(id, process)
        })
    }

    pub(super) fn fail(&mut self, id: ProcessId, at: u8, fault: StepFault) -> Checked {
        match fault {
            StepFault::CrashAfter => {
                self.apply(id, at, None)?;
                self.crash(id)
            }
            StepFault::Slow => self.apply(id, at, Some(fault)),
            _ => {
                self.apply(id, at, Some(fault))?;
                self.deliver(id, at)
            }
        }
    }

    /// Records the replies in flight to a process that has ended as lost.
    pub(super) fn lose_answers(&mut self, id: ProcessId, process: Process) -> Checked {
        for (key, InFlight { step, answer, .. }) in process.in_flight {
            let Some(mut answer) = answer else {
                continue;
            };
            answer.time_out();
            if let (Answer::Reply(arrival), Step::Exchange(request, _)) = (&answer, &*step) {
                self.note(&Observation::Received(received(id, &key, request, arrival)))?;
            }
        }
        Ok(())
    }

    /// Resumes a task with the answer to its step.
    pub(super) fn resume(&mut self, id: ProcessId, process: &mut Process, key: Key, in_flight: InFlight) -> Checked {
        let InFlight {
            step,
            sent,
            begun,
            answer,
            ..
        } = in_flight;
        let Some(mut answer) = answer else {
            return Ok(());
        };
        if sent + ANSWER_TIMEOUT <= self.now {
            answer.time_out();
        }
        if let (Answer::Reply(arrival), Step::Exchange(request, _)) = (&mut answer, &*step) {
            process.tokens.extend(arrival.grants);
            self.note(&Observation::Received(received(id, &key, request, arrival)))?;
            if let Some(mutant) = self.setup.mutant {
                mutant::receive(mutant, request.operation, arrival);
            }
        }
        if let Answer::Request(Ok(request)) = &answer {
            let object = Arc::new(Object::from(request.clone()));
            // A process does not know a request that none of its watches has delivered yet.
            let known = match object.key() {
                Key::Request(key) => process.views.get(&key),
                _ => None,
            };
            if known.is_some_and(|known| known.uid() == object.uid()) {
                process.view(&object, self.now);
            }
        }
        if let Answer::Namespace(Ok(labels)) = &mut answer {
            self.note(&Observation::NamespaceRead(namespace_read(id, process, &key, labels)))?;
            if self.setup.mutant == Some(Mutant::IgnoredLabels) {
                *labels = fixture::namespace_labels();
            }
        }
        let failed = matches!(answer, Answer::Written(Err(_)));
        process.hindered |= failed || sent + PROMPT < self.now;
        let now = process.clock.now(self.now);
        if let (Step::WriteStatus(..), Answer::Written(Err(error @ (WriteError::Postponed(_) | WriteError::Refused)))) =
            (&*step, &answer)
        {
            let error = *error;
            return self.refuse(id, process, (key, begun), Arc::unwrap_or_clone(step), error);
        }
        let controller = &mut process.controller;
        let next = match (Arc::unwrap_or_clone(step), answer) {
            (Step::Exchange(_, waits), Answer::Reply(arrival)) => waits.resume(controller, now, arrival.reply),
            (Step::MintToken(_, waits), Answer::Token(token)) => waits.resume(controller, now, token),
            (Step::Publish(_, waits), _) => waits.resume(controller),
            (Step::ReadConfigMap(_, waits), Answer::Secret(data)) => waits.resume(controller, now, data),
            (Step::ReadNamespace(_, waits), Answer::Namespace(labels)) => waits.resume(controller, now, labels),
            (Step::ReadRequest(_, waits), Answer::Request(request)) => waits.resume(controller, now, request),
            (Step::ReadSecret(_, waits), Answer::Secret(secret)) => waits.resume(controller, now, secret),
            (Step::ReviewReference(_, waits), Answer::Reviewed(allowed)) => waits.resume(controller, now, allowed),
            (Step::WriteStatus(_, waits), Answer::Written(written)) => waits.resume(controller, now, written),
            // `effect` answers every step with an answer of its own kind.
            (step, _) => step,
        };
        if failed && self.setup.mutant == Some(Mutant::LostMemory) {
            return self.lose_memory(process);
        }
        self.send(id, process, key, begun, next)
    }

    /// Resumes a task whose status admission refuses.
    fn refuse(
        &mut self,
        id: ProcessId,
        process: &mut Process,
        (key, begun): (Key, Duration),
        step: Step,
        error: WriteError,
    ) -> Checked {
        let Step::WriteStatus(patch, waits) = step else {
            return Ok(());
        };
        let now = process.clock.now(self.now);
        let mut accepted = process.controller.clone();
        let _saved = waits.clone().resume(&mut accepted, now, Ok(()));
        let seen = match self.setup.mutant {
            Some(Mutant::UnseenRefusal) => Ok(()),
            _ => Err(error),
        };
        let next = waits.resume(&mut process.controller, now, seen);
        if self.setup.mutant == Some(Mutant::SharedRefusal) {
            process.controller.pause(now, ANSWER_TIMEOUT);
        }
        // Its own object may be due sooner, and nothing else later. The check of an issuer is its own, but others wait for it.
        let own = match key {
            Key::Issuer(_) => now.monotonic + CHECK_DELAY,
            Key::Request(_) | Key::Token(_) => Duration::ZERO,
        };
        let (due, before) = (process.controller.next_due(), accepted.next_due());
        let delays_others = before.is_some_and(|before| due.is_none_or(|due| due > before.max(own)));
        let body = patch.value();
        let uid = body.pointer("/metadata/uid").and_then(Value::as_str);
        self.note(&Observation::Refused(Refused {
            process: id,
            key: key.clone(),
            uid: uid.unwrap_or_default().to_owned(),
            purpose: Purpose::of(&body),
            is_for_now: error != WriteError::Refused,
            delays_others,
        }))?;
        if self.setup.mutant == Some(Mutant::LostMemory) {
            return self.lose_memory(process);
        }
        self.send(id, process, key, begun, next)
    }
}

fn received(process: ProcessId, key: &Key, request: &Request, arrival: &Arrival) -> Received {
    Received {
        process,
        key: key.clone(),
        operation: request.operation,
        login: LoginRequest::of(request),
        wrapping: vault::wrapping_token(request),
        url: request.http.uri().to_string(),
        token: vault::token(request),
        csr: vault::signed_csr(request),
        lost: arrival.lost,
        wrong: arrival.wrong,
        reply: arrival.reply.clone(),
    }
}

fn namespace_read(id: ProcessId, process: &Process, key: &Key, labels: &NamespaceLabels) -> NamespaceRead {
    let view = match key {
        Key::Request(request) => process.views.get(request),
        Key::Issuer(_) | Key::Token(_) => None,
    };
    let selected = fixture::namespace_labels();
    NamespaceRead {
        process: id,
        key: key.clone(),
        request: view.and_then(|request| record::number(request.uid())),
        selected: selected.iter().all(|(label, value)| labels.get(label) == Some(value)),
    }
}

impl Answer {
    /// Replaces the answer by a timeout.
    fn time_out(&mut self) {
        match self {
            Self::Reply(arrival) => {
                arrival.lost = arrival.tag != 0 || arrival.grants.is_some();
                arrival.reply = Err(TransportError::Timeout);
            }
            Self::Namespace(answer) => *answer = Err(ReadError::Unavailable),
            Self::Request(answer) => *answer = Err(ReadError::Unavailable),
            Self::Reviewed(answer) => *answer = Err(ReadError::Unavailable),
            Self::Secret(answer) => *answer = Err(ReadError::Unavailable),
            Self::Token(answer) => *answer = Err(ReadError::Unavailable),
            Self::Written(answer) => *answer = Err(WriteError::Unavailable),
            Self::Published => {}
        }
    }
}
