use std::time::Duration;

use crate::event::{Act, Fault, Who};
use crate::world::Setup;

/// How long answers and watches take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Vault's answers.
    pub(crate) vault: Duration,
    /// The API server's answers.
    pub(crate) api: Duration,
    /// What a watch tells.
    pub(crate) watch: Duration,
    /// Whether each takes up to half less or more.
    pub(crate) varies: bool,
}

/// A time in which things go wrong.
#[derive(Clone, Debug)]
pub(crate) struct Storm {
    pub(crate) from: Duration,
    pub(crate) to: Duration,
    /// How many of a thousand questions meet a fault.
    pub(crate) rate: u64,
    /// What they meet.
    pub(crate) faults: Vec<Fault>,
    /// How many of a thousand times a watch breaks when it has something to tell.
    pub(crate) breaks: u64,
}

/// What is to happen at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Deed {
    /// Somebody does something.
    Act(Act),
    Crash(Who),
    /// All tokens of a server are revoked.
    Revoke(usize),
    Seal(usize),
    Start(Who),
    Stop(Who),
    Unseal(usize),
}

/// A long run as it is meant to be.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) setup: Setup,
    pub(crate) pace: Pace,
    pub(crate) storms: Vec<Storm>,
    pub(crate) agenda: Vec<(Duration, Deed)>,
    /// How long a process works until it is stopped, crashes, or another begins beside it; for ever if not said.
    pub(crate) term: Option<Duration>,
}
