//! What is explored.

use crate::event::Act::{
    self, Delete, DeleteIssuer, Deny, EditIssuer, MoveIssuer, Order, Recreate, Rotate, Touch, TouchIssuer,
};
use crate::event::{Event, Fault, Who};
use crate::fixture::{IssuerId, Want};
use crate::world::Setup;

/// Every fault that a question may meet.
pub const FAULTS: [Fault; 11] = [
    Fault::Broken,
    Fault::CrashAfter,
    Fault::Forbidden,
    Fault::Garbage,
    Fault::Lost,
    Fault::Refused,
    Fault::Revoked,
    Fault::Sealed,
    Fault::Slow,
    Fault::Throttled,
    Fault::WrongKey,
];

/// What people do to the first request and its issuer at a bad time.
const MISCHIEF: [Act; 8] = [
    Deny(0),
    Delete(0),
    Recreate(0),
    Touch(0),
    TouchIssuer(IssuerId::Team),
    EditIssuer(IssuerId::Team),
    MoveIssuer(IssuerId::Team),
    Rotate(IssuerId::Team),
];

fn scope(requests: u16, processes: &'static [Who], most_faults: u8) -> Setup {
    let wants = (0..requests).map(|_| Want::good(IssuerId::Team)).collect();
    Setup {
        processes,
        script: (0..requests).map(Order).collect(),
        mischief: MISCHIEF.into_iter().chain([DeleteIssuer(IssuerId::Team)]).collect(),
        faults: FAULTS.to_vec(),
        crashes: true,
        brisk: true,
        most_faults,
        ..Setup::new(wants)
    }
}

/// One request, one controller, three faults of any kind.
pub fn single() -> Setup {
    scope(1, &[Who::A], 3)
}

/// One request, two controllers at work at once, three faults of any kind about the request.
pub fn pair() -> Setup {
    Setup {
        focus: true,
        prologue: vec![Event::Start(Who::A), Event::User(Order(0))],
        script: Vec::new(),
        mischief: vec![
            Deny(0),
            Recreate(0),
            Touch(0),
            EditIssuer(IssuerId::Team),
            DeleteIssuer(IssuerId::Team),
        ],
        faults: vec![
            Fault::Broken,
            Fault::CrashAfter,
            Fault::Lost,
            Fault::Refused,
            Fault::Revoked,
            Fault::Sealed,
            Fault::Slow,
            Fault::WrongKey,
        ],
        most_lag: 2,
        most_idle: 1,
        ..scope(1, &[Who::A, Who::B], 3)
    }
}

/// Two requests that share a session, one controller, two faults of any kind.
pub fn shared() -> Setup {
    scope(2, &[Who::A], 2)
}
