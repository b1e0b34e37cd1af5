use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::recovery::Recovery;

/// A key that can be queued.
pub(super) trait Work: Ord + Clone {
    /// Returns the tenant that the work is for, whose turns it takes.
    fn tenant(&self) -> &str;
}

/// A class of work within a lane; a lane that is closed for a class is closed for all that come after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Class {
    /// Work that depends on nothing; no lane is ever closed for it.
    Owed,
    /// Work whose owner has not been told that it waits.
    Untold,
    /// Work whose owner has been told that it waits.
    Told,
    /// Work that has failed before, or that nobody waits for. It yields to the rest and holds at most half of the slots: one
    /// that it takes may be lost for as long as Vault may take to answer.
    Retried,
}

impl Class {
    const ALL: [Self; 4] = [Self::Owed, Self::Untold, Self::Told, Self::Retried];
}

/// The number of turns in a row that retried work yields, so it never starves.
///
/// Each turn that it takes may delay the rest by as much as many of theirs.
const YIELDED: u8 = 32;

/// The number of keys that one turn makes ready. With thousands of them, a turn would otherwise take longer than the rest of
/// the process may wait.
pub(super) const PORTION: usize = 64;

/// Work that shares its slots: one lane of a [`Queue`](super::queue::Queue).
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Lane<K> {
    /// The last class that may run.
    pub(super) open: Class,
    /// Whether one of its tasks may run even if all lanes together run as many as they may.
    pub(super) is_reserved: bool,
    /// The tenants that are full: only owed work runs for them. There are few.
    pub(super) full: Full,
    /// The number of tasks that may run at once.
    width: usize,
    /// The number of tasks that run.
    running: usize,
    /// The number of those that do retried work.
    retrying: usize,
    /// The time by which the queue ranks this lane.
    pub(super) head: Option<Duration>,
    owed: Waiting<K>,
    untold: Waiting<K>,
    told: Waiting<K>,
    retried: Waiting<K>,
    /// Work that is due whatever its time, and is yet to be made ready.
    released: Vec<Released<K>>,
    /// The number of turns that retried work has yielded in a row.
    yielded: u8,
    /// The tenant served last, while there is work that is ready.
    last: Option<String>,
    /// Since when there has been work that is ready and got no slot.
    since: Duration,
}

type Full = BTreeSet<Arc<str>>;

/// No tenant is full: owed work runs for all.
const NONE: &Full = &Full::new();

/// Work that was released at once.
#[derive(Clone, Debug, PartialEq, Hash)]
struct Released<K> {
    /// The class that it belongs to from now on.
    class: Class,
    /// What has ended its wait.
    recovery: Recovery,
    work: Waiting<K>,
}

/// The work of one class.
#[derive(Clone, Debug, PartialEq, Hash)]
struct Waiting<K> {
    later: BTreeSet<(Duration, K)>,
    /// By tenant; no set is empty.
    ready: BTreeMap<String, BTreeSet<(Duration, K)>>,
}

impl<K: Work> Lane<K> {
    pub(super) fn new(width: usize) -> Self {
        Self {
            open: Class::Retried,
            is_reserved: true,
            full: Full::new(),
            width,
            running: 0,
            retrying: 0,
            head: None,
            owed: Waiting::new(),
            untold: Waiting::new(),
            told: Waiting::new(),
            retried: Waiting::new(),
            released: Vec::new(),
            yielded: 0,
            last: None,
            since: Duration::ZERO,
        }
    }

    pub(super) fn insert(&mut self, class: Class, key: K, at: Duration, now: Duration) {
        if at > now {
            self.class(class).later.insert((at, key));
            return;
        }
        // A lane that waits already keeps its place among the lanes.
        if !self.is_ready() {
            self.since = now;
        }
        self.class(class).make_ready(at, key);
    }

    pub(super) fn remove(&mut self, key: &K, at: Duration) -> Option<Class> {
        let entry = (at, key.clone());
        // The class of the key may have changed since it was queued.
        let class = Class::ALL.into_iter().find(|class| self.class(*class).remove(&entry));
        let class = class.or_else(|| self.remove_released(&entry));
        self.settle();
        class
    }

    fn remove_released(&mut self, entry: &(Duration, K)) -> Option<Class> {
        let released = self.released.iter_mut().find_map(|released| {
            let removed = released.work.remove(entry);
            removed.then_some(released.class)
        });
        self.released.retain(|released| !released.work.is_empty());
        released
    }

    /// Makes everything due that is not owed, and moves it to the class `last` if it is of a later one. Takes time for what
    /// was released before and has not been made ready, but not for each key.
    pub(super) fn release(&mut self, last: Class, recovery: Recovery, now: Duration) {
        let was_ready = self.is_ready();
        for released in &mut self.released {
            released.class = released.class.min(last);
            released.recovery = released.recovery.max(recovery);
        }
        for class in [Class::Untold, Class::Told, Class::Retried] {
            let waiting = self.class(class);
            let work = if class > last {
                std::mem::replace(waiting, Waiting::new())
            } else {
                waiting.take_later()
            };
            if !work.is_empty() {
                let class = class.min(last);
                self.released.push(Released { class, recovery, work });
            }
        }
        if !was_ready {
            self.since = now;
        }
        self.settle();
    }

    /// Sets whether a tenant is full.
    pub(super) fn limit(&mut self, tenant: &Arc<str>, is_full: bool) {
        if is_full {
            self.full.insert(Arc::clone(tenant));
        } else {
            self.full.remove(tenant);
        }
    }

    /// Takes what comes next and a slot: what is owed, or the work of the tenant after the one served last.
    pub(super) fn next(&mut self, now: Duration) -> Option<(Class, K)> {
        let class = self.next_class()?;
        let last = self.last.take().unwrap_or_default();
        let full = std::mem::take(&mut self.full);
        let taken = self
            .class(class)
            .take_after(&last, if class == Class::Owed { NONE } else { &full });
        self.full = full;
        let (tenant, key) = taken?;
        // Counted only while retried work waits, so its turn comes after a bounded number of others.
        let yields = class != Class::Retried && self.retried.has_turn(&self.full);
        self.yielded = if yields { self.yielded.saturating_add(1) } else { 0 };
        (self.last, self.since) = (Some(tenant), now);
        self.running += 1;
        self.retrying += usize::from(class == Class::Retried);
        self.settle();
        Some((class, key))
    }

    /// Frees the slot of work of a class.
    pub(super) fn finish(&mut self, class: Class) {
        self.running -= 1;
        self.retrying -= usize::from(class == Class::Retried);
    }

    /// Makes ready the first of what has become due, of which something can be taken if there is a slot. Returns what of
    /// that was released, and what ended its wait.
    pub(super) fn promote(&mut self, now: Duration) -> Vec<(K, Recovery)> {
        let was_ready = self.is_ready();
        let released = self.promote_released(now);
        let mut room = PORTION - released.len();
        let first = Class::ALL
            .into_iter()
            .filter_map(|class| self.class(class).promote(now, &mut room))
            .min();
        if let Some(first) = first.filter(|_| !was_ready) {
            self.since = first;
        }
        released
    }

    fn promote_released(&mut self, now: Duration) -> Vec<(K, Recovery)> {
        let mut promoted = Vec::new();
        while promoted.len() < PORTION
            && let Some(index) = self.released.iter().position(|released| released.class <= self.open)
            && let Some(released) = self.released.get_mut(index)
        {
            let (class, recovery) = (released.class, released.recovery);
            let key = released.work.pop();
            if released.work.is_empty() {
                self.released.remove(index);
            }
            if let Some(key) = key {
                promoted.push((key.clone(), recovery));
                self.class(class).make_ready(now, key);
            }
        }
        promoted
    }

    /// Returns the time at which something can run, if there is a slot for it; it may have passed.
    pub(super) fn first(&self) -> Option<Duration> {
        if self.running >= self.width {
            return None;
        }
        let open = self.open_classes();
        if self.released.iter().any(|released| released.class <= self.open) {
            return Some(self.since);
        }
        let full = |class: Class| if class == Class::Owed { NONE } else { &self.full };
        if open.clone().any(|(class, waiting)| waiting.has_turn(full(class))) {
            return Some(self.since);
        }
        let first = |(_, waiting): (Class, &Waiting<K>)| waiting.later.first().map(|(at, _)| *at);
        open.filter_map(first).min()
    }

    /// Returns the number of keys that are due and could run if there was a slot; takes time for each that has become due.
    pub(super) fn backlog(&self, now: Duration) -> usize {
        let open = self.classes().into_iter().filter(|(class, _)| *class <= self.open);
        let released = self.released.iter().filter(|released| released.class <= self.open);
        open.map(|(class, waiting)| waiting.backlog(now, if class == Class::Owed { NONE } else { &self.full }))
            .sum::<usize>()
            + released.map(|released| released.work.len()).sum::<usize>()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running == 0
    }

    pub(super) fn is_unused(&self) -> bool {
        self.is_idle() && self.released.is_empty() && self.classes().into_iter().all(|(_, class)| class.is_empty())
    }

    fn class(&mut self, class: Class) -> &mut Waiting<K> {
        match class {
            Class::Owed => &mut self.owed,
            Class::Untold => &mut self.untold,
            Class::Told => &mut self.told,
            Class::Retried => &mut self.retried,
        }
    }

    fn classes(&self) -> [(Class, &Waiting<K>); 4] {
        [
            (Class::Owed, &self.owed),
            (Class::Untold, &self.untold),
            (Class::Told, &self.told),
            (Class::Retried, &self.retried),
        ]
    }

    fn open_classes(&self) -> impl Iterator<Item = (Class, &Waiting<K>)> + Clone {
        let last = if self.may_retry() { Class::Retried } else { Class::Told };
        let last = self.open.min(last);
        self.classes().into_iter().filter(move |(class, _)| *class <= last)
    }

    /// Returns `true` if retried work may have another slot.
    fn may_retry(&self) -> bool {
        self.retrying < (self.width / 2).max(1)
    }

    fn is_ready(&self) -> bool {
        !self.released.is_empty() || self.classes().into_iter().any(|(_, class)| !class.ready.is_empty())
    }

    /// Forgets whose turn it is when nobody waits for one.
    fn settle(&mut self) {
        if !self.is_ready() {
            (self.last, self.since) = (None, Duration::ZERO);
        }
    }

    /// Returns the class that has the next turn: of two for the same tenant, the one that has been due the longest; retried
    /// work if there is no other, or if it has yielded often enough.
    fn next_class(&self) -> Option<Class> {
        if !self.owed.ready.is_empty() {
            return Some(Class::Owed);
        }
        let last = self.last.as_deref().unwrap_or_default();
        let turn = |class: &Waiting<K>| {
            let (tenant, first) = class.after(last, &self.full)?;
            Some((tenant <= last, tenant.to_owned(), first))
        };
        let classes = [(Class::Untold, &self.untold), (Class::Told, &self.told)];
        let open = classes.into_iter().filter(|(class, _)| *class <= self.open);
        let turns = open.filter_map(|(class, waiting)| Some((turn(waiting)?, class)));
        let first = turns.min().map(|(_, class)| class);
        let retry = self.open >= Class::Retried && self.may_retry() && self.retried.has_turn(&self.full);
        match first {
            Some(_) if retry && self.yielded >= YIELDED => Some(Class::Retried),
            None if retry => Some(Class::Retried),
            first => first,
        }
    }
}

impl<K: Work> Waiting<K> {
    fn new() -> Self {
        Self {
            later: BTreeSet::new(),
            ready: BTreeMap::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.later.is_empty() && self.ready.is_empty()
    }

    fn len(&self) -> usize {
        self.later.len() + self.ready.values().map(BTreeSet::len).sum::<usize>()
    }

    /// Takes the work that is not ready.
    fn take_later(&mut self) -> Self {
        Self {
            later: std::mem::take(&mut self.later),
            ready: BTreeMap::new(),
        }
    }

    /// Takes any key, the earliest of those that are not ready first.
    fn pop(&mut self) -> Option<K> {
        let first = self.later.pop_first().map(|(_, key)| key);
        first.or_else(|| self.take_after("", NONE).map(|(_, key)| key))
    }

    fn backlog(&self, now: Duration, full: &Full) -> usize {
        let due = self.later.iter().take_while(|(at, _)| *at <= now).count();
        let ready = self.ready.iter().filter(|(tenant, _)| !full.contains(tenant.as_str()));
        ready.map(|(_, ready)| ready.len()).sum::<usize>() + due
    }

    /// Returns `true` if there is work that is ready, of a tenant that is not full.
    fn has_turn(&self, full: &Full) -> bool {
        self.ready.keys().any(|tenant| !full.contains(tenant.as_str()))
    }

    fn make_ready(&mut self, at: Duration, key: K) {
        let tenant = key.tenant().to_owned();
        self.ready.entry(tenant).or_default().insert((at, key));
    }

    fn remove(&mut self, entry: &(Duration, K)) -> bool {
        if self.later.remove(entry) {
            return true;
        }
        let tenant = entry.1.tenant();
        let Some(ready) = self.ready.get_mut(tenant) else {
            return false;
        };
        let removed = ready.remove(entry);
        if ready.is_empty() {
            self.ready.remove(tenant);
        }
        removed
    }

    /// Returns the tenant whose turn it is after `last`, unless it is full, and when its first work became due.
    fn after(&self, last: &str, full: &Full) -> Option<(&str, Duration)> {
        let after = self.ready.range::<str, _>((Bound::Excluded(last), Bound::Unbounded));
        let mut turns = after.chain(self.ready.range::<str, _>((Bound::Unbounded, Bound::Included(last))));
        let (tenant, ready) = turns.find(|(tenant, _)| !full.contains(tenant.as_str()))?;
        Some((tenant, ready.first().map_or(Duration::ZERO, |(at, _)| *at)))
    }

    fn take_after(&mut self, last: &str, full: &Full) -> Option<(String, K)> {
        let tenant = self.after(last, full)?.0.to_owned();
        let ready = self.ready.get_mut(&tenant)?;
        let (_, key) = ready.pop_first()?;
        if ready.is_empty() {
            self.ready.remove(&tenant);
        }
        Some((tenant, key))
    }

    /// Makes ready what is due, while there is `room`; returns when the first of it became due.
    fn promote(&mut self, now: Duration, room: &mut usize) -> Option<Duration> {
        let mut first = None;
        while *room > 0
            && self.later.first().is_some_and(|(at, _)| *at <= now)
            && let Some((at, key)) = self.later.pop_first()
        {
            *room -= 1;
            first = first.or(Some(at));
            self.make_ready(at, key);
        }
        first
    }
}
