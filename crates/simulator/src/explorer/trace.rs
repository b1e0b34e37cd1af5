//! Replays traces, shortens them and writes them as tests.

use std::sync::Arc;

use crate::promise::Violation;
use crate::transition::Transition;
use crate::world::{Setup, World};

/// Replays a trace in a new world, then runs the undisturbed world until it has converged, and for another day.
///
/// # Errors
///
/// The promise that is broken on the way.
pub fn replay(setup: &Setup, trace: &[Transition]) -> Result<World, Violation> {
    let mut world = World::new(Arc::new(setup.clone()));
    trace.iter().try_for_each(|transition| world.step(*transition))?;
    world.converge()?;
    world.stay_quiet()?;
    Ok(world)
}

/// Removes the transitions from a path that its violation does not need.
pub(super) fn shorten(setup: &Arc<Setup>, violation: &Violation, mut path: Vec<Transition>) -> Vec<Transition> {
    let breaks = |path: &[Transition]| {
        is_possible(setup, path) && replay(setup, path).is_err_and(|other| other.promise == violation.promise)
    };
    if !breaks(&path) {
        return path;
    }
    let mut at = path.len();
    while let Some(before) = at.checked_sub(1) {
        let mut shorter = path.clone();
        shorter.remove(before);
        at = before;
        if breaks(&shorter) {
            at = shorter.len();
            path = shorter;
        }
    }
    path
}

/// Returns `true` if each transition is possible when it occurs.
fn is_possible(setup: &Arc<Setup>, path: &[Transition]) -> bool {
    let mut world = World::new(Arc::clone(setup));
    path.iter().all(|transition| {
        let possible = world.choices().contains(transition) || world.possible_faults().contains(transition);
        // The violation is at the end of the path.
        let _violation = world.step(*transition);
        possible
    })
}

/// Returns the source of a test that fails as long as the promise is broken.
pub fn as_test(name: &str, setup: &Arc<Setup>, violation: &Violation, path: &[Transition]) -> String {
    let mut text = format!(
        "// {violation}\n#[test]\nfn found_by_the_explorer() {{\n    use simulator::prelude::*;\n    \
         simulator::replay(&simulator::scope::setup(\"{name}\").unwrap(), &[\n"
    );
    let mut world = World::new(Arc::clone(setup));
    for transition in path {
        let about = world.describe(*transition);
        let gap = if about.is_empty() { "" } else { " // " };
        text += &format!("        {transition:?},{gap}{about}\n");
        let _violation = world.step(*transition);
    }
    text + "    ])\n    .unwrap();\n}\n"
}
