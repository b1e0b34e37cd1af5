//! The classes of a lane: which go first, and which are released.

use super::*;

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
    assert_eq!(queue, super::queue(1, 9));
}
