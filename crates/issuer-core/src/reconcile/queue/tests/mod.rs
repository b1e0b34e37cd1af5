//! The queue's order, limits and costs.

mod tenants;

use std::cell::Cell;
use std::cmp::Ordering;

use super::*;

/// The owner of a lane is what stands before a slash; checks are not counted.
impl LaneName for &'static str {
    type Owner = &'static str;

    fn owner(&self) -> &'static str {
        self.split('/').next().unwrap()
    }

    fn share(&self, width: usize) -> usize {
        2 * width
    }

    fn tenant_share(&self, _: &str) -> Option<usize> {
        self.starts_with("check").then_some(3)
    }

    fn is_counted(&self) -> bool {
        !self.starts_with("check")
    }

    fn width(&self, width: usize) -> usize {
        if *self == "wide" { 2 * width } else { width }
    }
}

/// The work of a requester, with a number.
type Item = (&'static str, u32);

impl Work for Item {
    fn requester(&self) -> &str {
        self.0
    }
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn queue(width: usize, total: usize) -> Queue<&'static str, Item> {
    Queue::new(width, total, 99)
}

fn push(queue: &mut Queue<&'static str, Item>, lane: &'static str, item: Item, at: u64) {
    queue.push(lane, Class::Reported, item, s(at), s(0));
}

fn pop(queue: &mut Queue<&'static str, Item>, now: u64) -> Option<Item> {
    queue.pop(s(now), |_, _| {})
}

fn drain(queue: &mut Queue<&'static str, Item>, now: u64) -> Vec<Item> {
    std::iter::from_fn(|| pop(queue, now).inspect(|item| queue.finish(item))).collect()
}

#[test]
fn earliest_time_counts() {
    let mut queue = queue(9, 9);
    for at in [10, 5, 20] {
        push(&mut queue, "a", ("t", 1), at);
    }
    assert_eq!(queue.next(), Some(s(5)));
    assert_eq!(pop(&mut queue, 4), None);
    assert_eq!(pop(&mut queue, 5), Some(("t", 1)));
    assert_eq!(pop(&mut queue, 99), None);
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
    assert_eq!(pop(&mut queue, 0), Some(("t", 1)));
    push(&mut queue, "a", ("t", 1), 0);
    assert_eq!((pop(&mut queue, 0), queue.next()), (None, None));
    queue.finish(&("t", 1));
    assert_eq!(pop(&mut queue, 0), Some(("t", 1)));
}

#[test]
fn canceled_key_does_not_run_again() {
    let mut queue = queue(9, 9);
    push(&mut queue, "a", ("t", 1), 0);
    pop(&mut queue, 0).unwrap();
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
    assert_eq!(pop(&mut queue, 1), Some(("t", 1)));
    assert_eq!(pop(&mut queue, 1), Some(("t", 3)));
    assert_eq!(pop(&mut queue, 1), None);
    queue.finish(&("t", 1));
    assert_eq!(pop(&mut queue, 1), Some(("t", 2)));
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
    pop(&mut queue, 0).unwrap();
    assert_eq!(backlog(&queue), vec![("a", 2)]);
    queue.open(&"a", Class::Unreported);
    assert_eq!(backlog(&queue), vec![("a", 0)]);
}

#[test]
fn requesters_take_turns() {
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
    let taken: Vec<_> = std::iter::from_fn(|| pop(&mut queue, 1)).collect();
    assert_eq!(taken, [("t", 0), ("t", 1), ("t", 9)]);
    queue.finish(&("t", 9));
    assert_eq!(pop(&mut queue, 1), None);
    queue.finish(&("t", 0));
    assert_eq!(pop(&mut queue, 1), Some(("t", 2)));
}

#[test]
fn lanes_without_a_reserved_slot_share_the_total() {
    let mut queue = queue(9, 2);
    for (number, lane) in ["a", "b", "c", "d"].into_iter().enumerate() {
        push(&mut queue, lane, ("t", number as u32), 0);
        queue.reserve(&lane, lane == "d");
    }
    let taken: Vec<_> = std::iter::from_fn(|| pop(&mut queue, 1)).collect();
    assert_eq!(taken, [("t", 0), ("t", 1), ("t", 3)]);
    queue.reserve(&"c", true);
    assert_eq!(pop(&mut queue, 1), Some(("t", 2)));
}

/// Queues five items in each lane, due at once.
fn crowd(queue: &mut Queue<&'static str, Item>, lanes: &[&'static str]) {
    for lane in lanes {
        for number in 0..5 {
            push(queue, lane, (lane, number), 0);
        }
    }
}

fn taken(queue: &mut Queue<&'static str, Item>) -> Vec<Item> {
    std::iter::from_fn(|| pop(queue, 1)).collect()
}

#[test]
fn owner_takes_no_slots_of_others() {
    let mut queue = queue(3, 9);
    let lanes = ["a/1", "a/2", "a/3", "a/4", "a/5", "a/6", "a/7", "a/8"];
    crowd(&mut queue, &lanes);
    crowd(&mut queue, &["b"]);
    let all = taken(&mut queue);
    // Twice its share at most, of which each lane has one before any has two.
    let of = |owner: &str| all.iter().filter(|(lane, _)| lane.starts_with(owner)).count();
    assert!(lanes.iter().all(|lane| of(lane) >= 1));
    assert_eq!((of("a"), of("b")), (8, 1));
    // A slot of the owner lets it run another, and none of others.
    queue.finish(&("b", 0));
    assert_eq!(taken(&mut queue), [("b", 1)]);
}

#[test]
fn share_bounds_lanes_without_number() {
    let mut queue = queue(1, 100);
    crowd(&mut queue, &["a/1", "a/2", "a/3", "a/4", "a/5", "a/6"]);
    assert_eq!(taken(&mut queue).len(), 4);
    assert_eq!(queue.next(), None);
    crowd(&mut queue, &["b/1"]);
    assert_eq!(taken(&mut queue), [("b/1", 0)]);
}

#[test]
fn uncounted_lanes_do_not_wait_for_others() {
    let mut queue = queue(3, 2);
    crowd(&mut queue, &["a", "b"]);
    assert_eq!(taken(&mut queue).len(), 2);
    crowd(&mut queue, &["check/1", "check/2"]);
    assert_eq!(taken(&mut queue).len(), 6);
    // Nor do others wait for them.
    queue.finish(&("a", 0));
    assert_eq!(taken(&mut queue).len(), 1);
}

#[test]
fn longest_waiting_lane_is_served_first() {
    let mut queue = queue(9, 1);
    for number in 0..2 {
        push(&mut queue, "a", ("t", number), 0);
        push(&mut queue, "z", ("t", 5 + number), 0);
    }
    let order = [1, 2, 3, 4].map(|now| {
        let item = pop(&mut queue, now).unwrap();
        queue.finish(&item);
        item.1
    });
    assert_eq!(order, [0, 5, 1, 6]);
}

#[test]
fn closed_lane_keeps_its_work() {
    let mut queue = queue(9, 9);
    queue.push("a", Class::Finishing, ("t", 1), s(0), s(0));
    queue.push("a", Class::Unreported, ("t", 2), s(0), s(0));
    queue.push("a", Class::Reported, ("t", 3), s(0), s(0));
    queue.open(&"a", Class::Finishing);
    assert_eq!(drain(&mut queue, 0), [("t", 1)]);
    assert_eq!(queue.next(), None);
    queue.open(&"a", Class::Unreported);
    assert_eq!(drain(&mut queue, 0), [("t", 2)]);
    queue.open(&"a", Class::Reported);
    assert_eq!(drain(&mut queue, 0), [("t", 3)]);
}

#[test]
fn owed_work_comes_first() {
    let mut queue = queue(1, 9);
    push(&mut queue, "a", ("t", 1), 0);
    queue.push("a", Class::Finishing, ("u", 2), s(0), s(0));
    assert_eq!(drain(&mut queue, 0), [("u", 2), ("t", 1)]);
}

#[test]
fn retried_work_yields_but_never_starves() {
    let mut queue = Queue::new(1, 100, 99);
    for number in 0..3 {
        queue.push("a", Class::Retried, ("t", number), s(0), s(0));
    }
    let mut turns = Vec::new();
    for number in 10..130 {
        queue.push("a", Class::Reported, ("t", number), s(1), s(1));
        let key = pop(&mut queue, 1).unwrap();
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
        let taken = |queue: &mut _| std::iter::from_fn(|| pop(queue, 0)).collect::<Vec<Item>>();
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
        queue.reclassify(&("t", number), Class::Finishing, s(0));
    }
    assert!(queue.has_work(&"a") && !queue.has_work(&"b"));
    assert_eq!(drain(&mut queue, 0), [("t", 1), ("t", 3)]);
    assert_eq!(queue.next(), Some(s(5)));
}

#[test]
fn released_lane_is_due_now() {
    let mut queue = queue(9, 9);
    push(&mut queue, "a", ("t", 1), 50);
    queue.push("a", Class::Retried, ("t", 3), s(0), s(0));
    queue.push("a", Class::Finishing, ("t", 2), s(60), s(0));
    queue.release(&"a", Class::Reported, Recovery::Recovered, s(3));
    queue.release(&"none", Class::Reported, Recovery::Recovered, s(3));
    assert_eq!(queue.backlog(s(3)).map(|(_, keys)| keys).collect::<Vec<_>>(), [2]);
    assert_eq!(queue.next(), Some(s(0)));
    assert_eq!(drain(&mut queue, 3), [("t", 1), ("t", 3)]);
    assert_eq!(queue.next(), Some(s(60)));
}

#[test]
fn released_work_may_be_told_again() {
    let mut queue = queue(9, 9);
    push(&mut queue, "a", ("t", 1), 0);
    push(&mut queue, "a", ("t", 2), 7);
    queue.push("a", Class::Retried, ("t", 3), s(9), s(0));
    queue.open(&"a", Class::Unreported);
    assert_eq!(queue.next(), None);
    queue.release(&"a", Class::Reported, Recovery::Recovered, s(1));
    assert_eq!(queue.next(), None);
    queue.release(&"a", Class::Unreported, Recovery::Replaced, s(2));
    let mut recovered = Vec::new();
    let first = queue.pop(s(2), |key, recovery| recovered.push((*key, recovery)));
    assert_eq!(first, Some(("t", 1)));
    assert_eq!(recovered, [2, 3, 1].map(|number| (("t", number), Recovery::Replaced)));
    assert_eq!(drain(&mut queue, 2), [("t", 2), ("t", 3)]);
}

#[test]
fn released_work_can_be_changed() {
    let mut queue = queue(1, 9);
    for number in 0..4 {
        push(&mut queue, "a", ("t", number), 50);
    }
    queue.release(&"a", Class::Reported, Recovery::Recovered, s(0));
    queue.cancel(&("t", 0));
    queue.push("b", Class::Finishing, ("t", 1), s(0), s(0));
    queue.postpone(&("t", 2), s(60));
    assert_eq!(drain(&mut queue, 0), [("t", 3), ("t", 1)]);
    queue.cancel(&("t", 2));
    assert_eq!(queue, self::queue(1, 9));
}

/// A key that counts how often one is compared or copied.
#[derive(Debug)]
struct Counted(u32);

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    COUNT.with(|count| count.set(count.get() + 1));
}

fn cost<T>(action: impl FnOnce() -> T) -> (T, usize) {
    COUNT.with(|count| count.set(0));
    (action(), COUNT.with(Cell::get))
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        count();
        Self(self.0)
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Counted {}

impl PartialOrd for Counted {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Counted {
    fn cmp(&self, other: &Self) -> Ordering {
        count();
        self.0.cmp(&other.0)
    }
}

impl Work for Counted {
    fn requester(&self) -> &str {
        if self.0.is_multiple_of(2) { "even" } else { "odd" }
    }
}

#[test]
fn crowd_takes_no_turn_of_its_own() {
    const CROWD: u32 = 20_000;
    // A key is compared with at most eleven in each of five levels of a few trees.
    const TURN: usize = PORTION * 200;
    for (class, at, released) in [
        (Class::Reported, 50, false),
        (Class::Retried, 50, false),
        (Class::Reported, 900, true),
        (Class::Retried, 900, true),
        (Class::Retried, 0, true),
    ] {
        let mut queue = Queue::new(10, 100, 99);
        for number in 0..CROWD {
            queue.push("a", class, Counted(number), s(at), s(0));
        }
        if released {
            let ((), cost) = cost(|| queue.release(&"a", Class::Reported, Recovery::Recovered, s(100)));
            assert_eq!(cost, 0);
        }
        for _ in 0..CROWD {
            let (key, cost) = cost(|| queue.pop(s(100), |_, _| {}));
            let key = key.unwrap();
            queue.finish(&key);
            assert!(cost < TURN, "{class:?}: {cost}");
        }
        assert_eq!(queue.next(), None);
    }
}

#[test]
fn empty_lane_is_removed() {
    let mut queue = queue(1, 9);
    push(&mut queue, "a", ("t", 1), 0);
    push(&mut queue, "a", ("t", 2), 0);
    queue.open(&"a", Class::Unreported);
    queue.open(&"a", Class::Reported);
    pop(&mut queue, 0).unwrap();
    queue.cancel(&("t", 2));
    assert!(!queue.is_idle());
    queue.finish(&("t", 1));
    assert_eq!(queue, self::queue(1, 9));
}
