//! The expansion of states, on two threads.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{iter, thread};

use super::states::States;
use crate::promise::Violation;
use crate::transition::Transition;
use crate::world::World;

/// The number of threads that expand states.
const THREADS: usize = 2;

/// The number of states that a thread takes at a time.
const SHARE: usize = 16;

/// A state that follows another one.
pub(super) struct Successor {
    pub(super) transition: Transition,
    pub(super) digest: u128,
    pub(super) takes: Duration,
    /// The world of the state, unless the state was reached before.
    pub(super) outcome: Result<Option<World>, Violation>,
}

/// A state that has converged.
pub(super) struct Converged {
    /// The digest of the state without its record.
    pub(super) digest: u128,
    pub(super) world: World,
}

/// A state with all that follow it.
pub(super) struct Expansion {
    pub(super) successors: Vec<Successor>,
    /// Whether the first of them is that of the undisturbed world.
    pub(super) undisturbed: bool,
    /// The state itself, if it has converged, or a violation.
    pub(super) converged: Result<Option<Converged>, Violation>,
}

pub(super) fn expand(world: World, states: &States) -> Expansion {
    let converged = match world.is_converged() {
        true => world.check_converged().map(|()| {
            let digest = world.digest_without_record();
            let world = world.clone();
            Some(Converged { digest, world })
        }),
        false => Ok(None),
    };
    let (undisturbed, choices) = (world.undisturbed().is_some(), world.choices());
    Expansion {
        successors: successors(world, states, choices),
        undisturbed,
        converged,
    }
}

/// Performs each of the transitions.
pub(super) fn successors(world: World, states: &States, transitions: Vec<Transition>) -> Vec<Successor> {
    let begun = world.now();
    let worlds = iter::repeat_n(world, transitions.len());
    let perform = |(transition, mut next): (Transition, World)| {
        let checked = next.step(transition);
        let digest = next.digest();
        let takes = next.now().saturating_sub(begun);
        let outcome = checked.map(|()| states.find(digest).is_none().then_some(next));
        Successor {
            transition,
            digest,
            takes,
            outcome,
        }
    };
    transitions.into_iter().zip(worlds).map(perform).collect()
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
        iter::from_fn(next)
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
