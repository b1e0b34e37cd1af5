use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use issuer_api::{CertificateRequest, IssuerStatus, VaultClusterIssuer, VaultIssuer, VaultSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::backoff::Jitter;
use super::claim::Claim;
use super::issuers::{Issuer, Readiness};
use super::ledger::Ledger;
use super::queue::Queue;
use super::requests::Tracked;
use super::{AwaitReply, Key, Outcome, Replied, Step, issuer, request};
use crate::access::Access;
use crate::reference::{IssuerKey, IssuerKind, RequestKey};
use crate::vault::Revoke;
use crate::{Now, Signatures};

/// What the controller is told at its start.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Config {
    /// Whether http servers are allowed.
    pub allow_http: bool,
    /// Whether and how requests are claimed before they are signed.
    pub claim: Option<Claim>,
    /// How long an issuer that is ready is left alone before it is checked again.
    pub check_interval: Duration,
    /// Where cluster issuers have their Secrets and service accounts.
    pub cluster_resource_namespace: String,
    /// How many requests of one issuer are worked on at once.
    pub max_concurrent_reconciles: usize,
    /// What signatures can be checked.
    pub signatures: Signatures,
}

/// What a watch saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An issuer is there, or has changed.
    Issuer(IssuerKey, ObservedIssuer),
    /// An issuer is gone.
    IssuerGone(IssuerKey),
    /// These are all the issuers of a kind.
    Issuers(IssuerKind, BTreeSet<IssuerKey>),
    /// A request is there, or has changed.
    Request(CertificateRequest),
    /// A request is gone.
    RequestGone(RequestKey),
    /// These are all the requests.
    Requests(BTreeSet<RequestKey>),
}

/// An issuer of either kind, as a watch shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedIssuer {
    /// Its uid.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// Its version.
    pub resource_version: String,
    /// Its spec.
    pub spec: VaultSpec,
    /// Its status.
    pub status: IssuerStatus,
}

impl Hash for ObservedIssuer {
    /// The version stands for all of it.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.uid, &self.resource_version).hash(state);
    }
}

impl ObservedIssuer {
    fn new(meta: ObjectMeta, spec: VaultSpec, status: Option<IssuerStatus>) -> Self {
        Self {
            uid: meta.uid.unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            resource_version: meta.resource_version.unwrap_or_default(),
            spec,
            status: status.unwrap_or_default(),
        }
    }
}

impl From<VaultIssuer> for ObservedIssuer {
    fn from(issuer: VaultIssuer) -> Self {
        Self::new(issuer.metadata, issuer.spec, issuer.status)
    }
}

impl From<VaultClusterIssuer> for ObservedIssuer {
    fn from(issuer: VaultClusterIssuer) -> Self {
        Self::new(issuer.metadata, issuer.spec, issuer.status)
    }
}

/// Everything the controller knows, and all its decisions.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Controller {
    pub(super) config: Config,
    pub(super) issuers: BTreeMap<IssuerKey, Issuer>,
    pub(super) jitter: Jitter,
    pub(super) ledger: Ledger,
    pub(super) requests: BTreeMap<RequestKey, Tracked>,
    pub(super) queue: Queue<Lane, Key>,
    /// The unfinished requests of each issuer.
    pub(super) by_issuer: BTreeMap<IssuerKey, BTreeSet<RequestKey>>,
    /// Tokens that nobody needs any more, to be revoked.
    retired: BTreeMap<u64, Access>,
    tokens: u64,
    /// Which lists have been seen whole: nothing is done before all have.
    listed: (bool, BTreeSet<IssuerKind>),
    pub(super) stopping: bool,
}

/// Work that shares its slots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Lane {
    Check(IssuerKey),
    Requests(IssuerKey),
    Tokens,
}

impl Controller {
    /// Starts with nothing known. Equal seeds and equal inputs make equal decisions.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            queue: Queue::new(config.max_concurrent_reconciles),
            config,
            issuers: BTreeMap::new(),
            jitter: Jitter::new(seed),
            ledger: Ledger::default(),
            requests: BTreeMap::new(),
            by_issuer: BTreeMap::new(),
            retired: BTreeMap::new(),
            tokens: 0,
            listed: (false, BTreeSet::new()),
            stopping: false,
        }
    }

    /// Takes what a watch saw.
    pub fn observe(&mut self, now: Now, change: Change) {
        match change {
            Change::Issuer(key, observed) => self.observe_issuer(now, key, observed),
            Change::IssuerGone(key) => self.forget_issuer(&key),
            Change::Issuers(kind, all) => {
                let gone = self.issuers.keys().filter(|key| key.kind == kind && !all.contains(key));
                for key in gone.cloned().collect::<Vec<_>>() {
                    self.forget_issuer(&key);
                }
                self.listed.1.insert(kind);
            }
            Change::Request(request) => self.observe_request(now, request),
            Change::RequestGone(key) => {
                self.drop_request(&key);
                self.ledger.caught_up(&key);
            }
            Change::Requests(all) => {
                let gone = self.requests.keys().filter(|key| !all.contains(key));
                for key in gone.cloned().collect::<Vec<_>>() {
                    self.drop_request(&key);
                }
                self.ledger.caught_up_but(|key| all.contains(key));
                self.listed.0 = true;
            }
        }
    }

    /// Takes the next task that is due, if there is one and a slot for it.
    pub fn poll(&mut self, now: Now) -> Option<(Key, Step)> {
        if !self.is_listed() {
            return None;
        }
        while let Some(key) = self.queue.pop(now.monotonic) {
            if self.stopping && !self.is_owed(&key) {
                self.queue.finish(&key);
                continue;
            }
            let step = match &key {
                Key::Issuer(issuer) => issuer::begin(self, now, issuer.clone()),
                Key::Request(request) => request::begin(self, now, request.clone()),
                Key::Token(token) => self.revoke(*token),
            };
            return Some((key, step));
        }
        None
    }

    /// Returns the [`Now::monotonic`] at which there will be a task, if nothing changes; it may have passed.
    pub fn next_due(&self) -> Option<Duration> {
        self.queue.next().filter(|_| self.is_listed())
    }

    /// Stops to begin anything but what is owed: to save what is signed, at once, and to revoke tokens.
    pub fn stop(&mut self, now: Now) {
        self.stopping = true;
        let keys = self
            .requests
            .iter()
            .map(|(key, tracked)| (tracked.issuer.clone(), Key::Request(key.clone())));
        for (issuer, key) in keys.filter(|(_, key)| self.is_owed(key)).collect::<Vec<_>>() {
            self.queue.push(Lane::Requests(issuer), key, now.monotonic);
        }
    }

    /// Tells whether every task has ended and every certificate is saved.
    pub fn is_drained(&self) -> bool {
        self.queue.is_idle() && self.ledger.unsaved() == 0
    }

    /// Lets go of all tokens, so that the next tasks revoke them. To be called when it has stopped.
    pub fn retire_all(&mut self) {
        for key in self.issuers.keys().cloned().collect::<Vec<_>>() {
            self.forget_issuer(&key);
        }
        for token in self.retired.keys() {
            self.queue.push(Lane::Tokens, Key::Token(*token), Duration::ZERO);
        }
    }

    /// Tells whether every token that was let go of is revoked.
    pub fn is_retired(&self) -> bool {
        self.queue.is_idle() && self.retired.is_empty()
    }

    /// Returns how many requests wait to be finished.
    pub fn pending(&self) -> usize {
        self.requests.len()
    }

    /// Returns how many certificates are being signed or wait to be saved.
    pub fn unsaved(&self) -> usize {
        self.ledger.unsaved()
    }

    /// Returns each issuer and whether it can sign.
    pub fn readiness(&self) -> impl Iterator<Item = (&IssuerKey, bool)> {
        self.issuers
            .iter()
            .map(|(key, issuer)| (key, issuer.readiness == Readiness::Ready))
    }

    fn is_listed(&self) -> bool {
        self.listed.0 && self.listed.1.len() == 2
    }

    fn is_owed(&self, key: &Key) -> bool {
        match key {
            Key::Issuer(_) => false,
            Key::Request(key) => {
                let tracked = self.requests.get(key);
                tracked.is_some_and(|tracked| self.ledger.find(request::uid(&tracked.object)).is_some())
            }
            Key::Token(_) => true,
        }
    }

    /// Keeps a token that nobody needs any more, to revoke it at `at`.
    pub(super) fn retire(&mut self, access: Option<Access>, at: Duration) {
        if let Some(access) = access {
            self.tokens += 1;
            self.retired.insert(self.tokens, access);
            self.queue.push(Lane::Tokens, Key::Token(self.tokens), at);
        }
    }

    fn revoke(&mut self, token: u64) -> Step {
        let step = match self.retired.get(&token) {
            Some(access) => Revoke::begin(&access.vault, &access.lease),
            None => crate::Step::Done(()),
        };
        match step {
            crate::Step::Send(request, revoke) => Step::Exchange(request, AwaitReply(Replied::Token(token, revoke))),
            crate::Step::Done(()) => self.revoked(token),
        }
    }

    pub(super) fn revoked(&mut self, token: u64) -> Step {
        self.retired.remove(&token);
        self.finish(&Key::Token(token), Outcome::Revoked, None)
    }

    /// Ends a task, which is due again at `again`.
    pub(super) fn finish(&mut self, key: &Key, outcome: Outcome, again: Option<Duration>) -> Step {
        self.queue.finish(key);
        if let Some((lane, at)) = self.lane(key).zip(again) {
            self.queue.push(lane, key.clone(), at);
        }
        Step::Done(outcome)
    }

    fn lane(&self, key: &Key) -> Option<Lane> {
        match key {
            Key::Issuer(issuer) => self.issuers.contains_key(issuer).then(|| Lane::Check(issuer.clone())),
            Key::Request(request) => self
                .requests
                .get(request)
                .map(|tracked| Lane::Requests(tracked.issuer.clone())),
            Key::Token(_) => Some(Lane::Tokens),
        }
    }
}
