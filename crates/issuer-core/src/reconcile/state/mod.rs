//! Everything that the controller knows, and when each key is due.
//!
//! The queue is private to this module. Tasks and watch events change the state through its methods, which decide what
//! becomes due, and when.
//!
//! A request waits in the lane of its issuer, and the lane is closed while the issuer cannot sign: so waiting costs no
//! polling, and an issuer that becomes ready opens one lane instead of waking each request.

mod drop_in;
mod issuers;
mod lanes;
mod report;
mod requests;
mod retired;
mod sources;
mod tokens;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use self::lanes::{LaneKey, OF_TENANTS};
use self::retired::RetiredTokens;
use super::backoff::Jitter;
use super::event_budget::EventBudget;
use super::issuer::Phase;
use super::issuers::Issuers;
use super::lane::{Class, PORTION};
use super::ledger::{Account, Conclusion, Entry, Ledger};
use super::observed::Config;
use super::outcome::{Again, Ending, Key, Outcome};
use super::queue::{Queue, Waiter};
use super::requests::Requests;
use super::servers::Servers;
use super::sources::Sources;
use super::tracked::{Reported, Tracked};
use crate::reference::{IssuerKey, IssuerKind};
use crate::{KnownSignatures, Now};

/// The number of tasks for requests that run at once, not counting the first task of each tenant.
const TOTAL: usize = 512;

/// The state that all tasks share.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct State {
    pub(super) config: Config,
    pub(super) events: EventBudget,
    pub(super) issuers: Issuers,
    pub(super) known: KnownSignatures,
    pub(super) ledger: Ledger,
    pub(super) servers: Servers,
    pub(super) sources: Sources,
    pub(super) requests: Requests,
    pub(super) stopping: bool,
    pub(super) jitter: Jitter,
    /// The kinds of cert-manager's issuers for which another controller signs.
    pub(super) withdrawn: BTreeSet<IssuerKind>,
    /// The time since the Unix epoch at which cert-manager's issuers were first served.
    serving_since: Option<Duration>,
    queue: Queue<LaneKey, Key>,
    retired: RetiredTokens,
}

impl State {
    pub(super) fn new(mut config: Config, seed: u64) -> Self {
        // A request always has one attempt.
        config.max_lost_answers = config.max_lost_answers.max(1);
        Self {
            queue: Queue::new(config.max_concurrent_reconciles, TOTAL, OF_TENANTS),
            config,
            events: EventBudget::default(),
            issuers: Issuers::default(),
            known: KnownSignatures::default(),
            jitter: Jitter::new(seed),
            ledger: Ledger::default(),
            servers: Servers::default(),
            sources: Sources::new(seed),
            requests: Requests::default(),
            retired: RetiredTokens::default(),
            stopping: false,
            withdrawn: BTreeSet::new(),
            serving_since: None,
        }
    }

    /// Takes the next key that is due. A state that is stopping returns only keys that must finish.
    pub(super) fn next_task(&mut self, now: Now) -> Option<Key> {
        // Bounded, since dropping thousands of keys in one turn would delay the work that must finish.
        for _ in 0..PORTION {
            let Self { queue, requests, .. } = self;
            let key = queue.pop(now.monotonic, |key, recovery| {
                if let Key::Request(key) = key {
                    requests.recover(key, recovery);
                }
            })?;
            if !self.stopping || self.must_finish(&key) {
                return Some(key);
            }
            // Dropped: a stopping process begins only work that must finish.
            self.queue.finish(&key);
        }
        None
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.queue.next()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_idle()
    }

    /// Ends a task.
    pub(super) fn end(&mut self, ending: Ending) -> Outcome {
        let Ending { key, outcome, again } = ending;
        self.queue.finish(&key);
        match again {
            Again::Never => {}
            Again::At(at) => self.due(&key, at, Duration::ZERO),
            Again::WhenReady => self.due(&key, Duration::ZERO, Duration::ZERO),
        }
        outcome
    }

    /// Begins only tasks that must finish from now on: to save what is signed, at once, and to revoke tokens.
    pub(super) fn stop(&mut self, now: Now) {
        self.stopping = true;
        let unfinished = self
            .requests
            .keys_of(|tracked| self.ledger.find(tracked.object.uid()).is_some());
        // A certificate that waits to be saved must not wait out its backoff: the process has only seconds left.
        for key in unfinished {
            self.due(&Key::Request(key), now.monotonic, now.monotonic);
        }
    }

    /// Makes a key due at `at`, or earlier if it already is; nothing if its object does not exist.
    fn due(&mut self, key: &Key, at: Duration, now: Duration) {
        match key {
            Key::Issuer(issuer) => {
                let Some(server) = self.issuers.get(issuer).map(|known| Arc::clone(&known.server)) else {
                    return;
                };
                let class = self.class_of_check(issuer);
                self.queue.push(LaneKey::Checks(server), class, key.clone(), at, now);
            }
            Key::Token(token) => {
                let Some(retired) = self.retired.get(*token) else {
                    return;
                };
                let lane = retired.lane();
                let waiter = Waiter {
                    key: key.clone(),
                    requester: Some(retired.tenant.of_tokens()),
                };
                self.queue.push(lane.clone(), Class::Reported, waiter, at, now);
                // Tokens of deleted issuers may be for any number of servers.
                self.queue.reserve(&lane, false);
            }
            Key::Request(request) => {
                if self.leave_to_others(request) {
                    return;
                }
                let Some(tracked) = self.requests.get(request) else {
                    return;
                };
                let class = self.class(tracked);
                // Finishing work sends nothing to the signing endpoint, so it does not wait for it.
                let at = if class == Class::Finishing {
                    at
                } else {
                    at.max(tracked.not_before)
                };
                // What is not to be signed must not take the slots of what is: a requester may have thousands that are denied,
                // or whose failure the API server refuses.
                let signed = match self.ledger.find(tracked.object.uid()) {
                    Some(Entry::Signing) => true,
                    Some(Entry::Concluded(conclusion)) => matches!(conclusion, Conclusion::Issued(_)),
                    None => tracked.is_open(),
                };
                let waiter = Waiter {
                    key: key.clone(),
                    requester: tracked.requester.clone(),
                };
                let requester = tracked.requester(request);
                match tracked.issuer.clone().filter(|_| signed) {
                    None => self.queue.push(LaneKey::Unassigned, class, waiter, at, now),
                    Some(issuer) => {
                        self.queue
                            .push(LaneKey::Requests(issuer.clone()), class, waiter, at, now);
                        self.gate(&issuer);
                        let account = Account { issuer, requester };
                        self.limit(&account);
                        let Account { issuer, .. } = account;
                        if self.issuers.phase(&issuer) == Phase::Checking {
                            let class = self.class_of_check(&issuer);
                            self.queue.reclassify(&Key::Issuer(issuer), class, now);
                        }
                    }
                }
            }
        }
    }

    /// Returns the class of an issuer's check: those that requests wait for come first, so that where there are thousands of
    /// issuers, a certificate does not wait for the checks of all.
    fn class_of_check(&self, issuer: &IssuerKey) -> Class {
        if self.queue.has_work(&LaneKey::Requests(issuer.clone())) {
            Class::Reported
        } else {
            Class::Retried
        }
    }

    fn class(&self, tracked: &Tracked) -> Class {
        let lost = tracked.lost_answers >= self.config.max_lost_answers;
        if lost || !tracked.is_open() || self.ledger.find(tracked.object.uid()).is_some() {
            Class::Finishing
        } else if tracked.reported == Reported::No {
            Class::Unreported
        } else if tracked.attempts > 0 || tracked.lost_answers > 0 || tracked.lost_at.is_some() {
            Class::Retried
        } else {
            Class::Reported
        }
    }

    /// Opens the issuer's lane for signing if it is ready, for status writes only if it is not, and for neither during a
    /// check.
    fn gate(&mut self, issuer: &IssuerKey) {
        let phase = self.issuers.phase(issuer);
        let open = match phase {
            Phase::Ready if self.ledger.has_room(issuer) => Class::Retried,
            Phase::Ready | Phase::Checking => Class::Finishing,
            Phase::Missing | Phase::NotReady => Class::Unreported,
        };
        let lane = LaneKey::Requests(issuer.clone());
        self.queue.open(&lane, open);
        // Anybody may name thousands of issuers that do not exist.
        self.queue.reserve(&lane, phase != Phase::Missing);
    }

    /// Lets the requests of a requester wait while too many of its certificates are not saved.
    fn limit(&mut self, account: &Account) {
        let is_full = !self.ledger.has_room_for(account);
        let lane = LaneKey::Requests(account.issuer.clone());
        self.queue.limit(&lane, &account.requester, is_full);
    }

    /// Returns `true` if the work for a key ends something begun, so that a stop waits for it.
    fn must_finish(&self, key: &Key) -> bool {
        match key {
            Key::Issuer(_) => false,
            Key::Request(key) => {
                let tracked = self.requests.get(key);
                tracked.is_some_and(|tracked| self.ledger.find(tracked.object.uid()).is_some())
            }
            Key::Token(_) => true,
        }
    }
}
