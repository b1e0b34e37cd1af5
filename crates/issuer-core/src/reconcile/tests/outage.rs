//! Outages of the API server.

use std::time::Duration;

use super::scenario::{Scenario, request};
use crate::Now;
use crate::reconcile::{Outcome, Step, WriteError};

/// Lets the save that is due fail, and asserts that the next attempt follows after `wait` seconds and up to a tenth
/// more; returns when.
fn unsaved(scenario: &mut Scenario, wait: u64) -> Now {
    let Some((_, Step::WriteStatus(_, write))) = scenario.controller.poll(scenario.now) else {
        panic!("nothing is to be saved");
    };
    let step = write.resume(&mut scenario.controller, scenario.now, Err(WriteError::Unavailable));
    assert!(matches!(step, Step::Done(Outcome::Unsaved)));
    let (due, wait) = (scenario.controller.next_due().unwrap(), Duration::from_secs(wait));
    assert!((wait..=wait * 11 / 10).contains(&(due - scenario.now.monotonic)));
    Now {
        monotonic: due,
        ..scenario.now
    }
}

#[test]
fn stopping_controller_retries_writes_each_second() {
    let mut scenario = Scenario::empty(super::scenario::config());
    scenario.create(request("web").denied());
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        scenario.now = unsaved(&mut scenario, wait);
    }
    scenario.controller.stop(scenario.now);
    assert!(!scenario.controller.is_drained());
    for _ in 0..8 {
        scenario.now = unsaved(&mut scenario, 1);
    }
    let Some((_, Step::WriteStatus(_, write))) = scenario.controller.poll(scenario.now) else {
        panic!("nothing is to be saved");
    };
    let step = write.resume(&mut scenario.controller, scenario.now, Ok(()));
    assert!(matches!(step, Step::Done(_)));
    assert!(scenario.controller.is_drained());
}
