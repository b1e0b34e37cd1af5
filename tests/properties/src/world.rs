use std::sync::Arc;

use simulator::event::Act::{
    self, Approve, Create, CreateApproved, Delete, DeleteIssuer, Deny, EditIssuer, MoveIssuer, Recreate,
};
use simulator::event::Act::{Rotate, Touch, TouchIssuer};
use simulator::event::{Event, Who};
use simulator::fixture::{Flaw, IssuerId, Want};
use simulator::scope::{FAULTS, PAUSE};
use simulator::world::{Setup, World};

const FLAWS: [Flaw; 6] = [
    Flaw::None,
    Flaw::BadSignature,
    Flaw::Ca,
    Flaw::Foreign,
    Flaw::NoCsr,
    Flaw::Refused,
];

/// How many faults there may be; the explorer stops at three.
const MOST_FAULTS: u8 = 8;

/// How many events there may be before the world is left alone.
const MOST_EVENTS: usize = 200;

/// A whole scenario: the first bytes say which processes, issuers and requests there are, the others what happens next.
/// Every promise that the simulator knows holds at every step, and left alone the world comes to rest.
pub fn world(data: &[u8]) {
    let Some((&[shape, first, second], events)) = data.split_first_chunk() else {
        return;
    };
    let mut world = World::new(Arc::new(setup(shape, first, second)));
    let (mut trace, mut changed) = (Vec::new(), None);
    for byte in events.iter().take(MOST_EVENTS) {
        let mut choices = world.choices();
        let is_hasty = changed.is_some_and(|at| world.now() < at + PAUSE);
        choices.retain(|event| !is_hasty || !changes_issuer(*event));
        let Some(event) = choices.get(usize::from(*byte) % choices.len().max(1)) else {
            break;
        };
        if changes_issuer(*event) {
            changed = Some(world.now());
        }
        trace.push(*event);
        if let Err(violation) = world.step(*event) {
            panic!("{violation}\nafter {trace:?}");
        }
    }
    if let Err(violation) = world.come_to_rest() {
        panic!("{violation}\nsome time after {trace:?}");
    }
}

/// Tells whether an issuer needs another token from then on.
fn changes_issuer(event: Event) -> bool {
    matches!(event, Event::User(EditIssuer(_) | MoveIssuer(_) | Rotate(_)))
}

fn setup(shape: u8, first: u8, second: u8) -> Setup {
    let bit = |at: u8| shape >> at & 1 == 1;
    let want = |byte: u8| Want {
        issuer: IssuerId::ALL[usize::from(byte >> 4) % IssuerId::ALL.len()],
        flaw: FLAWS[usize::from(byte & 15) % FLAWS.len()],
    };
    let wants: Vec<Want> = [Some(first), bit(0).then_some(second)]
        .into_iter()
        .flatten()
        .map(want)
        .collect();
    let numbers = 0..u16::try_from(wants.len()).unwrap();
    // Whoever approves by itself approves what is there once.
    let by_itself = bit(2);
    let script = |number| match by_itself {
        true => vec![Create(number), Approve(number)],
        false => vec![CreateApproved(number)],
    };
    let users = |number| {
        let again = if by_itself { Touch(number) } else { Recreate(number) };
        [Deny(number), Delete(number), Touch(number), again]
    };
    let others = |id: IssuerId| {
        [
            TouchIssuer(id),
            EditIssuer(id),
            MoveIssuer(id),
            Rotate(id),
            DeleteIssuer(id),
        ]
    };
    let mischief: Vec<Act> = numbers
        .clone()
        .flat_map(users)
        .chain(wants.iter().flat_map(|want| others(want.issuer)))
        .collect();
    Setup {
        processes: if bit(1) { &[Who::A, Who::B] } else { &[Who::A] },
        issuers: &IssuerId::ALL,
        script: numbers.flat_map(script).collect(),
        mischief,
        faults: FAULTS.to_vec(),
        crashes: bit(3),
        most_faults: MOST_FAULTS,
        claims: bit(4),
        ..Setup::new(wants)
    }
}
