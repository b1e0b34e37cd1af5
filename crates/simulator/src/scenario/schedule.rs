//! Schedules the steps in flight of a run, and the faults that they meet.

use std::sync::Arc;
use std::time::Duration;

use fake_kube::Kind;
use issuer_core::reconcile::Step;

use super::plan::{Delivery, FaultPeriod, Next};
use super::run::Run;
use crate::fixture::Flaw;
use crate::process::ANSWER_TIMEOUT;
use crate::transition::{ProcessId, StepFault};
use crate::world::{Relevance, relevance};

impl Run {
    pub(super) fn fault_period(&self) -> Option<&FaultPeriod> {
        let now = self.world.now();
        let mut periods = self.fault_periods.iter();
        periods.find(|period| (period.from..period.to).contains(&now))
    }

    /// Schedules the steps that are new in flight and the watches that have new events.
    pub(super) fn refresh(&mut self) {
        for id in ProcessId::ALL {
            let known = self.deliveries.remove(&id).unwrap_or_default();
            let in_flight = self
                .world
                .process(id)
                .into_iter()
                .flat_map(|process| process.in_flight.values());
            let steps: Vec<_> = in_flight.map(|in_flight| Arc::clone(&in_flight.step)).collect();
            let deliveries = steps.into_iter().map(|step| {
                let known = known.iter().find(|known| Arc::ptr_eq(&known.step, &step));
                known.cloned().unwrap_or_else(|| self.schedule(step))
            });
            let deliveries = deliveries.collect();
            self.deliveries.insert(id, deliveries);
            for kind in Kind::ALL {
                let lags = self
                    .world
                    .process(id)
                    .is_some_and(|process| self.world.lags(process, kind));
                if !lags {
                    self.watch_due.remove(&(id, kind));
                } else if !self.watch_due.contains_key(&(id, kind)) {
                    let at = self.world.now() + self.takes(self.pace.watch);
                    self.watch_due.insert((id, kind), at);
                }
            }
        }
    }

    /// Schedules a step that is sent now.
    fn schedule(&mut self, step: Arc<Step>) -> Delivery {
        let now = self.world.now();
        let exchange = matches!(*step, Step::Exchange(..));
        let split = exchange || matches!(*step, Step::WriteStatus(..));
        let takes = match &*step {
            Step::Exchange(request, _) if self.world.flaw_to_sign(request) == Some(Flaw::SlowSigner) => ANSWER_TIMEOUT,
            Step::Exchange(..) => self.takes(self.pace.vault),
            _ => self.takes(self.pace.api),
        };
        let period = self.fault_period();
        let (rate, faults) = period.map_or((0, &[][..]), |period| (period.rate, &period.faults));
        let faults = faults.to_vec();
        let fault = if self.dice.chance(rate) {
            self.dice.pick(&faults)
        } else {
            None
        };
        let possible = |fault: &StepFault| relevance(&step, *fault) != Relevance::Impossible;
        let (at, next) = match fault.filter(possible) {
            Some(StepFault::Slow) => {
                self.faults += 1;
                let answered = self.dice.magnitude(Duration::from_secs(1), ANSWER_TIMEOUT * 2);
                let answered = answered.min(ANSWER_TIMEOUT);
                let effect = self.dice.span(Duration::ZERO, answered);
                (now + effect, Next::Apply(now + answered))
            }
            Some(fault) => (now + takes, Next::Fail(fault)),
            None if split => (now + takes / 2, Next::Apply(now + takes)),
            None => (now + takes, Next::Answer),
        };
        Delivery { step, at, next }
    }

    fn takes(&mut self, usual: Duration) -> Duration {
        if self.pace.varies {
            self.dice.span(usual / 2, usual * 3 / 2)
        } else {
            usual
        }
    }
}
