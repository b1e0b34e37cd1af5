//! A run: passes the time and delivers what is due.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fake_kube::Kind;

use super::dice::Dice;
use super::plan::{Delivery, FaultPeriod, Next, Pace, Plan, Scheduled};
use crate::log::Log;
use crate::process::Phase;
use crate::promise::{self, Violation};
use crate::transition::{ProcessId, StepFault, Transition};
use crate::world::World;

/// The maximum number of actions at one point in time for each request.
const MAX_OF_REQUEST: u64 = 100;

/// The maximum number of actions at one point in time that no request accounts for.
const MAX_OTHERS: u64 = 20_000;

/// The next action of the runner.
enum Action {
    Agenda,
    Delivery(ProcessId, u8, Next),
    Lifecycle,
    Watch(ProcessId, Kind),
    /// Only time passes.
    Wait,
}

/// A long run: a world in which time passes while steps are in flight.
///
/// When a step is sent, the runner decides when it takes effect, when it is answered, and which fault it meets. So the next
/// action is always the one with the earliest time.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) world: World,
    pub(super) dice: Dice,
    pub(super) pace: Pace,
    pub(super) fault_periods: Vec<FaultPeriod>,
    agenda: BTreeMap<(Duration, usize), Scheduled>,
    /// The number of actions ever put on the agenda, which orders those of the same time.
    planned: usize,
    term: Option<Duration>,
    /// The next start, stop or crash that the runner itself decided on.
    lifecycle: Option<(Duration, Scheduled)>,
    /// The steps in flight of each process, in its order.
    pub(super) deliveries: BTreeMap<ProcessId, Vec<Delivery>>,
    /// When each watch with undelivered events delivers them.
    pub(super) watch_due: BTreeMap<(ProcessId, Kind), Duration>,
    pub(crate) faults: u64,
    pub(crate) actions: u64,
    /// The number of actions at the current time.
    at_once: (Duration, u64),
}

impl Run {
    /// Returns a run at its start, whose log keeps a number of readable lines.
    pub(crate) fn new(seed: u64, plan: Plan, lines: usize) -> Self {
        let mut world = World::new(Arc::new(plan.setup));
        world.log = Some(Box::new(Log::new(lines)));
        let mut run = Self {
            world,
            dice: Dice::new(seed),
            pace: plan.pace,
            fault_periods: plan.fault_periods,
            agenda: BTreeMap::new(),
            planned: 0,
            term: plan.term,
            lifecycle: None,
            deliveries: BTreeMap::new(),
            watch_due: BTreeMap::new(),
            faults: 0,
            actions: 0,
            at_once: (Duration::ZERO, 0),
        };
        for (at, scheduled) in plan.agenda {
            run.plan(at, scheduled);
        }
        run
    }

    /// Puts an action on the agenda.
    pub(crate) fn plan(&mut self, at: Duration, scheduled: Scheduled) {
        self.agenda.insert((at, self.planned), scheduled);
        self.planned += 1;
    }

    #[expect(clippy::expect_used, reason = "every run has one from its beginning")]
    pub(crate) fn log(&self) -> &Log {
        self.world.log.as_deref().expect("a log")
    }

    fn log_mut(&mut self) -> Option<&mut Log> {
        self.world.log.as_deref_mut()
    }

    /// Runs up to a time.
    pub(crate) fn until(&mut self, end: Duration) -> Result<(), Violation> {
        while self.step(end)? {}
        Ok(())
    }

    /// Runs without further faults until the world has converged; returns how long that took.
    pub(crate) fn converge(&mut self, bound: Duration) -> Result<Duration, Violation> {
        self.fault_periods.clear();
        self.agenda.clear();
        (self.lifecycle, self.term) = (None, None);
        let begun = self.world.now();
        for host in [0, 1] {
            self.plan(begun, Scheduled::Unseal(host));
        }
        while !(self.has_nothing_planned() && self.world.is_settled()) {
            if !self.step(begun + bound)? {
                let what = format!("no convergence within {} s after the last fault", bound.as_secs());
                return Err(promise::CONVERGES.broken(what));
            }
        }
        self.world.check_converged()?;
        Ok(self.world.now().saturating_sub(begun))
    }

    /// Runs a converged world for a time; only periodic checks may happen.
    pub(crate) fn quiet(&mut self, span: Duration) -> Result<(), Violation> {
        let record = self.world.record();
        let (before, sent) = ((record.writes, record.signs), self.log().sent.len());
        self.until(self.world.now() + span)?;
        let record = self.world.record();
        if (record.writes, record.signs) != before {
            return Err(promise::STAYS_QUIET.broken("a status write after convergence"));
        }
        // A check asks for health, perhaps for another token or its renewal, for the right to sign; it may revoke a token.
        let setup = &self.world.setup;
        let period = setup.config.check_interval.min(setup.token_ttl / 2);
        let rounds = 2 + span.as_secs() / period.as_secs().max(1);
        let most = 4 * rounds * u64::from(self.world.periodic_checks());
        let sent = u64::try_from(self.log().sent.len() - sent).unwrap_or(u64::MAX);
        if sent > most {
            let hours = span.as_secs() / 3600;
            let what = format!("{sent} requests to Vault in {hours} h after convergence");
            return Err(promise::STAYS_QUIET.broken(what));
        }
        Ok(())
    }

    /// Performs the next action; returns `false` if there is none before the end.
    fn step(&mut self, end: Duration) -> Result<bool, Violation> {
        self.supervise();
        self.respond();
        let (at, next) = self.next();
        let happens = at <= end;
        let at = at.min(end);
        if at > self.world.now() || !happens {
            self.world.advance(at)?;
            self.at_once = (at, 0);
        } else {
            self.actions += 1;
            self.at_once.1 += 1;
            self.act(next)?;
            self.world.trim();
        }
        self.refresh();
        if let Some(violation) = self.log_mut().and_then(|log| log.violation.take()) {
            return Err(violation);
        }
        let requests = u64::try_from(self.world.setup.requests.len()).unwrap_or(u64::MAX);
        if self.at_once.1 > MAX_OF_REQUEST * requests + MAX_OTHERS {
            return Err(promise::STAYS_QUIET.broken("it is busy without end, and no time passes"));
        }
        Ok(happens)
    }

    /// Returns the next action and its time.
    fn next(&self) -> (Duration, Action) {
        let now = self.world.now();
        let mut first = (Duration::MAX, Action::Wait);
        let mut consider = |at: Duration, next: Action| {
            if at < first.0 {
                first = (at, next);
            }
        };
        if let Some(((at, _), _)) = self.agenda.first_key_value() {
            consider(*at, Action::Agenda);
        }
        if let Some((at, _)) = self.lifecycle {
            consider(at, Action::Lifecycle);
        }
        for (id, deliveries) in &self.deliveries {
            for (position, delivery) in (0..).zip(deliveries) {
                consider(delivery.at, Action::Delivery(*id, position, delivery.next));
            }
        }
        for ((id, kind), at) in &self.watch_due {
            consider(*at, Action::Watch(*id, *kind));
        }
        for (_, process) in self.world.running() {
            if let Some(due) = process.due() {
                // What is due now has been started, or waits for a slot.
                consider(due.max(now + Duration::from_nanos(1)), Action::Wait);
            }
        }
        first
    }

    fn act(&mut self, action: Action) -> Result<(), Violation> {
        match action {
            Action::Wait => Ok(()),
            Action::Agenda => match self.agenda.pop_first() {
                Some((_, scheduled)) => self.act_as_scheduled(scheduled),
                None => Ok(()),
            },
            Action::Lifecycle => match self.lifecycle.take() {
                Some((_, scheduled)) => self.act_as_scheduled(scheduled),
                None => Ok(()),
            },
            Action::Watch(id, kind) => {
                self.watch_due.remove(&(id, kind));
                let breaks = self.fault_period().map_or(0, |period| period.breaks);
                if self.dice.chance(breaks) {
                    self.faults += 1;
                    return self.perform(Transition::Relist(id, kind));
                }
                while self
                    .world
                    .process(id)
                    .is_some_and(|process| self.world.lags(process, kind))
                {
                    self.perform(Transition::Watch(id, kind))?;
                }
                Ok(())
            }
            Action::Delivery(id, position, next) => self.deliver(id, position, next),
        }
    }

    fn deliver(&mut self, id: ProcessId, position: u8, next: Next) -> Result<(), Violation> {
        let deliveries = self.deliveries.entry(id).or_default();
        let at = usize::from(position);
        if let (Next::Apply(answered), Some(delivery)) = (next, deliveries.get_mut(at)) {
            (delivery.at, delivery.next) = (answered, Next::Deliver);
            return self.perform(Transition::Apply(id, position));
        }
        if at < deliveries.len() {
            deliveries.remove(at);
        }
        match next {
            Next::Answer => self.perform(Transition::Answer(id, position)),
            Next::Apply(_) | Next::Deliver => self.perform(Transition::Deliver(id, position)),
            Next::Fail(fault) => {
                self.faults += 1;
                self.perform(Transition::Fail(id, position, fault))?;
                if fault == StepFault::Sealed {
                    let (least, most) = (Duration::from_secs(1), Duration::from_secs(300));
                    let until = self.world.now() + self.dice.magnitude(least, most);
                    for host in [0, 1] {
                        self.plan(until, Scheduled::Unseal(host));
                    }
                }
                Ok(())
            }
        }
    }

    fn act_as_scheduled(&mut self, scheduled: Scheduled) -> Result<(), Violation> {
        let now = self.world.now();
        let works = |id| {
            self.world
                .process(id)
                .is_some_and(|process| process.phase == Phase::Working)
        };
        match scheduled {
            Scheduled::User(action) if self.world.is_possible(action) => {
                return self.perform(Transition::User(action));
            }
            Scheduled::Start(id) if self.world.process(id).is_none() => {
                return self.perform(Transition::Start(id));
            }
            Scheduled::Stop(id) if works(id) => {
                self.faults += 1;
                return self.perform(Transition::Stop(id));
            }
            Scheduled::Crash(id) if self.world.process(id).is_some() => {
                self.faults += 1;
                return self.perform(Transition::Crash(id));
            }
            Scheduled::FailToSign(host, fails) => self.world.vault_mut(host).set_fails_to_sign(fails),
            Scheduled::Revoke(host) => self.world.vault_mut(host).revoke_all(),
            Scheduled::Seal(host) => self.world.vault_mut(host).set_sealed(true),
            Scheduled::Unseal(host) => {
                self.log_mut().into_iter().for_each(|log| log.action(now, &scheduled));
                self.world.vault_mut(host).set_sealed(false);
                return Ok(());
            }
            Scheduled::User(_) | Scheduled::Crash(_) | Scheduled::Start(_) | Scheduled::Stop(_) => return Ok(()),
        }
        self.faults += 1;
        self.log_mut().into_iter().for_each(|log| log.action(now, &scheduled));
        Ok(())
    }

    fn perform(&mut self, transition: Transition) -> Result<(), Violation> {
        let now = self.world.now();
        self.log_mut()
            .into_iter()
            .for_each(|log| log.transition(now, transition));
        self.world.perform(transition)
    }

    /// Plans the rotation that a condition asks for, soon.
    fn respond(&mut self) {
        let Some(rotation) = self.world.rotation_due().map(Scheduled::User) else {
            return;
        };
        let until = self.world.now() + Duration::from_secs(60);
        let mut planned = self.agenda.range(..=(until, usize::MAX));
        if planned.all(|(_, scheduled)| *scheduled != rotation) {
            let after = self.dice.magnitude(Duration::from_secs(1), Duration::from_secs(60));
            self.plan(self.world.now() + after, rotation);
        }
    }

    /// Plans to start a process if none runs, and to stop or crash one when its term is over.
    fn supervise(&mut self) {
        let running: Vec<ProcessId> = self.world.running().map(|(id, _)| id).collect();
        let all = self.world.setup.processes;
        let now = self.world.now();
        let due = self.lifecycle.map(|(at, _)| at).into_iter();
        let due = due.chain(
            self.agenda
                .iter()
                .filter(|(_, scheduled)| matches!(scheduled, Scheduled::Start(_)))
                .map(|((at, _), _)| *at),
        );
        let soonest = due.min();
        if running.is_empty() {
            if soonest.is_none_or(|at| at > now + Duration::from_secs(60)) {
                let at = now + self.dice.magnitude(Duration::from_secs(1), Duration::from_secs(40));
                self.lifecycle = self.dice.pick(all).map(|id| (at, Scheduled::Start(id)));
            }
            return;
        }
        let (Some(term), None) = (self.term, self.lifecycle) else {
            return;
        };
        let other = all.iter().copied().find(|id| !running.contains(id));
        let id = self.dice.pick(&running).unwrap_or(ProcessId::A);
        let end = if self.dice.chance(500) {
            Scheduled::Stop(id)
        } else {
            Scheduled::Crash(id)
        };
        let both = running.len() > 1;
        let most = if both { term / 10 } else { term };
        let at = now + self.dice.magnitude(Duration::from_secs(5), most);
        let start = other.filter(|_| self.dice.chance(500)).map(Scheduled::Start);
        self.lifecycle = Some((at, start.unwrap_or(end)));
    }

    /// Returns `true` if nothing is planned, so that it is worth to check for convergence.
    fn has_nothing_planned(&self) -> bool {
        self.agenda.is_empty() && self.watch_due.is_empty() && self.deliveries.values().all(Vec::is_empty)
    }
}
