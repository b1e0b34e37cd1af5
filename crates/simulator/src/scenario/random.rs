//! Random plans.

use std::time::Duration;

use super::dice::Dice;
use super::plan::{FaultPeriod, Pace, Plan, Scheduled};
use crate::clock::Clock;
use crate::fixture::{CHANGE_INTERVAL, Flaw, IssuerId, RequestFixture};
use crate::invariants;
use crate::mutant::Mutant;
use crate::transition::{ProcessId, StepFault, UserAction};
use crate::world::Setup;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The flaws of requests. Those of [`Flaw::POISON`] have their own runs and scope: a request that stays pending, and whose
/// claim is renewed with every attempt, keeps a world from convergence.
const FLAWS: [Flaw; 5] = [Flaw::BadSignature, Flaw::Ca, Flaw::Foreign, Flaw::NoCsr, Flaw::Refused];

/// Returns a random plan, and the time at which faults end.
pub(super) fn plan(dice: &mut Dice, mutant: Option<Mutant>) -> (Plan, Duration) {
    let long = dice.magnitude(10 * MINUTE, 72 * HOUR);
    let processes: &'static [ProcessId] = if dice.chance(500) {
        &[ProcessId::A, ProcessId::B]
    } else {
        &[ProcessId::A]
    };
    let issuers: &'static [IssuerId] = match dice.below(6) {
        0 => &[IssuerId::Shared],
        1 => &[IssuerId::Team],
        2 => &[IssuerId::Team, IssuerId::Other],
        _ if processes.len() > 1 => &IssuerId::CONCURRENT,
        3 => &[IssuerId::Wrapped],
        _ => &IssuerId::ALL,
    };
    let requests: Vec<RequestFixture> = (0..amount(dice)).map(|_| request(dice, issuers)).collect();
    let mut setup = Setup {
        clocks: [clock(dice, issuers), clock(dice, issuers)],
        processes,
        issuers,
        claims: dice.chance(300),
        token_ttl: dice.pick(&[MINUTE, 10 * MINUTE, HOUR, 24 * HOUR]).unwrap_or(HOUR),
        mutant,
        ..Setup::new(requests, &invariants::ALL)
    };
    setup.config.check_interval = dice.pick(&[MINUTE, 5 * MINUTE, 5 * MINUTE, HOUR]).unwrap_or(5 * MINUTE);
    setup.config.max_concurrent_reconciles = dice.pick(&[1, 2, 10, 10, 10, 20]).unwrap_or(10);
    let mut agenda = vec![(dice.span(Duration::ZERO, MINUTE), Scheduled::Start(ProcessId::A))];
    user_actions(dice, &setup, long, &mut agenda);
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
    let mut plan = Plan {
        setup,
        pace,
        fault_periods: fault_periods(dice, long),
        agenda,
        term: dice.chance(700).then(|| dice.magnitude(10 * MINUTE, long)),
    };
    labels(dice, &plan.setup, long, &mut plan.agenda);
    (plan, long)
}

/// Returns the number of requests: seldom a large one.
fn amount(dice: &mut Dice) -> u64 {
    match dice.below(100) {
        0 => dice.below(9_000) + 1_001,
        1..=9 => dice.below(700) + 301,
        10..=39 => dice.below(280) + 21,
        _ => dice.below(20) + 1,
    }
}

fn request(dice: &mut Dice, issuers: &[IssuerId]) -> RequestFixture {
    // Some name an issuer that does not exist.
    let of = if dice.chance(20) { &IssuerId::ALL } else { issuers };
    let flaw = if dice.chance(120) { dice.pick(&FLAWS) } else { None };
    RequestFixture {
        flaw: flaw.unwrap_or(Flaw::None),
        ..RequestFixture::good(dice.pick(of).unwrap_or(IssuerId::Team))
    }
}

/// Returns a clock that is wrong within the tolerances of the controller: an hour for the dates of certificates, ten seconds
/// for the expiry of tokens; and of AWS, which refuses what was signed more than 15 minutes ago.
fn clock(dice: &mut Dice, issuers: &[IssuerId]) -> Clock {
    let most: u32 = if issuers.contains(&IssuerId::Aws) { 500 } else { 3000 };
    let skew = i64::try_from(dice.below(u64::from(2 * most))).unwrap_or_default();
    let rate = i32::try_from(dice.below(3)).unwrap_or_default();
    Clock {
        monotonic: dice.span(Duration::ZERO, 1000 * HOUR),
        unix: if dice.chance(500) { skew - i64::from(most) } else { 0 },
        rate: if dice.chance(500) { rate - 1 } else { 0 },
    }
}

/// Plans the actions of users on requests: most are created and approved, in bursts or one by one.
fn user_actions(dice: &mut Dice, setup: &Setup, long: Duration, agenda: &mut Vec<(Duration, Scheduled)>) {
    let bursts: Vec<Duration> = (0..=dice.below(3)).map(|_| dice.span(Duration::ZERO, long)).collect();
    let together = dice.below(1000);
    for number in (0..).take(setup.requests.len()) {
        let alone = dice.span(Duration::ZERO, long);
        let at = dice.pick(&bursts).filter(|_| dice.chance(together)).unwrap_or(alone);
        let mut then = at;
        let mut later = |dice: &mut Dice, action| {
            then += dice.magnitude(SECOND / 4, HOUR);
            (then.min(long), Scheduled::User(action))
        };
        if dice.chance(800) {
            agenda.push((at, Scheduled::User(UserAction::CreateApproved(number))));
        } else {
            agenda.push((at, Scheduled::User(UserAction::Create(number))));
            let decided = if dice.chance(700) {
                UserAction::Approve(number)
            } else {
                UserAction::Deny(number)
            };
            agenda.push(later(dice, decided));
        }
        while dice.chance(80) {
            let actions = [
                UserAction::Approve(number),
                UserAction::Delete(number),
                UserAction::Deny(number),
                UserAction::CreateApproved(number),
                UserAction::Recreate(number),
                UserAction::Touch(number),
            ];
            agenda.extend(dice.pick(&actions).map(|action| later(dice, action)));
        }
    }
}

/// Plans the changes of an issuer.
fn changes(dice: &mut Dice, issuer: IssuerId, long: Duration, agenda: &mut Vec<(Duration, Scheduled)>) {
    let mut at = Duration::ZERO;
    for _ in 0..dice.below(6) {
        at += CHANGE_INTERVAL + dice.magnitude(SECOND, long);
        let actions = [
            UserAction::DeleteIssuer(issuer),
            UserAction::EditIssuer(issuer),
            UserAction::MoveIssuer(issuer),
            UserAction::Rotate(issuer),
            UserAction::TouchIssuer(issuer),
        ];
        let action = dice.pick(&actions).filter(|_| at < long);
        agenda.extend(action.map(|action| (at, Scheduled::User(action))));
        if action == Some(UserAction::DeleteIssuer(issuer)) && dice.chance(900) {
            at += dice.magnitude(SECOND, HOUR);
            agenda.push((at.min(long), Scheduled::User(UserAction::CreateIssuer(issuer))));
        }
    }
}

/// Plans times in which the cluster issuer does not select the namespace of its requests.
fn labels(dice: &mut Dice, setup: &Setup, long: Duration, agenda: &mut Vec<(Duration, Scheduled)>) {
    let mut fixtures = (0..).zip(&setup.requests);
    let selected = fixtures.find(|(_, fixture)| fixture.issuer == IssuerId::Shared);
    let Some((number, _)) = selected.filter(|_| dice.chance(300)) else {
        return;
    };
    for _ in 0..=dice.below(2) {
        let at = dice.span(Duration::ZERO, long);
        let until = (at + dice.magnitude(SECOND, HOUR)).min(long);
        agenda.push((at, Scheduled::User(UserAction::UnlabelNamespace(number))));
        agenda.push((until, Scheduled::User(UserAction::LabelNamespace(number))));
    }
}

/// Plans outages: servers are sealed for a while, or revoke all tokens.
fn outages(dice: &mut Dice, long: Duration, agenda: &mut Vec<(Duration, Scheduled)>) {
    for _ in 0..dice.below(4) {
        let host = usize::from(dice.chance(300));
        let at = dice.span(Duration::ZERO, long);
        if dice.chance(250) {
            agenda.push((at, Scheduled::Revoke(host)));
        } else {
            agenda.push((at, Scheduled::Seal(host)));
            agenda.push((at + dice.magnitude(SECOND, long), Scheduled::Unseal(host)));
        }
    }
}

/// Returns periods in which steps meet a few kinds of faults.
fn fault_periods(dice: &mut Dice, long: Duration) -> Vec<FaultPeriod> {
    let period = |dice: &mut Dice| {
        let kinds = 1 + dice.below(4);
        let from = dice.span(Duration::ZERO, long);
        let faults: Vec<StepFault> = (0..kinds).filter_map(|_| dice.pick(&StepFault::ALL)).collect();
        // Processes that crash all the time get nowhere.
        let rates: &[u64] = match faults.contains(&StepFault::CrashAfter) {
            true => &[1, 2, 10],
            false => &[2, 10, 50, 200, 600],
        };
        FaultPeriod {
            from,
            to: from + dice.magnitude(10 * SECOND, long / 2),
            rate: dice.pick(rates).unwrap_or_default(),
            faults,
            breaks: dice.pick(&[0, 0, 20, 300]).unwrap_or_default(),
        }
    };
    (0..dice.below(5)).map(|_| period(dice)).collect()
}
