//! Performs one transition.

use std::sync::Arc;
use std::time::Duration;

use super::{Checked, World};
use crate::observation::Observation;
use crate::process::Process;
use crate::transition::{ProcessId, Transition};

impl World {
    /// Performs a transition.
    ///
    /// # Errors
    ///
    /// The promise that it breaks.
    pub fn step(&mut self, transition: Transition) -> Checked {
        self.perform(transition)?;
        self.deliver_issuers()?;
        self.trim();
        if !self.is_idle() {
            self.idle = 0;
        }
        Ok(())
    }

    /// Performs a transition without clean-up.
    pub(crate) fn perform(&mut self, transition: Transition) -> Checked {
        if self.is_fault(transition) {
            self.faults = self.faults.saturating_add(1);
        }
        match transition {
            Transition::Start(id) => self.start(id),
            Transition::Crash(id) => self.crash(id),
            Transition::Stop(id) => self.with_process(id, |world, process| world.stop(id, process)),
            Transition::Watch(id, kind) => {
                self.with_process(id, |world, process| world.deliver_event(id, process, kind))
            }
            Transition::Relist(id, kind) => self.with_process(id, |world, process| {
                world.list(process, kind);
                world.run(id, process)
            }),
            Transition::Answer(id, at) => self.answer(id, at),
            Transition::Apply(id, at) => self.apply(id, at, None),
            Transition::Deliver(id, at) => self.deliver(id, at),
            Transition::Fail(id, at, fault) => self.fail(id, at, fault),
            Transition::Tick(id) => self.tick(id),
            Transition::Unseal => {
                for host in [0, 1] {
                    if self.vault(host).is_sealed() {
                        self.vault_mut(host).set_sealed(false);
                    }
                }
                Ok(())
            }
            Transition::User(action) => {
                if self.setup.script.get(self.done) == Some(&action) {
                    self.done += 1;
                }
                self.act(action);
                Ok(())
            }
        }
    }

    /// Checks an observation, then records it.
    pub(super) fn note(&mut self, observation: &Observation) -> Checked {
        self.check_step(observation)?;
        let issuer = match observation {
            Observation::Sent(sent) => self.issuer_of(&sent.key),
            Observation::Served(served) => self.issuer_of(&served.key),
            Observation::Received(received) => self.issuer_of(&received.key),
            _ => None,
        };
        let now = self.now;
        if let Some(log) = &mut self.log {
            log.note(now, observation, issuer);
        }
        Arc::make_mut(&mut self.record).note(now, observation, issuer);
        Ok(())
    }

    fn tick(&mut self, id: ProcessId) -> Checked {
        let Some(at) = self.process(id).and_then(Process::next_wake) else {
            return Ok(());
        };
        self.advance(at)?;
        for id in ProcessId::ALL {
            while let Some(at) = self.process(id).and_then(|process| process.timed_out(self.now)) {
                self.deliver(id, at)?;
            }
        }
        Ok(())
    }

    /// Advances the time; processes start what is due.
    pub(crate) fn advance(&mut self, to: Duration) -> Checked {
        self.idle = self.idle.saturating_add(1);
        self.now = self.now.max(to);
        for id in ProcessId::ALL {
            self.with_process(id, |world, process| world.run(id, process))?;
        }
        Ok(())
    }
}
