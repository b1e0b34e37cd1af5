use std::collections::BTreeSet;
use std::sync::Arc;

use fake_kube::{Object, Refusal};
use fake_vault::RetryAfter;
use http::StatusCode;
use issuer_core::access::ReadError;
use issuer_core::reconcile::{Key, Step, WriteError};
use issuer_core::{Operation, Request, Secret, TransportError};

use super::World;
use crate::event::{Fault, Who};
use crate::fact::{Fact, Replied, Served, Wrote};
use crate::fixture;
use crate::invariants::Violation;
use crate::mutant;
use crate::process::{Answer, Arrival, Flight, PATIENCE, PROMPT, Process};
use crate::vault;

/// How long Vault asks to wait when it throttles, in seconds.
const THROTTLE: u64 = 3;

use super::step::Happened;

impl World {
    pub(super) fn answer(&mut self, who: Who, at: u8) -> Happened {
        self.apply(who, at, None)?;
        self.deliver(who, at)
    }

    /// Lets a question have its effect, with or without a fault.
    pub(super) fn apply(&mut self, who: Who, at: u8, fault: Option<Fault>) -> Happened {
        let Some(key) = self.flight_key(who, at) else {
            return Ok(());
        };
        self.on(who, |world, process| {
            let Some(mut flight) = process.flights.remove(&key) else {
                return Ok(());
            };
            flight.answer = Some(world.effect(who, process, &key, &flight.step, fault)?);
            flight.slow |= fault == Some(Fault::Slow);
            process.flights.insert(key, flight);
            Ok(())
        })
    }

    pub(super) fn deliver(&mut self, who: Who, at: u8) -> Happened {
        let Some(key) = self.flight_key(who, at) else {
            return Ok(());
        };
        self.on(who, |world, process| {
            let Some(flight) = process.flights.remove(&key) else {
                return Ok(());
            };
            world.resume(who, process, key, flight)?;
            world.run(who, process)
        })
    }

    pub(super) fn fail(&mut self, who: Who, at: u8, fault: Fault) -> Happened {
        match fault {
            Fault::CrashAfter => {
                self.apply(who, at, None)?;
                self.crash(who)
            }
            Fault::Slow => self.apply(who, at, Some(fault)),
            _ => {
                self.apply(who, at, Some(fault))?;
                self.deliver(who, at)
            }
        }
    }

    /// Does what a question asks; returns the answer.
    pub(super) fn effect(
        &mut self,
        who: Who,
        process: &Process,
        key: &Key,
        step: &Step,
        fault: Option<Fault>,
    ) -> Result<Answer, Violation> {
        let refused = fault == Some(Fault::Refused);
        let forbidden = fault == Some(Fault::Forbidden);
        Ok(match step {
            Step::Exchange(request, _) => Answer::Reply(self.exchange((who, process), key, request, fault)?),
            Step::MintToken(..) => Answer::Token(match () {
                () if refused => Err(ReadError::Unavailable),
                () if forbidden => Err(ReadError::Forbidden),
                () => Ok(Secret::from(fixture::service_account_token().as_str())),
            }),
            Step::Publish(event, _) => {
                if !refused {
                    self.note(&Fact::Tells(who, event.clone()))?;
                }
                Answer::Published
            }
            Step::ReadRequest(name, _) => Answer::Request(match self.cluster.request(name) {
                _ if refused => Err(ReadError::Unavailable),
                _ if forbidden => Err(ReadError::Forbidden),
                Some(request) => Ok(request.clone()),
                None => Err(ReadError::NotFound),
            }),
            Step::ReadSecret(name, _) => Answer::Secret(match self.cluster.secret(name) {
                _ if refused => Err(ReadError::Unavailable),
                _ if forbidden => Err(ReadError::Forbidden),
                Some(secret) => Ok(secret.clone()),
                None => Err(ReadError::NotFound),
            }),
            Step::WriteStatus(..) if refused => Answer::Written(Err(WriteError::Unavailable)),
            Step::WriteStatus(..) if forbidden => Answer::Written(Err(WriteError::Forbidden)),
            Step::WriteStatus(patch, _) => {
                let before = self.cluster.get(&patch.of).ok().cloned();
                let after = Arc::make_mut(&mut self.cluster).patch_status(&patch.of, &patch.body);
                let written = after.as_ref().map(drop).map_err(|refusal| write_error(*refusal));
                self.note(&Fact::Wrote(Wrote {
                    who,
                    patch: patch.clone(),
                    before,
                    after,
                }))?;
                Answer::Written(if fault == Some(Fault::Lost) {
                    Err(WriteError::Unavailable)
                } else {
                    written
                })
            }
            Step::Done(_) => Answer::Published,
        })
    }

    pub(super) fn exchange(
        &mut self,
        (who, process): (Who, &Process),
        key: &Key,
        request: &Request,
        fault: Option<Fault>,
    ) -> Result<Arrival, Violation> {
        let nothing = |error| Arrival {
            reply: Err(error),
            tag: 0,
            lost: false,
            wrong: false,
            grants: None,
        };
        let host = request.http.uri().host().unwrap_or_default();
        let Some(host) = fixture::HOSTS.iter().position(|known| *known == host) else {
            return Ok(nothing(TransportError::Connect(issuer_core::ConnectError::Dns)));
        };
        match fault {
            Some(Fault::Refused) => {
                return Ok(nothing(TransportError::Connect(issuer_core::ConnectError::Refused)));
            }
            Some(Fault::Sealed) => self.vault_mut(host).set_sealed(true),
            Some(Fault::Revoked) => self.vault_mut(host).revoke_all(),
            _ => {}
        }
        let twist = match fault {
            Some(Fault::Broken) => Some(fake_vault::Fault::InternalError),
            Some(Fault::Garbage) => Some(fake_vault::Fault::NotJson),
            Some(Fault::Lost) => Some(fake_vault::Fault::Lost),
            Some(Fault::Throttled) => Some(fake_vault::Fault::RateLimited(RetryAfter::Seconds(THROTTLE))),
            Some(Fault::WrongKey) => Some(fake_vault::Fault::AnotherKey),
            _ => None,
        };
        let brisk = self.setup.brisk;
        let held: BTreeSet<u32> = self
            .running()
            .map(|(_, other)| other)
            .chain([process])
            .flat_map(Process::held)
            .collect();
        let now = self.now;
        let vault = self.vault_slot(host);
        let done = if brisk {
            vault.exchange_again(now, request, twist, &held)
        } else {
            Arc::make_mut(vault).exchange(now, request, twist, &held)
        };
        let status = done.reply.as_ref().map_or(StatusCode::OK, http::Response::status);
        let effect = done.signed.is_some() || done.granted.is_some();
        let unread = done.reply.is_err() || fault == Some(Fault::Garbage);
        let renewed = request.operation == Operation::Renew && status == StatusCode::OK;
        let signed = done.signed.map(|csr| 1 + self.vault(host).signs_of(csr));
        let grants = done.granted.as_ref().map(|grant| grant.number);
        self.note(&Fact::Served(Served {
            who,
            key: key.clone(),
            signed: done.signed,
            granted: done.granted.map(|grant| (grant, host)),
            renewed: vault::token(request).filter(|_| renewed),
        }))?;
        Ok(Arrival {
            tag: u64::from(signed.unwrap_or_default()) << 32 | u64::from(grants.unwrap_or_default()),
            reply: done.reply,
            lost: effect && unread,
            wrong: fault == Some(Fault::WrongKey) && signed.is_some(),
            grants,
        })
    }

    /// Lets the answers on their way to a process that has ended come to nobody.
    pub(super) fn lose(&mut self, who: Who, process: Process) -> Happened {
        for (key, Flight { step, answer, .. }) in process.flights {
            let Some(mut answer) = answer else {
                continue;
            };
            answer.time_out();
            if let (Answer::Reply(arrival), Step::Exchange(request, _)) = (&answer, &*step) {
                self.note(&Fact::Replied(replied(who, &key, request, arrival)))?;
            }
        }
        Ok(())
    }

    /// Gives a task the answer to its question.
    pub(super) fn resume(&mut self, who: Who, process: &mut Process, key: Key, flight: Flight) -> Happened {
        let Flight {
            step,
            sent,
            begun,
            answer,
            ..
        } = flight;
        let Some(mut answer) = answer else {
            return Ok(());
        };
        if sent + PATIENCE <= self.now {
            answer.time_out();
        }
        if let (Answer::Reply(arrival), Step::Exchange(request, _)) = (&mut answer, &*step) {
            process.tokens.extend(arrival.grants);
            self.note(&Fact::Replied(replied(who, &key, request, arrival)))?;
            mutant::replied(self, request.operation, arrival);
        }
        if let Answer::Request(Ok(request)) = &answer {
            let object = Arc::new(Object::Request(request.clone()));
            // A request that no watch has told of yet is not one that the process knows.
            let known = match object.key() {
                Key::Request(key) => process.views.get(&key),
                _ => None,
            };
            if known.is_some_and(|known| known.uid() == object.uid()) {
                process.view(&object);
            }
        }
        let failed = matches!(answer, Answer::Written(Err(_)));
        process.hindered |= failed || sent + PROMPT < self.now;
        let now = process.clock.now(self.now);
        let controller = &mut process.controller;
        let next = match (Arc::unwrap_or_clone(step), answer) {
            (Step::Exchange(_, waits), Answer::Reply(arrival)) => waits.resume(controller, now, arrival.reply),
            (Step::MintToken(_, waits), Answer::Token(token)) => waits.resume(controller, now, token),
            (Step::Publish(_, waits), _) => waits.resume(controller),
            (Step::ReadRequest(_, waits), Answer::Request(request)) => waits.resume(controller, now, request),
            (Step::ReadSecret(_, waits), Answer::Secret(secret)) => waits.resume(controller, now, secret),
            (Step::WriteStatus(_, waits), Answer::Written(written)) => waits.resume(controller, now, written),
            // No question is answered with another's answer.
            (step, _) => step,
        };
        if failed && mutant::forgets(self) {
            return self.begin_anew(process);
        }
        self.ask(who, process, key, begun, next)
    }
}

fn replied(who: Who, key: &Key, request: &Request, arrival: &Arrival) -> Replied {
    Replied {
        who,
        key: key.clone(),
        operation: request.operation,
        url: request.http.uri().to_string(),
        csr: vault::signed_csr(request),
        lost: arrival.lost,
        wrong: arrival.wrong,
        reply: arrival.reply.clone(),
    }
}

impl Answer {
    /// Makes it come too late: its question has been given up.
    fn time_out(&mut self) {
        match self {
            Self::Reply(arrival) => {
                arrival.lost = arrival.tag != 0 || arrival.grants.is_some();
                arrival.reply = Err(TransportError::Timeout);
            }
            Self::Request(answer) => *answer = Err(ReadError::Unavailable),
            Self::Secret(answer) => *answer = Err(ReadError::Unavailable),
            Self::Token(answer) => *answer = Err(ReadError::Unavailable),
            Self::Written(answer) => *answer = Err(WriteError::Unavailable),
            Self::Published => {}
        }
    }
}

/// Sorts a refusal as the driver does.
fn write_error(refusal: Refusal) -> WriteError {
    match refusal.status() {
        403 => WriteError::Forbidden,
        404 => WriteError::NotFound,
        409 => WriteError::Conflict,
        _ => WriteError::Unavailable,
    }
}
