//! Every state that can be reached: first those without any fault, then those with one, and so on.
//!
//! States are told apart by their digests, in which the number of faults does not count: one that was reached with fewer
//! is not looked at again. Two threads expand states; what they find is taken in in order, so two runs are equal. Each
//! state knows what follows when it is left alone, and so it is known of every one whether it comes to rest.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::event::Event;
use crate::invariants::{self, Violation};
use crate::world::{Setup, World};

/// How many threads expand states.
const THREADS: usize = 2;

/// How many states are expanded before what was found is taken in.
const BATCH: usize = 4096;

/// How long it may take until everything is at rest, by the world's clock.
const BOUND: Duration = Duration::from_secs(1800);

/// How long the world is watched to be quiet.
const QUIET: Duration = Duration::from_secs(24 * 3600);

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The states that were reached with no fault, with one, and so on.
    pub states: Vec<usize>,
    /// The ways between them.
    pub transitions: usize,
    /// How many events it takes to reach the farthest.
    pub depth: u32,
    /// The states in which everything is at rest.
    pub at_rest: usize,
    /// Those of them that differ in more than what has happened; each was watched for a day.
    pub watched: usize,
    /// The longest time from any state to rest, by the world's clock, if it is left alone.
    pub slowest: Duration,
    /// Whether every state was reached.
    pub complete: bool,
    /// What is wrong: of each promise the first breach, with a way there of the fewest faults.
    pub violations: BTreeMap<&'static str, (Violation, Vec<Event>)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = if self.complete { "all" } else { "not all" };
        let total: usize = self.states.iter().sum();
        let by_faults: Vec<_> = self.states.iter().map(usize::to_string).collect();
        write!(
            f,
            "{total} states ({all}; by faults {}), {} transitions, depth {}; {} at rest, {} of them watched for 24 h; at \
             rest after at most {} s; promises broken: {}",
            by_faults.join(" + "),
            self.transitions,
            self.depth,
            self.at_rest,
            self.watched,
            self.slowest.as_secs(),
            self.violations.len(),
        )
    }
}

/// A state that was reached.
#[derive(Clone, Copy, Debug)]
struct Reached {
    /// The state before, and what happened there.
    from: u32,
    event: Event,
    depth: u32,
    /// What follows if it is left alone, and how long that takes.
    next: u32,
    takes: Duration,
    rests: bool,
}

/// No state.
const NONE: u32 = u32::MAX;

/// A state and its number.
type Numbered = (u32, World);

/// A state that follows.
struct Found {
    event: Event,
    digest: u128,
    takes: Duration,
    /// The state itself, unless it was known already.
    outcome: Result<Option<World>, Violation>,
}

/// All states that follow one.
struct Expanded {
    found: Vec<Found>,
    /// Whether the first of them follows if the state is left alone.
    alone: bool,
    rests: Result<bool, Violation>,
}

struct Explorer {
    known: HashMap<u128, u32>,
    reached: Vec<Reached>,
    watched: HashSet<u128>,
    limit: usize,
    report: Report,
}

/// Explores everything that may happen, up to a number of states.
pub fn explore(setup: &Arc<Setup>, limit: usize) -> Report {
    let mut explorer = Explorer {
        known: HashMap::new(),
        reached: Vec::new(),
        watched: HashSet::new(),
        limit,
        report: Report::default(),
    };
    let world = World::new(Arc::clone(setup));
    let first = explorer.add(world.digest(), NONE, Event::Unseal);
    let mut seeds = vec![(first, world)];
    for faults in 0..=setup.most_faults {
        let before = explorer.report.states.iter().sum::<usize>();
        let layer = explorer.layer(seeds, faults < setup.most_faults);
        explorer.report.states.push(explorer.reached.len() - before);
        seeds = explorer.seeds(layer);
    }
    explorer.report.complete = explorer.reached.len() < limit;
    explorer.finish()
}

impl Explorer {
    /// Explores all that follows without a fault; returns all these states, if they are wanted.
    fn layer(&mut self, seeds: Vec<Numbered>, keep: bool) -> Vec<Numbered> {
        let mut layer = Vec::new();
        let mut frontier = seeds;
        while !frontier.is_empty() && self.reached.len() < self.limit {
            let mut next = Vec::new();
            for batch in frontier.chunks(BATCH) {
                for ((id, world), expanded) in batch.iter().zip(expand(batch, &self.known, World::choices)) {
                    self.rest_of(*id, world, expanded.rests);
                    let follows = self.take_in(*id, expanded.found, &mut next);
                    if let (Some(reached), Some((to, takes)), true) =
                        (self.reached.get_mut(index(*id)), follows, expanded.alone)
                    {
                        (reached.next, reached.takes) = (to, takes);
                    }
                }
            }
            if keep {
                layer.append(&mut frontier);
            }
            frontier = next;
        }
        layer
    }

    /// Returns the states that follow with one fault more.
    fn seeds(&mut self, layer: Vec<Numbered>) -> Vec<Numbered> {
        let mut seeds = Vec::new();
        let mut layer = layer.into_iter();
        loop {
            let batch: Vec<_> = layer.by_ref().take(BATCH).collect();
            if batch.is_empty() || self.reached.len() >= self.limit {
                return seeds;
            }
            for ((id, _), expanded) in batch.iter().zip(expand(&batch, &self.known, World::mishaps)) {
                self.take_in(*id, expanded.found, &mut seeds);
            }
        }
    }

    fn add(&mut self, digest: u128, from: u32, event: Event) -> u32 {
        let id = u32::try_from(self.reached.len()).unwrap_or(NONE);
        let depth = self.reached.get(index(from)).map_or(0, |before| before.depth + 1);
        self.report.depth = self.report.depth.max(depth);
        self.known.insert(digest, id);
        self.reached.push(Reached {
            from,
            event,
            depth,
            next: NONE,
            takes: Duration::ZERO,
            rests: false,
        });
        id
    }

    fn rest_of(&mut self, id: u32, world: &World, rests: Result<bool, Violation>) {
        match rests {
            Ok(true) => {
                self.report.at_rest += 1;
                self.reached
                    .get_mut(index(id))
                    .into_iter()
                    .for_each(|reached| reached.rests = true);
                if let Err(violation) = self.watch(world) {
                    self.violated(id, None, violation);
                }
            }
            Ok(false) => {}
            Err(violation) => self.violated(id, None, violation),
        }
    }

    /// Takes in what was found; returns the first state of it, and how long it takes to get there.
    fn take_in(&mut self, id: u32, found: Vec<Found>, next: &mut Vec<Numbered>) -> Option<(u32, Duration)> {
        let mut first = None;
        for (place, Found { event, digest, takes, outcome }) in found.into_iter().enumerate() {
            self.report.transitions += 1;
            let known = self.known.get(&digest).copied();
            let to = match (outcome, known) {
                (Ok(Some(world)), None) => {
                    let to = self.add(digest, id, event);
                    next.push((to, world));
                    to
                }
                (Ok(_), known) => known.unwrap_or(NONE),
                (Err(violation), _) => {
                    self.violated(id, Some(event), violation);
                    NONE
                }
            };
            if place == 0 {
                first = Some((to, takes));
            }
        }
        first
    }

    /// Watches a world that is at rest for a day.
    fn watch(&mut self, world: &World) -> Result<(), Violation> {
        if !self.watched.insert(world.digest_of_rest()) {
            return Ok(());
        }
        self.report.watched += 1;
        let (mut world, begun) = (world.clone(), world.now());
        let mut seen = HashSet::new();
        let mut rounds = 0;
        // What has come around once comes around for ever.
        while world.now() < begun + QUIET && seen.insert(world.digest_of_rest()) {
            world.watch_one_round()?;
            rounds += 1;
        }
        let least = world.setup.config.check_interval / 2 * rounds / world.parties();
        if rounds > 8 && world.now() < begun + least {
            let what = format!(
                "at rest, it looks {rounds} times in {:?}",
                world.now().saturating_sub(begun)
            );
            return Err(Violation { number: "L2", what });
        }
        Ok(())
    }

    /// Notes the first breach of a promise: no way to one is shorter.
    fn violated(&mut self, id: u32, event: Option<Event>, violation: Violation) {
        if !self.report.violations.contains_key(violation.number) {
            let mut way = self.way(id);
            way.extend(event);
            self.report.violations.insert(violation.number, (violation, way));
        }
    }

    /// Returns the shortest way to a state.
    fn way(&self, id: u32) -> Vec<Event> {
        let mut way = Vec::new();
        let mut at = self.reached.get(index(id));
        while let Some(reached) = at.filter(|reached| reached.from != NONE) {
            way.push(reached.event);
            at = self.reached.get(index(reached.from));
        }
        way.reverse();
        way
    }

    /// Follows every state to rest.
    fn finish(mut self) -> Report {
        if !self.report.violations.is_empty() || !self.report.complete {
            return self.report;
        }
        match self.rest() {
            Ok(slowest) => self.report.slowest = slowest,
            Err((id, what)) => self.violated(id, None, Violation { number: "L1", what }),
        }
        self.report
    }

    /// Returns the longest time from any state to rest, or a state that does not come to rest.
    fn rest(&self) -> Result<Duration, (u32, String)> {
        let mut times: Vec<Option<Duration>> = vec![None; self.reached.len()];
        let mut slowest = Duration::ZERO;
        for start in (0..).take(self.reached.len()) {
            let mut way = Vec::new();
            let mut at = start;
            let mut on_way = HashSet::new();
            let mut time = loop {
                if let Some(Some(time)) = times.get(index(at)) {
                    break *time;
                }
                let Some(reached) = self.reached.get(index(at)) else {
                    return Err((start, "left alone, it comes to a stop without being at rest".to_owned()));
                };
                if reached.rests {
                    break Duration::ZERO;
                }
                if !on_way.insert(at) {
                    return Err((start, "left alone, it goes round for ever".to_owned()));
                }
                way.push((at, reached.takes));
                at = reached.next;
            };
            for (at, takes) in way.into_iter().rev() {
                time += takes;
                if let Some(slot) = times.get_mut(index(at)) {
                    *slot = Some(time);
                }
            }
            slowest = slowest.max(time);
            if time > BOUND {
                return Err((
                    start,
                    format!("left alone, it is at rest only after {} s", time.as_secs()),
                ));
            }
        }
        Ok(slowest)
    }
}

fn index(id: u32) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}

/// Lets everything happen to the states that `choose` says, on two threads.
fn expand(batch: &[Numbered], known: &HashMap<u128, u32>, choose: fn(&World) -> Vec<Event>) -> Vec<Expanded> {
    let share = batch.len().div_ceil(THREADS).max(1);
    thread::scope(|scope| {
        let expand = |part: &[Numbered]| -> Vec<Expanded> {
            part.iter()
                .map(|(_, world)| expand_one(world, known, choose))
                .collect()
        };
        let parts = batch.chunks(share);
        let threads: Vec<_> = parts.map(|part| scope.spawn(move || expand(part))).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_default())
            .collect()
    })
}

fn expand_one(world: &World, known: &HashMap<u128, u32>, choose: fn(&World) -> Vec<Event>) -> Expanded {
    let follow = |event| {
        let mut child = world.clone();
        let happened = child.step(event);
        let digest = child.digest();
        let takes = child.now().saturating_sub(world.now());
        let outcome = happened.map(|()| (!known.contains_key(&digest)).then_some(child));
        Found {
            event,
            digest,
            takes,
            outcome,
        }
    };
    let rests = world.is_at_rest();
    Expanded {
        found: choose(world).into_iter().map(follow).collect(),
        alone: world.left_alone().is_some(),
        rests: if rests {
            invariants::check_rest(world).map(|()| true)
        } else {
            Ok(false)
        },
    }
}

/// Prints a trace as a test that fails as long as the promise is broken.
pub fn as_test(name: &str, setup: &Arc<Setup>, violation: &Violation, way: &[Event]) -> String {
    let mut text = format!(
        "// {violation}\n#[test]\nfn found_by_the_explorer() {{\n    use simulator::prelude::*;\n    \
         simulator::replay(&simulator::scope::{name}(), &[\n"
    );
    let mut world = World::new(Arc::clone(setup));
    for event in way {
        let about = world.describe(*event);
        let gap = if about.is_empty() { "" } else { " // " };
        text += &format!("        {event:?},{gap}{about}\n");
        let _violation = world.step(*event);
    }
    text + "    ])\n    .unwrap();\n}\n"
}
