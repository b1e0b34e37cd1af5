//! Fixed timings, so that runs have exact bounds.

use std::ops::Range;
use std::time::Duration;

use super::plan::{Pace, Plan, Scheduled};
use super::run::Run;
use crate::fixture::{IssuerId, RequestFixture};
use crate::invariants;
use crate::mutant::Mutant;
use crate::transition::{ProcessId, UserAction};
use crate::world::Setup;

/// The time that Vault takes to answer.
pub(super) const VAULT: Duration = Duration::from_millis(10);

/// The time that the API server takes to answer, and a watch to deliver.
pub(super) const API: Duration = Duration::from_millis(5);

/// When something happens first: the controller has started, and its issuers are ready.
pub(super) const BEGIN: Duration = Duration::from_secs(60);

/// The number of requests of one issuer that are signed at once.
pub(super) const SLOTS: u16 = 10;

pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// The longest time of a check: four answers of Vault and a Secret.
pub(super) fn check_time() -> Duration {
    4 * VAULT + API
}

/// The time to issue a number of certificates: an answer of Vault, a write and an event for each, as many at once as there
/// are slots.
pub(super) fn issuance(run: &Run, requests: u16) -> Duration {
    let slots = u32::try_from(run.world.setup.config.max_concurrent_reconciles).unwrap_or(u32::MAX);
    (VAULT + 2 * API) * u32::from(requests).div_ceil(slots)
}

/// Plans the creation and approval of requests.
pub(super) fn creations(numbers: Range<u16>, at: Duration) -> Vec<(Duration, Scheduled)> {
    numbers
        .map(|number| (at, Scheduled::User(UserAction::CreateApproved(number))))
        .collect()
}

/// Returns requests without a flaw that name the issuers in turn.
pub(super) fn valid_requests(issuers: &[IssuerId], requests: u16) -> Vec<RequestFixture> {
    let issuers = issuers.iter().cycle().take(requests.into());
    issuers.map(|issuer| RequestFixture::good(*issuer)).collect()
}

/// Returns a run with one controller, in which everything takes a fixed time.
pub(super) fn start_run(
    issuers: &'static [IssuerId],
    requests: Vec<RequestFixture>,
    mut agenda: Vec<(Duration, Scheduled)>,
    mutant: Option<Mutant>,
) -> Run {
    agenda.push((Duration::ZERO, Scheduled::Start(ProcessId::A)));
    let pace = Pace {
        vault: VAULT,
        api: API,
        watch: API,
        varies: false,
    };
    let plan = Plan {
        setup: Setup {
            issuers,
            mutant,
            ..Setup::new(requests, &invariants::ALL)
        },
        pace,
        fault_periods: Vec::new(),
        agenda,
        term: None,
    };
    Run::new(0, plan, 0)
}
