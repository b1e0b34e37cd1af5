//! The shares of tenants in the slots of common lanes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// The shares of the tenants that run tasks in lanes where each tenant has one.
///
/// A tenant runs no more tasks than its share, and the last quarter of all slots is for tenants that run none. So a crowd of
/// tenants, each of which could fill its share, leaves a slot to another; where there are more tenants than slots, they take
/// turns.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Shares<L> {
    by_tenant: BTreeMap<Arc<str>, Share<L>>,
    /// The number of tasks that run.
    running: usize,
    /// The number of tasks that may run.
    total: usize,
    /// The tenants that lanes are closed to and that run less than their share, in the order in which they have turns.
    waiting: BTreeSet<Place>,
    /// The number of times that a tenant began to wait, or had a turn, while others are here: these order those that wait.
    turns: u64,
}

/// The place of a tenant that waits: first those that run the fewest tasks, then those that have waited the longest.
type Place = (usize, u64, Arc<str>);

/// The share of one tenant, which runs something or waits in a lane.
#[derive(Clone, Debug, PartialEq, Hash)]
struct Share<L> {
    most: usize,
    running: usize,
    /// The lanes that were closed to the tenant when it had no room.
    closed: BTreeSet<L>,
    /// The lane that was opened to it last, while others are closed: they take turns.
    last: Option<L>,
    /// Since when it waits: since it was closed out, had a turn, or one of its tasks ended.
    since: u64,
}

impl<L> Share<L> {
    fn place(&self, tenant: &Arc<str>) -> Option<Place> {
        let waits = self.running < self.most && !self.closed.is_empty();
        waits.then(|| (self.running, self.since, Arc::clone(tenant)))
    }
}

impl<L: Ord + Clone> Shares<L> {
    pub(super) fn new(total: usize) -> Self {
        Self {
            by_tenant: BTreeMap::new(),
            running: 0,
            total: total.max(1),
            waiting: BTreeSet::new(),
            turns: 0,
        }
    }

    /// Takes a slot of a tenant that runs at most this many tasks.
    pub(super) fn begin(&mut self, tenant: &Arc<str>, most: usize) {
        self.running += 1;
        self.add(tenant, most);
        self.change(tenant, |share| share.running += 1);
    }

    /// Frees a slot of a tenant.
    pub(super) fn free_slot(&mut self, tenant: &Arc<str>) {
        self.running -= 1;
        // What waits for nothing has no turns, so that equal states are equal.
        let waits = self.by_tenant.get(tenant).is_some_and(|share| !share.closed.is_empty());
        let turn = if waits { self.next_turn() } else { 0 };
        self.change(tenant, |share| {
            share.running -= 1;
            share.since = turn;
        });
    }

    /// Closes a lane to a tenant that has no room for another task; returns `true` if so.
    pub(super) fn close(&mut self, tenant: &Arc<str>, most: usize, lane: &L) -> bool {
        let running = self.by_tenant.get(tenant).map_or(0, |share| share.running);
        if running < most && self.has_room(running) {
            return false;
        }
        let turn = self.next_turn();
        self.add(tenant, most);
        self.change(tenant, |share| {
            if share.closed.is_empty() {
                share.since = turn;
            }
            share.closed.insert(lane.clone());
        });
        true
    }

    /// Returns `true` if a tenant has room, and lanes that are closed to it.
    pub(super) fn has_returning(&self) -> bool {
        let first = self.waiting.first();
        first.is_some_and(|(running, ..)| self.has_room(*running))
    }

    /// Returns a lane to be opened to the first tenant that has room again: of those that are closed to it, the one after the
    /// last.
    pub(super) fn reopen(&mut self) -> Option<(Arc<str>, L)> {
        if !self.has_returning() {
            return None;
        }
        let (_, _, tenant) = self.waiting.first()?.clone();
        let share = self.by_tenant.get(&tenant)?;
        let after = share.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut after = share.closed.range::<L, _>((after, Bound::Unbounded));
        let lane = after.next().or_else(|| share.closed.first())?.clone();
        let turn = self.next_turn();
        self.change(&tenant, |share| {
            share.since = turn;
            share.last = Some(lane.clone());
        });
        self.forget(&tenant, &lane);
        Some((tenant, lane))
    }

    /// Forgets that a lane is closed to a tenant.
    pub(super) fn forget(&mut self, tenant: &Arc<str>, lane: &L) {
        self.change(tenant, |share| {
            share.closed.remove(lane);
            if share.closed.is_empty() {
                (share.last, share.since) = (None, 0);
            }
        });
    }

    fn next_turn(&mut self) -> u64 {
        self.turns += 1;
        self.turns
    }

    /// Returns `true` if there is a slot for a tenant that runs this many tasks.
    fn has_room(&self, running: usize) -> bool {
        let reserve = if running == 0 { 0 } else { self.total / 4 };
        self.running + reserve < self.total
    }

    fn add(&mut self, tenant: &Arc<str>, most: usize) {
        self.by_tenant.entry(Arc::clone(tenant)).or_insert_with(|| Share {
            most,
            running: 0,
            closed: BTreeSet::new(),
            last: None,
            since: 0,
        });
    }

    /// Changes the share of a tenant, if it has one, and its place among those that wait.
    fn change(&mut self, tenant: &Arc<str>, change: impl FnOnce(&mut Share<L>)) {
        let Some(share) = self.by_tenant.get_mut(tenant) else {
            return;
        };
        if let Some(place) = share.place(tenant) {
            self.waiting.remove(&place);
        }
        change(share);
        self.waiting.extend(share.place(tenant));
        if share.running == 0 && share.closed.is_empty() {
            self.by_tenant.remove(tenant);
        }
        if self.by_tenant.is_empty() {
            self.turns = 0;
        }
    }
}
