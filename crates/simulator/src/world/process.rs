//! The lifecycle of processes, like the driver's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fake_kube::Kind;
use issuer_core::Request;
use issuer_core::reconcile::{Claim, Controller, Key, Step};
use issuer_core::reference::TokenSource;

use super::{Checked, Down, World};
use crate::fixture::{self, IssuerId};
use crate::login::LoginRequest;
use crate::mutant::{self, Mutant};
use crate::observation::{Observation, Sent, Stopped};
use crate::process::{DRAIN, InFlight, PROMPT, Phase, Process, REVOKE};
use crate::transition::ProcessId;
use crate::vault;

impl World {
    /// Changes a process, if it is running.
    pub(super) fn with_process(
        &mut self,
        id: ProcessId,
        change: impl FnOnce(&mut Self, &mut Process) -> Checked,
    ) -> Checked {
        // The process leaves its slot meanwhile, so that the world can be changed beside it.
        let slot = std::mem::replace(self.slot_mut(id), Err(Down::Stopped));
        let mut process = match slot {
            Ok(process) => process,
            Err(down) => {
                *self.slot_mut(id) = Err(down);
                return Ok(());
            }
        };
        let checked = change(self, Arc::make_mut(&mut process));
        if process.phase == Phase::Ended {
            let mut in_flight = process.in_flight.values();
            let waits = in_flight.any(|in_flight| in_flight.sent + PROMPT < self.now);
            let stopped = Stopped {
                process: id,
                unsaved: process.controller.unsaved(),
                hindered: process.hindered || waits,
            };
            checked.and_then(|()| self.note(&Observation::Stopped(stopped)))?;
            return self.lose_answers(id, Arc::unwrap_or_clone(process));
        }
        *self.slot_mut(id) = Ok(process);
        checked
    }

    pub(super) fn start(&mut self, id: ProcessId) -> Checked {
        let clock = self.setup.clocks.get(id.index()).copied().unwrap_or_default();
        let clock = mutant::clock(self.setup.mutant, clock);
        let seed = u64::try_from(id.index()).unwrap_or_default();
        let mut config = self.setup.config.clone();
        if self.setup.claims {
            self.starts += 1;
            config.claim = Some(Claim {
                identity: format!("process-{}", self.starts),
            });
        }
        let serves = config.drop_in.is_some();
        let mut process = Process::new(Controller::new(config, seed), clock);
        process.serving_since = serves.then_some(self.now);
        if self.running().next().is_some() {
            let claims = self.setup.claims;
            let record = Arc::make_mut(&mut self.record);
            record.overlaps += 1;
            if !claims {
                record.requests.values_mut().for_each(|request| request.credit += 1);
            }
        }
        for kind in Kind::ALL {
            self.list(&mut process, kind);
        }
        *self.slot_mut(id) = Ok(Arc::new(process));
        self.note(&Observation::Started(id))?;
        self.with_process(id, |world, process| world.run(id, process))
    }

    pub(super) fn crash(&mut self, id: ProcessId) -> Checked {
        let held: BTreeSet<u32> = self.process(id).into_iter().flat_map(Process::held).collect();
        let alive = self.vaults.iter().flat_map(|vault| vault.grants());
        let tokens = alive.filter(|grant| held.contains(&grant.number)).count();
        *self.slot_mut(id) = Err(Down::Crashed);
        self.note(&Observation::Crashed(id, u32::try_from(tokens).unwrap_or(u32::MAX)))
    }

    /// Asks a process to stop, like its driver.
    pub(super) fn stop(&mut self, id: ProcessId, process: &mut Process) -> Checked {
        if self.setup.mutant != Some(Mutant::IgnoredStop) {
            process.controller.stop(process.clock.now(self.now));
        }
        process.phase = match self.setup.mutant {
            Some(Mutant::UnsavedStop) => Phase::Ended,
            _ => Phase::Draining(self.now + DRAIN),
        };
        self.run(id, process)
    }

    /// Starts every task that is due, like the driver.
    pub(super) fn run(&mut self, id: ProcessId, process: &mut Process) -> Checked {
        loop {
            let now = process.clock.now(self.now);
            while let Some((key, step)) = process.controller.poll(now) {
                self.send(id, process, key, self.now, step)?;
            }
            process.phase = match process.phase {
                Phase::Draining(end) if process.controller.is_drained() || end <= self.now => {
                    process.controller.retire_all();
                    Phase::Revoking(self.now + REVOKE)
                }
                Phase::Revoking(end) if process.controller.is_retired() || end <= self.now => Phase::Ended,
                _ => return Ok(()),
            };
        }
    }

    /// Sends a step.
    pub(super) fn send(
        &mut self,
        id: ProcessId,
        process: &mut Process,
        key: Key,
        begun: Duration,
        step: Step,
    ) -> Checked {
        let step = match self.setup.mutant {
            Some(mutant) => mutant::send(mutant, process, &key, step, self.near()),
            None => step,
        };
        let observation = match &step {
            Step::Exchange(request, _) => Some(Observation::Sent(self.sent(id, process, &key, begun, request))),
            Step::MintToken(TokenSource::Requested(spec), _) => {
                Some(Observation::TokenRequested(id, key.clone(), spec.clone()))
            }
            Step::ReadSecret(secret, _) => Some(Observation::SecretRead(id, key.clone(), secret.clone())),
            Step::Done(outcome) => Some(Observation::Finished(id, key.clone(), *outcome)),
            Step::MintToken(TokenSource::File(_), _)
            | Step::Publish(..)
            | Step::ReadConfigMap(..)
            | Step::ReadNamespace(..)
            | Step::ReadRequest(..)
            | Step::ReviewReference(..)
            | Step::WriteStatus(..) => None,
        };
        if let Some(observation) = observation {
            self.note(&observation)?;
        }
        if matches!(step, Step::Done(_)) {
            return Ok(());
        }
        if let (true, Step::Publish(event, waits)) = (self.setup.reduced, &step) {
            self.note(&Observation::Published(id, event.clone()))?;
            let next = waits.clone().resume(&mut process.controller);
            return self.send(id, process, key, begun, next);
        }
        let mut in_flight = InFlight {
            step: Arc::new(step),
            sent: self.now,
            begun,
            answer: None,
            slow: false,
        };
        if self.setup.requests_only && !matches!(key, Key::Request(_)) {
            in_flight.answer = Some(self.effect(id, process, &key, &in_flight.step, None)?);
            return self.resume(id, process, key, in_flight);
        }
        process.in_flight.insert(key, in_flight);
        Ok(())
    }

    fn sent(&self, id: ProcessId, process: &Process, key: &Key, begun: Duration, request: &Request) -> Sent {
        let login = LoginRequest::of(request);
        let uri = request.http.uri();
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let origin = format!("{}://{authority}", uri.scheme_str().unwrap_or_default());
        let host = fixture::HOSTS.iter().position(|host| origin.contains(host));
        let at = |issuer| host.is_some_and(|host| process.servers.contains(&(issuer, host)));
        let known = match login {
            Some(LoginRequest::AwsKeys) => self.issuer_of(key) == Some(IssuerId::Aws),
            _ => self.issuer_of(key).is_none_or(at),
        };
        let view = if let Key::Request(name) = key {
            process.views.get(name).cloned()
        } else {
            None
        };
        Sent {
            process: id,
            key: key.clone(),
            begun,
            operation: request.operation,
            login,
            wrapping: vault::wrapping_token(request),
            origin,
            token: vault::token(request),
            body: String::from_utf8_lossy(request.http.body().as_bytes()).into_owned(),
            csr: vault::signed_csr(request),
            limit: request.connect.limits.body,
            view,
            known,
            stopping: process.phase != Phase::Working,
            beside_built_in: process.saw_built_in,
        }
    }

    /// Returns the key of the step at a position among those in flight.
    pub(crate) fn key_in_flight(&self, id: ProcessId, at: u8) -> Option<Key> {
        self.process(id)?.in_flight.keys().nth(usize::from(at)).cloned()
    }

    /// Replaces the controller of a process by a new one: a seeded bug.
    pub(super) fn lose_memory(&mut self, process: &mut Process) -> Checked {
        process.in_flight.clear();
        process.controller = Controller::new(self.setup.config.clone(), 0);
        Kind::ALL.into_iter().for_each(|kind| self.list(process, kind));
        Ok(())
    }
}
