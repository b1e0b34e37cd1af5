//! Properties of random walks through the simulated world.

use std::sync::Arc;

use simulator::fixture::{CHANGE_INTERVAL, Flaw, IssuerId, RequestFixture};
use simulator::invariants;
use simulator::transition::UserAction::{
    self, Approve, Create, CreateApproved, Delete, DeleteIssuer, Deny, EditIssuer, MoveIssuer, Recreate, Rotate, Touch,
    TouchIssuer,
};
use simulator::transition::{ProcessId, StepFault, Transition};
use simulator::world::{Setup, World};

const FLAWS: [Flaw; 6] = [
    Flaw::None,
    Flaw::BadSignature,
    Flaw::Ca,
    Flaw::Foreign,
    Flaw::NoCsr,
    Flaw::Refused,
];

/// The maximum number of faults; the explorer stops at three.
const MAX_FAULTS: u8 = 8;

/// The maximum number of transitions before the world is left to converge.
const MAX_TRANSITIONS: usize = 200;

/// A whole scenario: the first bytes select processes and requests, each further byte the next transition. Every promise
/// that the simulator checks holds at every step, and in the end the world converges.
pub fn world(data: &[u8]) {
    let Some((&[shape, first, second], events)) = data.split_first_chunk() else {
        return;
    };
    let mut world = World::new(Arc::new(setup(shape, first, second)));
    let (mut trace, mut changed, mut faults) = (Vec::new(), None, 0);
    for byte in events.iter().take(MAX_TRANSITIONS) {
        let is_hasty = changed.is_some_and(|at| world.now() < at + CHANGE_INTERVAL);
        let in_time = |transition: &Transition| !is_hasty || !changes_issuer(*transition);
        let mut choices: Vec<_> = world.choices().into_iter().filter(in_time).collect();
        let without_fault = choices.len();
        if faults < MAX_FAULTS {
            choices.extend(world.possible_faults().into_iter().filter(in_time));
        }
        let at = usize::from(*byte) % choices.len().max(1);
        let Some(transition) = choices.get(at) else {
            break;
        };
        faults += u8::from(at >= without_fault);
        if changes_issuer(*transition) {
            changed = Some(world.now());
        }
        trace.push(*transition);
        if let Err(violation) = world.step(*transition) {
            panic!("{violation}\nafter {trace:?}");
        }
    }
    if let Err(violation) = world.converge() {
        panic!("{violation}\nsome time after {trace:?}");
    }
}

/// Returns `true` if an issuer needs another token from then on.
fn changes_issuer(transition: Transition) -> bool {
    matches!(transition, Transition::User(EditIssuer(_) | MoveIssuer(_) | Rotate(_)))
}

fn setup(shape: u8, first: u8, second: u8) -> Setup {
    let bit = |at: u8| shape >> at & 1 == 1;
    let request = |byte: u8| RequestFixture {
        flaw: FLAWS[usize::from(byte & 15) % FLAWS.len()],
        ..RequestFixture::good(IssuerId::ALL[usize::from(byte >> 4) % IssuerId::ALL.len()])
    };
    let requests: Vec<RequestFixture> = [Some(first), bit(0).then_some(second)]
        .into_iter()
        .flatten()
        .map(request)
        .collect();
    let numbers = 0..u16::try_from(requests.len()).unwrap();
    // An approver that acts on its own approves a request only once.
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
    let disruptions: Vec<UserAction> = numbers
        .clone()
        .flat_map(users)
        .chain(requests.iter().flat_map(|request| others(request.issuer)))
        .collect();
    Setup {
        processes: if bit(1) { &ProcessId::ALL } else { &[ProcessId::A] },
        issuers: &IssuerId::ALL,
        script: numbers.flat_map(script).collect(),
        disruptions,
        faults: StepFault::ALL.to_vec(),
        crashes: bit(3),
        max_faults: MAX_FAULTS,
        claims: bit(4),
        ..Setup::new(requests, &invariants::ALL)
    }
}
