//! The initial state of a world, and the promises that are checked in it.

use std::fmt;
use std::time::Duration;

use issuer_core::reconcile::Config;
use issuer_core::reference::Namespaces;

use super::World;
use crate::clock::Clock;
use crate::fixture::{self, IssuerId, RequestFixture};
use crate::mutant::Mutant;
use crate::observation::Observation;
use crate::process::ANSWER_TIMEOUT;
use crate::promise::{Promise, Violation};
use crate::transition::{ProcessId, StepFault, Transition, UserAction};

/// The initial state of a world, and what may happen in it.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The configuration of the processes.
    pub config: Config,
    /// The clocks of the processes.
    pub clocks: [Clock; 2],
    /// The processes.
    pub processes: &'static [ProcessId],
    /// The issuers that exist from the start.
    pub issuers: &'static [IssuerId],
    /// The requests that users may create.
    pub requests: Vec<RequestFixture>,
    /// The transitions that lead to the initial state.
    pub prologue: Vec<Transition>,
    /// The actions of users, each at any time, but in this order.
    pub script: Vec<UserAction>,
    /// Other actions of users; each counts as a fault.
    pub disruptions: Vec<UserAction>,
    /// The faults that steps may meet.
    pub faults: Vec<StepFault>,
    /// Whether processes may crash and be stopped, and watches may break.
    pub crashes: bool,
    /// The maximum number of faults.
    pub max_faults: u8,
    /// The number of states that meet every fault before what follows is explored. A state has many faults, and all that they
    /// lead to at once is in memory.
    pub fault_batch: usize,
    /// The maximum number of undelivered events of a watch.
    pub max_lag: usize,
    /// How often in a row timers may fire in a converged world, or while something is held back that would happen by
    /// itself.
    pub max_idle: u8,
    /// Whether to apply partial-order reduction: events are published at once, and no independent transitions come between
    /// the first steps of an issuer's check.
    pub reduced: bool,
    /// Whether checks of issuers and watches of issuers take no time, so that only requests are explored.
    pub requests_only: bool,
    /// The lifetime of tokens.
    pub token_ttl: Duration,
    /// How often a token may be used; without limit if zero.
    pub token_uses: u64,
    /// Whether certificates have leases.
    pub leases: bool,
    /// Whether processes claim requests, so that concurrent processes cost no additional signature.
    pub claims: bool,
    /// The promises to check.
    pub invariants: &'static [Invariant],
    /// The defect of the processes, if any.
    pub mutant: Option<Mutant>,
}

impl Setup {
    /// Returns a setup with these requests, in which nothing goes wrong.
    pub fn new(requests: Vec<RequestFixture>, invariants: &'static [Invariant]) -> Self {
        let config = Config {
            claim: None,
            check_interval: Duration::from_secs(300),
            cluster_resource_namespace: fixture::RESOURCE_NAMESPACE.to_owned(),
            drop_in: None,
            event_rate: 10,
            kubernetes_csrs: false,
            namespaces: Namespaces::All,
            max_concurrent_reconciles: 10,
            max_lost_answers: 3,
            policy: issuer_core::target::IssuerPolicy::default(),
            sign_timeout: ANSWER_TIMEOUT,
            verify: fixture::signatures().into(),
        };
        Self {
            config,
            clocks: [Clock::default(); 2],
            processes: &[ProcessId::A],
            issuers: &[IssuerId::Team],
            requests,
            prologue: Vec::new(),
            script: Vec::new(),
            disruptions: Vec::new(),
            faults: Vec::new(),
            crashes: false,
            max_faults: 0,
            fault_batch: 128,
            max_lag: usize::MAX,
            max_idle: 2,
            reduced: false,
            requests_only: false,
            token_ttl: Duration::from_secs(3600),
            token_uses: 0,
            leases: false,
            claims: false,
            invariants,
            mutant: None,
        }
    }
}

/// The result of a check: `Err` describes a violation.
pub(crate) type Finding = Result<(), String>;

/// A promise and the place where it is checked.
#[derive(Clone, Copy, Debug)]
pub struct Invariant {
    /// The promise.
    pub promise: Promise,
    /// Where it is checked.
    pub place: Place,
}

/// Where a promise is checked.
#[derive(Clone, Copy)]
pub enum Place {
    /// At every observation.
    Step(fn(&World, &Observation) -> Finding),
    /// In every converged world.
    Converged(fn(&World) -> Finding),
    /// At every observation and in every converged world.
    Both(fn(&World, &Observation) -> Finding, fn(&World) -> Finding),
    /// By the explorer, over all reachable states.
    Explorer,
    /// In long runs.
    LongRun,
    /// Outside of the simulator, as the text explains.
    Elsewhere(&'static str),
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Step(_) => "at every step",
            Self::Converged(_) => "after convergence",
            Self::Both(..) => "at every step and after convergence",
            Self::Explorer => "over all states",
            Self::LongRun => "in long runs",
            Self::Elsewhere(place) => place,
        })
    }
}

/// Returns `Err(what())` unless `holds`.
pub(crate) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Finding {
    if holds { Ok(()) } else { Err(what()) }
}

impl World {
    /// Checks the promises about single observations.
    pub(super) fn check_step(&self, observation: &Observation) -> Result<(), Violation> {
        self.check(|place| match place {
            Place::Step(check) | Place::Both(check, _) => check(self, observation),
            _ => Ok(()),
        })
    }

    /// Checks the promises about converged worlds.
    pub(crate) fn check_converged(&self) -> Result<(), Violation> {
        self.check(|place| match place {
            Place::Converged(check) | Place::Both(_, check) => check(self),
            _ => Ok(()),
        })
    }

    fn check(&self, run: impl Fn(Place) -> Finding) -> Result<(), Violation> {
        let mut invariants = self.setup.invariants.iter();
        invariants.try_for_each(|invariant| run(invariant.place).map_err(|what| invariant.promise.broken(what)))
    }
}
