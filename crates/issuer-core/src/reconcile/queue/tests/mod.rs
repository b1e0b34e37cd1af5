//! The queue's lanes: their order and their slots.

mod classes;
mod cost;
mod tenants;

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
