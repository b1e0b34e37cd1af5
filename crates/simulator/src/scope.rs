//! What is explored.

use std::time::Duration;

use crate::event::Act::{
    CreateApproved, Delete, DeleteIssuer, Deny, EditIssuer, MoveIssuer, Recreate, Rotate, Touch, TouchIssuer,
};
use crate::event::{Event, Fault, Who};
use crate::fixture::{IssuerId, Want};
use crate::world::Setup;

/// A part of what can happen that is small enough to be explored to its end.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// What it is called.
    pub name: &'static str,
    /// What it holds.
    pub about: &'static str,
    /// The world that it begins with.
    pub setup: fn() -> Setup,
}

/// Every scope.
pub const ALL: [Scope; 6] = [
    Scope {
        name: "start",
        about: "one controller from its start, one request; at most 1 fault, of any kind",
        setup: start,
    },
    Scope {
        name: "check",
        about: "the same; at most 2 faults of the wire, of Vault, or of the controller",
        setup: check,
    },
    Scope {
        name: "pair",
        about: "one request, two controllers at once; at most 3 faults: a crash, a stop, a lost or late answer, a watch \
                that breaks, a sealed Vault",
        setup: pair,
    },
    Scope {
        name: "claimed",
        about: "the same with claims, so an overlap costs no signature; at most 2 faults",
        setup: claimed,
    },
    Scope {
        name: "people",
        about: "one request, two controllers at once; at most 2 faults, of eight kinds or what people do at a bad time",
        setup: people,
    },
    Scope {
        name: "shared",
        about: "two requests that share an access, one controller; at most 2 faults, of any kind",
        setup: shared,
    },
];

/// Returns the world that a scope begins with.
pub fn setup(name: &str) -> Option<Setup> {
    let scope = ALL.into_iter().find(|scope| scope.name == name)?;
    Some((scope.setup)())
}

/// How often an issuer is changed at most. A token that another has taken the place of lives on for half a minute, so
/// changes in a row leave many; and a Secret's change is noticed at the next check, five minutes later at most.
pub const PAUSE: Duration = Duration::from_secs(600);

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

fn scope(requests: u16, processes: &'static [Who], most_faults: u8) -> Setup {
    let wants = (0..requests).map(|_| Want::good(IssuerId::Team)).collect();
    Setup {
        processes,
        script: (0..requests).map(CreateApproved).collect(),
        faults: FAULTS.to_vec(),
        crashes: true,
        brisk: true,
        most_faults,
        ..Setup::new(wants)
    }
}

/// Returns a world in which a controller is at work on requests that are there, and nothing about issuers is explored.
fn at_work(requests: u16, processes: &'static [Who], most_faults: u8) -> Setup {
    let orders = (0..requests).map(|number| Event::User(CreateApproved(number)));
    Setup {
        focus: true,
        prologue: [Event::Start(Who::A)].into_iter().chain(orders).collect(),
        script: Vec::new(),
        most_lag: 2,
        most_idle: 1,
        ..scope(requests, processes, most_faults)
    }
}

fn start() -> Setup {
    Setup {
        mischief: vec![
            Deny(0),
            Delete(0),
            Recreate(0),
            Touch(0),
            TouchIssuer(IssuerId::Team),
            EditIssuer(IssuerId::Team),
            MoveIssuer(IssuerId::Team),
            Rotate(IssuerId::Team),
            DeleteIssuer(IssuerId::Team),
        ],
        ..scope(1, &[Who::A], 1)
    }
}

fn check() -> Setup {
    Setup {
        faults: vec![Fault::Lost, Fault::Refused, Fault::Revoked, Fault::Sealed, Fault::Slow],
        ..scope(1, &[Who::A], 2)
    }
}

fn pair() -> Setup {
    Setup {
        faults: vec![Fault::CrashAfter, Fault::Lost, Fault::Sealed, Fault::Slow],
        ..at_work(1, &[Who::A, Who::B], 3)
    }
}

fn claimed() -> Setup {
    Setup {
        claims: true,
        most_faults: 2,
        ..pair()
    }
}

fn people() -> Setup {
    Setup {
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
        ..at_work(1, &[Who::A, Who::B], 2)
    }
}

fn shared() -> Setup {
    at_work(2, &[Who::A], 2)
}
