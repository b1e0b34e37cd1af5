//! The work queue: keys by the time when they are due, in lanes with slots.

mod owner;
mod shares;
#[cfg(test)]
mod tests;
mod waiter;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use self::owner::OwnerState;
use self::shares::Shares;
pub(super) use self::waiter::Waiter;
use super::lane::{Class, Lane, PORTION, Work};
use super::recovery::Recovery;

/// Work that is due at a time, in lanes that cannot delay each other.
///
/// * A key is worked on by one task at a time: what becomes due meanwhile waits until that task ends.
/// * A lane runs at most as many tasks at once as it is wide, so an issuer that is slow to answer delays no other.
/// * Work that has failed before runs at no more than half of that.
/// * A lane serves its requesters in turn, so the backlog of one delays another by one task.
/// * A lane may be closed for some classes of work, or for all but the finishing work of a requester: they stay
///   where they are, at no cost, until it opens.
/// * The lanes of one owner together run at most as many tasks as its share, and as many again for lanes that run none and
///   have a slot reserved. So no owner takes the slots of others, however many lanes it has.
/// * A tenant runs at most as many tasks as its share in all lanes that limit it, and so do all tenants together; the last
///   quarter of that is for those that run none. Beyond it those lanes are closed to the tenant one after the other, as its
///   turns come, and opened as tasks end. So no tenant takes the slots of others, however many lanes it has work in, nor does
///   a crowd of them.
/// * All lanes together run at most `total` tasks, and one more for each owner that runs none and has a slot reserved. Some
///   lanes neither count nor wait for that.
///
/// Every operation takes logarithmic time, however many keys become due at once, but for those whose documentation says
/// otherwise.
///
/// No library serves: the queues of controller runtimes know neither lanes nor requesters, and their states cannot be
/// compared.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Queue<L: LaneName, K> {
    /// The width of a lane that has none of its own.
    width: usize,
    total: usize,
    lanes: BTreeMap<L, Lane<Waiter<K>>>,
    /// The keys that are due and not running.
    due: BTreeMap<K, Due<L>>,
    running: BTreeMap<K, Running<L>>,
    /// The owners of lanes that have work.
    owners: BTreeMap<L::Owner, OwnerState<L>>,
    /// The owners that may run a task however many run.
    reserved: BTreeSet<(Duration, L::Owner)>,
    /// The owners that may run a task while fewer than `total` run.
    shared: BTreeSet<(Duration, L::Owner)>,
    /// The number of tasks that run and count against `total`.
    counted: usize,
    shares: Shares<L>,
}

#[derive(Clone, Debug, PartialEq, Hash)]
struct Running<L> {
    lane: L,
    class: Class,
    /// The tenant of whose share it takes a slot.
    tenant: Option<Arc<str>>,
    /// When and where it is due again, if that was decided while it runs.
    again: Option<(Class, Due<L>)>,
}

/// When and where a key is due.
#[derive(Clone, Debug, PartialEq, Hash)]
struct Due<L> {
    at: Duration,
    lane: L,
    /// Its requester, unless the key says it.
    requester: Option<Arc<str>>,
}

impl<L> Due<L> {
    fn waiter<K>(&self, key: K) -> Waiter<K> {
        let requester = self.requester.clone();
        Waiter { key, requester }
    }
}

/// The name of a lane.
pub(super) trait LaneName: Ord + Clone {
    /// Those who cause the work of the lane.
    type Owner: Ord + Clone;

    /// Returns the owner, whose lanes have a common share.
    fn owner(&self) -> Self::Owner;

    /// Returns the number of tasks that the lane runs at once, given the usual one.
    fn width(&self, width: usize) -> usize;

    /// Returns the number of tasks that the lanes of its owner run at once, given the usual width.
    fn share(&self, width: usize) -> usize;

    /// Returns the number of tasks that a tenant runs at once in all lanes of this kind, where that is limited.
    fn tenant_share(&self, tenant: &str) -> Option<usize>;

    /// Returns `true` if its tasks count against the total.
    fn is_counted(&self) -> bool;
}

impl<L: LaneName, K: Work> Queue<L, K> {
    /// Creates a queue without work. Besides `total` tasks it runs `of_tenants` in lanes in which each tenant has a share.
    pub(super) fn new(width: usize, total: usize, of_tenants: usize) -> Self {
        Self {
            width: width.max(1),
            total: total.max(1),
            lanes: BTreeMap::new(),
            due: BTreeMap::new(),
            running: BTreeMap::new(),
            owners: BTreeMap::new(),
            reserved: BTreeSet::new(),
            shared: BTreeSet::new(),
            counted: 0,
            shares: Shares::new(of_tenants),
        }
    }

    /// Makes a key due at `at`, or earlier if it already is. It belongs to this lane and class from now on.
    pub(super) fn push(&mut self, lane: L, class: Class, waiter: impl Into<Waiter<K>>, at: Duration, now: Duration) {
        let Waiter { key, requester } = waiter.into();
        self.place(key, class, Due { at, lane, requester }, now);
    }

    fn place(&mut self, key: K, class: Class, mut due: Due<L>, now: Duration) {
        if let Some(running) = self.running.get_mut(&key) {
            let before = running.again.as_ref().map_or(due.at, |(_, again)| again.at);
            due.at = due.at.min(before);
            running.again = Some((class, due));
            return;
        }
        if let Some(before) = self.due.get(&key) {
            due.at = due.at.min(before.at);
        }
        let (lane, waiter, at) = (due.lane.clone(), due.waiter(key.clone()), due.at);
        let before = self.due.insert(key, due);
        // Within a lane it is moved at once: without work the lane would forget what it is closed for.
        let (within, other) = match before {
            Some(before) if before.lane == lane => (Some(before), None),
            before => (None, before),
        };
        if let Some(other) = other {
            self.remove(&other, waiter.key.clone());
        }
        self.change(lane, |lane| {
            if let Some(before) = within {
                lane.remove(&before.waiter(waiter.key.clone()), before.at);
            }
            lane.insert(class, waiter, at, now);
        });
    }

    /// Moves a key that is due to another class, at the same time.
    pub(super) fn reclassify(&mut self, key: &K, class: Class, now: Duration) {
        if let Some(due) = self.due.get(key).cloned() {
            self.place(key.clone(), class, due, now);
        }
    }

    /// Returns `true` if there is work in a lane.
    pub(super) fn has_work(&self, lane: &L) -> bool {
        self.lanes.contains_key(lane)
    }

    /// Makes a key that is due before `at` due at that time.
    pub(super) fn postpone(&mut self, key: &K, at: Duration) {
        if let Some((_, again)) = self.running.get_mut(key).and_then(|running| running.again.as_mut()) {
            again.at = at.max(again.at);
        }
        let Some(due) = self.due.get_mut(key).filter(|due| due.at < at) else {
            return;
        };
        let before = std::mem::replace(&mut due.at, at);
        let (lane, waiter) = (due.lane.clone(), due.waiter(key.clone()));
        self.change(lane, |lane| {
            if let Some(class) = lane.remove(&waiter, before) {
                lane.insert(class, waiter, at, Duration::ZERO);
            }
        });
    }

    /// Takes a key that is due, of the lane that has waited longest for a slot. Calls `recovered` for each key that was
    /// released and whose turn it is to be made ready, before it is taken.
    ///
    /// Takes nothing, though something may be due, if it would have to look at more than a portion of the keys for that: they
    /// may be those of a tenant that is full. What comes next is due then.
    pub(super) fn pop(&mut self, now: Duration, mut recovered: impl FnMut(&K, Recovery)) -> Option<K> {
        let mut room = PORTION;
        while room > 0 {
            room -= 1;
            // First, so that those who wait come before what has just become due.
            let has_reopened = self.reopen();
            let Some(name) = self.first_due(now) else {
                if has_reopened {
                    continue;
                }
                return None;
            };
            let owner = name.owner();
            let lane = self.lanes.get_mut(&name)?;
            // What became due meanwhile may belong to a requester whose turn comes first.
            for (Waiter { key, .. }, recovery) in lane.promote(now, &mut room) {
                recovered(&key, recovery);
                if let Some(due) = self.due.get_mut(&key) {
                    due.at = now;
                }
            }
            if let Some(tenant) = lane.turn()
                && let Some(share) = name.tenant_share(&tenant)
                && self.shares.close(&tenant, share, &name)
            {
                lane.limit(&tenant, true);
                self.rank(&name, &owner);
                continue;
            }
            let taken = lane.next(now);
            if taken.is_some()
                && let Some(owner) = self.owners.get_mut(&owner)
            {
                owner.running += 1;
                self.counted += usize::from(name.is_counted());
            }
            self.rank(&name, &owner);
            if let Some((class, tenant, Waiter { key, .. })) = taken {
                return Some(self.begin(name, class, tenant, key));
            }
        }
        None
    }

    /// Returns the lane that comes next, if it has work that is due.
    fn first_due(&self, now: Duration) -> Option<L> {
        let first = self.first().filter(|(at, _)| *at <= now);
        first.map(|(_, name)| name.clone())
    }

    /// Opens a lane to a tenant that has room again; returns `true` if there is one.
    fn reopen(&mut self) -> bool {
        let Some((tenant, name)) = self.shares.reopen() else {
            return false;
        };
        self.limit(&name, &tenant, false);
        true
    }

    fn begin(&mut self, lane: L, class: Class, tenant: Arc<str>, key: K) -> K {
        self.due.remove(&key);
        let share = lane.tenant_share(&tenant);
        if let Some(share) = share {
            self.shares.begin(&tenant, share);
        }
        let running = Running {
            lane,
            class,
            tenant: share.map(|_| tenant),
            again: None,
        };
        self.running.insert(key.clone(), running);
        key
    }

    /// Ends the work on a key.
    pub(super) fn finish(&mut self, key: &K) {
        let Some(Running {
            lane,
            class,
            tenant,
            again,
        }) = self.running.remove(key)
        else {
            return;
        };
        if let Some(tenant) = tenant {
            self.shares.free_slot(&tenant);
        }
        if let Some(owner) = self.owners.get_mut(&lane.owner()) {
            owner.running -= 1;
            self.counted -= usize::from(lane.is_counted());
        }
        // Placed first: a lane without work forgets what it is closed for.
        if let Some((class, due)) = again {
            self.place(key.clone(), class, due, Duration::ZERO);
        }
        self.change(lane, |lane| lane.free_slot(class));
    }

    /// Makes a key not due.
    pub(super) fn cancel(&mut self, key: &K) {
        if let Some(running) = self.running.get_mut(key) {
            running.again = None;
        }
        if let Some(due) = self.due.remove(key) {
            self.remove(&due, key.clone());
        }
    }

    /// Closes a lane for all classes after this one. A lane without work forgets it.
    pub(super) fn open(&mut self, lane: &L, class: Class) {
        if self.lanes.get(lane).is_some_and(|lane| lane.open != class) {
            self.change(lane.clone(), |lane| lane.open = class);
        }
    }

    /// Sets whether a requester of a lane is full: only finishing work is then begun for it. A lane without work forgets this.
    pub(super) fn limit(&mut self, lane: &L, requester: &Arc<str>, is_full: bool) {
        if self
            .lanes
            .get(lane)
            .is_some_and(|lane| lane.full.contains(requester) != is_full)
        {
            self.change(lane.clone(), |lane| lane.limit(requester, is_full));
        }
    }

    /// Sets whether a lane has a reserved slot. A lane without work forgets this, and has one again.
    pub(super) fn reserve(&mut self, lane: &L, is_reserved: bool) {
        if self.lanes.get(lane).is_some_and(|lane| lane.is_reserved != is_reserved) {
            self.change(lane.clone(), |lane| lane.is_reserved = is_reserved);
        }
    }

    /// Makes everything in a lane due but finishing work, as if it had never failed, and moves it to the class `last` if it is
    /// of a later one. Each key is made ready when a slot is left for it, so that a crowd takes no turn of its own.
    pub(super) fn release(&mut self, lane: &L, last: Class, recovery: Recovery, now: Duration) {
        if self.has_work(lane) {
            self.change(lane.clone(), |lane| lane.release(last, recovery, now));
        }
    }

    /// Returns when there will be something to take, if nothing changes; it may have passed.
    pub(super) fn next(&self) -> Option<Duration> {
        if self.shares.has_returning() {
            return Some(Duration::ZERO);
        }
        self.first().map(|(at, _)| at)
    }

    /// Returns each lane that has work, and the number of its keys that are due and could run if there was a slot.
    pub(super) fn backlog(&self, now: Duration) -> impl Iterator<Item = (&L, usize)> {
        self.lanes.iter().map(move |(name, lane)| (name, lane.backlog(now)))
    }

    /// Returns the keys that are worked on.
    pub(super) fn running(&self) -> impl Iterator<Item = &K> {
        self.running.keys()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Returns the lane that comes next, and since when or from when on it can run something.
    fn first(&self) -> Option<(Duration, &L)> {
        let shared = self.shared.first().filter(|_| self.counted < self.total);
        let reserved = self.reserved.first();
        // Of two that have waited as long, the one that waits for nobody.
        let is_reserved = match (reserved, shared) {
            (Some(reserved), Some(shared)) => reserved <= shared,
            (reserved, _) => reserved.is_some(),
        };
        let (_, key) = if is_reserved { reserved? } else { shared? };
        let owner = self.owners.get(key)?;
        let (at, lane) = if is_reserved {
            owner.reserved()?
        } else {
            owner.shared()?
        };
        Some((*at, lane))
    }

    fn remove(&mut self, due: &Due<L>, key: K) {
        self.change(due.lane.clone(), |lane| {
            lane.remove(&due.waiter(key), due.at);
        });
    }

    /// Changes a lane, which exists as long as it has work.
    fn change(&mut self, name: L, change: impl FnOnce(&mut Lane<Waiter<K>>)) {
        let owner = name.owner();
        match self.lanes.get_mut(&name) {
            Some(lane) => change(lane),
            None => {
                let lane = Lane::new(name.width(self.width));
                change(self.lanes.entry(name.clone()).or_insert(lane));
            }
        }
        if !self.owners.contains_key(&owner) {
            let new = OwnerState::new(name.share(self.width), name.is_counted());
            self.owners.insert(owner.clone(), new);
        }
        self.rank(&name, &owner);
    }

    /// Brings the ranks of a lane and of its owner up to date.
    fn rank(&mut self, name: &L, key: &L::Owner) {
        let (Some(lane), Some(owner)) = (self.lanes.get_mut(name), self.owners.get_mut(key)) else {
            return;
        };
        if let Some(head) = lane.head.take() {
            owner.remove(head, name);
        }
        if lane.is_unused() {
            for tenant in std::mem::take(&mut lane.full) {
                self.shares.forget(&tenant, name);
            }
            self.lanes.remove(name);
        } else {
            lane.head = lane.first();
            if let Some(head) = lane.head {
                owner.insert(head, name, lane.is_idle() && lane.is_reserved);
            }
        }
        let heads = owner.ranks();
        let before = std::mem::replace(&mut owner.heads, heads);
        if owner.is_unused() {
            self.owners.remove(key);
        }
        let after = self.owners.get(key).map(|owner| owner.heads).unwrap_or_default();
        move_entry(&mut self.reserved, key, before.reserved, after.reserved);
        move_entry(&mut self.shared, key, before.shared, after.shared);
    }
}

/// Moves an entry of a ranking from one time to another.
fn move_entry<T: Ord + Clone>(
    ranks: &mut BTreeSet<(Duration, T)>,
    key: &T,
    from: Option<Duration>,
    to: Option<Duration>,
) {
    if from != to {
        if let Some(from) = from {
            ranks.remove(&(from, key.clone()));
        }
        ranks.extend(to.map(|to| (to, key.clone())));
    }
}
