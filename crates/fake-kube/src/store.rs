//! The objects of one kind, and the events that its watches have not yet forgotten.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use issuer_core::reconcile::Key;

use crate::{Object, Refusal};

/// An event of a watch.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchEvent {
    /// The revision of the cluster that the change made.
    pub revision: u64,
    /// The type of the event.
    pub change: Verb,
    /// The object after the change; if it was deleted, its last state.
    pub object: Arc<Object>,
}

/// The type of a watch event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// The object was created.
    Added,
    /// The object was deleted.
    Deleted,
    /// The object was changed.
    Modified,
}

impl Verb {
    /// Returns the type as the API server writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Deleted => "DELETED",
            Self::Modified => "MODIFIED",
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    pub(crate) objects: BTreeMap<Key, Arc<Object>>,
    log: VecDeque<WatchEvent>,
    /// The last revision that the log no longer holds.
    compacted: u64,
}

impl Store {
    /// Stores the new state of an object, or removes it.
    pub(crate) fn apply(&mut self, key: Key, event: WatchEvent) {
        if event.change == Verb::Deleted {
            self.objects.remove(&key);
        } else {
            self.objects.insert(key, Arc::clone(&event.object));
        }
        self.log.push_back(event);
    }

    /// Returns the events after a revision, oldest first.
    pub(crate) fn since(&self, revision: u64) -> Result<impl Iterator<Item = &WatchEvent>, Refusal> {
        if revision < self.compacted {
            return Err(Refusal::Gone);
        }
        let from = self.log.partition_point(|event| event.revision <= revision);
        Ok(self.log.range(from..))
    }

    /// Forgets the events up to a revision.
    pub(crate) fn compact(&mut self, revision: u64) {
        self.compacted = self.compacted.max(revision);
        while self.log.front().is_some_and(|event| event.revision <= revision) {
            self.log.pop_front();
        }
    }

    /// Returns `true` if compaction up to a revision would forget an event.
    pub(crate) fn would_forget(&self, revision: u64) -> bool {
        self.log.front().is_some_and(|event| event.revision <= revision)
    }

    /// Drops the first event after a revision if a later one follows.
    pub(crate) fn coalesce(&mut self, revision: u64) {
        let first = self.log.partition_point(|event| event.revision <= revision);
        if self.log.len() > first + 1 {
            self.log.remove(first);
        }
    }
}
