//! The simulated world: a cluster, two Vault servers, one or two processes, users, and time.

mod answer;
mod choices;
mod convergence;
mod describe;
mod digest;
mod exchange;
mod process;
mod setup;
mod step;
mod user_actions;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use fake_kube::{FakeKube, Kind, Object};
use issuer_core::reconcile::Key;

use crate::fixture::{self, IssuerId, RequestFixture, VaultSettings};
use crate::log::Log;
use crate::mutant::Surroundings;
use crate::process::Process;
use crate::promise::Violation;
use crate::record::Record;
use crate::transition::{ProcessId, UserAction};
use crate::vault::VaultServer;

pub(crate) use choices::{Relevance, relevance};
pub(crate) use setup::{Finding, ensure};
pub use setup::{Invariant, Place, Setup};

/// Why a process does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Down {
    Crashed,
    NotStarted,
    Stopped,
}

/// A process, or the reason why it does not run.
pub(crate) type Slot = Result<Arc<Process>, Down>;

/// The result of a transition.
pub(crate) type Checked = Result<(), Violation>;

/// The state of the world.
///
/// Its parts are shared between clones until one of them changes.
#[derive(Clone, Debug)]
pub struct World {
    pub(crate) setup: Arc<Setup>,
    pub(crate) now: Duration,
    pub(crate) cluster: Arc<FakeKube>,
    pub(crate) vaults: [Arc<VaultServer>; 2],
    pub(crate) slots: [Slot; 2],
    pub(crate) record: Arc<Record>,
    /// The number of script actions done.
    pub(crate) done: usize,
    /// The number of faults.
    pub(crate) faults: u8,
    /// How often in a row timers have fired while nothing else happened; see [`Setup::max_idle`].
    pub(crate) idle: u8,
    /// The number of rotations of secret IDs.
    pub(crate) rotations: u32,
    /// The number of started processes, which gives each an identity of its own for claims.
    pub(crate) starts: u32,
    /// Whether the built-in controller answers the requests of cert-manager's issuers.
    pub(crate) built_in: bool,
    /// The log, in a long run.
    pub(crate) log: Option<Box<Log>>,
}

impl World {
    /// Returns the initial state: issuers exist, processes are not started, and the prologue has happened.
    pub fn new(setup: Arc<Setup>) -> Self {
        let settings = VaultSettings {
            token_ttl: setup.token_ttl,
            token_uses: setup.token_uses,
            leases: setup.leases,
        };
        let mut world = Self {
            now: Duration::ZERO,
            cluster: Arc::default(),
            vaults: [0, 1].map(|host| Arc::new(VaultServer::new(host, settings))),
            slots: [Err(Down::NotStarted), Err(Down::NotStarted)],
            record: Arc::default(),
            done: 0,
            faults: 0,
            idle: 0,
            rotations: 0,
            starts: 0,
            built_in: false,
            log: None,
            setup,
        };
        for namespace in fixture::NAMESPACES {
            Arc::make_mut(&mut world.cluster).set_namespace(namespace, fixture::namespace_labels());
        }
        for issuer in world.setup.issuers {
            world.act(UserAction::CreateIssuer(*issuer));
        }
        // No process has seen anything else, so this is no change of an issuer.
        Arc::make_mut(&mut world.record).changed.clear();
        let setup = Arc::clone(&world.setup);
        for transition in &setup.prologue {
            // The first step after the prologue reports a violation in it.
            let _violation = world.step(*transition);
        }
        (world.faults, world.done) = (0, 0);
        world.trim();
        world
    }

    /// Returns the time since the start.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Returns the API server.
    pub fn cluster(&self) -> &FakeKube {
        &self.cluster
    }

    /// Returns a Vault server.
    pub fn vault(&self, host: usize) -> &VaultServer {
        let [a, b] = &self.vaults;
        if host == 0 { a } else { b }
    }

    pub(crate) fn vault_mut(&mut self, host: usize) -> &mut VaultServer {
        Arc::make_mut(self.vault_slot(host))
    }

    pub(crate) fn vault_slot(&mut self, host: usize) -> &mut Arc<VaultServer> {
        let [a, b] = &mut self.vaults;
        if host == 0 { a } else { b }
    }

    /// Returns a process, if it is running.
    pub fn process(&self, id: ProcessId) -> Option<&Process> {
        self.slot(id).as_ref().ok().map(Arc::as_ref)
    }

    pub(crate) fn slot(&self, id: ProcessId) -> &Slot {
        let [a, b] = &self.slots;
        if id == ProcessId::A { a } else { b }
    }

    pub(crate) fn slot_mut(&mut self, id: ProcessId) -> &mut Slot {
        let [a, b] = &mut self.slots;
        if id == ProcessId::A { a } else { b }
    }

    /// Returns the running processes.
    pub(crate) fn running(&self) -> impl Iterator<Item = (ProcessId, &Process)> {
        ProcessId::ALL
            .into_iter()
            .filter_map(|id| Some((id, self.process(id)?)))
    }

    /// Returns the record of what has happened.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Returns what mutants may use.
    pub(crate) fn near(&self) -> Surroundings<'_> {
        Surroundings {
            now: self.now,
            cluster: &self.cluster,
            vaults: &self.vaults,
        }
    }

    /// Returns the fixture of the request with a number.
    pub(crate) fn fixture(&self, number: u16) -> Option<RequestFixture> {
        self.setup.requests.get(usize::from(number)).copied()
    }

    /// Returns the key of the request with a number.
    pub(crate) fn request_key(&self, number: u16) -> Option<Key> {
        Some(Key::Request(fixture::request_key(self.fixture(number)?, number)))
    }

    /// Returns the issuer that a task is about.
    pub(crate) fn issuer_of(&self, key: &Key) -> Option<IssuerId> {
        match key {
            Key::Issuer(issuer) => IssuerId::of(issuer),
            Key::Request(request) => {
                let number = request.name.strip_prefix("web-")?.parse().ok()?;
                Some(self.fixture(number)?.issuer)
            }
            Key::Token(_) => None,
        }
    }

    /// Returns the requests, of both kinds.
    pub(crate) fn requests(&self) -> impl Iterator<Item = &Arc<Object>> {
        [Kind::Requests, Kind::Csrs]
            .into_iter()
            .flat_map(|kind| self.cluster.list(kind))
    }

    /// Returns the object of an issuer.
    pub(crate) fn issuer(&self, issuer: IssuerId) -> Option<&Arc<Object>> {
        self.cluster.get(&Key::Issuer(issuer.key())).ok()
    }

    /// Returns `true` if a watch of a process has undelivered events.
    pub(crate) fn lags(&self, process: &Process, kind: Kind) -> bool {
        self.cluster
            .watch(kind, process.cursor(kind))
            .is_ok_and(|mut events| events.next().is_some())
    }

    /// Forgets the events that all watches have delivered.
    pub(crate) fn trim(&mut self) {
        for kind in Kind::ALL {
            let delivered = self.running().map(|(_, process)| process.cursor(kind)).min();
            let delivered = delivered.unwrap_or_else(|| self.cluster.revision());
            if self.cluster.would_forget(kind, delivered) {
                Arc::make_mut(&mut self.cluster).compact(kind, delivered);
            }
        }
    }
}
