//! Long runs with requests that Vault cannot sign.

use std::time::Duration;

use super::promised::{API, BEGIN, HOUR, SLOTS, VAULT, check_time, creations, issuance, start_run};
use crate::fixture::{Flaw, IssuerId, RequestFixture};
use crate::mutant::Mutant;
use crate::process::ANSWER_TIMEOUT;
use crate::promise::{self, Violation};

/// The number of good requests.
const GOOD: u16 = 60;

/// The time between two good requests: no multiple of an interval of the controller, so they meet every phase of the retries.
const PAUSE: Duration = Duration::from_millis(7_300);

/// The time between two good requests once the times were measured.
const LATER: Duration = Duration::from_secs(30);

/// Creates a number of requests that Vault cannot sign, then one good request after the other for the same issuer; returns
/// the longest time until a good one was issued.
///
/// The good ones begin when the others have failed once: before, nothing distinguishes them. The limit is the time for which
/// a slot is taken, the check that decides whose fault the failure is, and the time of the request itself. More good ones
/// follow until the others have failed: that they are signed is the evidence against those.
///
/// # Errors
///
/// The promise that is broken on the way.
pub fn poison(flaw: Flaw, poisons: u16, mutant: Option<Mutant>) -> Result<Duration, Violation> {
    let poisoned = RequestFixture {
        flaw,
        ..RequestFixture::good(IssuerId::Team)
    };
    let all_good = GOOD + 40 + 2 * poisons;
    let mut requests = vec![poisoned; usize::from(poisons)];
    requests.resize(usize::from(poisons + all_good), RequestFixture::good(IssuerId::Team));
    let slot = match flaw {
        Flaw::SlowSigner => ANSWER_TIMEOUT,
        _ => VAULT + 2 * API,
    };
    let tried = BEGIN + (slot + check_time()) * u32::from(poisons.div_ceil(SLOTS));
    let created = |number: u16| {
        let (measured, later) = (number.min(GOOD), number.saturating_sub(GOOD));
        tried + PAUSE * u32::from(measured + 1) + LATER * u32::from(later)
    };
    let mut agenda = creations(0..poisons, BEGIN);
    for number in 0..all_good {
        agenda.extend(creations(poisons + number..poisons + number + 1, created(number)));
    }
    let mut run = start_run(&[IssuerId::Team], requests, agenda, mutant);
    let bound = slot + check_time() + API + issuance(&run, 1);
    run.until(created(GOOD) + bound)?;
    let mut longest = Duration::ZERO;
    for number in 0..GOOD {
        let key = run.world.request_key(poisons + number);
        let issued = key.and_then(|key| run.log().issued_at.get(&key).copied());
        let took = issued.map(|at| at.saturating_sub(created(number)));
        let Some(took) = took.filter(|took| *took <= bound) else {
            let what =
                format!("{poisons} requests that are {flaw:?}: a good one took {took:?}; the limit is {bound:?}");
            return Err(promise::POISON_IS_CONTAINED.broken(what));
        };
        longest = longest.max(took);
    }
    run.until(created(all_good))?;
    run.converge(HOUR)?;
    Ok(longest)
}
