//! The cost of a turn of the queue.

use std::cell::Cell;
use std::cmp::Ordering;

use super::*;

/// A key that counts how often one is compared or copied.
#[derive(Debug)]
pub(super) struct Counted(pub(super) u32);

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    COUNT.with(|count| count.set(count.get() + 1));
}

pub(super) fn cost<T>(action: impl FnOnce() -> T) -> (T, usize) {
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
