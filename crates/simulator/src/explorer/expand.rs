//! The expansion of states, on two threads.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::states::States;
use crate::promise::Violation;
use crate::transition::Transition;
use crate::world::World;

/// The number of threads that expand states.
const THREADS: usize = 2;

/// The number of states that a thread takes at a time.
const SHARE: usize = 64;

/// A state that follows another one.
pub(super) struct Successor {
    pub(super) transition: Transition,
    pub(super) digest: u128,
    pub(super) takes: Duration,
    /// The world of the state, unless the state was reached before.
    pub(super) outcome: Result<Option<World>, Violation>,
}

/// A state with all that follow it.
pub(super) struct Expansion {
    pub(super) successors: Vec<Successor>,
    /// Whether the first of them is that of the undisturbed world.
    pub(super) undisturbed: bool,
    /// If the state has converged, its digest without the record, or a violation.
    pub(super) converged: Result<Option<u128>, Violation>,
    pub(super) world: World,
}

pub(super) fn expand(world: World, states: &States) -> Expansion {
    let converged = match world.is_converged() {
        true => world.check_converged().map(|()| Some(world.digest_without_record())),
        false => Ok(None),
    };
    Expansion {
        successors: successors(&world, states, world.choices()),
        undisturbed: world.undisturbed().is_some(),
        converged,
        world,
    }
}

/// Performs each of the transitions.
pub(super) fn successors(world: &World, states: &States, transitions: Vec<Transition>) -> Vec<Successor> {
    let perform = |transition| {
        let mut next = world.clone();
        let checked = next.step(transition);
        let digest = next.digest();
        let takes = next.now().saturating_sub(world.now());
        let outcome = checked.map(|()| states.find(digest).is_none().then_some(next));
        Successor {
            transition,
            digest,
            takes,
            outcome,
        }
    };
    transitions.into_iter().map(perform).collect()
}

/// Applies a function to each of many values on two threads; returns the results in the order of the values.
pub(super) fn in_parallel<T: Send, R: Send>(values: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let shares = Mutex::new((0_usize, values.into_iter()));
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
