//! A lane of the queue: keys by class and requester, and a limited number of slots.

mod waiting;

use std::sync::Arc;
use std::time::Duration;

use self::waiting::{Full, NONE, Waiting};
use super::recovery::Recovery;

/// A key that can be queued.
pub(super) trait Work: Ord + Clone {
    /// Returns the requester of the work: those of one lane take turns.
    fn requester(&self) -> &str;
}

/// A class of work within a lane; a lane that is closed for a class is closed for all that come after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Class {
    /// Work that ends something begun, such as to save a certificate. No lane is ever closed for it.
    Finishing,
    /// A request whose status does not yet say why it waits, and the like.
    Unreported,
    /// A request whose status says why it waits.
    Reported,
    /// Work that has failed before, or that nobody waits for. It yields to the rest and holds at most half of the slots: one
    /// that it takes may be lost for as long as Vault may take to answer.
    Retried,
}

impl Class {
    const ALL: [Self; 4] = [Self::Finishing, Self::Unreported, Self::Reported, Self::Retried];
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
    /// Requesters at their limit of unsaved certificates; only finishing work runs for them.
    pub(super) full: Full,
    /// The number of tasks that may run at once.
    width: usize,
    /// The number of tasks that run.
    running: usize,
    /// The number of those that do retried work.
    retrying: usize,
    /// The time by which the queue ranks this lane.
    pub(super) head: Option<Duration>,
    finishing: Waiting<K>,
    unreported: Waiting<K>,
    reported: Waiting<K>,
    retried: Waiting<K>,
    /// Work that is due whatever its time, and is yet to be made ready.
    released: Vec<Released<K>>,
    /// The number of turns that retried work has yielded in a row.
    yielded: u8,
    /// The requester served last, while there is work that is ready.
    last: Option<Arc<str>>,
    /// Since when there has been work that is ready and got no slot.
    since: Duration,
}

/// Work that was released at once.
#[derive(Clone, Debug, PartialEq, Hash)]
struct Released<K> {
    /// The class that it belongs to from now on.
    class: Class,
    /// Why its wait has ended.
    recovery: Recovery,
    work: Waiting<K>,
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
            finishing: Waiting::new(),
            unreported: Waiting::new(),
            reported: Waiting::new(),
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
        self.make_ready(class, at, key);
    }

    fn make_ready(&mut self, class: Class, at: Duration, key: K) {
        let full = std::mem::take(&mut self.full);
        self.class(class).make_ready(at, key, full_for(class, &full));
        self.full = full;
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

    /// Makes everything due but finishing work, and moves it to the class `last` if it is of a later one. Takes time for what
    /// was released before and has not been made ready, but not for each key.
    pub(super) fn release(&mut self, last: Class, recovery: Recovery, now: Duration) {
        let was_ready = self.is_ready();
        for released in &mut self.released {
            released.class = released.class.min(last);
            released.recovery = released.recovery.max(recovery);
        }
        for class in [Class::Unreported, Class::Reported, Class::Retried] {
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

    /// Sets whether a requester is full.
    pub(super) fn limit(&mut self, requester: &Arc<str>, is_full: bool) {
        if is_full {
            self.full.insert(Arc::clone(requester));
        } else {
            self.full.remove(requester);
        }
        for class in Class::ALL.into_iter().filter(|class| *class != Class::Finishing) {
            self.class(class).hold(requester, is_full);
        }
    }

    /// Returns the requester whose work [`next`](Self::next) takes, unless that is finishing work.
    pub(super) fn turn(&self) -> Option<Arc<str>> {
        let class = self.next_class().filter(|class| *class != Class::Finishing)?;
        let (_, waiting) = self.classes().into_iter().find(|(other, _)| *other == class)?;
        let (requester, _) = waiting.after(self.last.as_deref().unwrap_or_default())?;
        Some(Arc::clone(requester))
    }

    /// Takes the next key and a slot: finishing work first, then the requester after the one served last.
    pub(super) fn next(&mut self, now: Duration) -> Option<(Class, Arc<str>, K)> {
        let class = self.next_class()?;
        let last = self.last.take();
        let (requester, key) = self.class(class).take_after(last.as_deref().unwrap_or_default())?;
        // Counted only while retried work waits, so its turn comes after a bounded number of others.
        let yields = class != Class::Retried && self.retried.has_turn();
        self.yielded = if yields { self.yielded.saturating_add(1) } else { 0 };
        (self.last, self.since) = (Some(Arc::clone(&requester)), now);
        self.running += 1;
        self.retrying += usize::from(class == Class::Retried);
        self.settle();
        Some((class, requester, key))
    }

    /// Frees the slot of work of a class.
    pub(super) fn free_slot(&mut self, class: Class) {
        self.running -= 1;
        self.retrying -= usize::from(class == Class::Retried);
    }

    /// Makes ready the first of what has become due, while there is `room`. Returns what of that was released, and what ended
    /// its wait.
    pub(super) fn promote(&mut self, now: Duration, room: &mut usize) -> Vec<(K, Recovery)> {
        let was_ready = self.is_ready();
        let released = self.promote_released(now, room);
        let full = std::mem::take(&mut self.full);
        let promote = |class| self.class(class).promote(now, room, full_for(class, &full));
        let first = Class::ALL.into_iter().filter_map(promote).min();
        self.full = full;
        if let Some(first) = first.filter(|_| !was_ready) {
            self.since = first;
        }
        released
    }

    fn promote_released(&mut self, now: Duration, room: &mut usize) -> Vec<(K, Recovery)> {
        let mut promoted = Vec::new();
        while *room > 0
            && let Some(index) = self.released.iter().position(|released| released.class <= self.open)
            && let Some(released) = self.released.get_mut(index)
        {
            *room -= 1;
            let (class, recovery) = (released.class, released.recovery);
            let key = released.work.pop();
            if released.work.is_empty() {
                self.released.remove(index);
            }
            if let Some(key) = key {
                promoted.push((key.clone(), recovery));
                self.make_ready(class, now, key);
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
        if open.clone().any(|(_, waiting)| waiting.has_turn()) {
            return Some(self.since);
        }
        let first = |(_, waiting): (Class, &Waiting<K>)| waiting.next();
        open.filter_map(first).min()
    }

    /// Returns the number of keys that are due and could run if there was a slot; takes time for each that has become due.
    pub(super) fn backlog(&self, now: Duration) -> usize {
        let open = self.classes().into_iter().filter(|(class, _)| *class <= self.open);
        let released = self.released.iter().filter(|released| released.class <= self.open);
        open.map(|(class, waiting)| waiting.backlog(now, full_for(class, &self.full)))
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
            Class::Finishing => &mut self.finishing,
            Class::Unreported => &mut self.unreported,
            Class::Reported => &mut self.reported,
            Class::Retried => &mut self.retried,
        }
    }

    fn classes(&self) -> [(Class, &Waiting<K>); 4] {
        [
            (Class::Finishing, &self.finishing),
            (Class::Unreported, &self.unreported),
            (Class::Reported, &self.reported),
            (Class::Retried, &self.retried),
        ]
    }

    fn open_classes(&self) -> impl Iterator<Item = (Class, &Waiting<K>)> + Clone {
        let last = if self.may_retry() {
            Class::Retried
        } else {
            Class::Reported
        };
        let last = self.open.min(last);
        self.classes().into_iter().filter(move |(class, _)| *class <= last)
    }

    /// Returns `true` if retried work may have another slot.
    fn may_retry(&self) -> bool {
        self.retrying < (self.width / 2).max(1)
    }

    fn is_ready(&self) -> bool {
        let is_ready = |(_, waiting): (Class, &Waiting<K>)| waiting.is_ready();
        !self.released.is_empty() || self.classes().into_iter().any(is_ready)
    }

    /// Forgets whose turn it is when nobody waits for one.
    fn settle(&mut self) {
        if !self.is_ready() {
            (self.last, self.since) = (None, Duration::ZERO);
        }
    }

    /// Returns the class that has the next turn: of two for the same requester, the one that has been due the longest; retried
    /// work if there is no other, or if it has yielded often enough.
    fn next_class(&self) -> Option<Class> {
        if self.finishing.has_turn() {
            return Some(Class::Finishing);
        }
        let last = self.last.as_deref().unwrap_or_default();
        let classes = [(Class::Unreported, &self.unreported), (Class::Reported, &self.reported)];
        let open = classes.into_iter().filter(|(class, _)| *class <= self.open);
        let turns = open.filter_map(|(class, waiting)| {
            let (requester, first) = waiting.after(last)?;
            Some((&**requester <= last, requester, first, class))
        });
        let first = turns.min().map(|(.., class)| class);
        let retry = self.open >= Class::Retried && self.may_retry() && self.retried.has_turn();
        match first {
            Some(_) if retry && self.yielded >= YIELDED => Some(Class::Retried),
            None if retry => Some(Class::Retried),
            first => first,
        }
    }
}

/// Returns the requesters that are full for a class: finishing work runs for all.
fn full_for(class: Class, full: &Full) -> &Full {
    if class == Class::Finishing { NONE } else { full }
}
