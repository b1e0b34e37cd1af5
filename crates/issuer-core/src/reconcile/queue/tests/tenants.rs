//! Tenants that may run nothing more.

use proptest::collection::vec;
use proptest::prelude::*;

use super::cost::{Counted, cost};
use super::*;

#[test]
fn full_tenant_stops_no_other() {
    let mut queue = queue(9, 9);
    for item in [("a", 1), ("a", 2), ("b", 3)] {
        push(&mut queue, "lane", item, 0);
    }
    queue.limit(&"lane", &"a".into(), true);
    queue.push("lane", Class::Finishing, ("a", 4), s(0), s(0));
    assert_eq!(drain(&mut queue, 1), [("a", 4), ("b", 3)]);
    assert_eq!(queue.next(), None);
    assert_eq!(queue.backlog(s(1)).collect::<Vec<_>>(), [(&"lane", 0)]);
    queue.limit(&"lane", &"a".into(), false);
    assert_eq!(drain(&mut queue, 1), [("a", 1), ("a", 2)]);
}

#[test]
fn crowd_of_a_full_tenant_takes_no_turn() {
    const CROWD: u32 = 10_000;
    const TURN: usize = PORTION * 200;
    let even: Arc<str> = "even".into();
    let mut queue = Queue::new(10, 100, 99);
    for number in 0..CROWD {
        queue.push("a", Class::Reported, Counted(2 * number), s(1), s(0));
    }
    queue.limit(&"a", &even, true);
    queue.push("a", Class::Reported, Counted(1), s(2), s(0));
    let mut turns = 0;
    let odd = loop {
        let (key, cost) = cost(|| queue.pop(s(3), |_, _| {}));
        assert!(cost < TURN, "{cost}");
        turns += 1;
        assert!(turns <= CROWD as usize / (PORTION / 2), "{turns}");
        match key {
            Some(key) => break key.0,
            None => assert!(queue.next().is_some_and(|next| next <= s(3))),
        }
    };
    assert_eq!((odd, queue.next()), (1, None));
    let ((), cost_of_room) = cost(|| queue.limit(&"a", &even, false));
    assert!(cost_of_room < PORTION, "{cost_of_room}");
    for _ in 0..CROWD {
        let (key, cost) = cost(|| queue.pop(s(3), |_, _| {}));
        queue.finish(&key.unwrap());
        assert!(cost < TURN, "{cost}");
    }
}

#[test]
fn full_tenants_return_one_by_one() {
    let names: Vec<&'static str> = (0..1000).map(|number| &*format!("t-{number:04}").leak()).collect();
    let mut queue = queue(1, 9);
    for name in names.iter().copied() {
        push(&mut queue, "a", (name, 0), 0);
        queue.limit(&"a", &name.into(), true);
    }
    push(&mut queue, "a", ("z", 1), 0);
    assert_eq!(drain(&mut queue, 0), [("z", 1)]);
    for name in names {
        queue.limit(&"a", &name.into(), false);
        assert_eq!(drain(&mut queue, 0), [(name, 0)]);
    }
    assert_eq!(queue, self::queue(1, 9));
}

#[test]
fn closed_lane_stays_closed_to_a_key_that_moves_in_it() {
    let mut queue = queue(9, 9);
    push(&mut queue, "a", ("t", 1), 0);
    queue.open(&"a", Class::Finishing);
    queue.limit(&"a", &"t".into(), true);
    queue.reserve(&"a", false);
    let closed = queue.clone();
    queue.reclassify(&("t", 1), Class::Unreported, s(0));
    assert_eq!(pop(&mut queue, 9), None);
    push(&mut queue, "a", ("t", 1), 0);
    assert_eq!(queue, closed);
    queue.open(&"a", Class::Retried);
    assert_eq!(pop(&mut queue, 9), None);
    queue.limit(&"a", &"t".into(), false);
    assert_eq!(pop(&mut queue, 9), Some(("t", 1)));
}

/// Lanes in all of which together a tenant runs three tasks.
const CHECKS: [&str; 4] = ["check/1", "check/2", "check/3", "check/4"];

#[test]
fn tenant_runs_its_share_in_all_lanes() {
    let mut queue = queue(9, 9);
    for number in 0..20 {
        let lane = CHECKS[number as usize % 4];
        push(&mut queue, lane, ("crowd", number), 0);
        push(&mut queue, lane, ("other", number), 1);
    }
    let running = taken(&mut queue);
    let of = |tenant| running.iter().filter(|item| item.0 == tenant).count();
    assert_eq!((running.len(), of("crowd"), of("other")), (6, 3, 3));
    assert_eq!(queue.next(), None);
    // A slot goes to the same tenant, each time in the next lane.
    let mut last = *running.iter().find(|item| item.0 == "crowd").unwrap();
    let lanes = [(); 4].map(|()| {
        queue.finish(&last);
        let next = taken(&mut queue);
        assert!(matches!(next[..], [("crowd", _)]), "{next:?}");
        last = next[0];
        last.1 % 4
    });
    assert_eq!(lanes, [0, 1, 2, 3]);
}

/// A crowd of tenants, whose work never ends, delays another by a turn of each for which there is no other slot.
#[test]
fn crowd_of_tenants_takes_turns() {
    const TOTAL: usize = 8;
    for crowd in [1, 3, 5, 7, 8, 9, 100] {
        let names: Vec<Item> = (0..crowd).map(|number| (&*format!("t-{number}").leak(), 0)).collect();
        let mut queue = Queue::new(9, 9, TOTAL);
        for (number, (tenant, _)) in (0..).zip(names.iter().cycle().take(12 * crowd)) {
            push(&mut queue, CHECKS[number as usize % 4], (tenant, number), 0);
        }
        let mut running = taken(&mut queue);
        let of = |tenant: &str| running.iter().filter(|item| item.0 == tenant).count();
        let most = names.iter().map(|(tenant, _)| of(tenant)).max();
        assert!(most <= Some(3) && running.len() <= TOTAL, "{running:?}");
        // Ends the first task, which is due again at once, and begins what there is room for.
        let turn = |queue: &mut Queue<_, _>, running: &mut Vec<Item>| {
            let first = running.remove(0);
            queue.finish(&first);
            push(queue, CHECKS[first.1 as usize % 4], first, 0);
            running.extend(taken(queue));
            assert!(running.len() <= TOTAL, "{running:?}");
        };
        // At first, some have more than their part.
        for _ in 0..4 * (crowd + TOTAL) {
            turn(&mut queue, &mut running);
        }
        push(&mut queue, "check/z", ("victim", 0), 0);
        running.extend(taken(&mut queue));
        let mut turns = 0;
        while !running.contains(&("victim", 0)) {
            turn(&mut queue, &mut running);
            turns += 1;
        }
        assert_eq!(turns, crowd.saturating_sub(TOTAL - 1), "{crowd}");
    }
}

#[test]
fn canceled_work_leaves_no_lane_closed() {
    let mut queue = queue(9, 9);
    for number in 0..12 {
        push(&mut queue, CHECKS[number as usize % 3], ("t", number), 0);
    }
    let running = taken(&mut queue);
    assert_eq!(running.len(), 3);
    for number in (0..12).filter(|number| number % 3 != 2) {
        queue.cancel(&("t", number));
    }
    for item in running {
        queue.finish(&item);
    }
    assert_eq!(drain(&mut queue, 1).len(), 3);
    assert_eq!(queue, self::queue(9, 9));
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Push(usize, usize, u64),
    Cancel(usize),
    Finish(usize),
    Postpone(usize),
    Pop,
}

const TENANTS: [&str; 3] = ["a", "b", "c"];

/// The number of tasks that all of them run.
const OF_ALL: usize = 7;

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        3 => (0..4_usize, 0..24_usize, 0..3_u64).prop_map(|(lane, number, at)| Call::Push(lane, number, at)),
        1 => (0..24_usize).prop_map(Call::Cancel),
        2 => (0..8_usize).prop_map(Call::Finish),
        1 => (0..24_usize).prop_map(Call::Postpone),
        3 => Just(Call::Pop),
    ]
}

fn item(number: usize) -> Item {
    (TENANTS[number % 3], number as u32)
}

/// A queue, and what it should hold.
struct Checked {
    queue: Queue<&'static str, Item>,
    due: BTreeSet<Item>,
    running: Vec<Item>,
}

impl Checked {
    fn call(&mut self, call: Call) {
        match call {
            Call::Push(lane, number, at) => {
                let class = [Class::Unreported, Class::Reported, Class::Retried][number % 3];
                self.queue.push(CHECKS[lane], class, item(number), s(at), s(0));
                self.due.insert(item(number));
            }
            Call::Cancel(number) => {
                self.queue.cancel(&item(number));
                self.due.remove(&item(number));
            }
            Call::Postpone(number) => self.queue.postpone(&item(number), s(2)),
            Call::Finish(number) if number < self.running.len() => {
                self.queue.finish(&self.running.remove(number));
            }
            Call::Finish(_) => {}
            Call::Pop => {
                self.pop(1);
            }
        }
    }

    fn pop(&mut self, now: u64) -> Option<Item> {
        let key = pop(&mut self.queue, now)?;
        assert!(self.due.remove(&key), "{key:?} is not due");
        self.running.push(key);
        for tenant in TENANTS {
            let own = self.running.iter().filter(|item| item.0 == tenant);
            assert!(own.count() <= 3, "{:?}", self.running);
        }
        assert!(self.running.len() <= OF_ALL, "{:?}", self.running);
        Some(key)
    }
}

proptest! {
    #[test]
    fn share_is_kept_and_starves_nobody(calls in vec(call(), 0..80)) {
        let mut checked = Checked { queue: Queue::new(2, 9, OF_ALL), due: BTreeSet::new(), running: Vec::new() };
        for call in calls {
            checked.call(call);
        }
        loop {
            while checked.pop(9).is_some() {}
            let Some(key) = checked.running.pop() else { break };
            checked.queue.finish(&key);
        }
        prop_assert!(checked.due.is_empty(), "{:?} starve", checked.due);
        prop_assert_eq!(checked.queue, Queue::new(2, 9, OF_ALL));
    }
}
