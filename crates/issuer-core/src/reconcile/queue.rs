use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::lane::{Class, Lane, Work};

/// Work that is due at a time, in lanes that cannot delay each other.
///
/// * A key is worked on by one task at a time: what becomes due meanwhile waits until that task ends.
/// * A lane runs at most as many tasks at once as it is wide, so an issuer that is slow to answer delays no other.
/// * Work that has failed before runs at no more than half of that.
/// * A lane serves its tenants in turn, so the backlog of one namespace delays another by one task.
/// * A lane may be closed for some classes of work: they stay where they are, at no cost, until it opens.
/// * All lanes together run at most `total` tasks, and one more for each lane that runs none.
///
/// Every operation takes logarithmic time, but for those whose documentation says otherwise.
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
    /// The lanes that have work and run none.
    idle: BTreeSet<(Duration, L)>,
    /// The lanes that have work, run some, and have a slot left.
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

    /// Takes a key that is due, of the lane that has waited longest for a slot.
    pub(super) fn pop(&mut self, now: Duration) -> Option<K> {
        loop {
            let (at, name) = self.first()?;
            if *at > now {
                return None;
            }
            let name = name.clone();
            let lane = self.lanes.get_mut(&name)?;
            // What became due meanwhile may belong to a tenant whose turn comes first.
            lane.promote(now);
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

    /// Makes everything in a lane due now that is not owed, as if it had never failed, and returns it; takes time for each
    /// key.
    pub(super) fn hasten(&mut self, lane: &L, now: Duration) -> Vec<K> {
        let mut hastened = Vec::new();
        for (class, then) in [
            (Class::Untold, Class::Untold),
            (Class::Told, Class::Told),
            (Class::Retried, Class::Told),
        ] {
            for key in self.lanes.get(lane).map_or_else(Vec::new, |lane| lane.keys(class)) {
                self.push(lane.clone(), then, key.clone(), now, now);
                hastened.push(key);
            }
        }
        hastened
    }

    /// Moves everything that is told, or retried, in a lane to [`Class::Untold`]; takes time for each key.
    pub(super) fn retell(&mut self, lane: &L, now: Duration) {
        let told = |lane: &Lane<K>| [lane.keys(Class::Told), lane.keys(Class::Retried)].concat();
        for key in self.lanes.get(lane).map_or_else(Vec::new, told) {
            let at = self.due.get(&key).map_or(now, |(_, at)| *at);
            self.push(lane.clone(), Class::Untold, key, at, now);
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
        // The limit is for lanes that run something: one that runs nothing always gets its first slot.
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
            let ranks = if lane.is_idle() { &mut self.idle } else { &mut self.busy };
            ranks.insert((head, name.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl LaneName for &'static str {
        fn width(&self, width: usize) -> usize {
            if *self == "wide" { 2 * width } else { width }
        }
    }

    /// The work of a tenant, with a number.
    type Item = (&'static str, u32);

    impl Work for Item {
        fn tenant(&self) -> &str {
            self.0
        }
    }

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn queue(width: usize, total: usize) -> Queue<&'static str, Item> {
        Queue::new(width, total)
    }

    fn push(queue: &mut Queue<&'static str, Item>, lane: &'static str, item: Item, at: u64) {
        queue.push(lane, Class::Told, item, s(at), s(0));
    }

    fn drain(queue: &mut Queue<&'static str, Item>, now: u64) -> Vec<Item> {
        std::iter::from_fn(|| queue.pop(s(now)).inspect(|item| queue.finish(item))).collect()
    }

    #[test]
    fn earliest_time_counts() {
        let mut queue = queue(9, 9);
        for at in [10, 5, 20] {
            push(&mut queue, "a", ("t", 1), at);
        }
        assert_eq!(queue.next(), Some(s(5)));
        assert_eq!(queue.pop(s(4)), None);
        assert_eq!(queue.pop(s(5)), Some(("t", 1)));
        assert_eq!(queue.pop(s(99)), None);
    }

    #[test]
    fn postponing_never_hastens() {
        let mut queue = queue(9, 9);
        queue.postpone(&("t", 1), s(5));
        assert_eq!(queue.next(), None);
        push(&mut queue, "a", ("t", 1), 10);
        queue.postpone(&("t", 1), s(5));
        assert_eq!(queue.next(), Some(s(10)));
        queue.postpone(&("t", 1), s(20));
        assert_eq!(queue.next(), Some(s(20)));
    }

    #[test]
    fn key_runs_once_at_a_time() {
        let mut queue = queue(9, 9);
        push(&mut queue, "a", ("t", 1), 0);
        assert_eq!(queue.pop(s(0)), Some(("t", 1)));
        push(&mut queue, "a", ("t", 1), 0);
        assert_eq!((queue.pop(s(0)), queue.next()), (None, None));
        queue.finish(&("t", 1));
        assert_eq!(queue.pop(s(0)), Some(("t", 1)));
    }

    #[test]
    fn cancelled_key_does_not_run_again() {
        let mut queue = queue(9, 9);
        push(&mut queue, "a", ("t", 1), 0);
        queue.pop(s(0)).unwrap();
        push(&mut queue, "a", ("t", 1), 0);
        queue.cancel(&("t", 1));
        queue.finish(&("t", 1));
        assert_eq!(queue, self::queue(9, 9));
    }

    #[test]
    fn full_lane_delays_no_other() {
        let mut queue = queue(1, 9);
        push(&mut queue, "slow", ("t", 1), 0);
        push(&mut queue, "slow", ("t", 2), 0);
        push(&mut queue, "quick", ("t", 3), 1);
        assert_eq!(queue.pop(s(1)), Some(("t", 1)));
        assert_eq!(queue.pop(s(1)), Some(("t", 3)));
        assert_eq!(queue.pop(s(1)), None);
        queue.finish(&("t", 1));
        assert_eq!(queue.pop(s(1)), Some(("t", 2)));
    }

    #[test]
    fn backlog_is_due_and_open() {
        let mut queue = queue(1, 9);
        for (number, at) in [(1, 0), (2, 0), (3, 5), (4, 6)] {
            push(&mut queue, "a", ("t", number), at);
        }
        let backlog = |queue: &Queue<_, Item>| {
            queue
                .backlog(s(5))
                .map(|(lane, keys)| (*lane, keys))
                .collect::<Vec<_>>()
        };
        assert_eq!(backlog(&queue), vec![("a", 3)]);
        queue.pop(s(0)).unwrap();
        assert_eq!(backlog(&queue), vec![("a", 2)]);
        queue.open(&"a", Class::Untold);
        assert_eq!(backlog(&queue), vec![("a", 0)]);
    }

    #[test]
    fn tenants_take_turns() {
        let mut queue = queue(1, 9);
        for number in 0..4 {
            push(&mut queue, "a", ("crowd", number), 0);
        }
        push(&mut queue, "a", ("one", 9), 0);
        push(&mut queue, "a", ("two", 9), 0);
        let order = drain(&mut queue, 0);
        let expected = [
            ("crowd", 0),
            ("one", 9),
            ("two", 9),
            ("crowd", 1),
            ("crowd", 2),
            ("crowd", 3),
        ];
        assert_eq!(order, expected);
    }

    #[test]
    fn total_leaves_each_lane_one_task() {
        let mut queue = queue(9, 2);
        for number in 0..5 {
            push(&mut queue, "a", ("t", number), 0);
        }
        push(&mut queue, "b", ("t", 9), 1);
        let taken: Vec<_> = std::iter::from_fn(|| queue.pop(s(1))).collect();
        assert_eq!(taken, [("t", 0), ("t", 1), ("t", 9)]);
        queue.finish(&("t", 9));
        assert_eq!(queue.pop(s(1)), None);
        queue.finish(&("t", 0));
        assert_eq!(queue.pop(s(1)), Some(("t", 2)));
    }

    #[test]
    fn longest_waiting_lane_is_served_first() {
        let mut queue = queue(9, 1);
        for number in 0..2 {
            push(&mut queue, "a", ("t", number), 0);
            push(&mut queue, "z", ("t", 5 + number), 0);
        }
        let order = [1, 2, 3, 4].map(|now| {
            let item = queue.pop(s(now)).unwrap();
            queue.finish(&item);
            item.1
        });
        assert_eq!(order, [0, 5, 1, 6]);
    }

    #[test]
    fn closed_lane_keeps_its_work() {
        let mut queue = queue(9, 9);
        queue.push("a", Class::Owed, ("t", 1), s(0), s(0));
        queue.push("a", Class::Untold, ("t", 2), s(0), s(0));
        queue.push("a", Class::Told, ("t", 3), s(0), s(0));
        queue.open(&"a", Class::Owed);
        assert_eq!(drain(&mut queue, 0), [("t", 1)]);
        assert_eq!(queue.next(), None);
        queue.open(&"a", Class::Untold);
        assert_eq!(drain(&mut queue, 0), [("t", 2)]);
        queue.open(&"a", Class::Told);
        assert_eq!(drain(&mut queue, 0), [("t", 3)]);
    }

    #[test]
    fn owed_work_comes_first() {
        let mut queue = queue(1, 9);
        push(&mut queue, "a", ("t", 1), 0);
        queue.push("a", Class::Owed, ("u", 2), s(0), s(0));
        assert_eq!(drain(&mut queue, 0), [("u", 2), ("t", 1)]);
    }

    #[test]
    fn retried_work_yields_but_never_starves() {
        let mut queue = Queue::new(1, 100);
        for number in 0..3 {
            queue.push("a", Class::Retried, ("t", number), s(0), s(0));
        }
        let mut turns = Vec::new();
        for number in 10..130 {
            queue.push("a", Class::Told, ("t", number), s(1), s(1));
            let key = queue.pop(s(1)).unwrap();
            queue.finish(&key);
            turns.push(key.1 < 10);
        }
        assert_eq!(turns.iter().filter(|retried| **retried).count(), 3);
        assert!(turns[..32].iter().all(|retried| !retried));
        assert!(turns[32]);
    }

    #[test]
    fn retried_work_holds_half_the_slots() {
        for (width, slots) in [(1, 1), (4, 2), (5, 2)] {
            let mut queue = queue(width, 100);
            for number in 0..9 {
                queue.push("a", Class::Retried, ("t", number), s(0), s(0));
            }
            let taken = |queue: &mut Queue<_, _>| std::iter::from_fn(|| queue.pop(s(0))).collect::<Vec<Item>>();
            assert_eq!(taken(&mut queue).len(), slots);
            assert_eq!(queue.next(), None);
            for number in 10..19 {
                push(&mut queue, "a", ("t", number), 0);
            }
            assert_eq!(taken(&mut queue).len(), width - slots);
            queue.finish(&("t", 0));
            assert_eq!(taken(&mut queue).len(), 1);
        }
    }

    #[test]
    fn reclassified_work_keeps_its_time() {
        let mut queue = queue(1, 9);
        queue.push("a", Class::Retried, ("t", 1), s(0), s(0));
        queue.push("a", Class::Retried, ("t", 2), s(5), s(0));
        push(&mut queue, "a", ("t", 3), 0);
        for number in [1, 2, 9] {
            queue.reclassify(&("t", number), Class::Owed, s(0));
        }
        assert!(queue.has_work(&"a") && !queue.has_work(&"b"));
        assert_eq!(drain(&mut queue, 0), [("t", 1), ("t", 3)]);
        assert_eq!(queue.next(), Some(s(5)));
    }

    #[test]
    fn hastened_lane_is_due_now() {
        let mut queue = queue(9, 9);
        push(&mut queue, "a", ("t", 1), 50);
        queue.push("a", Class::Owed, ("t", 2), s(60), s(0));
        queue.hasten(&"a", s(3));
        assert_eq!(drain(&mut queue, 3), [("t", 1)]);
        assert_eq!(queue.next(), Some(s(60)));
    }

    #[test]
    fn retold_lane_runs_what_was_told() {
        let mut queue = queue(9, 9);
        push(&mut queue, "a", ("t", 1), 0);
        push(&mut queue, "a", ("t", 2), 7);
        queue.open(&"a", Class::Untold);
        assert_eq!(queue.next(), None);
        queue.retell(&"a", s(0));
        assert_eq!(drain(&mut queue, 0), [("t", 1)]);
        assert_eq!(queue.next(), Some(s(7)));
    }

    #[test]
    fn empty_lane_is_removed() {
        let mut queue = queue(1, 9);
        push(&mut queue, "a", ("t", 1), 0);
        push(&mut queue, "a", ("t", 2), 0);
        queue.open(&"a", Class::Untold);
        queue.open(&"a", Class::Told);
        queue.pop(s(0)).unwrap();
        queue.cancel(&("t", 2));
        assert!(!queue.is_idle());
        queue.finish(&("t", 1));
        assert_eq!(queue, self::queue(1, 9));
    }
}
