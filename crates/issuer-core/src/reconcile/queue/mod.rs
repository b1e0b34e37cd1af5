#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::lane::{Class, Lane, Work};
use super::recovery::Recovery;

/// Work that is due at a time, in lanes that cannot delay each other.
///
/// * A key is worked on by one task at a time: what becomes due meanwhile waits until that task ends.
/// * A lane runs at most as many tasks at once as it is wide, so an issuer that is slow to answer delays no other.
/// * Work that has failed before runs at no more than half of that.
/// * A lane serves its tenants in turn, so the backlog of one namespace delays another by one task.
/// * A lane may be closed for some classes of work: they stay where they are, at no cost, until it opens.
/// * All lanes together run at most `total` tasks, and one more for each lane that runs none and has a slot reserved.
///
/// Every operation takes logarithmic time, however many keys become due at once, but for those whose documentation says
/// otherwise.
///
/// No library serves: the queues of controller runtimes know neither lanes nor tenants, and their states cannot be
/// compared.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Queue<L, K> {
    /// The width of a lane that has none of its own.
    width: usize,
    total: usize,
    lanes: BTreeMap<L, Lane<K>>,
    /// The lane and time of each key that is due and not running.
    due: BTreeMap<K, (L, Duration)>,
    running: BTreeMap<K, Running<L>>,
    /// The lanes that have work, run none, and have a slot reserved.
    idle: BTreeSet<(Duration, L)>,
    /// The other lanes that have work, and a slot left.
    busy: BTreeSet<(Duration, L)>,
}

#[derive(Clone, Debug, PartialEq, Hash)]
struct Running<L> {
    lane: L,
    class: Class,
    /// When it is due again, if that was decided while it runs.
    again: Option<(L, Class, Duration)>,
}

/// The name of a lane.
pub(super) trait LaneName: Ord + Clone {
    /// Returns the number of tasks that the lane runs at once, given the usual one.
    fn width(&self, width: usize) -> usize;
}

impl<L: LaneName, K: Work> Queue<L, K> {
    pub(super) fn new(width: usize, total: usize) -> Self {
        Self {
            width: width.max(1),
            total: total.max(1),
            lanes: BTreeMap::new(),
            due: BTreeMap::new(),
            running: BTreeMap::new(),
            idle: BTreeSet::new(),
            busy: BTreeSet::new(),
        }
    }

    /// Makes a key due at `at`, or earlier if it already is. It belongs to this lane and class from now on.
    pub(super) fn push(&mut self, lane: L, class: Class, key: K, at: Duration, now: Duration) {
        if let Some(running) = self.running.get_mut(&key) {
            let at = running.again.as_ref().map_or(at, |(.., again)| at.min(*again));
            running.again = Some((lane, class, at));
            return;
        }
        // Taken out first: the key may change its lane or its class.
        let at = self.take(&key).map_or(at, |(_, due)| at.min(due));
        self.due.insert(key.clone(), (lane.clone(), at));
        self.change(lane, |lane| lane.insert(class, key, at, now));
    }

    /// Moves a key that is due to another class, at the same time.
    pub(super) fn reclassify(&mut self, key: &K, class: Class, now: Duration) {
        if let Some((lane, at)) = self.due.get(key).cloned() {
            self.push(lane, class, key.clone(), at, now);
        }
    }

    /// Returns `true` if there is work in a lane.
    pub(super) fn has_work(&self, lane: &L) -> bool {
        self.lanes.contains_key(lane)
    }

    /// Makes a key that is due before `at` due at that time.
    pub(super) fn postpone(&mut self, key: &K, at: Duration) {
        if let Some((.., again)) = self.running.get_mut(key).and_then(|running| running.again.as_mut()) {
            *again = at.max(*again);
        }
        let Some((lane, due)) = self.due.get_mut(key).filter(|(_, due)| *due < at) else {
            return;
        };
        let before = std::mem::replace(due, at);
        let lane = lane.clone();
        let key = key.clone();
        self.change(lane, |lane| {
            if let Some(class) = lane.remove(&key, before) {
                lane.insert(class, key, at, Duration::ZERO);
            }
        });
    }

    /// Takes a key that is due, of the lane that has waited longest for a slot. Calls `recovered` for each key that was
    /// released and whose turn it is to be made ready, before it is taken.
    pub(super) fn pop(&mut self, now: Duration, mut recovered: impl FnMut(&K, Recovery)) -> Option<K> {
        loop {
            let (at, name) = self.first()?;
            if *at > now {
                return None;
            }
            let name = name.clone();
            let lane = self.lanes.get_mut(&name)?;
            // What became due meanwhile may belong to a tenant whose turn comes first.
            for (key, recovery) in lane.promote(now) {
                recovered(&key, recovery);
                if let Some((_, due)) = self.due.get_mut(&key) {
                    *due = now;
                }
            }
            let taken = lane.next(now);
            self.rank(&name);
            if let Some((class, key)) = taken {
                self.due.remove(&key);
                let running = Running {
                    lane: name,
                    class,
                    again: None,
                };
                self.running.insert(key.clone(), running);
                return Some(key);
            }
        }
    }

    /// Ends the work on a key.
    pub(super) fn finish(&mut self, key: &K) {
        let Some(Running { lane, class, again }) = self.running.remove(key) else {
            return;
        };
        self.change(lane, |lane| lane.finish(class));
        if let Some((lane, class, at)) = again {
            self.push(lane, class, key.clone(), at, Duration::ZERO);
        }
    }

    /// Makes a key not due.
    pub(super) fn cancel(&mut self, key: &K) {
        if let Some(running) = self.running.get_mut(key) {
            running.again = None;
        }
        self.take(key);
    }

    /// Closes a lane for all classes after this one. A lane without work forgets it.
    pub(super) fn open(&mut self, lane: &L, class: Class) {
        if self.lanes.get(lane).is_some_and(|lane| lane.open != class) {
            self.change(lane.clone(), |lane| lane.open = class);
        }
    }

    /// Reserves a slot for a lane, or no longer. A lane without work forgets it: one is reserved.
    pub(super) fn reserve(&mut self, lane: &L, is_reserved: bool) {
        if self.lanes.get(lane).is_some_and(|lane| lane.is_reserved != is_reserved) {
            self.change(lane.clone(), |lane| lane.is_reserved = is_reserved);
        }
    }

    /// Makes everything in a lane due that is not owed, as if it had never failed, and moves it to the class `last` if it is
    /// of a later one. Each key is made ready when a slot is left for it, so that a crowd takes no turn of its own.
    pub(super) fn release(&mut self, lane: &L, last: Class, recovery: Recovery, now: Duration) {
        if self.has_work(lane) {
            self.change(lane.clone(), |lane| lane.release(last, recovery, now));
        }
    }

    /// Returns when there will be something to take, if nothing changes; it may have passed.
    pub(super) fn next(&self) -> Option<Duration> {
        self.first().map(|(at, _)| *at)
    }

    /// Returns each lane that has work, and the number of its keys that are due and could run if there was a slot.
    pub(super) fn backlog(&self, now: Duration) -> impl Iterator<Item = (&L, usize)> {
        self.lanes.iter().map(move |(name, lane)| (name, lane.backlog(now)))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    fn first(&self) -> Option<&(Duration, L)> {
        // The limit is for lanes that run something, or whose issuer does not exist: any other always gets its first slot.
        let busy = self.busy.first().filter(|_| self.running.len() < self.total);
        self.idle.first().into_iter().chain(busy).min()
    }

    fn take(&mut self, key: &K) -> Option<(L, Duration)> {
        let (lane, at) = self.due.remove(key)?;
        self.change(lane.clone(), |lane| {
            lane.remove(key, at);
        });
        Some((lane, at))
    }

    /// Changes a lane, which exists as long as it has work.
    fn change(&mut self, name: L, change: impl FnOnce(&mut Lane<K>)) {
        let width = name.width(self.width);
        let lane = self.lanes.entry(name.clone()).or_insert_with(|| Lane::new(width));
        change(lane);
        self.rank(&name);
    }

    /// Brings `idle` and `busy` up to date with a lane.
    fn rank(&mut self, name: &L) {
        let Some(lane) = self.lanes.get_mut(name) else {
            return;
        };
        if let Some(head) = lane.head.take() {
            let entry = (head, name.clone());
            let _ = self.idle.remove(&entry) || self.busy.remove(&entry);
        }
        if lane.is_unused() {
            self.lanes.remove(name);
            return;
        }
        lane.head = lane.first();
        if let Some(head) = lane.head {
            let is_first = lane.is_idle() && lane.is_reserved;
            let ranks = if is_first { &mut self.idle } else { &mut self.busy };
            ranks.insert((head, name.clone()));
        }
    }
}
