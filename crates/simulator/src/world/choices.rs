//! The transitions that are possible in a state.

use fake_kube::Kind;
use issuer_core::Operation;
use issuer_core::reconcile::Step;

use super::{Down, World};
use crate::aws;
use crate::login::LoginRequest;
use crate::process::{InFlight, Phase, Process};
use crate::transition::{ProcessId, StepFault, Transition, UserAction};

impl World {
    /// Returns `true` if a transition counts as a fault.
    pub(crate) fn is_fault(&self, transition: Transition) -> bool {
        match transition {
            Transition::Crash(_) | Transition::Fail(..) | Transition::Relist(..) | Transition::Stop(_) => true,
            Transition::User(action) => {
                self.setup.script.get(self.done) != Some(&action) && self.responses().all(|response| response != action)
            }
            Transition::Answer(..)
            | Transition::Apply(..)
            | Transition::Deliver(..)
            | Transition::Start(_)
            | Transition::Tick(_)
            | Transition::Unseal
            | Transition::Watch(..) => false,
        }
    }

    /// Returns every transition that is possible without a fault. The first is that of the
    /// [undisturbed](Self::undisturbed) world.
    pub fn choices(&self) -> Vec<Transition> {
        let mut transitions: Vec<Transition> = self.undisturbed().into_iter().collect();
        if self.overdue().is_some() {
            return transitions;
        }
        let checking = self.checks_alone();
        let mut add = |transition| {
            if may_interleave(checking, transition) && !transitions.contains(&transition) {
                transitions.push(transition);
            }
        };
        for id in self.setup.processes {
            if self.process(*id).is_none() {
                add(Transition::Start(*id));
            }
        }
        if self.is_sealed() {
            add(Transition::Unseal);
        }
        if let Some(action) = self.setup.script.get(self.done) {
            add(Transition::User(*action));
        }
        self.responses().map(Transition::User).for_each(&mut add);
        for (id, process) in self.running() {
            Kind::ALL
                .into_iter()
                .filter(|kind| self.lags(process, *kind))
                .for_each(|kind| add(Transition::Watch(id, kind)));
            for (at, in_flight) in (0..).zip(process.in_flight.values()) {
                match in_flight.answer {
                    Some(_) => add(Transition::Deliver(id, at)),
                    None => add(Transition::Answer(id, at)),
                }
                if in_flight.answer.is_none() && has_visible_effect(in_flight) {
                    add(Transition::Apply(id, at));
                }
            }
        }
        self.ticks().for_each(add);
        transitions
    }

    /// Returns every fault that is possible.
    pub fn possible_faults(&self) -> Vec<Transition> {
        if self.overdue().is_some() {
            return Vec::new();
        }
        let checking = self.checks_alone();
        let faults = self.faults();
        faults.filter(|fault| may_interleave(checking, *fault)).collect()
    }

    /// Returns the delivery of a watch that lags more than it may.
    fn overdue(&self) -> Option<Transition> {
        let watches = self
            .running()
            .flat_map(|(id, process)| Kind::ALL.map(|kind| (id, process, kind)));
        let lag = |process: &Process, kind| {
            let undelivered = self.cluster.watch(kind, process.cursor(kind));
            undelivered.map_or(0, Iterator::count)
        };
        let mut late = watches.filter(|(_, process, kind)| lag(process, *kind) > self.setup.max_lag);
        late.next().map(|(id, _, kind)| Transition::Watch(id, kind))
    }

    /// Returns the timers that may fire next: the first one, and one that jitter might have made the first.
    fn ticks(&self) -> impl Iterator<Item = Transition> {
        let busy = self
            .running()
            .any(|(_, process)| process.in_flight.values().any(|in_flight| !in_flight.slow));
        let idle = self.idle >= self.setup.max_idle;
        let due = move |process: &Process| process.next_wake().filter(|_| !busy && !idle);
        let first = self.running().filter_map(|(_, process)| due(process)).min();
        let latest = first.map(|first| first + (first.saturating_sub(self.now)) / 10);
        self.running()
            .filter(move |(_, process)| due(process).is_some_and(|at| Some(at) <= latest))
            .map(|(id, _)| Transition::Tick(id))
    }

    fn faults(&self) -> impl Iterator<Item = Transition> {
        let setup = &self.setup;
        let disruptions = setup.disruptions.iter().copied();
        let of_users = disruptions
            .filter(|action| self.is_possible(*action))
            .map(Transition::User);
        let of_processes = self.running().filter(|_| setup.crashes).flat_map(|(id, process)| {
            let watches = Kind::ALL
                .into_iter()
                .filter(|kind| self.lags(process, *kind))
                .map(move |kind| Transition::Relist(id, kind));
            let stop = (process.phase == Phase::Working).then_some(Transition::Stop(id));
            [Transition::Crash(id)].into_iter().chain(stop).chain(watches)
        });
        let of_steps = self.running().flat_map(move |(id, process)| {
            (0..)
                .zip(process.in_flight.values())
                .filter(|(_, in_flight)| in_flight.answer.is_none())
                .flat_map(move |(at, in_flight)| {
                    let faults = setup.faults.iter().copied();
                    faults
                        .filter(|fault| relevance(&in_flight.step, *fault) == Relevance::Distinct)
                        .map(move |fault| Transition::Fail(id, at, fault))
                })
        });
        of_users.chain(of_processes).chain(of_steps)
    }

    /// Returns the next transition of a world without further faults; `None` if the world has converged.
    ///
    /// The order is fixed, so that every state has one undisturbed future, and fair: watches deliver, steps are answered,
    /// and only then does time pass.
    pub fn undisturbed(&self) -> Option<Transition> {
        let down = self.setup.processes.iter().find(|id| match self.slot(**id) {
            Ok(_) => false,
            Err(Down::NotStarted) => self.running().next().is_none(),
            Err(Down::Crashed | Down::Stopped) => true,
        });
        if let Some(transition) = self.overdue() {
            return Some(transition);
        }
        if self.is_sealed() {
            return Some(Transition::Unseal);
        }
        if let Some(id) = self.checks_alone() {
            return Some(Transition::Answer(id, 0));
        }
        if let Some(id) = down {
            return Some(Transition::Start(*id));
        }
        if let Some(action) = self.setup.script.get(self.done) {
            return Some(Transition::User(*action));
        }
        for (id, process) in self.running() {
            if let Some(kind) = Kind::ALL.into_iter().find(|kind| self.lags(process, *kind)) {
                return Some(Transition::Watch(id, kind));
            }
        }
        for (id, process) in self.running() {
            if let Some((at, in_flight)) = (0..).zip(process.in_flight.values()).next() {
                return Some(if in_flight.answer.is_some() {
                    Transition::Deliver(id, at)
                } else {
                    Transition::Answer(id, at)
                });
            }
        }
        if let Some(response) = self.responses().next() {
            return Some(Transition::User(response));
        }
        if self.is_converged() {
            return None;
        }
        self.next_tick()
    }

    /// Returns the process that performs the first steps of an issuer's check, if nothing else is in flight.
    ///
    /// Their answers change nothing but the next step of the check, and only a rotation changes the answers: so nothing
    /// else needs to be explored between them.
    fn checks_alone(&self) -> Option<ProcessId> {
        let mut all = self
            .running()
            .flat_map(|(id, process)| process.in_flight.values().map(move |in_flight| (id, in_flight)));
        let (id, in_flight) = all.next().filter(|_| self.setup.reduced)?;
        let first = match &*in_flight.step {
            Step::ReadConfigMap(..) | Step::ReadSecret(..) | Step::MintToken(..) => true,
            Step::Exchange(request, _) => {
                matches!(
                    request.operation,
                    Operation::Health | Operation::Login | Operation::Renew
                )
            }
            _ => false,
        };
        (first && in_flight.answer.is_none() && all.next().is_none()).then_some(id)
    }

    /// Returns `true` if the undisturbed world has converged, or something is held back that would happen by itself.
    pub(super) fn is_idle(&self) -> bool {
        let down = |id: &ProcessId| matches!(self.slot(*id), Err(Down::Crashed | Down::Stopped));
        self.is_sealed()
            || self.done < self.setup.script.len()
            || self.responses().next().is_some()
            || self.setup.processes.iter().any(down)
            || !self.is_quiescent()
            || self.is_converged()
    }

    /// Returns the timer that fires first.
    pub(crate) fn next_tick(&self) -> Option<Transition> {
        let due = self
            .running()
            .filter_map(|(id, process)| Some((process.next_wake()?, id)))
            .min();
        due.map(|(_, id)| Transition::Tick(id))
    }

    /// Returns `true` if a server is sealed.
    pub(crate) fn is_sealed(&self) -> bool {
        self.vaults.iter().any(|vault| vault.is_sealed())
    }

    /// Returns `true` if nothing is in flight and every watch has delivered its events.
    pub(crate) fn is_quiescent(&self) -> bool {
        self.running().all(|(_, process)| {
            process.in_flight.is_empty() && !Kind::ALL.into_iter().any(|kind| self.lags(process, kind))
        })
    }
}

/// Returns `true` if a transition is explored while a process performs the first steps of a check.
fn may_interleave(checking: Option<ProcessId>, transition: Transition) -> bool {
    match (checking, transition) {
        (None, _)
        | (
            _,
            Transition::Crash(_) | Transition::Stop(_) | Transition::Unseal | Transition::User(UserAction::Rotate(_)),
        ) => true,
        (Some(only), Transition::Answer(id, _) | Transition::Deliver(id, _) | Transition::Fail(id, ..)) => id == only,
        _ => false,
    }
}

/// Returns `true` if another process may act between the effect of a step and its answer without a fault. Only status
/// writes: only their effect is visible to others.
fn has_visible_effect(in_flight: &InFlight) -> bool {
    matches!(&*in_flight.step, Step::WriteStatus(..))
}

/// The relevance of a fault for a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relevance {
    /// The step cannot meet the fault.
    Impossible,
    /// The fault has the same consequences as another one, or none.
    Redundant,
    /// The fault has consequences of its own.
    Distinct,
}

/// Returns the relevance of a fault for a step.
///
/// Only requests with a token on the way to a signature are throttled. Vault exempts `sys/health` from rate limit quotas
/// (<https://developer.hashicorp.com/vault/docs/concepts/resource-quotas>).
pub(crate) fn relevance(step: &Step, fault: StepFault) -> Relevance {
    use StepFault::{
        Broken, CrashAfter, Forbidden, Garbage, Lost, Postponed, Refused, Revoked, Sealed, Slow, Throttled, Unadmitted,
        WrongKey,
    };
    let distinct = match step {
        Step::WriteStatus(..) => matches!(fault, Forbidden | Lost | Postponed | Refused | Slow | Unadmitted),
        // Only a write is admitted.
        _ if matches!(fault, Postponed | Unadmitted) => return Relevance::Impossible,
        Step::Exchange(request, _) if aws::is_sts(request) => match fault {
            Revoked | Sealed | WrongKey => return Relevance::Impossible,
            _ => matches!(fault, Broken | Forbidden | Garbage | Lost | Slow),
        },
        Step::Exchange(request, _) => match (request.operation, fault) {
            (_, Forbidden) => return Relevance::Impossible,
            (Operation::Sign | Operation::Probe | Operation::Lookup, Throttled) => true,
            (_, Throttled) => return Relevance::Impossible,
            (Operation::Health, _) => matches!(fault, Broken | Refused | Sealed | Slow),
            (Operation::Login, _) => match LoginRequest::of(request) {
                Some(LoginRequest::Lookup) => matches!(fault, Broken | Refused | Revoked | Sealed | Slow),
                _ => matches!(fault, Broken | CrashAfter | Lost | Refused | Sealed | Slow),
            },
            (Operation::Probe | Operation::Lookup, _) => matches!(fault, Broken | Refused | Revoked | Sealed | Slow),
            (Operation::Renew, _) => matches!(fault, Broken | Lost | Refused | Revoked | Sealed),
            (Operation::Revoke, _) => matches!(fault, Lost | Refused | Slow),
            (Operation::Sign, _) => true,
        },
        Step::ReadConfigMap(..)
        | Step::ReadNamespace(..)
        | Step::ReadRequest(..)
        | Step::ReadSecret(..)
        | Step::ReviewReference(..)
        | Step::MintToken(..) => {
            matches!(fault, Forbidden | Refused | Slow)
        }
        Step::Publish(..) => matches!(fault, Refused | Slow),
        Step::Done(_) => false,
    };
    if distinct {
        Relevance::Distinct
    } else {
        Relevance::Redundant
    }
}
