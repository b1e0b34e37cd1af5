use std::collections::BTreeSet;
use std::time::Duration;

use issuer_core::reconcile::Key;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::object::{Watched, WatchedList};

/// Time in which further issuers may appear before the requests are listed again.
const SETTLE: Duration = Duration::from_secs(1);

/// cert-manager's own issuers that sign with Vault.
///
/// A request whose issuer is not among them is not decoded, and nothing is kept of it: most are of other types. So when an
/// issuer appears, the requests are listed again.
pub(super) struct DropInIssuers {
    /// Whether they are served at all.
    served: bool,
    state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct State {
    known: BTreeSet<Key>,
    /// The lists that have not been seen yet.
    unlisted: Vec<WatchedList>,
}

/// Waits for issuers to appear.
pub(super) struct Appeared(watch::Receiver<State>);

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
            let is_covered = |key: &Key| {
                let Key::Issuer(issuer) = key else { return false };
                Watched::Issuers(issuer.kind) == list.watched && list.scope.covers(&issuer.namespace)
            };
            state.known.retain(|key| !is_covered(key) || all.contains(key));
            let before = state.unlisted.len();
            state.unlisted.retain(|unlisted| unlisted != list);
            state.unlisted.len() != before
        });
    }

    /// Records an issuer that exists, or does not.
    pub(super) fn note(&self, key: Key, exists: bool) {
        self.state.send_if_modified(|state| {
            if !exists {
                state.known.remove(&key);
                return false;
            }
            state.known.insert(key)
        });
    }

    pub(super) fn subscribe(&self) -> Appeared {
        Appeared(self.state.subscribe())
    }
}

impl Appeared {
    /// Resolves when every list has been seen once.
    pub(super) async fn listed(&self) {
        let listed = self.0.clone().wait_for(|state| state.unlisted.is_empty()).await.is_ok();
        if !listed {
            std::future::pending::<()>().await;
        }
    }

    /// Resolves soon after an issuer has appeared, until that is [forgotten](Self::forget).
    pub(super) async fn next(&self) {
        if self.0.clone().changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        sleep(SETTLE).await;
    }

    /// Forgets the issuers that have appeared: the list that begins shows their requests.
    pub(super) fn forget(&mut self) {
        self.0.mark_unchanged();
    }
}
