//! Long runs of a few seeds, and those whose figures are promised, in a size that is quick.

use std::time::Duration;

use simulator::mutant::Mutant;
use simulator::scenario::{self, outage};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn seeds_keep_every_promise_and_are_equal_when_run_again() {
    let report = scenario::run(6..11);
    let violations: Vec<_> = report.violations().collect();
    assert!(
        report.is_good(),
        "{report}: {violations:?}, unequal: {:?}",
        report.unequal
    );
    assert!(
        report
            .outcomes
            .values()
            .any(|outcome| outcome.faults > 10 && outcome.certificates > 10)
    );
}

#[test]
fn other_seeds_are_other_runs() {
    assert_ne!(scenario::random(7).hash, scenario::random(9).hash);
}

#[test]
fn a_seeded_bug_is_found() {
    for (mutant, breaks) in [(Mutant::Forgets, "S9"), (Mutant::Lingers, "L8")] {
        let found = (0..20).find_map(|seed| scenario::random_with(seed, Some(mutant)).violation);
        assert_eq!(found.map(|violation| violation.number), Some(breaks));
    }
}

#[test]
fn an_outage_that_costs_too_much_is_found() {
    // Shorter than a token's life, which a slow clock would have it outlive.
    let outage = |mutant| outage::outage(20, HOUR / 4, Some(mutant)).map(drop);
    let (beside, mended) = (
        |mutant| outage::beside(20, Some(mutant)).map(drop),
        |mutant| outage::mended(20, Some(mutant)).map(drop),
    );
    for (found, breaks) in [
        (outage(Mutant::Blind), "L3"),
        (outage(Mutant::Dawdles), "L5"),
        (beside(Mutant::Deaf), "L6"),
        (mended(Mutant::Deaf), "L7"),
    ] {
        assert_eq!(found.map_err(|violation| violation.number), Err(breaks));
    }
}

#[test]
fn a_thousand_certificates_take_one_login() {
    assert_eq!(outage::thousand(), Ok(1));
}

#[test]
fn an_outage_costs_little_and_ends_soon() {
    let endured = outage::outage(500, HOUR, None).unwrap();
    assert_eq!((endured.issued, endured.failed), (500, 0), "{endured}");
    assert!(endured.done <= endured.bound, "{endured}");
}

#[test]
fn an_issuer_that_is_out_delays_no_other() {
    assert!(outage::beside(200, None).unwrap() < Duration::from_secs(1));
}

#[test]
fn a_mended_issuer_is_tried_at_once() {
    assert!(outage::mended(200, None).unwrap() < Duration::from_secs(1));
}
