//! The world: a cluster, two Vault servers, one or two processes, people, and the time.

mod acts;
mod choices;
mod flight;
mod rest;
mod step;

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use fake_kube::{FakeKube, Kind, Object};
use issuer_core::reconcile::{Config, Key};

use crate::digest::{Digest, EPOCH};
use crate::event::{Act, Event, Fault, Who};
use crate::fixture::{self, IssuerId, Want};
use crate::invariants::Violation;
use crate::mutant::Mutant;
use crate::process::{Clock, Process};
use crate::record::{self, Record};
use crate::scenario::Log;
use crate::vault::Vault;

/// What a world is like, and what may happen in it.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What the processes are told at their start.
    pub config: Config,
    /// The clocks of the processes.
    pub clocks: [Clock; 2],
    /// Which processes there are.
    pub processes: &'static [Who],
    /// The issuers that are there from the start.
    pub issuers: &'static [IssuerId],
    /// The requests that there may be.
    pub wants: Vec<Want>,
    /// What happens before anything else.
    pub prologue: Vec<Event>,
    /// What people do, one after the other, at any time.
    pub script: Vec<Act>,
    /// What else people may do; each time is a fault.
    pub mischief: Vec<Act>,
    /// What may go wrong with a question.
    pub faults: Vec<Fault>,
    /// Whether processes may crash, be stopped, and their watches break.
    pub crashes: bool,
    /// How many faults there may be.
    pub most_faults: u8,
    /// How much more a watch may have to tell than it has told.
    pub most_lag: usize,
    /// How often in a row timers may run out while everything is at rest, or while something is held back that would
    /// happen of itself.
    pub most_idle: u8,
    /// Whether events are recorded at once, and the first steps of an issuer's check done without anything in between
    /// that does not concern them. That leaves out much that makes no difference.
    pub brisk: bool,
    /// Whether issuers are checked and their watches tell at once, so that all that is explored is about requests.
    pub focus: bool,
    /// How long a token lives.
    pub token_ttl: Duration,
    /// Whether a request costs one signature however many processes work at once.
    pub claims: bool,
    /// The only check to make; all if there is none.
    pub only: Option<&'static str>,
    /// What is wrong with the processes.
    pub mutant: Option<Mutant>,
}

impl Setup {
    /// Returns a world with these requests and nothing that could go wrong.
    pub fn new(wants: Vec<Want>) -> Self {
        let config = Config {
            allow_http: false,
            claim: None,
            check_interval: Duration::from_secs(300),
            cluster_resource_namespace: fixture::RESOURCE_NAMESPACE.to_owned(),
            max_concurrent_reconciles: 10,
            signatures: fixture::signatures(),
        };
        Self {
            config,
            clocks: [Clock::default(); 2],
            processes: &[Who::A],
            issuers: &[IssuerId::Team],
            wants,
            prologue: Vec::new(),
            script: Vec::new(),
            mischief: Vec::new(),
            faults: Vec::new(),
            crashes: false,
            most_faults: 0,
            most_lag: usize::MAX,
            most_idle: 2,
            brisk: false,
            focus: false,
            token_ttl: Duration::from_secs(3600),
            claims: false,
            only: None,
            mutant: None,
        }
    }
}

/// Why a process does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Down {
    Crashed,
    NotYet,
    Stopped,
}

/// A process, or why there is none.
pub(crate) type Slot = Result<Arc<Process>, Down>;

/// The state of everything.
#[derive(Clone, Debug)]
pub struct World {
    pub(crate) setup: Arc<Setup>,
    pub(crate) now: Duration,
    pub(crate) cluster: Arc<FakeKube>,
    pub(crate) vaults: [Arc<Vault>; 2],
    pub(crate) slots: [Slot; 2],
    pub(crate) record: Arc<Record>,
    /// How much of the script is done.
    pub(crate) done: usize,
    /// How many faults there were.
    pub(crate) faults: u8,
    /// How often timers have run out while everything was at rest or something was held back.
    pub(crate) idle: u8,
    /// How often Vault was rotated.
    pub(crate) rotations: u32,
    /// How many processes were started, where each needs a name of its own.
    pub(crate) starts: u32,
    /// What has happened, in a long run.
    pub(crate) log: Option<Box<Log>>,
}

impl World {
    /// Begins a world: its issuers are there, its processes are not.
    pub fn new(setup: Arc<Setup>) -> Self {
        let ttl = setup.token_ttl;
        let mut world = Self {
            now: Duration::ZERO,
            cluster: Arc::default(),
            vaults: [0, 1].map(|host| Arc::new(Vault::new(host, ttl))),
            slots: [Err(Down::NotYet), Err(Down::NotYet)],
            record: Arc::default(),
            done: 0,
            faults: 0,
            idle: 0,
            rotations: 0,
            starts: 0,
            log: None,
            setup,
        };
        for issuer in world.setup.issuers {
            world.act(Act::CreateIssuer(*issuer));
        }
        let prologue = Arc::clone(&world.setup);
        for event in &prologue.prologue {
            // A world that breaks a promise before it begins shows it when it goes on.
            let _violation = world.step(*event);
        }
        (world.faults, world.done) = (0, 0);
        world.trim();
        world
    }

    /// Returns the time since the world began.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Returns what there is in Kubernetes.
    pub fn cluster(&self) -> &FakeKube {
        &self.cluster
    }

    /// Returns a Vault server.
    pub fn vault(&self, host: usize) -> &Vault {
        let [a, b] = &self.vaults;
        if host == 0 { a } else { b }
    }

    pub(crate) fn vault_mut(&mut self, host: usize) -> &mut Vault {
        Arc::make_mut(self.vault_slot(host))
    }

    pub(crate) fn vault_slot(&mut self, host: usize) -> &mut Arc<Vault> {
        let [a, b] = &mut self.vaults;
        if host == 0 { a } else { b }
    }

    /// Returns a process, if it runs.
    pub fn process(&self, who: Who) -> Option<&Process> {
        self.slot(who).as_ref().ok().map(Arc::as_ref)
    }

    pub(crate) fn slot(&self, who: Who) -> &Slot {
        let [a, b] = &self.slots;
        if who == Who::A { a } else { b }
    }

    pub(crate) fn slot_mut(&mut self, who: Who) -> &mut Slot {
        let [a, b] = &mut self.slots;
        if who == Who::A { a } else { b }
    }

    /// Returns the processes that run.
    pub(crate) fn running(&self) -> impl Iterator<Item = (Who, &Process)> {
        Who::ALL.into_iter().filter_map(|who| Some((who, self.process(who)?)))
    }

    /// Returns what has happened so far.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Returns the request of a number, as the world wants it.
    pub(crate) fn want(&self, number: u16) -> Option<Want> {
        self.setup.wants.get(usize::from(number)).copied()
    }

    /// Returns the name of the request of a number.
    pub(crate) fn request_key(&self, number: u16) -> Option<Key> {
        Some(Key::Request(fixture::request_key(self.want(number)?, number)))
    }

    /// Returns the issuer that a task is about.
    pub(crate) fn issuer_of(&self, key: &Key) -> Option<IssuerId> {
        match key {
            Key::Issuer(issuer) => IssuerId::of(issuer),
            Key::Request(request) => {
                let number = request.name.strip_prefix("web-")?.parse().ok()?;
                Some(self.want(number)?.issuer)
            }
            Key::Token(_) => None,
        }
    }

    /// Tells whether a watch of a process has something to tell.
    pub(crate) fn lags(&self, process: &Process, kind: Kind) -> bool {
        self.cluster
            .watch(kind, process.cursor(kind))
            .is_ok_and(|mut events| events.next().is_some())
    }

    /// Forgets what no watch has yet to tell.
    pub(crate) fn trim(&mut self) {
        for kind in Kind::ALL {
            let told = self.running().map(|(_, process)| process.cursor(kind)).min();
            let told = told.unwrap_or_else(|| self.cluster.revision());
            if self.cluster.remembers(kind, told) {
                Arc::make_mut(&mut self.cluster).compact(kind, told);
            }
        }
    }

    /// Returns a digest of the state, but for the faults that it took to get there. Two worlds of one digest will do the
    /// same, but for the exact times.
    pub fn digest(&self) -> u128 {
        let mut digest = self.new_digest();
        self.durable(&mut digest);
        (self.done, self.idle).hash(&mut digest);
        self.digest_of_record(&mut digest);
        digest.value()
    }

    fn new_digest(&self) -> Digest<'_> {
        Digest::new(EPOCH + self.now).within(self.cluster.history())
    }

    /// Writes what is known of the requests that anybody may still have to do with.
    fn digest_of_record(&self, digest: &mut Digest<'_>) {
        let views = self.running().flat_map(|(_, process)| process.views.values());
        let all: BTreeSet<&str> = views
            .chain(self.cluster.list(Kind::Requests))
            .map(|object| object.uid())
            .collect();
        for uid in all {
            uid.hash(digest);
            self.record.request(uid).hash(digest);
            let signs = record::number(uid).map(|csr| self.vaults.each_ref().map(|vault| vault.signs_of(csr)));
            signs.hash(digest);
        }
    }

    /// Returns a digest of the state but for what has happened.
    pub fn digest_of_rest(&self) -> u128 {
        let mut digest = self.new_digest();
        self.durable(&mut digest);
        digest.value()
    }

    fn durable(&self, digest: &mut Digest<'_>) {
        self.digest_of_cluster(digest);
        self.vaults.iter().for_each(|vault| vault.digest(digest));
        // The processes are alike: which is which makes no difference.
        let mut slots = self.slots.each_ref().map(|slot| self.digest_of_slot(slot));
        slots.sort_unstable();
        slots.hash(digest);
    }

    /// Writes the objects and Secrets of the cluster. Versions stand for contents, and past events count only where a watch
    /// has yet to deliver them: [`digest_of_slot`](Self::digest_of_slot).
    fn digest_of_cluster(&self, digest: &mut Digest<'_>) {
        for kind in Kind::ALL {
            digest.write_usize(self.cluster.list(kind).count());
            for object in self.cluster.list(kind) {
                (object.uid(), object.version()).hash(digest);
            }
        }
        for (_, secret) in self.cluster.secrets() {
            secret.resource_version.hash(digest);
        }
    }

    fn digest_of_slot(&self, slot: &Slot) -> u128 {
        let mut digest = self.new_digest();
        match slot {
            Ok(process) => {
                process.digest(self.now, self.cluster.history(), &mut digest);
                for kind in Kind::ALL {
                    let told = self.cluster.watch(kind, process.cursor(kind));
                    for event in told.into_iter().flatten() {
                        (event.change, event.object.uid(), event.object.version()).hash(&mut digest);
                    }
                }
            }
            Err(down) => down.hash(&mut digest),
        }
        digest.value()
    }

    /// Lets something happen.
    pub fn step(&mut self, event: Event) -> Result<(), Violation> {
        self.happen(event)?;
        self.tell_of_issuers()?;
        self.trim();
        if !self.is_idle() {
            self.idle = 0;
        }
        Ok(())
    }

    /// Returns the object of an issuer.
    pub(crate) fn issuer(&self, issuer: IssuerId) -> Option<&Arc<Object>> {
        self.cluster.get(&Key::Issuer(issuer.key())).ok()
    }
}
