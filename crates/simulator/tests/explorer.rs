//! The explorer: equal runs, and ways to what is wrong that are as short as they can be.

use std::sync::Arc;

use simulator::explorer;
use simulator::fixture::Want;
use simulator::mutant::Mutant;
use simulator::prelude::*;
use simulator::world::Setup;

/// Two controllers at work on one request, and an answer that may be lost.
fn setup(mutant: Option<Mutant>) -> Setup {
    Setup {
        processes: &[A, B],
        focus: true,
        brisk: true,
        prologue: vec![Start(A), User(CreateApproved(0))],
        faults: vec![Lost],
        most_faults: 1,
        mutant,
        ..Setup::new(vec![Want::good(Team)])
    }
}

#[test]
fn two_runs_are_equal_and_complete() {
    let explore = || explorer::explore(&Arc::new(setup(None)), usize::MAX);
    let (one, two) = (explore(), explore());
    assert!(one.complete && one.violations.is_empty(), "{one}");
    assert!(
        one.states.len() == 2 && one.states.iter().all(|count| *count > 100),
        "{one}"
    );
    assert_eq!(one.to_string(), two.to_string());
}

#[test]
fn a_limit_ends_it_and_is_told() {
    let report = explorer::explore(&Arc::new(setup(None)), 50);
    assert!(
        !report.complete && report.states.iter().sum::<usize>() >= 50,
        "{report}"
    );
}

#[test]
fn a_way_to_what_is_wrong_is_short_and_printed_as_a_test() {
    let setup = Arc::new(setup(Some(Mutant::Swaps)));
    let report = explorer::explore(&setup, 2000);
    let (violation, way) = &report.violations["S5"];
    let breaks = |way: &[Event]| simulator::replay(&setup, way).is_err_and(|found| found.number == "S5");
    assert!(breaks(way));
    let test = explorer::as_test("pair", &setup, violation, way);
    for event in way {
        assert!(test.contains(&format!("        {event:?},")), "{test}");
    }
    assert!(test.starts_with("// S5: ") && test.contains("#[test]"), "{test}");
    assert!(way.len() <= 4, "{test}");
}
