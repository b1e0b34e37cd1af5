//! Exhaustive exploration: first all states that are reachable without a fault, then those with one, and so on.
//!
//! States are identified by their digests, in which the number of faults does not count: a state that was reached with fewer
//! faults is not expanded again. Two threads expand states, and their results are merged in order, so every run gives the same
//! report. For each state the successor in the undisturbed world is recorded, which proves that every state converges.
//!
//! Only the frontier consists of worlds. The states that are needed again, to meet one fault more, are rebuilt.

mod expand;
mod states;
mod trace;
mod visited;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::promise::{self, Violation};
use crate::transition::Transition;
use crate::world::{Setup, World};
use expand::{Converged, Expansion, Successor, expand, in_parallel, successors};
use states::{NONE, Rebuild, States, index};

use trace::shorten;
pub use trace::{as_test, replay};

/// The number of states that are expanded before the results are merged.
const BATCH: usize = 1024;

/// The longest virtual time until convergence.
const BOUND: Duration = Duration::from_secs(1800);

/// The result of an exploration.
#[derive(Clone, Debug, Default)]
pub struct ExplorerReport {
    /// The number of states first reached with no fault, with one, and so on.
    pub states: Vec<usize>,
    /// The number of transitions between them.
    pub transitions: usize,
    /// The length of the longest path.
    pub depth: u32,
    /// The number of converged states.
    pub converged: usize,
    /// The number of those that differ in more than their record; each was watched for a day.
    pub watched: usize,
    /// The longest virtual time from any state to convergence.
    pub slowest: Duration,
    /// Whether every state was reached.
    pub complete: bool,
    /// The first violation of each promise, by number, with a path to it of the fewest faults.
    pub violations: BTreeMap<&'static str, (Violation, Vec<Transition>)>,
}

impl ExplorerReport {
    /// Returns the number of all states.
    pub fn total(&self) -> usize {
        self.states.iter().sum()
    }
}

impl fmt::Display for ExplorerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = if self.complete { "all" } else { "not all" };
        let total = self.total();
        let by_faults: Vec<_> = self.states.iter().map(usize::to_string).collect();
        write!(
            f,
            "{total} states ({all}; by faults {}), {} transitions, depth {}; {} converged, {} of them watched for 24 h; \
             convergence within {} s; promises broken: {}",
            by_faults.join(" + "),
            self.transitions,
            self.depth,
            self.converged,
            self.watched,
            self.slowest.as_secs(),
            self.violations.len(),
        )
    }
}

/// A state and its world.
type Numbered = (u32, World);

struct Explorer {
    states: States,
    rebuild: Rebuild,
    watched: HashSet<u128>,
    limit: usize,
    /// Whether to stop at the first violation.
    first_only: bool,
    /// The number of states that meet every fault before what follows is explored.
    fault_batch: usize,
    report: ExplorerReport,
}

/// Explores all states of a setup, up to a limit.
pub fn explore(setup: &Arc<Setup>, limit: usize) -> ExplorerReport {
    let mut explorer = Explorer {
        states: States::new(),
        rebuild: Rebuild::new(setup),
        watched: HashSet::new(),
        limit,
        first_only: setup.invariants.len() == 1,
        fault_batch: setup.fault_batch,
        report: ExplorerReport::default(),
    };
    let world = World::new(Arc::clone(setup));
    let first = explorer.add(world.digest(), NONE, Transition::Unseal);
    let mut layer = explorer.follow(vec![(first, world)]);
    explorer.report.states.push(explorer.states.len());
    for _ in 1..=setup.max_faults {
        let before = explorer.states.len();
        layer = explorer.fail(layer);
        explorer.report.states.push(explorer.states.len() - before);
    }
    explorer.report.complete = explorer.states.len() < limit;
    explorer.finish(setup)
}

impl Explorer {
    /// Explores everything that follows without a fault; returns the states that were expanded.
    fn follow(&mut self, mut frontier: Vec<Numbered>) -> Vec<u32> {
        let mut layer = Vec::new();
        while !frontier.is_empty() && self.continues() {
            let mut next = Vec::new();
            for batch in batches(frontier, BATCH) {
                let expanded = in_parallel(batch, |(id, world)| (id, expand(world, &self.states)));
                let mut converged = Vec::new();
                for (id, expansion) in expanded {
                    layer.push(id);
                    converged.extend(self.merge_expansion(id, expansion, &mut next));
                }
                for (id, quiet) in in_parallel(converged, |(id, mut world)| (id, world.stay_quiet())) {
                    if let Err(violation) = quiet {
                        self.violated(id, None, violation);
                    }
                }
            }
            frontier = next;
        }
        layer
    }

    /// Explores everything that follows these states with one fault more; returns the states that were expanded.
    fn fail(&mut self, layer: Vec<u32>) -> Vec<u32> {
        let mut next = Vec::new();
        for batch in batches(layer, self.fault_batch) {
            let rebuilt = batch.into_iter();
            let rebuilt = rebuilt.map(|id| (id, self.rebuild.world(&self.states, id))).collect();
            let found = in_parallel(rebuilt, |(id, world): Numbered| {
                let faults = world.possible_faults();
                (id, successors(world, &self.states, faults))
            });
            let mut seeds = Vec::new();
            for (id, found) in found {
                self.merge(id, found, &mut seeds);
            }
            next.append(&mut self.follow(seeds));
        }
        next
    }

    /// Returns `true` if there may be more to find.
    fn continues(&self) -> bool {
        self.states.len() < self.limit && (!self.first_only || self.report.violations.is_empty())
    }

    fn add(&mut self, digest: u128, from: u32, transition: Transition) -> u32 {
        let (id, depth) = self.states.add(digest, from, transition);
        self.report.depth = self.report.depth.max(depth);
        id
    }

    /// Merges an expansion; returns the world if it has converged in a way that no other one has.
    fn merge_expansion(&mut self, id: u32, expansion: Expansion, next: &mut Vec<Numbered>) -> Option<Numbered> {
        let first = self.merge(id, expansion.successors, next);
        if let Some(reached) = self.states.get_mut(id) {
            reached.converged = matches!(expansion.converged, Ok(Some(_)));
            if let (Some((to, takes)), true) = (first, expansion.undisturbed) {
                (reached.next, reached.takes) = (to, takes);
            }
        }
        match expansion.converged {
            Ok(Some(Converged { digest, world })) if self.watched.insert(digest) => Some((id, world)),
            Ok(_) => None,
            Err(violation) => {
                self.violated(id, None, violation);
                None
            }
        }
    }

    /// Merges the successors of a state; returns the first one and the virtual time until it.
    fn merge(&mut self, id: u32, successors: Vec<Successor>, next: &mut Vec<Numbered>) -> Option<(u32, Duration)> {
        let mut first = None;
        for successor in successors {
            let Successor {
                transition,
                digest,
                takes,
                outcome,
            } = successor;
            self.report.transitions += 1;
            let known = self.states.find(digest);
            let to = match (outcome, known) {
                (Ok(Some(world)), None) => {
                    let to = self.add(digest, id, transition);
                    next.push((to, world));
                    to
                }
                (Ok(_), known) => known.unwrap_or(NONE),
                (Err(violation), _) => {
                    self.violated(id, Some(transition), violation);
                    NONE
                }
            };
            first = first.or(Some((to, takes)));
        }
        first
    }

    /// Records the first violation of a promise. No path to one has fewer faults.
    fn violated(&mut self, id: u32, transition: Option<Transition>, violation: Violation) {
        let number = violation.promise.number;
        if !self.report.violations.contains_key(number) {
            let mut path = self.states.path(id);
            path.extend(transition);
            self.report.violations.insert(number, (violation, path));
        }
    }

    /// Proves that every state converges, and shortens the paths to violations.
    fn finish(mut self, setup: &Arc<Setup>) -> ExplorerReport {
        self.report.converged = self.states.iter().filter(|reached| reached.converged).count();
        self.report.watched = self.watched.len();
        if self.report.violations.is_empty() && self.report.complete {
            match self.convergence() {
                Ok(slowest) => self.report.slowest = slowest,
                Err((id, what)) => self.violated(id, None, promise::CONVERGES.broken(what)),
            }
        }
        for (violation, path) in self.report.violations.values_mut() {
            *path = shorten(setup, violation, std::mem::take(path));
        }
        self.report
    }

    /// Returns the longest virtual time from any state to convergence, or a state that does not converge.
    fn convergence(&self) -> Result<Duration, (u32, String)> {
        let mut times: Vec<Option<Duration>> = vec![None; self.states.len()];
        let mut slowest = Duration::ZERO;
        for start in (0..).take(self.states.len()) {
            let mut path = Vec::new();
            let mut at = start;
            let mut on_path = HashSet::new();
            let mut time = loop {
                if let Some(Some(time)) = times.get(index(at)) {
                    break *time;
                }
                let Some(reached) = self.states.get(at) else {
                    return Err((start, "the undisturbed world stops before it has converged".to_owned()));
                };
                if reached.converged {
                    break Duration::ZERO;
                }
                if !on_path.insert(at) {
                    return Err((start, "the undisturbed world is in a cycle".to_owned()));
                }
                path.push((at, reached.takes));
                at = reached.next;
            };
            for (at, takes) in path.into_iter().rev() {
                time += takes;
                if let Some(slot) = times.get_mut(index(at)) {
                    *slot = Some(time);
                }
            }
            slowest = slowest.max(time);
            if time > BOUND {
                let what = format!("the undisturbed world converges only after {} s", time.as_secs());
                return Err((start, what));
            }
        }
        Ok(slowest)
    }
}

/// Splits values into batches, each of which is dropped when it is done.
fn batches<T>(values: Vec<T>, size: usize) -> impl Iterator<Item = Vec<T>> {
    let mut values = values.into_iter();
    std::iter::from_fn(move || Some(values.by_ref().take(size).collect()).filter(|batch: &Vec<_>| !batch.is_empty()))
}
