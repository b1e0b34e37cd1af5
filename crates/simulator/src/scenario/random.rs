use std::time::Duration;

use super::dice::Dice;
use super::plan::{Deed, Pace, Plan, Storm};
use crate::event::{Act, Fault, Who};
use crate::fixture::{Flaw, IssuerId, Want};
use crate::mutant::Mutant;
use crate::process::Clock;
use crate::scope::{FAULTS, PAUSE};
use crate::world::Setup;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Every flaw that a request may have.
const FLAWS: [Flaw; 5] = [Flaw::BadSignature, Flaw::Ca, Flaw::Foreign, Flaw::NoCsr, Flaw::Refused];

/// Thinks of a long run, and of when the world is to be left alone.
pub(super) fn plan(dice: &mut Dice, mutant: Option<Mutant>) -> (Plan, Duration) {
    let long = dice.magnitude(10 * MINUTE, 72 * HOUR);
    let issuers: &'static [IssuerId] = match dice.below(5) {
        0 => &[IssuerId::Shared],
        1 => &[IssuerId::Team],
        2 => &[IssuerId::Team, IssuerId::Other],
        _ => &IssuerId::ALL,
    };
    let wants: Vec<Want> = (0..amount(dice)).map(|_| want(dice, issuers)).collect();
    let processes: &'static [Who] = if dice.chance(500) { &[Who::A, Who::B] } else { &[Who::A] };
    let mut setup = Setup {
        clocks: [clock(dice), clock(dice)],
        processes,
        issuers,
        claims: dice.chance(300),
        token_ttl: dice.pick(&[MINUTE, 10 * MINUTE, HOUR, 24 * HOUR]).unwrap_or(HOUR),
        mutant,
        ..Setup::new(wants)
    };
    setup.config.check_interval = dice.pick(&[MINUTE, 5 * MINUTE, 5 * MINUTE, HOUR]).unwrap_or(5 * MINUTE);
    setup.config.max_concurrent_reconciles = dice.pick(&[1, 2, 10, 10, 10, 20]).unwrap_or(10);
    let mut agenda = vec![(dice.span(Duration::ZERO, MINUTE), Deed::Start(Who::A))];
    orders(dice, &setup, long, &mut agenda);
    for issuer in issuers {
        changes(dice, *issuer, long, &mut agenda);
    }
    outages(dice, long, &mut agenda);
    let milli = SECOND / 1000;
    let pace = Pace {
        vault: dice.magnitude(5 * milli, SECOND),
        api: dice.magnitude(milli, SECOND / 5),
        watch: dice.magnitude(milli, 20 * SECOND),
        varies: true,
    };
    let plan = Plan {
        setup,
        pace,
        storms: storms(dice, long),
        agenda,
        term: dice.chance(700).then(|| dice.magnitude(10 * MINUTE, long)),
    };
    (plan, long)
}

/// Returns how many requests there are: seldom many.
fn amount(dice: &mut Dice) -> u64 {
    match dice.below(100) {
        0 => dice.below(9_000) + 1_001,
        1..=9 => dice.below(700) + 301,
        10..=39 => dice.below(280) + 21,
        _ => dice.below(20) + 1,
    }
}

fn want(dice: &mut Dice, issuers: &[IssuerId]) -> Want {
    // Some ask an issuer that is not there.
    let of = if dice.chance(20) { &IssuerId::ALL } else { issuers };
    let flaw = if dice.chance(120) { dice.pick(&FLAWS) } else { None };
    Want {
        issuer: dice.pick(of).unwrap_or(IssuerId::Team),
        flaw: flaw.unwrap_or(Flaw::None),
    }
}

/// A clock that is wrong, but not so wrong that it cannot be worked with: certificates are taken whose dates are off by
/// an hour, and tokens left ten seconds before their end.
fn clock(dice: &mut Dice) -> Clock {
    let skew = i64::try_from(dice.below(6000)).unwrap_or_default();
    let rate = i32::try_from(dice.below(3)).unwrap_or_default();
    Clock {
        monotonic: dice.span(Duration::ZERO, 1000 * HOUR),
        unix: if dice.chance(500) { skew - 3000 } else { 0 },
        rate: if dice.chance(500) { rate - 1 } else { 0 },
    }
}

/// What becomes of the requests: most are created and approved, in bursts or one by one.
fn orders(dice: &mut Dice, setup: &Setup, long: Duration, agenda: &mut Vec<(Duration, Deed)>) {
    let bursts: Vec<Duration> = (0..=dice.below(3)).map(|_| dice.span(Duration::ZERO, long)).collect();
    let together = dice.below(1000);
    for number in (0..).take(setup.wants.len()) {
        let alone = dice.span(Duration::ZERO, long);
        let at = dice.pick(&bursts).filter(|_| dice.chance(together)).unwrap_or(alone);
        let mut then = at;
        let mut later = |dice: &mut Dice, act| {
            then += dice.magnitude(SECOND / 4, HOUR);
            (then.min(long), Deed::Act(act))
        };
        if dice.chance(800) {
            agenda.push((at, Deed::Act(Act::CreateApproved(number))));
        } else {
            agenda.push((at, Deed::Act(Act::Create(number))));
            let decided = if dice.chance(700) {
                Act::Approve(number)
            } else {
                Act::Deny(number)
            };
            agenda.push(later(dice, decided));
        }
        while dice.chance(80) {
            let acts = [
                Act::Approve(number),
                Act::Delete(number),
                Act::Deny(number),
                Act::CreateApproved(number),
                Act::Recreate(number),
                Act::Touch(number),
            ];
            agenda.extend(dice.pick(&acts).map(|act| later(dice, act)));
        }
    }
}

/// What people do to an issuer.
fn changes(dice: &mut Dice, issuer: IssuerId, long: Duration, agenda: &mut Vec<(Duration, Deed)>) {
    let mut at = Duration::ZERO;
    for _ in 0..dice.below(6) {
        at += PAUSE + dice.magnitude(SECOND, long);
        let acts = [
            Act::DeleteIssuer(issuer),
            Act::EditIssuer(issuer),
            Act::MoveIssuer(issuer),
            Act::Rotate(issuer),
            Act::TouchIssuer(issuer),
        ];
        let act = dice.pick(&acts).filter(|_| at < long);
        agenda.extend(act.map(|act| (at, Deed::Act(act))));
        if act == Some(Act::DeleteIssuer(issuer)) && dice.chance(900) {
            at += dice.magnitude(SECOND, HOUR);
            agenda.push((at.min(long), Deed::Act(Act::CreateIssuer(issuer))));
        }
    }
}

/// Servers that are sealed for a while, or forget their tokens.
fn outages(dice: &mut Dice, long: Duration, agenda: &mut Vec<(Duration, Deed)>) {
    for _ in 0..dice.below(4) {
        let host = usize::from(dice.chance(300));
        let at = dice.span(Duration::ZERO, long);
        if dice.chance(250) {
            agenda.push((at, Deed::Revoke(host)));
        } else {
            agenda.push((at, Deed::Seal(host)));
            agenda.push((at + dice.magnitude(SECOND, long), Deed::Unseal(host)));
        }
    }
}

/// Times in which a share of all questions meets faults of a few kinds.
fn storms(dice: &mut Dice, long: Duration) -> Vec<Storm> {
    let storm = |dice: &mut Dice| {
        let kinds = 1 + dice.below(4);
        let from = dice.span(Duration::ZERO, long);
        let faults: Vec<Fault> = (0..kinds).filter_map(|_| dice.pick(&FAULTS)).collect();
        // Where processes die all the time there is nothing to be seen.
        let rates: &[u64] = match faults.contains(&Fault::CrashAfter) {
            true => &[1, 2, 10],
            false => &[2, 10, 50, 200, 600],
        };
        Storm {
            from,
            to: from + dice.magnitude(10 * SECOND, long / 2),
            rate: dice.pick(rates).unwrap_or_default(),
            faults,
            breaks: dice.pick(&[0, 0, 20, 300]).unwrap_or_default(),
        }
    };
    (0..dice.below(5)).map(|_| storm(dice)).collect()
}
