use std::sync::Arc;

use crate::event::Event;
use crate::invariants::Violation;
use crate::world::{Setup, World};

/// Leaves out of a way all that is not needed for what is wrong at its end.
pub(super) fn shorten(setup: &Arc<Setup>, violation: &Violation, mut way: Vec<Event>) -> Vec<Event> {
    let breaks = |way: &[Event]| {
        may_happen(setup, way) && crate::replay(setup, way).is_err_and(|other| other.number == violation.number)
    };
    if !breaks(&way) {
        return way;
    }
    let mut at = way.len();
    while let Some(before) = at.checked_sub(1) {
        let mut shorter = way.clone();
        shorter.remove(before);
        at = before;
        if breaks(&shorter) {
            at = shorter.len();
            way = shorter;
        }
    }
    way
}

/// Tells whether each event is one of those that can happen when it does.
fn may_happen(setup: &Arc<Setup>, way: &[Event]) -> bool {
    let mut world = World::new(Arc::clone(setup));
    way.iter().all(|event| {
        let may = world.choices().contains(event) || world.mishaps().contains(event);
        // What breaks a promise is the end of the way.
        let _violation = world.step(*event);
        may
    })
}

/// Prints a trace as a test that fails as long as the promise is broken.
pub fn as_test(name: &str, setup: &Arc<Setup>, violation: &Violation, way: &[Event]) -> String {
    let mut text = format!(
        "// {violation}\n#[test]\nfn found_by_the_explorer() {{\n    use simulator::prelude::*;\n    \
         simulator::replay(&simulator::scope::setup(\"{name}\").unwrap(), &[\n"
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
