//! The explorer: equal runs, complete exploration, and short traces.

use std::sync::Arc;

use simulator::explorer;
use simulator::fixture::RequestFixture;
use simulator::invariants;
use simulator::mutant::Mutant;
use simulator::prelude::*;
use simulator::promise;
use simulator::scope;
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
    assert!(!report.complete && report.total() >= 50, "{report}");
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

#[test]
fn unexpected_number_of_states_is_an_error() {
    for scope in scope::ALL {
        assert_eq!(scope.expect(scope.states), Ok(()));
        let error = scope.expect(scope.states + 1).unwrap_err();
        assert!(error.contains(scope.name) && error.contains("README.md"), "{error}");
    }
}

#[test]
fn readme_has_the_states_of_each_scope() {
    let row = |line: &str| {
        let (name, _) = line.strip_prefix("| `")?.split_once('`')?;
        let states = line.split('|').nth(3)?.replace(' ', "");
        Some((name.to_owned(), states))
    };
    let rows: Vec<_> = include_str!("../README.md").lines().filter_map(row).collect();
    assert_eq!(
        rows,
        scope::ALL.map(|scope| (scope.name.to_owned(), scope.states.to_string()))
    );
}
