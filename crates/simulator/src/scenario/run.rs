use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fake_kube::Kind;

use super::dice::Dice;
use super::fate::{Planned, Then};
use super::log::Log;
use super::plan::{Deed, Pace, Plan, Storm};
use crate::event::{Event, Fault, Who};
use crate::invariants::{self, Violation};
use crate::process::Stage;
use crate::world::World;

/// How much may happen at one moment, for each request, and in all.
const BUSY: (u64, u64) = (100, 20_000);

/// What happens next.
enum Move {
    Agenda,
    Flight(Who, u8, Then),
    Turn,
    Watch(Who, Kind),
    /// Only time passes.
    Wait,
}

/// A world in which time passes while questions are on their way.
///
/// Each question is given, when it is sent, the time at which it has its effect, that of its answer, and what goes
/// wrong with it. So what happens next is always what comes first, and costs no look at what is not under way.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) world: World,
    pub(super) dice: Dice,
    pub(super) pace: Pace,
    pub(super) storms: Vec<Storm>,
    agenda: BTreeMap<(Duration, usize), Deed>,
    deeds: usize,
    term: Option<Duration>,
    /// When which process begins or ends next, of itself.
    turn: Option<(Duration, Deed)>,
    /// The questions of each process, in its order.
    pub(super) flights: BTreeMap<Who, Vec<Planned>>,
    /// When each watch tells what there is to tell.
    pub(super) tidings: BTreeMap<(Who, Kind), Duration>,
    pub(crate) faults: u64,
    pub(crate) moves: u64,
    /// How much has happened at this moment.
    at_once: (Duration, u64),
}

impl Run {
    /// Begins a run, which keeps the last lines of what happens for people to read.
    pub(crate) fn new(seed: u64, plan: Plan, lines: usize) -> Self {
        let mut world = World::new(Arc::new(plan.setup));
        world.log = Some(Box::new(Log::new(lines)));
        let mut run = Self {
            world,
            dice: Dice::new(seed),
            pace: plan.pace,
            storms: plan.storms,
            agenda: BTreeMap::new(),
            deeds: 0,
            term: plan.term,
            turn: None,
            flights: BTreeMap::new(),
            tidings: BTreeMap::new(),
            faults: 0,
            moves: 0,
            at_once: (Duration::ZERO, 0),
        };
        for (at, deed) in plan.agenda {
            run.plan(at, deed);
        }
        run
    }

    /// Has something done at a time.
    pub(crate) fn plan(&mut self, at: Duration, deed: Deed) {
        self.agenda.insert((at, self.deeds), deed);
        self.deeds += 1;
    }

    /// Returns what has happened.
    #[expect(clippy::expect_used, reason = "every run has one from its beginning")]
    pub(crate) fn log(&self) -> &Log {
        self.world.log.as_deref().expect("a log")
    }

    fn log_mut(&mut self) -> Option<&mut Log> {
        self.world.log.as_deref_mut()
    }

    /// Lets everything happen up to a time.
    pub(crate) fn until(&mut self, end: Duration) -> Result<(), Violation> {
        while self.step(end)? {}
        Ok(())
    }

    /// Leaves the world alone until it is at rest; returns how long that took.
    pub(crate) fn rest(&mut self, bound: Duration) -> Result<Duration, Violation> {
        self.storms.clear();
        self.agenda.clear();
        (self.turn, self.term) = (None, None);
        let begun = self.world.now();
        for host in [0, 1] {
            self.plan(begun, Deed::Unseal(host));
        }
        while !(self.seems_at_rest() && self.world.is_settled()) {
            if !self.step(begun + bound)? {
                let what = format!("left alone, it does not come to rest within {} s", bound.as_secs());
                return Err(Violation { number: "L1", what });
            }
        }
        invariants::check_rest(&self.world)?;
        Ok(self.world.now().saturating_sub(begun))
    }

    /// Leaves a world at rest alone, and holds what comes of it against what a quiet world does.
    pub(crate) fn quiet(&mut self, span: Duration) -> Result<(), Violation> {
        let record = self.world.record();
        let (before, asked) = ((record.writes, record.signs), self.log().asked.len());
        self.until(self.world.now() + span)?;
        let record = self.world.record();
        let noise = |what: String| Violation { number: "L2", what };
        if (record.writes, record.signs) != before {
            return Err(noise("a status is written in a quiet world".to_owned()));
        }
        // A check asks for health, perhaps for another token or its renewal, for the right to sign; it may end a token.
        let setup = &self.world.setup;
        let period = setup.config.check_interval.min(setup.token_ttl / 2);
        let rounds = 2 + span.as_secs() / period.as_secs().max(1);
        let most = 4 * rounds * u64::from(self.world.parties());
        let asked = u64::try_from(self.log().asked.len() - asked).unwrap_or(u64::MAX);
        if asked > most {
            let hours = span.as_secs() / 3600;
            return Err(noise(format!("{asked} requests to Vault in {hours} quiet hours")));
        }
        Ok(())
    }

    /// Lets the next thing happen; tells whether there was one up to the end.
    fn step(&mut self, end: Duration) -> Result<bool, Violation> {
        self.tend();
        let (at, next) = self.next();
        let happens = at <= end;
        let at = at.min(end);
        if at > self.world.now() || !happens {
            self.world.advance(at)?;
            self.at_once = (at, 0);
        } else {
            self.moves += 1;
            self.at_once.1 += 1;
            self.perform(next)?;
            self.world.trim();
        }
        self.look();
        if let Some(breach) = self.log_mut().and_then(|log| log.breach.take()) {
            return Err(breach);
        }
        let (each, all) = BUSY;
        let requests = u64::try_from(self.world.setup.wants.len()).unwrap_or(u64::MAX);
        if self.at_once.1 > each * requests + all {
            let what = "it is busy for ever, and no time passes".to_owned();
            return Err(Violation { number: "L2", what });
        }
        Ok(happens)
    }

    /// Returns what comes first.
    fn next(&self) -> (Duration, Move) {
        let now = self.world.now();
        let mut first = (Duration::MAX, Move::Wait);
        let mut consider = |at: Duration, next: Move| {
            if at < first.0 {
                first = (at, next);
            }
        };
        if let Some(((at, _), _)) = self.agenda.first_key_value() {
            consider(*at, Move::Agenda);
        }
        if let Some((at, _)) = self.turn {
            consider(at, Move::Turn);
        }
        for (who, planned) in &self.flights {
            for (place, planned) in (0..).zip(planned) {
                consider(planned.at, Move::Flight(*who, place, planned.then));
            }
        }
        for ((who, kind), at) in &self.tidings {
            consider(*at, Move::Watch(*who, *kind));
        }
        for (_, process) in self.world.running() {
            if let Some(due) = process.due() {
                // What is due now has been done, or waits for a slot.
                consider(due.max(now + Duration::from_nanos(1)), Move::Wait);
            }
        }
        first
    }

    fn perform(&mut self, next: Move) -> Result<(), Violation> {
        match next {
            Move::Wait => Ok(()),
            Move::Agenda => match self.agenda.pop_first() {
                Some((_, deed)) => self.perform_deed(deed),
                None => Ok(()),
            },
            Move::Turn => match self.turn.take() {
                Some((_, deed)) => self.perform_deed(deed),
                None => Ok(()),
            },
            Move::Watch(who, kind) => {
                self.tidings.remove(&(who, kind));
                let breaks = self.storm().map_or(0, |storm| storm.breaks);
                if self.dice.chance(breaks) {
                    self.faults += 1;
                    return self.happen(Event::Relist(who, kind));
                }
                while self
                    .world
                    .process(who)
                    .is_some_and(|process| self.world.lags(process, kind))
                {
                    self.happen(Event::Watch(who, kind))?;
                }
                Ok(())
            }
            Move::Flight(who, place, then) => self.fly(who, place, then),
        }
    }

    fn fly(&mut self, who: Who, place: u8, then: Then) -> Result<(), Violation> {
        let flights = self.flights.entry(who).or_default();
        let at = usize::from(place);
        if let (Then::Apply(answered), Some(planned)) = (then, flights.get_mut(at)) {
            (planned.at, planned.then) = (answered, Then::Deliver);
            return self.happen(Event::Apply(who, place));
        }
        if at < flights.len() {
            flights.remove(at);
        }
        match then {
            Then::Answer => self.happen(Event::Answer(who, place)),
            Then::Apply(_) | Then::Deliver => self.happen(Event::Deliver(who, place)),
            Then::Fail(fault) => {
                self.faults += 1;
                self.happen(Event::Fail(who, place, fault))?;
                if fault == Fault::Sealed {
                    let until =
                        self.world.now() + self.dice.magnitude(Duration::from_secs(1), Duration::from_secs(300));
                    [0, 1].into_iter().for_each(|host| self.plan(until, Deed::Unseal(host)));
                }
                Ok(())
            }
        }
    }

    fn perform_deed(&mut self, deed: Deed) -> Result<(), Violation> {
        let now = self.world.now();
        let works = |who| {
            self.world
                .process(who)
                .is_some_and(|process| process.stage == Stage::Working)
        };
        match deed {
            Deed::Act(act) if self.world.can(act) => return self.happen(Event::User(act)),
            Deed::Start(who) if self.world.process(who).is_none() => return self.happen(Event::Start(who)),
            Deed::Stop(who) if works(who) => {
                self.faults += 1;
                return self.happen(Event::Stop(who));
            }
            Deed::Crash(who) if self.world.process(who).is_some() => {
                self.faults += 1;
                return self.happen(Event::Crash(who));
            }
            Deed::Revoke(host) => self.world.vault_mut(host).revoke_all(),
            Deed::Seal(host) => self.world.vault_mut(host).set_sealed(true),
            Deed::Unseal(host) => {
                self.log_mut().into_iter().for_each(|log| log.move_on(now, &deed));
                self.world.vault_mut(host).set_sealed(false);
                return Ok(());
            }
            Deed::Act(_) | Deed::Crash(_) | Deed::Start(_) | Deed::Stop(_) => return Ok(()),
        }
        self.faults += 1;
        self.log_mut().into_iter().for_each(|log| log.move_on(now, &deed));
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        let now = self.world.now();
        self.log_mut().into_iter().for_each(|log| log.event(now, event));
        self.world.happen(event)
    }

    /// Sees to it that somebody works, and that nobody works for ever.
    fn tend(&mut self) {
        let running: Vec<Who> = self.world.running().map(|(who, _)| who).collect();
        let all = self.world.setup.processes;
        let now = self.world.now();
        let due = self.turn.map(|(at, _)| at).into_iter();
        let due = due.chain(
            self.agenda
                .iter()
                .filter(|(_, deed)| matches!(deed, Deed::Start(_)))
                .map(|((at, _), _)| *at),
        );
        let soonest = due.min();
        if running.is_empty() {
            if soonest.is_none_or(|at| at > now + Duration::from_secs(60)) {
                let at = now + self.dice.magnitude(Duration::from_secs(1), Duration::from_secs(40));
                self.turn = self.dice.pick(all).map(|who| (at, Deed::Start(who)));
            }
            return;
        }
        let (Some(term), None) = (self.term, self.turn) else {
            return;
        };
        let other = all.iter().copied().find(|who| !running.contains(who));
        let who = self.dice.pick(&running).unwrap_or(Who::A);
        let end = if self.dice.chance(500) {
            Deed::Stop(who)
        } else {
            Deed::Crash(who)
        };
        let both = running.len() > 1;
        let most = if both { term / 10 } else { term };
        let at = now + self.dice.magnitude(Duration::from_secs(5), most);
        let begin = other.filter(|_| self.dice.chance(500)).map(Deed::Start);
        self.turn = Some((at, begin.unwrap_or(end)));
    }

    /// Tells whether it is worth to look whether the world is at rest.
    fn seems_at_rest(&self) -> bool {
        self.agenda.is_empty() && self.tidings.is_empty() && self.flights.values().all(Vec::is_empty)
    }
}
