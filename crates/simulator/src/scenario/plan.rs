//! The plan of a run: its setup, its timing, its faults and its agenda.

use std::sync::Arc;
use std::time::Duration;

use issuer_core::reconcile::Step;

use crate::transition::{ProcessId, StepFault, UserAction};
use crate::world::Setup;

/// How long answers and watches take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Answers of Vault.
    pub(crate) vault: Duration,
    /// Answers of the API server.
    pub(crate) api: Duration,
    /// Events of a watch.
    pub(crate) watch: Duration,
    /// Whether each takes half to one and a half times as long.
    pub(crate) varies: bool,
}

/// A period in which steps meet faults.
#[derive(Clone, Debug)]
pub(crate) struct FaultPeriod {
    pub(crate) from: Duration,
    pub(crate) to: Duration,
    /// The rate of faults, in thousandths of all steps.
    pub(crate) rate: u64,
    /// The faults.
    pub(crate) faults: Vec<StepFault>,
    /// The rate of broken watches, in thousandths of all deliveries.
    pub(crate) breaks: u64,
}

/// A scheduled action of the runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Scheduled {
    /// An action of a user.
    User(UserAction),
    Crash(ProcessId),
    /// A server fails to sign from now on, or no longer.
    FailToSign(usize, bool),
    /// All tokens of a server are revoked.
    Revoke(usize),
    Seal(usize),
    Start(ProcessId),
    Stop(ProcessId),
    Unseal(usize),
}

/// The next thing that happens to a step in flight, and when.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) step: Arc<Step>,
    pub(super) at: Duration,
    pub(super) next: Next,
}

/// The next event of a step in flight.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    /// It takes effect and is answered.
    Answer,
    /// It takes effect; the answer arrives at this time.
    Apply(Duration),
    /// The answer arrives.
    Deliver,
    /// It fails.
    Fail(StepFault),
}

/// The plan of a long run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) setup: Setup,
    pub(crate) pace: Pace,
    pub(crate) fault_periods: Vec<FaultPeriod>,
    pub(crate) agenda: Vec<(Duration, Scheduled)>,
    /// How long a process runs until it is stopped, crashes, or another one starts beside it; `None` if without limit.
    pub(crate) term: Option<Duration>,
}
