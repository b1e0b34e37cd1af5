//! The explorer: equal runs, complete exploration, and short traces.

use std::sync::Arc;

use simulator::explorer;
use simulator::fixture::RequestFixture;
use simulator::invariants;
use simulator::mutant::Mutant;
use simulator::prelude::*;
use simulator::promise;
use simulator::world::Setup;

/// Two controllers at work on one request, with at most one lost answer.
fn setup(mutant: Option<Mutant>) -> Setup {
    Setup {
        processes: &[A, B],
        requests_only: true,
        reduced: true,
        prologue: vec![Start(A), User(CreateApproved(0))],
        faults: vec![Lost],
        max_faults: 1,
        mutant,
        ..Setup::new(vec![RequestFixture::good(Team)], &invariants::ALL)
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
fn limit_makes_report_incomplete() {
    let report = explorer::explore(&Arc::new(setup(None)), 50);
    assert!(
        !report.complete && report.states.iter().sum::<usize>() >= 50,
        "{report}"
    );
}

#[test]
fn trace_is_short_and_printed_as_test() {
    let setup = Arc::new(setup(Some(Mutant::SwappedCertificate)));
    let report = explorer::explore(&setup, 2000);
    let (violation, path) = &report.violations["S5"];
    let found = simulator::replay(&setup, path).map(drop);
    assert_eq!(found.map_err(|found| found.promise), Err(promise::CERTIFICATE_OF_UID));
    let test = explorer::as_test("pair", &setup, violation, path);
    for transition in path {
        assert!(test.contains(&format!("        {transition:?},")), "{test}");
    }
    assert!(test.starts_with("// S5: ") && test.contains("#[test]"), "{test}");
    assert!(path.len() <= 4, "{test}");
}
