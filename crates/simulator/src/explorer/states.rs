//! The states that were reached, and the paths to them.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::visited::Visited;
use crate::transition::Transition;
use crate::world::{Setup, World};

/// No state.
pub(super) const NONE: u32 = u32::MAX;

/// The number of rebuilt worlds that are kept for the paths through them.
const KEPT: usize = 4_096;

/// A state that was reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached {
    /// The state before it on the path.
    pub(super) from: u32,
    /// The transition between the two.
    pub(super) transition: Transition,
    /// The length of the path.
    pub(super) depth: u32,
    /// The next state of the undisturbed world.
    pub(super) next: u32,
    /// The virtual time until that state.
    pub(super) takes: Duration,
    /// Whether the state has converged.
    pub(super) converged: bool,
}

/// The states that were reached.
///
/// A state here is a few numbers, which take much less than its world. Worlds that are needed again are [rebuilt](Rebuild)
/// from their paths.
#[derive(Debug)]
pub(super) struct States {
    visited: Visited,
    reached: Vec<Reached>,
}

impl States {
    pub(super) fn new() -> Self {
        Self {
            visited: Visited::new(),
            reached: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.visited.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Reached> {
        self.reached.iter()
    }

    /// Returns the number of the state with a digest, if it was reached.
    pub(super) fn find(&self, digest: u128) -> Option<u32> {
        self.visited.get(digest)
    }

    pub(super) fn get(&self, id: u32) -> Option<&Reached> {
        self.reached.get(index(id))
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Reached> {
        self.reached.get_mut(index(id))
    }

    /// Adds a state that was not reached before; returns its number and the length of the path to it.
    pub(super) fn add(&mut self, digest: u128, from: u32, transition: Transition) -> (u32, u32) {
        let depth = self.get(from).map_or(0, |before| before.depth + 1);
        self.reached.push(Reached {
            from,
            transition,
            depth,
            next: NONE,
            takes: Duration::ZERO,
            converged: false,
        });
        (self.visited.insert(digest), depth)
    }

    /// Returns the path on which a state was reached first.
    pub(super) fn path(&self, id: u32) -> Vec<Transition> {
        let mut path = Vec::new();
        let mut at = self.get(id);
        while let Some(reached) = at.filter(|reached| reached.from != NONE) {
            path.push(reached.transition);
            at = self.get(reached.from);
        }
        path.reverse();
        path
    }
}

/// Rebuilds worlds from the paths on which their states were reached first.
///
/// A path is followed only from the last state on it whose world is still at hand. States are rebuilt in the order in which
/// they were reached, so that is nearly always the state before.
#[derive(Debug)]
pub(super) struct Rebuild {
    first: World,
    /// The worlds rebuilt last, in two generations: when the younger is full, it becomes the older.
    young: HashMap<u32, World>,
    old: HashMap<u32, World>,
}

impl Rebuild {
    /// Starts from the first state of a setup.
    pub(super) fn new(setup: &Arc<Setup>) -> Self {
        Self {
            first: World::new(Arc::clone(setup)),
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    /// Returns the world of a state.
    pub(super) fn world(&mut self, states: &States, id: u32) -> World {
        let mut path = Vec::new();
        let mut at = id;
        let mut world = loop {
            if let Some(world) = self.young.get(&at).or_else(|| self.old.get(&at)) {
                break world.clone();
            }
            match states.get(at) {
                Some(reached) if reached.from != NONE => {
                    path.push((at, reached.transition));
                    at = reached.from;
                }
                _ => break self.first.clone(),
            }
        };
        while let Some((id, transition)) = path.pop() {
            // A transition that breaks a promise leads to no state, so there is none on the path.
            let _no_violation = world.step(transition);
            self.keep(id, world.clone());
        }
        world
    }

    fn keep(&mut self, id: u32, world: World) {
        if self.young.len() >= KEPT {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(id, world);
    }
}

pub(super) fn index(id: u32) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{IssuerId, RequestFixture};
    use crate::transition::UserAction;

    #[test]
    fn rebuilt_worlds_have_their_digests() {
        let setup = Arc::new(Setup {
            script: vec![UserAction::CreateApproved(0)],
            reduced: true,
            ..Setup::new(vec![RequestFixture::good(IssuerId::Team)], &[])
        });
        let world = World::new(Arc::clone(&setup));
        let mut states = States::new();
        let mut digests = vec![world.digest()];
        states.add(world.digest(), NONE, Transition::Unseal);
        let mut frontier = vec![(0, world)];
        while let Some((from, world)) = frontier.pop().filter(|_| states.len() < 100) {
            for transition in world.choices() {
                let mut next = world.clone();
                next.step(transition).unwrap();
                if states.find(next.digest()).is_none() {
                    let (id, _) = states.add(next.digest(), from, transition);
                    digests.push(next.digest());
                    frontier.push((id, next));
                }
            }
        }
        assert!(states.len() > 50, "{}", states.len());
        // In an order that keeps no path at hand, too.
        let mut rebuild = Rebuild::new(&setup);
        for id in (0..u32::try_from(states.len()).unwrap()).rev() {
            let digest = digests[index(id)];
            assert_eq!(rebuild.world(&states, id).digest(), digest);
            assert_eq!(Rebuild::new(&setup).world(&states, id).digest(), digest);
        }
    }
}
