//! Each check can fail: something is done wrong, and it sees it.

use std::sync::Arc;
use std::time::Duration;

use simulator::explorer;
use simulator::fixture::{Flaw, Want};
use simulator::invariants::{self, Place};
use simulator::mutant::Mutant;
use simulator::prelude::*;
use simulator::process::Clock;
use simulator::world::Setup;

/// How many states it may take to find what is wrong.
const LIMIT: usize = 3_000;

/// What is wrong in a world, and the promises that it breaks.
struct Wrong {
    mutant: Mutant,
    breaks: &'static [&'static str],
    in_world: fn() -> Setup,
}

const fn wrong(mutant: Mutant, breaks: &'static [&'static str], in_world: fn() -> Setup) -> Wrong {
    Wrong {
        mutant,
        breaks,
        in_world,
    }
}

const ALL: [Wrong; 21] = [
    wrong(Mutant::Adopts, &["S2"], foreign),
    wrong(Mutant::Approves, &["S1"], unapproved),
    wrong(Mutant::Boasts, &["S16"], troubled),
    wrong(Mutant::Borrows, &["S8"], calm),
    wrong(Mutant::Deaf, &["L1"], calm),
    wrong(Mutant::Drops, &["L9"], stopped),
    wrong(Mutant::Echoes, &["S11"], calm),
    wrong(Mutant::Forces, &["S3", "S4"], pair),
    wrong(Mutant::Forgets, &["S9"], denied),
    wrong(Mutant::GivesUp, &["S14"], calm),
    wrong(Mutant::Gulps, &["S17"], calm),
    wrong(Mutant::Hoards, &["S18"], calm),
    wrong(Mutant::Impatient, &["L4"], troubled),
    wrong(Mutant::Leaks, &["S20"], moved),
    wrong(Mutant::Renames, &["S7"], calm),
    wrong(Mutant::Restamps, &["S15"], calm),
    wrong(Mutant::Restless, &["L2"], calm),
    wrong(Mutant::Strays, &["S12"], calm),
    wrong(Mutant::Swaps, &["S5", "S6"], calm),
    wrong(Mutant::Tells, &["S10"], calm),
    wrong(Mutant::Unstamps, &["S13"], denied),
];

/// One controller, one request, and nothing that goes wrong.
fn calm() -> Setup {
    Setup {
        script: vec![CreateApproved(0)],
        brisk: true,
        ..Setup::new(vec![Want::good(Team)])
    }
}

fn foreign() -> Setup {
    let want = Want {
        flaw: Flaw::Foreign,
        ..Want::good(Team)
    };
    Setup {
        script: vec![CreateApproved(0)],
        ..Setup::new(vec![want])
    }
}

fn unapproved() -> Setup {
    Setup {
        script: vec![Create(0)],
        ..calm()
    }
}

fn denied() -> Setup {
    Setup {
        script: vec![CreateApproved(0), Deny(0)],
        ..calm()
    }
}

fn moved() -> Setup {
    Setup {
        script: vec![CreateApproved(0), MoveIssuer(Team)],
        ..calm()
    }
}

fn stopped() -> Setup {
    Setup {
        crashes: true,
        most_faults: 1,
        ..calm()
    }
}

fn troubled() -> Setup {
    Setup {
        faults: vec![Refused, Throttled],
        most_faults: 1,
        ..calm()
    }
}

fn pair() -> Setup {
    Setup {
        processes: &[A, B],
        focus: true,
        prologue: vec![Start(A), User(CreateApproved(0))],
        script: Vec::new(),
        ..calm()
    }
}

/// Tells whether a promise, and no other, is looked at and found broken.
fn breaks(number: &'static str, setup: Setup) -> bool {
    let setup = Setup {
        only: Some(number),
        ..setup
    };
    let report = explorer::explore(&Arc::new(setup), LIMIT);
    report.violations.contains_key(number)
}

#[test]
fn each_mutant_breaks_its_promises_and_without_it_they_are_kept() {
    for Wrong {
        mutant,
        breaks: numbers,
        in_world,
    } in ALL
    {
        for number in numbers {
            assert!(!breaks(number, in_world()), "{number} is broken without {mutant:?}");
            let setup = Setup {
                mutant: Some(mutant),
                ..in_world()
            };
            assert!(breaks(number, setup), "{mutant:?} does not break {number}");
        }
    }
}

#[test]
fn a_clock_that_stands_still_has_a_token_used_after_its_end() {
    let world = |rate| Setup {
        clocks: [Clock {
            rate,
            ..Clock::default()
        }; 2],
        token_ttl: Duration::from_secs(120),
        ..calm()
    };
    assert!(!breaks("S19", world(0)));
    assert!(breaks("S19", world(-900)));
}

#[test]
fn every_check_of_a_step_or_a_world_has_something_that_breaks_it() {
    let broken = |number: &str| number == "S19" || ALL.iter().any(|wrong| wrong.breaks.contains(&number));
    for check in invariants::ALL {
        if !matches!(check.place, Place::Elsewhere(_) | Place::Soak) {
            assert!(broken(check.number), "nothing breaks {}", check.number);
        }
    }
}
