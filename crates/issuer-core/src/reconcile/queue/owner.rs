//! The lanes of one owner, by the time when each can run its next key.

use std::collections::BTreeSet;
use std::time::Duration;

/// The lanes of one owner that have work and a slot left, ranked by the time since when or from when on they can run it.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct OwnerState<L> {
    /// The number of tasks that run in all its lanes.
    pub(super) running: usize,
    share: usize,
    is_counted: bool,
    /// The lanes that run none and have a slot reserved.
    idle: BTreeSet<(Duration, L)>,
    /// The others.
    busy: BTreeSet<(Duration, L)>,
    /// The times by which the queue ranks it.
    pub(super) heads: Heads,
}

/// The times at which the first lane of an owner can run something; `None` if there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Heads {
    /// However many tasks run.
    pub(super) reserved: Option<Duration>,
    /// While fewer tasks run than may in total.
    pub(super) shared: Option<Duration>,
}

impl<L: Ord + Clone> OwnerState<L> {
    pub(super) fn new(share: usize, is_counted: bool) -> Self {
        Self {
            running: 0,
            share,
            is_counted,
            idle: BTreeSet::new(),
            busy: BTreeSet::new(),
            heads: Heads::default(),
        }
    }

    pub(super) fn insert(&mut self, at: Duration, lane: &L, is_first: bool) {
        let ranks = if is_first { &mut self.idle } else { &mut self.busy };
        ranks.insert((at, lane.clone()));
    }

    pub(super) fn remove(&mut self, at: Duration, lane: &L) {
        let entry = (at, lane.clone());
        let _ = self.idle.remove(&entry) || self.busy.remove(&entry);
    }

    /// Returns the lane that comes next however many tasks of others run.
    pub(super) fn reserved(&self) -> Option<&(Duration, L)> {
        if self.is_counted {
            self.idle.first().filter(|_| self.running == 0)
        } else {
            self.next()
        }
    }

    /// Returns the lane that comes next while fewer tasks run than may in total.
    pub(super) fn shared(&self) -> Option<&(Duration, L)> {
        if self.is_counted { self.next() } else { None }
    }

    pub(super) fn ranks(&self) -> Heads {
        let at = |first: Option<&(Duration, L)>| first.map(|(at, _)| *at);
        Heads {
            reserved: at(self.reserved()),
            shared: at(self.shared()),
        }
    }

    /// Returns `true` if it runs nothing and none of its lanes can.
    pub(super) fn is_unused(&self) -> bool {
        self.running == 0 && self.idle.is_empty() && self.busy.is_empty()
    }

    /// Returns the lane that comes next. Beyond the share it is one that runs nothing: a server that does not answer must not
    /// stop the owner's issuers of other servers.
    fn next(&self) -> Option<&(Duration, L)> {
        let most = self.share.saturating_mul(2);
        let busy = self.busy.first().filter(|_| self.running < self.share);
        let idle = self.idle.first().filter(|_| self.running < most);
        idle.into_iter().chain(busy).min()
    }
}
