//! Every state that can be reached: first those without any fault, then those with one, and so on.
//!
//! States are told apart by their digests, in which the number of faults does not count: one that was reached with fewer
//! is not looked at again. Two threads expand states; what they find is taken in in order, so two runs are equal. Each
//! state knows what follows when it is left alone, and so it is known of every one whether it comes to rest.

mod trace;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::event::Event;
use crate::invariants::{self, Violation};
use crate::world::{Setup, World};

pub use trace::as_test;
use trace::shorten;

/// How many threads expand states.
const THREADS: usize = 2;

/// How many states are expanded before what was found is taken in.
const BATCH: usize = 4096;

/// How many states meet every fault before what follows is explored. They have many, and states take much memory.
const FEW: usize = 128;

/// How many states a thread takes at a time.
const SHARE: usize = 64;

/// How long it may take until everything is at rest, by the world's clock.
const BOUND: Duration = Duration::from_secs(1800);

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
    /// Whether it is at rest as it must be; what tells it from other states at rest.
    rests: Result<Option<u128>, Violation>,
    world: World,
}

struct Explorer {
    known: HashMap<u128, u32>,
    reached: Vec<Reached>,
    watched: HashSet<u128>,
    limit: usize,
    /// Whether it is enough to find one thing that is wrong.
    one: bool,
    report: Report,
}

/// Explores everything that may happen, up to a number of states.
pub fn explore(setup: &Arc<Setup>, limit: usize) -> Report {
    let mut explorer = Explorer {
        known: HashMap::new(),
        reached: Vec::new(),
        watched: HashSet::new(),
        limit,
        one: setup.only.is_some(),
        report: Report::default(),
    };
    let world = World::new(Arc::clone(setup));
    let first = explorer.add(world.digest(), NONE, Event::Unseal);
    let mut layer = explorer.follow(vec![(first, world)], setup.most_faults > 0);
    explorer.report.states.push(explorer.reached.len());
    for faults in 1..=setup.most_faults {
        let before = explorer.reached.len();
        layer = explorer.fail(layer, faults < setup.most_faults);
        explorer.report.states.push(explorer.reached.len() - before);
    }
    explorer.report.complete = explorer.reached.len() < limit;
    explorer.finish(setup)
}

impl Explorer {
    /// Explores all that follows without a fault; returns all these states, if they are wanted.
    fn follow(&mut self, mut frontier: Vec<Numbered>, keep: bool) -> Vec<Numbered> {
        let mut layer = Vec::new();
        while !frontier.is_empty() && self.goes_on() {
            let mut next = Vec::new();
            for batch in batches(frontier, BATCH) {
                let expanded = in_parallel(batch, |(id, world)| (id, expand(world, &self.known)));
                let mut at_rest = Vec::new();
                for (
                    id,
                    Expanded {
                        found,
                        alone,
                        rests,
                        world,
                    },
                ) in expanded
                {
                    let follows = self.take_in(id, found, &mut next);
                    self.reached.get_mut(index(id)).into_iter().for_each(|reached| {
                        reached.rests = matches!(rests, Ok(Some(_)));
                        if let (Some((to, takes)), true) = (follows, alone) {
                            (reached.next, reached.takes) = (to, takes);
                        }
                    });
                    match rests {
                        Ok(Some(digest)) if self.watched.insert(digest) => at_rest.push((id, world.clone())),
                        Ok(_) => {}
                        Err(violation) => self.violated(id, None, violation),
                    }
                    if keep {
                        layer.push((id, world));
                    }
                }
                for (id, quiet) in in_parallel(at_rest, |(id, mut world)| (id, world.watch_a_day())) {
                    if let Err(violation) = quiet {
                        self.violated(id, None, violation);
                    }
                }
            }
            frontier = next;
        }
        layer
    }

    /// Explores all that follows these states with one fault more; returns all these states, if they are wanted.
    fn fail(&mut self, layer: Vec<Numbered>, keep: bool) -> Vec<Numbered> {
        let mut next = Vec::new();
        for batch in batches(layer, FEW) {
            let mut seeds = Vec::new();
            let found = in_parallel(batch, |(id, world)| {
                (id, follow_all(&world, &self.known, world.mishaps()))
            });
            for (id, found) in found {
                self.take_in(id, found, &mut seeds);
            }
            next.append(&mut self.follow(seeds, keep));
        }
        next
    }

    /// Tells whether there may be more to find.
    fn goes_on(&self) -> bool {
        self.reached.len() < self.limit && (!self.one || self.report.violations.is_empty())
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

    /// Takes in what was found; returns the first state of it, and how long it takes to get there.
    fn take_in(&mut self, id: u32, found: Vec<Found>, next: &mut Vec<Numbered>) -> Option<(u32, Duration)> {
        let mut first = None;
        for (
            place,
            Found {
                event,
                digest,
                takes,
                outcome,
            },
        ) in found.into_iter().enumerate()
        {
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

    /// Notes the first breach of a promise: no way to one has fewer faults.
    fn violated(&mut self, id: u32, event: Option<Event>, violation: Violation) {
        if !self.report.violations.contains_key(violation.number) {
            let mut way = self.way(id);
            way.extend(event);
            self.report.violations.insert(violation.number, (violation, way));
        }
    }

    /// Returns the way on which a state was reached first.
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

    /// Follows every state to rest, and shortens the ways to what is wrong.
    fn finish(mut self, setup: &Arc<Setup>) -> Report {
        self.report.at_rest = self.reached.iter().filter(|reached| reached.rests).count();
        self.report.watched = self.watched.len();
        if self.report.violations.is_empty() && self.report.complete {
            match self.rest() {
                Ok(slowest) => self.report.slowest = slowest,
                Err((id, what)) => self.violated(id, None, Violation { number: "L1", what }),
            }
        }
        for (violation, way) in self.report.violations.values_mut() {
            *way = shorten(setup, violation, std::mem::take(way));
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

/// Cuts states into batches, and lets go of each when it is done with.
fn batches(states: Vec<Numbered>, size: usize) -> impl Iterator<Item = Vec<Numbered>> {
    let mut states = states.into_iter();
    std::iter::from_fn(move || Some(states.by_ref().take(size).collect()).filter(|batch: &Vec<_>| !batch.is_empty()))
}

/// Does something to each of many things on two threads; returns what comes of it in their order.
fn in_parallel<T: Send, R: Send>(things: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let shares = Mutex::new((0_usize, things.into_iter()));
    let next = || {
        let mut shares = shares.lock().unwrap_or_else(PoisonError::into_inner);
        shares.0 += 1;
        let share: Vec<T> = shares.1.by_ref().take(SHARE).collect();
        (!share.is_empty()).then_some((shares.0, share))
    };
    let one = || -> Vec<(usize, Vec<R>)> {
        std::iter::from_fn(next)
            .map(|(place, share)| (place, share.into_iter().map(&work).collect()))
            .collect()
    };
    let mut done = thread::scope(|scope| {
        let threads: Vec<_> = (1..THREADS).map(|_| scope.spawn(one)).collect();
        let mut done = one();
        done.extend(threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()));
        done
    });
    done.sort_unstable_by_key(|(place, _)| *place);
    done.into_iter().flat_map(|(_, share)| share).collect()
}

fn expand(world: World, known: &HashMap<u128, u32>) -> Expanded {
    let rests = match world.is_at_rest() {
        true => invariants::check_rest(&world).map(|()| Some(world.digest_of_rest())),
        false => Ok(None),
    };
    Expanded {
        found: follow_all(&world, known, world.choices()),
        alone: world.left_alone().is_some(),
        rests,
        world,
    }
}

/// Lets each of these happen to a state.
fn follow_all(world: &World, known: &HashMap<u128, u32>, events: Vec<Event>) -> Vec<Found> {
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
    events.into_iter().map(follow).collect()
}
