use fake_kube::Kind;
use issuer_core::Operation;
use issuer_core::reconcile::Step;

use super::{Down, World};
use crate::event::{Act, Event, Fault, Who};
use crate::process::{Flight, Process, Stage};

impl World {
    /// Tells whether an event is a fault.
    pub(crate) fn costs(&self, event: Event) -> bool {
        match event {
            Event::Crash(_) | Event::Fail(..) | Event::Relist(..) | Event::Stop(_) => true,
            Event::User(act) => self.setup.script.get(self.done) != Some(&act),
            Event::Answer(..)
            | Event::Apply(..)
            | Event::Deliver(..)
            | Event::Start(_)
            | Event::Tick(_)
            | Event::Unseal
            | Event::Watch(..) => false,
        }
    }

    /// Returns everything that may happen next without a fault, what happens if the world is left alone first.
    pub fn choices(&self) -> Vec<Event> {
        let mut events: Vec<Event> = self.left_alone().into_iter().collect();
        if self.overdue().is_some() {
            return events;
        }
        let alone = self.begins_check();
        let mut add = |event| {
            if may_be_now(alone, event) && !events.contains(&event) {
                events.push(event);
            }
        };
        for who in self.setup.processes {
            if self.process(*who).is_none() {
                add(Event::Start(*who));
            }
        }
        if self.is_sealed() {
            add(Event::Unseal);
        }
        if let Some(act) = self.setup.script.get(self.done) {
            add(Event::User(*act));
        }
        for (who, process) in self.running() {
            Kind::ALL
                .into_iter()
                .filter(|kind| self.lags(process, *kind))
                .for_each(|kind| add(Event::Watch(who, kind)));
            for (at, flight) in (0..).zip(process.flights.values()) {
                match flight.answer {
                    Some(_) => add(Event::Deliver(who, at)),
                    None => add(Event::Answer(who, at)),
                }
                if flight.answer.is_none() && splits(flight) {
                    add(Event::Apply(who, at));
                }
            }
        }
        self.ticks().for_each(add);
        events
    }

    /// Returns every fault that may happen next.
    pub fn mishaps(&self) -> Vec<Event> {
        if self.overdue().is_some() {
            return Vec::new();
        }
        let alone = self.begins_check();
        self.faults().filter(|event| may_be_now(alone, *event)).collect()
    }

    /// Returns the telling of a watch that has more to tell than it may.
    fn overdue(&self) -> Option<Event> {
        let kinds = self
            .running()
            .flat_map(|(who, process)| Kind::ALL.map(|kind| (who, process, kind)));
        let lag = |process: &Process, kind| {
            let untold = self.cluster.watch(kind, process.cursor(kind));
            untold.map_or(0, Iterator::count)
        };
        let mut late = kinds.filter(|(_, process, kind)| lag(process, *kind) > self.setup.most_lag);
        late.next().map(|(who, _, kind)| Event::Watch(who, kind))
    }

    /// Returns whose timers may run out next: the first, and one that jitter might have made the first.
    fn ticks(&self) -> impl Iterator<Item = Event> {
        let quick = self
            .running()
            .any(|(_, process)| process.flights.values().any(|flight| !flight.slow));
        let idle = self.idle >= self.setup.most_idle;
        let due = move |process: &Process| process.wakes().filter(|_| !quick && !idle);
        let first = self.running().filter_map(|(_, process)| due(process)).min();
        let latest = first.map(|first| first + (first.saturating_sub(self.now)) / 10);
        self.running()
            .filter(move |(_, process)| due(process).is_some_and(|at| Some(at) <= latest))
            .map(|(who, _)| Event::Tick(who))
    }

    fn faults(&self) -> impl Iterator<Item = Event> {
        let setup = &self.setup;
        let mischief = setup
            .mischief
            .iter()
            .copied()
            .filter(|act| self.can(*act))
            .map(Event::User);
        let of_processes = self.running().filter(|_| setup.crashes).flat_map(|(who, process)| {
            let watches = Kind::ALL
                .into_iter()
                .filter(|kind| self.lags(process, *kind))
                .map(move |kind| Event::Relist(who, kind));
            let stop = (process.stage == Stage::Working).then_some(Event::Stop(who));
            [Event::Crash(who)].into_iter().chain(stop).chain(watches)
        });
        let of_questions = self.running().flat_map(move |(who, process)| {
            (0..)
                .zip(process.flights.values())
                .filter(|(_, flight)| flight.answer.is_none())
                .flat_map(move |(at, flight)| {
                    let faults = setup.faults.iter().copied().filter(|fault| may_meet(flight, *fault));
                    faults.map(move |fault| Event::Fail(who, at, fault))
                })
        });
        mischief.chain(of_processes).chain(of_questions)
    }

    /// Returns what happens next in a world that is left alone; `None` if it is at rest.
    pub fn left_alone(&self) -> Option<Event> {
        let crashed = self.setup.processes.iter().find(|who| match self.slot(**who) {
            Ok(_) => false,
            Err(Down::NotYet) => self.running().next().is_none(),
            Err(Down::Crashed | Down::Stopped) => true,
        });
        if let Some(event) = self.overdue() {
            return Some(event);
        }
        if self.is_sealed() {
            return Some(Event::Unseal);
        }
        if let Some(who) = self.begins_check() {
            return Some(Event::Answer(who, 0));
        }
        if let Some(who) = crashed {
            return Some(Event::Start(*who));
        }
        if let Some(act) = self.setup.script.get(self.done) {
            return Some(Event::User(*act));
        }
        for (who, process) in self.running() {
            if let Some(kind) = Kind::ALL.into_iter().find(|kind| self.lags(process, *kind)) {
                return Some(Event::Watch(who, kind));
            }
        }
        for (who, process) in self.running() {
            if let Some((at, flight)) = (0..).zip(process.flights.values()).next() {
                return Some(if flight.answer.is_some() {
                    Event::Deliver(who, at)
                } else {
                    Event::Answer(who, at)
                });
            }
        }
        if self.is_at_rest() {
            return None;
        }
        self.next_tick()
    }

    /// Returns the process that does the first steps of an issuer's check, if it is that alone which is under way.
    ///
    /// Their answers change nothing but what the check asks next, and nothing but a rotation changes them.
    fn begins_check(&self) -> Option<Who> {
        let mut flights = self
            .running()
            .flat_map(|(who, process)| process.flights.values().map(move |flight| (who, flight)));
        let (who, flight) = flights.next().filter(|_| self.setup.brisk)?;
        let first = match &*flight.step {
            Step::ReadSecret(..) | Step::MintToken(..) => true,
            Step::Exchange(request, _) => {
                matches!(
                    request.operation,
                    Operation::Health | Operation::Login | Operation::Renew
                )
            }
            _ => false,
        };
        (first && flight.answer.is_none() && flights.next().is_none()).then_some(who)
    }

    /// Tells whether something is held back that happens of itself in a world that is left alone, or nothing would.
    pub(super) fn is_idle(&self) -> bool {
        let down = |who: &Who| matches!(self.slot(*who), Err(Down::Crashed | Down::Stopped));
        self.is_sealed()
            || self.done < self.setup.script.len()
            || self.setup.processes.iter().any(down)
            || !self.is_still()
            || self.is_at_rest()
    }

    /// Returns the first timer to run out.
    pub(crate) fn next_tick(&self) -> Option<Event> {
        let due = self
            .running()
            .filter_map(|(who, process)| Some((process.wakes()?, who)))
            .min();
        due.map(|(_, who)| Event::Tick(who))
    }

    /// Tells whether a server is sealed.
    pub(crate) fn is_sealed(&self) -> bool {
        self.vaults.iter().any(|vault| vault.is_sealed())
    }

    /// Tells whether no process has anything on its way, and no watch anything to tell.
    pub(crate) fn is_still(&self) -> bool {
        self.running().all(|(_, process)| {
            process.flights.is_empty() && !Kind::ALL.into_iter().any(|kind| self.lags(process, kind))
        })
    }
}

/// Tells whether an event is among those that are looked at while a process does the first steps of a check.
fn may_be_now(alone: Option<Who>, event: Event) -> bool {
    match (alone, event) {
        (None, _) | (_, Event::Crash(_) | Event::Stop(_) | Event::Unseal | Event::User(Act::Rotate(_))) => true,
        (Some(only), Event::Answer(who, _) | Event::Deliver(who, _) | Event::Fail(who, ..)) => who == only,
        _ => false,
    }
}

/// Tells whether others may act between the effect of a question and its answer without any fault: where they can see
/// the effect.
fn splits(flight: &Flight) -> bool {
    matches!(&*flight.step, Step::WriteStatus(..))
}

/// Tells whether a fault can meet a question in a way of its own.
fn may_meet(flight: &Flight, fault: Fault) -> bool {
    use Fault::{Broken, CrashAfter, Forbidden, Lost, Refused, Revoked, Sealed, Slow, Throttled};
    match &*flight.step {
        Step::Exchange(request, _) => match request.operation {
            Operation::Health => matches!(fault, Broken | Refused | Sealed | Slow),
            Operation::Login => matches!(fault, Broken | CrashAfter | Lost | Refused | Sealed | Slow),
            Operation::Probe | Operation::Lookup => {
                matches!(fault, Broken | Refused | Revoked | Sealed | Slow | Throttled)
            }
            Operation::Renew => matches!(fault, Broken | Lost | Refused | Revoked | Sealed),
            Operation::Revoke => matches!(fault, Lost | Refused | Slow),
            Operation::Sign => fault != Forbidden,
        },
        Step::WriteStatus(..) => matches!(fault, Forbidden | Lost | Refused | Slow),
        Step::ReadRequest(..) | Step::ReadSecret(..) | Step::MintToken(..) => {
            matches!(fault, Forbidden | Refused | Slow)
        }
        Step::Publish(..) => matches!(fault, Refused | Slow),
        Step::Done(_) => false,
    }
}
