//! The issuers of cert-manager that sign with Vault, which decide whose requests are decoded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use issuer_core::reconcile::Key;
use issuer_core::reference::{IssuerKey, RequestKind};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::object::{Watched, WatchedList};

/// Time in which further issuers may appear before requests are listed again.
const SETTLE: Duration = Duration::from_secs(1);

/// The longest pause between two lists of one part. It begins with [`SETTLE`] and doubles: the authors of issuers in one
/// namespace can make one appear as often as they like.
const LONGEST_PAUSE: Duration = Duration::from_secs(64);

/// The parts that are listed in one round. Between two rounds the watch goes on.
const ROUND: usize = 32;

/// cert-manager's own issuers that sign with Vault.
///
/// A request whose issuer is not among them is not decoded, and nothing is kept of it: most are of other types. So when an
/// issuer appears, the requests that can name it are listed again.
pub(super) struct DropInIssuers {
    /// Whether they are served at all.
    served: bool,
    state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Each issuer with the number of its appearance.
    known: BTreeMap<IssuerKey, u64>,
    /// The number of the last appearance.
    last: u64,
    /// The lists that have not been seen yet.
    unlisted: Vec<WatchedList>,
}

/// The requests of a list that can name an issuer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// All of them.
    All,
    /// Those of a namespace.
    Namespace(Arc<str>),
    /// The CertificateSigningRequests with a signer name.
    Signer(String),
}

/// The parts of a list of requests that are to be listed again, since issuers have appeared.
pub(super) struct Appeared<'a> {
    list: &'a WatchedList,
    state: watch::Receiver<State>,
    /// The number of the last appearance that is among `due`, or was.
    seen: u64,
    /// When each part is due.
    due: BTreeMap<Part, Instant>,
    /// The parts that were listed again lately.
    paused: BTreeMap<Part, Pause>,
    /// The end of the last round.
    round: Option<Instant>,
}

/// The time in which a part is not listed again.
struct Pause {
    length: Duration,
    until: Instant,
}

impl DropInIssuers {
    pub(super) fn new(lists: &[WatchedList]) -> Self {
        let unlisted: Vec<_> = lists.iter().filter(|list| list.watched.is_drop_in()).cloned().collect();
        let served = !unlisted.is_empty();
        let state = State {
            unlisted,
            ..State::default()
        };
        Self {
            served,
            state: watch::Sender::new(state),
        }
    }

    /// Returns `true` if there is a list of them.
    pub(super) fn is_served(&self) -> bool {
        self.served
    }

    /// Records that these are all the objects of a list.
    pub(super) fn listed(&self, list: &WatchedList, all: &BTreeSet<Key>) {
        self.state.send_if_modified(|state| {
            let is_covered = |issuer: &IssuerKey| {
                Watched::Issuers(issuer.kind) == list.watched && list.scope.covers(&issuer.namespace)
            };
            state
                .known
                .retain(|issuer, _| !is_covered(issuer) || all.contains(&Key::Issuer(issuer.clone())));
            let before = state.unlisted.len();
            state.unlisted.retain(|unlisted| unlisted != list);
            state.unlisted.len() != before
        });
    }

    /// Records whether an issuer exists.
    pub(super) fn note(&self, key: Key, exists: bool) {
        let Key::Issuer(issuer) = key else { return };
        self.state.send_if_modified(|state| {
            if !exists {
                state.known.remove(&issuer);
                return false;
            }
            if state.known.contains_key(&issuer) {
                return false;
            }
            state.last += 1;
            state.known.insert(issuer, state.last);
            true
        });
    }

    /// Returns the view of a list of requests.
    pub(super) fn subscribe<'a>(&self, list: &'a WatchedList) -> Appeared<'a> {
        Appeared {
            list,
            state: self.state.subscribe(),
            seen: 0,
            due: BTreeMap::new(),
            paused: BTreeMap::new(),
            round: None,
        }
    }
}

impl Part {
    /// Returns the part of a list that can name an issuer; `None` if no request of the list can.
    fn of(list: &WatchedList, issuer: &IssuerKey) -> Option<Self> {
        if list.watched == Watched::Requests(RequestKind::CertificateSigningRequest) {
            return Some(Self::Signer(issuer.signer_name()));
        }
        if issuer.kind.is_cluster() {
            return Some(Self::All);
        }
        let is_covered = list.scope.covers(&issuer.namespace);
        is_covered.then(|| Self::Namespace(Arc::clone(&issuer.namespace)))
    }
}

impl Appeared<'_> {
    /// Resolves when every list of issuers has been seen once.
    pub(super) async fn listed(&self) {
        let listed = self
            .state
            .clone()
            .wait_for(|state| state.unlisted.is_empty())
            .await
            .is_ok();
        if !listed {
            std::future::pending::<()>().await;
        }
    }

    /// Resolves when parts are due, with those that are due first. They stay due until they are
    /// [listed](Self::part_listed).
    pub(super) async fn next(&mut self) -> Vec<Part> {
        loop {
            self.take_in();
            let begins = self.round.map(|ended| ended + SETTLE);
            let first = self
                .due
                .values()
                .min()
                .map(|due| begins.map_or(*due, |begins| begins.max(*due)));
            if first.is_some_and(|first| first <= Instant::now()) {
                return self.round();
            }
            let is_due = async {
                match first {
                    Some(first) => sleep_until(first).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = is_due => {}
                changed = self.state.changed() => if changed.is_err() {
                    std::future::pending::<()>().await;
                },
            }
        }
    }

    /// Returns the parts that are due.
    fn round(&self) -> Vec<Part> {
        let now = Instant::now();
        let mut due: Vec<_> = self.due.iter().filter(|(_, due)| **due <= now).collect();
        due.sort_by_key(|(_, due)| **due);
        due.into_iter().take(ROUND).map(|(part, _)| part.clone()).collect()
    }

    /// Adds the parts that can name the issuers which have appeared.
    fn take_in(&mut self) {
        let now = Instant::now();
        self.paused.retain(|_, pause| now < pause.until + LONGEST_PAUSE);
        let state = self.state.borrow_and_update();
        let new = state.known.iter().filter(|(_, number)| **number > self.seen);
        for part in new.filter_map(|(issuer, _)| Part::of(self.list, issuer)) {
            let settled = now + SETTLE;
            let due = self.paused.get(&part).map_or(settled, |pause| pause.until.max(settled));
            self.due.entry(part).or_insert(due);
        }
        self.seen = state.last;
    }

    /// Records that a part was listed, or that a list of it begins.
    pub(super) fn part_listed(&mut self, part: Part) {
        self.due.remove(&part);
        self.pause(part);
    }

    /// Records that a part could not be listed: it is due again, and the watch goes on until then.
    pub(super) fn part_failed(&mut self, part: Part) {
        let until = self.pause(part.clone());
        self.due.insert(part, until);
    }

    /// Returns when a part may be listed again.
    fn pause(&mut self, part: Part) -> Instant {
        let now = Instant::now();
        self.round = Some(now);
        let doubled = |pause: &Pause| (pause.length * 2).min(LONGEST_PAUSE);
        let length = self.paused.get(&part).map_or(SETTLE, doubled);
        let until = now + length;
        self.paused.insert(part, Pause { length, until });
        until
    }

    /// Forgets the issuers that have appeared: the list of all requests that begins shows theirs.
    pub(super) fn forget(&mut self) {
        self.seen = self.state.borrow_and_update().last;
        self.due.clear();
    }
}
