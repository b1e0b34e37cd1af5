//! The waiting work of one class: later or ready, by requester.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::Work;

/// Requesters at their limit of unsaved certificates.
pub(super) type Full = BTreeSet<Arc<str>>;

/// The empty set, for work that ignores the limit.
pub(super) const NONE: &Full = &Full::new();

/// Work, by the time when it becomes due.
type ByTime<K> = BTreeSet<(Duration, K)>;

/// Work that is ready, by requester; no set is empty.
type Ready<K> = BTreeMap<Arc<str>, ByTime<K>>;

/// The work of one class.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Waiting<K> {
    pub(super) later: ByTime<K>,
    ready: Ready<K>,
    /// The ready work of requesters that are full, kept apart so that no search for the next turn passes over it.
    held: Ready<K>,
}

impl<K: Work> Waiting<K> {
    pub(super) fn new() -> Self {
        Self {
            later: BTreeSet::new(),
            ready: Ready::new(),
            held: Ready::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.later.is_empty() && self.ready.is_empty() && self.held.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        let ready = self.ready.values().chain(self.held.values());
        self.later.len() + ready.map(BTreeSet::len).sum::<usize>()
    }

    /// Takes the work that is not ready.
    pub(super) fn take_later(&mut self) -> Self {
        Self {
            later: std::mem::take(&mut self.later),
            ..Self::new()
        }
    }

    /// Takes any key, the earliest of those that are not ready first.
    pub(super) fn pop(&mut self) -> Option<K> {
        let first = self.later.pop_first().map(|(_, key)| key);
        let first = first.or_else(|| take_after(&mut self.ready, "").map(|(_, key)| key));
        first.or_else(|| take_after(&mut self.held, "").map(|(_, key)| key))
    }

    pub(super) fn backlog(&self, now: Duration, full: &Full) -> usize {
        let due = self.later.iter().take_while(|(at, _)| *at <= now);
        let due = due.filter(|(_, key)| !full.contains(key.requester())).count();
        self.ready.values().map(BTreeSet::len).sum::<usize>() + due
    }

    /// Returns the time of the first work that is not ready.
    pub(super) fn next(&self) -> Option<Duration> {
        self.later.first().map(|(at, _)| *at)
    }

    /// Returns `true` if there is work that is ready, of any requester.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty() || !self.held.is_empty()
    }

    /// Returns `true` if there is work that is ready, of a requester that is not full.
    pub(super) fn has_turn(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn make_ready(&mut self, at: Duration, key: K, full: &Full) {
        let requester = key.requester();
        let work = if full.contains(requester) {
            &mut self.held
        } else {
            &mut self.ready
        };
        match work.get_mut(requester) {
            Some(work) => {
                work.insert((at, key));
            }
            None => {
                work.insert(requester.into(), BTreeSet::from([(at, key)]));
            }
        }
    }

    /// Holds the work of a requester that is ready, or makes it ready again.
    pub(super) fn hold(&mut self, requester: &Arc<str>, is_full: bool) {
        let (from, to) = if is_full {
            (&mut self.ready, &mut self.held)
        } else {
            (&mut self.held, &mut self.ready)
        };
        if let Some(work) = from.remove(requester) {
            to.insert(Arc::clone(requester), work);
        }
    }

    pub(super) fn remove(&mut self, entry: &(Duration, K)) -> bool {
        self.later.remove(entry) || remove(&mut self.ready, entry) || remove(&mut self.held, entry)
    }

    /// Returns the requester whose turn it is after `last`, and when its first work became due.
    pub(super) fn after(&self, last: &str) -> Option<(&Arc<str>, Duration)> {
        let (requester, ready) = after(&self.ready, last)?;
        Some((requester, ready.first().map_or(Duration::ZERO, |(at, _)| *at)))
    }

    pub(super) fn take_after(&mut self, last: &str) -> Option<(Arc<str>, K)> {
        take_after(&mut self.ready, last)
    }

    /// Makes ready what is due, while there is `room`; returns when the first of it became due.
    pub(super) fn promote(&mut self, now: Duration, room: &mut usize, full: &Full) -> Option<Duration> {
        let mut first = None;
        while *room > 0
            && self.later.first().is_some_and(|(at, _)| *at <= now)
            && let Some((at, key)) = self.later.pop_first()
        {
            *room -= 1;
            first = first.or(Some(at));
            self.make_ready(at, key, full);
        }
        first
    }
}

/// Returns the work of the first requester after `last`, beginning again after the last one.
fn after<'a, K>(ready: &'a Ready<K>, last: &str) -> Option<(&'a Arc<str>, &'a ByTime<K>)> {
    let mut after = ready.range::<str, _>((Bound::Excluded(last), Bound::Unbounded));
    after.next().or_else(|| ready.first_key_value())
}

fn take_after<K: Ord>(ready: &mut Ready<K>, last: &str) -> Option<(Arc<str>, K)> {
    let requester = Arc::clone(after(ready, last)?.0);
    let work = ready.get_mut(&requester)?;
    let (_, key) = work.pop_first()?;
    if work.is_empty() {
        ready.remove(&requester);
    }
    Some((requester, key))
}

fn remove<K: Work>(ready: &mut Ready<K>, entry: &(Duration, K)) -> bool {
    let requester = entry.1.requester();
    let Some(work) = ready.get_mut(requester) else {
        return false;
    };
    let removed = work.remove(entry);
    if work.is_empty() {
        ready.remove(requester);
    }
    removed
}
