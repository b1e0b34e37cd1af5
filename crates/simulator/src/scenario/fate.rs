use std::sync::Arc;
use std::time::Duration;

use fake_kube::Kind;
use issuer_core::Operation;
use issuer_core::reconcile::Step;

use super::plan::Storm;
use super::run::Run;
use crate::event::{Fault, Who};
use crate::process::PATIENCE;

/// What becomes of a question.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) step: Arc<Step>,
    pub(super) at: Duration,
    pub(super) then: Then,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    /// It has its effect and is answered.
    Answer,
    /// It has its effect; the answer comes later.
    Apply(Duration),
    Deliver,
    Fail(Fault),
}

impl Run {
    pub(super) fn storm(&self) -> Option<&Storm> {
        let now = self.world.now();
        self.storms.iter().find(|storm| (storm.from..storm.to).contains(&now))
    }

    /// Takes in which questions are on their way, and which watches have something to tell.
    pub(super) fn look(&mut self) {
        for who in Who::ALL {
            let known = self.flights.remove(&who).unwrap_or_default();
            let under_way = self
                .world
                .process(who)
                .into_iter()
                .flat_map(|process| process.flights.values());
            let steps: Vec<_> = under_way.map(|flight| Arc::clone(&flight.step)).collect();
            let planned = steps.into_iter().map(|step| {
                let known = known.iter().find(|known| Arc::ptr_eq(&known.step, &step));
                known.cloned().unwrap_or_else(|| self.fate(step))
            });
            let planned = planned.collect();
            self.flights.insert(who, planned);
            for kind in Kind::ALL {
                let lags = self
                    .world
                    .process(who)
                    .is_some_and(|process| self.world.lags(process, kind));
                if !lags {
                    self.tidings.remove(&(who, kind));
                } else if !self.tidings.contains_key(&(who, kind)) {
                    let at = self.world.now() + self.takes(self.pace.watch);
                    self.tidings.insert((who, kind), at);
                }
            }
        }
    }

    /// Says what becomes of a question that is sent now.
    fn fate(&mut self, step: Arc<Step>) -> Planned {
        let now = self.world.now();
        let exchange = matches!(*step, Step::Exchange(..));
        let split = exchange || matches!(*step, Step::WriteStatus(..));
        let takes = self.takes(if exchange { self.pace.vault } else { self.pace.api });
        let (rate, faults) = self.storm().map_or((0, &[][..]), |storm| (storm.rate, &storm.faults));
        let faults = faults.to_vec();
        let fault = if self.dice.chance(rate) {
            self.dice.pick(&faults)
        } else {
            None
        };
        let (at, then) = match fault.filter(|fault| may_meet(&step, *fault)) {
            Some(Fault::Slow) => {
                self.faults += 1;
                let answered = self.dice.magnitude(Duration::from_secs(1), PATIENCE * 2).min(PATIENCE);
                let effect = self.dice.span(Duration::ZERO, answered);
                (now + effect, Then::Apply(now + answered))
            }
            Some(fault) => (now + takes, Then::Fail(fault)),
            None if split => (now + takes / 2, Then::Apply(now + takes)),
            None => (now + takes, Then::Answer),
        };
        Planned { step, at, then }
    }

    fn takes(&mut self, usual: Duration) -> Duration {
        if self.pace.varies {
            self.dice.span(usual / 2, usual * 3 / 2)
        } else {
            usual
        }
    }
}

/// Tells whether a question can meet a fault. All others are as good as none, or no fault of what is asked.
fn may_meet(step: &Step, fault: Fault) -> bool {
    match step {
        // Health and tokens are not throttled (<https://developer.hashicorp.com/vault/docs/concepts/resource-quotas>).
        Step::Exchange(request, _) => match fault {
            Fault::Forbidden => false,
            Fault::Throttled => matches!(request.operation, Operation::Sign | Operation::Probe),
            _ => true,
        },
        _ => true,
    }
}
