//! The shares of tenants in the slots of common lanes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// The shares of the tenants that run tasks in lanes where each tenant has one.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Shares<L> {
    by_tenant: BTreeMap<Arc<str>, Share<L>>,
    /// The number of tenants that run as many tasks as they may.
    full: usize,
    /// The tenants that have room again, and lanes that are still closed to them.
    returning: BTreeSet<Arc<str>>,
}

/// The share of one tenant, which runs something or waits in a lane.
#[derive(Clone, Debug, PartialEq, Hash)]
struct Share<L> {
    most: usize,
    running: usize,
    /// The lanes that were closed to the tenant when it was full.
    closed: BTreeSet<L>,
    /// The lane that was opened to it last, while others are closed: they take turns.
    last: Option<L>,
}

impl<L> Share<L> {
    fn is_full(&self) -> bool {
        self.running >= self.most
    }
}

impl<L: Ord + Clone> Shares<L> {
    pub(super) fn new() -> Self {
        Self {
            by_tenant: BTreeMap::new(),
            full: 0,
            returning: BTreeSet::new(),
        }
    }

    /// Takes a slot of a tenant that runs at most this many tasks.
    pub(super) fn begin(&mut self, tenant: &Arc<str>, most: usize) {
        let share = self.by_tenant.entry(Arc::clone(tenant)).or_insert_with(|| Share {
            most,
            running: 0,
            closed: BTreeSet::new(),
            last: None,
        });
        share.running += 1;
        if share.running == most {
            self.full += 1;
            self.returning.remove(tenant);
        }
    }

    /// Frees a slot of a tenant.
    pub(super) fn free_slot(&mut self, tenant: &Arc<str>) {
        let Some(share) = self.by_tenant.get_mut(tenant) else {
            return;
        };
        let was_full = share.is_full();
        share.running -= 1;
        if share.is_full() {
            return;
        }
        self.full -= usize::from(was_full);
        if !share.closed.is_empty() {
            self.returning.insert(Arc::clone(tenant));
        } else if share.running == 0 {
            self.by_tenant.remove(tenant);
        }
    }

    /// Returns `true` if some tenant runs as many tasks as it may.
    pub(super) fn is_any_full(&self) -> bool {
        self.full > 0
    }

    /// Closes a lane to a tenant if that is full; returns `true` if so.
    pub(super) fn close(&mut self, tenant: &str, lane: &L) -> bool {
        let Some(share) = self.by_tenant.get_mut(tenant).filter(|share| share.is_full()) else {
            return false;
        };
        share.closed.insert(lane.clone());
        true
    }

    /// Returns `true` if a tenant has room, and lanes that are closed to it.
    pub(super) fn has_returning(&self) -> bool {
        !self.returning.is_empty()
    }

    /// Returns a lane to be opened to a tenant that has room again: of those that are closed to it, the one after the last.
    pub(super) fn reopen(&mut self) -> Option<(Arc<str>, L)> {
        let tenant = Arc::clone(self.returning.first()?);
        let share = self.by_tenant.get_mut(&tenant)?;
        let after = share.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut after = share.closed.range::<L, _>((after, Bound::Unbounded));
        let lane = after.next().or_else(|| share.closed.first())?.clone();
        share.last = Some(lane.clone());
        self.forget(&tenant, &lane);
        Some((tenant, lane))
    }

    /// Forgets that a lane is closed to a tenant.
    pub(super) fn forget(&mut self, tenant: &Arc<str>, lane: &L) {
        let Some(share) = self.by_tenant.get_mut(tenant) else {
            return;
        };
        share.closed.remove(lane);
        if share.closed.is_empty() {
            share.last = None;
            self.returning.remove(tenant);
            if share.running == 0 {
                self.by_tenant.remove(tenant);
            }
        }
    }
}
