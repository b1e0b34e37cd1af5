use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Work that is due at a time, in lanes that cannot hold each other up.
///
/// A key is worked on by one at a time: what becomes due meanwhile waits until that ends. A lane runs at most
/// `width` keys at once, so an issuer that is slow to answer delays no other.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct Queue<L, K> {
    width: usize,
    lanes: BTreeMap<L, Lane<K>>,
    due: BTreeMap<K, (L, Duration)>,
    running: BTreeMap<K, L>,
}

#[derive(Clone, Debug, PartialEq, Hash)]
struct Lane<K> {
    by_deadline: BTreeSet<(Duration, K)>,
    running: usize,
}

impl<L: Ord + Clone, K: Ord + Clone> Queue<L, K> {
    pub(super) fn new(width: usize) -> Self {
        Self {
            width: width.max(1),
            lanes: BTreeMap::new(),
            due: BTreeMap::new(),
            running: BTreeMap::new(),
        }
    }

    /// Makes the key due at `at`, or earlier if it already is.
    pub(super) fn push(&mut self, name: L, key: K, at: Duration) {
        let at = self.due.get(&key).map_or(at, |(_, due)| at.min(*due));
        self.cancel(&key);
        let empty = || Lane {
            by_deadline: BTreeSet::new(),
            running: 0,
        };
        self.lanes
            .entry(name.clone())
            .or_insert_with(empty)
            .by_deadline
            .insert((at, key.clone()));
        self.due.insert(key, (name, at));
    }

    /// Makes a key that is due before `at` due at that time.
    pub(super) fn postpone(&mut self, key: &K, at: Duration) {
        if let Some((name, due)) = self.due.get(key).cloned()
            && due < at
        {
            self.cancel(key);
            self.push(name, key.clone(), at);
        }
    }

    /// Takes the key that has been due the longest, of all lanes with room.
    pub(super) fn pop(&mut self, now: Duration) -> Option<K> {
        let (at, key, name) = self.first()?;
        if *at > now {
            return None;
        }
        let (key, name) = (key.clone(), name.clone());
        self.running.insert(key.clone(), name.clone());
        if let Some(lane) = self.lanes.get_mut(&name) {
            lane.running += 1;
        }
        self.cancel(&key);
        Some(key)
    }

    /// Ends the work on a key.
    pub(super) fn finish(&mut self, key: &K) {
        let Some(name) = self.running.remove(key) else {
            return;
        };
        if let Some(lane) = self.lanes.get_mut(&name) {
            lane.running -= 1;
        }
        self.tidy(&name);
    }

    /// Forgets when the key is due.
    pub(super) fn cancel(&mut self, key: &K) {
        let Some((name, at)) = self.due.remove(key) else {
            return;
        };
        if let Some(lane) = self.lanes.get_mut(&name) {
            lane.by_deadline.remove(&(at, key.clone()));
        }
        self.tidy(&name);
    }

    /// Returns when there will be something to take, if nothing changes; it may have passed.
    pub(super) fn next(&self) -> Option<Duration> {
        self.first().map(|(at, ..)| *at)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    fn first(&self) -> Option<(&Duration, &K, &L)> {
        let open = self.lanes.iter().filter(|(_, lane)| lane.running < self.width);
        let firsts = open.filter_map(|(name, lane)| {
            let (at, key) = lane
                .by_deadline
                .iter()
                .find(|(_, key)| !self.running.contains_key(key))?;
            Some((at, key, name))
        });
        firsts.min_by_key(|(at, ..)| *at)
    }

    fn tidy(&mut self, name: &L) {
        if self
            .lanes
            .get(name)
            .is_some_and(|lane| lane.by_deadline.is_empty() && lane.running == 0)
        {
            self.lanes.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_earliest_time_counts() {
        let mut queue = Queue::new(9);
        queue.push("a", 1, s(10));
        queue.push("a", 1, s(5));
        queue.push("a", 1, s(20));
        assert_eq!(queue.next(), Some(s(5)));
        assert_eq!(queue.pop(s(4)), None);
        assert_eq!(queue.pop(s(5)), Some(1));
        assert_eq!(queue.pop(s(99)), None);
    }

    #[test]
    fn what_is_postponed_never_comes_sooner() {
        let mut queue = Queue::new(9);
        queue.postpone(&1, s(5));
        assert_eq!(queue.next(), None);
        queue.push("a", 1, s(10));
        queue.postpone(&1, s(5));
        assert_eq!(queue.next(), Some(s(10)));
        queue.postpone(&1, s(20));
        assert_eq!(queue.next(), Some(s(20)));
    }

    #[test]
    fn a_key_runs_once_at_a_time() {
        let mut queue = Queue::new(9);
        queue.push("a", 1, s(0));
        assert_eq!(queue.pop(s(0)), Some(1));
        queue.push("a", 1, s(0));
        assert_eq!((queue.pop(s(0)), queue.next()), (None, None));
        queue.finish(&1);
        assert_eq!(queue.pop(s(0)), Some(1));
    }

    #[test]
    fn a_full_lane_holds_no_other_up() {
        let mut queue = Queue::new(1);
        queue.push("slow", 1, s(0));
        queue.push("slow", 2, s(0));
        queue.push("quick", 3, s(1));
        assert_eq!(queue.pop(s(1)), Some(1));
        assert_eq!(queue.pop(s(1)), Some(3));
        assert_eq!(queue.pop(s(1)), None);
        queue.finish(&1);
        assert_eq!(queue.pop(s(1)), Some(2));
    }

    #[test]
    fn an_empty_lane_is_gone() {
        let mut queue = Queue::new(1);
        queue.push("a", 1, s(0));
        queue.push("a", 2, s(0));
        queue.pop(s(0)).unwrap();
        queue.cancel(&2);
        assert!(!queue.is_idle());
        queue.finish(&1);
        assert_eq!(queue, Queue::new(1));
    }
}
