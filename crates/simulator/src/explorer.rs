//! Every state that can be reached, breadth first.
//!
//! States are told apart by their digests. Two threads expand each level; what they find is taken in in order, so two
//! runs are equal. Each state knows what follows when it is left alone, and so it is known of every one whether it
//! comes to rest.

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
const BATCH: usize = 8192;

/// How long it may take until everything is at rest, by the world's clock.
const BOUND: Duration = Duration::from_secs(1800);

/// How long the world is watched to be quiet.
const QUIET: Duration = Duration::from_secs(24 * 3600);

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The states that were reached.
    pub states: usize,
    /// The ways between them.
    pub transitions: usize,
    /// The length of the longest shortest way to a state.
    pub depth: usize,
    /// The states in which everything is at rest.
    pub at_rest: usize,
    /// Those of them that differ in more than the faults that it took to get there; each was watched for a day.
    pub watched: usize,
    /// The longest time from any state to rest, by the world's clock, if it is left alone.
    pub slowest: Duration,
    /// Whether every state was reached.
    pub complete: bool,
    /// The way to one of the last states.
    pub deepest: Vec<Event>,
    /// What is wrong: of each promise the first breach, with the shortest way there.
    pub violations: BTreeMap<&'static str, (Violation, Vec<Event>)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            states,
            transitions,
            depth,
            at_rest,
            watched,
            slowest,
            complete,
            violations,
            ..
        } = self;
        let all = if *complete { "all" } else { "not all" };
        write!(
            f,
            "{states} states ({all}), {transitions} transitions, depth {depth}; {at_rest} at rest ({watched} watched for \
             24 h); at rest after at most {} s; promises broken: {}",
            slowest.as_secs(),
            violations.len(),
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
    report: Report,
}

/// Explores everything that may happen, up to a number of states.
pub fn explore(setup: &Arc<Setup>, limit: usize) -> Report {
    let world = World::new(Arc::clone(setup));
    let mut explorer = Explorer {
        known: HashMap::from([(world.digest(), 0)]),
        reached: vec![Reached {
            from: NONE,
            event: Event::Unseal,
            depth: 0,
            next: NONE,
            takes: Duration::ZERO,
            rests: false,
        }],
        watched: HashSet::new(),
        report: Report::default(),
    };
    let mut frontier = vec![(0, world)];
    while !frontier.is_empty() && explorer.reached.len() < limit {
        frontier = explorer.level(&frontier);
        explorer.report.depth += 1;
    }
    explorer.report.complete = frontier.is_empty();
    explorer.finish()
}

impl Explorer {
    /// Expands all states of a depth; returns those of the next.
    fn level(&mut self, frontier: &[(u32, World)]) -> Vec<(u32, World)> {
        let mut next = Vec::new();
        for batch in frontier.chunks(BATCH) {
            let share = batch.len().div_ceil(THREADS);
            let known = &self.known;
            let expanded: Vec<Expanded> = thread::scope(|scope| {
                let expand =
                    |part: &[(u32, World)]| part.iter().map(|(_, world)| expand(world, known)).collect::<Vec<_>>();
                let threads: Vec<_> = batch
                    .chunks(share)
                    .map(|part| scope.spawn(move || expand(part)))
                    .collect();
                threads
                    .into_iter()
                    .flat_map(|thread| thread.join().unwrap_or_default())
                    .collect()
            });
            for ((id, world), expanded) in batch.iter().zip(expanded) {
                self.take_in(*id, world, expanded, &mut next);
            }
        }
        next
    }

    fn take_in(&mut self, id: u32, world: &World, expanded: Expanded, next: &mut Vec<(u32, World)>) {
        match expanded.rests {
            Ok(rests) => {
                if let Some(reached) = self.reached.get_mut(index(id)) {
                    reached.rests = rests;
                }
                self.report.at_rest += usize::from(rests);
                if rests && let Err(violation) = self.watch(world) {
                    self.violated(id, None, violation);
                }
            }
            Err(violation) => self.violated(id, None, violation),
        }
        let depth = self.reached.get(index(id)).map_or(0, |reached| reached.depth) + 1;
        for (place, found) in expanded.found.into_iter().enumerate() {
            self.report.transitions += 1;
            let to = match found.outcome {
                Ok(Some(child)) if !self.known.contains_key(&found.digest) => {
                    let to = u32::try_from(self.reached.len()).unwrap_or(NONE);
                    self.known.insert(found.digest, to);
                    let event = found.event;
                    self.reached.push(Reached {
                        from: id,
                        event,
                        depth,
                        next: NONE,
                        takes: Duration::ZERO,
                        rests: false,
                    });
                    next.push((to, child));
                    to
                }
                Ok(_) => self.known.get(&found.digest).copied().unwrap_or(NONE),
                Err(violation) => {
                    self.violated(id, Some(found.event), violation);
                    continue;
                }
            };
            if place == 0
                && expanded.alone
                && let Some(reached) = self.reached.get_mut(index(id))
            {
                (reached.next, reached.takes) = (to, found.takes);
            }
        }
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
    #[allow(clippy::indexing_slicing, clippy::print_stderr)]
    fn finish(mut self) -> Report {
        self.report.states = self.reached.len();
        if std::env::var_os("STATS").is_some() {
            let mut label: Vec<String> = Vec::new();
            let mut counts: BTreeMap<String, usize> = BTreeMap::new();
            for r in &self.reached {
                let mut l = if r.from == NONE {
                    String::new()
                } else {
                    label[index(r.from)].clone()
                };
                let e = format!("{:?}", r.event);
                if l.is_empty()
                    && (e.starts_with("Fail")
                        || e.starts_with("Crash")
                        || e.starts_with("Stop")
                        || e.starts_with("Relist")
                        || (e.starts_with("User") && !e.contains("Order")))
                {
                    l = e.replace(", 0,", ",").replace(", 1,", ",").replace(", 2,", ",");
                }
                *counts.entry(l.clone()).or_default() += 1;
                label.push(l);
            }
            let mut v: Vec<_> = counts.into_iter().collect();
            v.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
            for (l, n) in v {
                eprintln!("{n:8} {l}");
            }
        }
        self.report.deepest = self.way(u32::try_from(self.reached.len() - 1).unwrap_or_default());
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

fn expand(world: &World, known: &HashMap<u128, u32>) -> Expanded {
    let rests = world.is_at_rest();
    let alone = world.left_alone();
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
    Expanded {
        found: world.choices().into_iter().map(follow).collect(),
        alone: alone.is_some(),
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
