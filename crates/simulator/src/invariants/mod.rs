//! The promises, each a named check.
//!
//! The numbers are those of the project's list of invariants: S for what must never happen, L for what must happen in
//! time. A check looks at what a process does ([`Fact`]) and at the world in which it does it; it never asks the
//! production code whether that was right.

mod certificate;
mod rest;
mod safety;
mod status;

use std::fmt;

use crate::fact::Fact;
use crate::world::World;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The number of the promise.
    pub number: &'static str,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let says = ALL
            .iter()
            .find(|check| check.number == self.number)
            .map_or("", |check| check.says);
        write!(f, "{}: {}\n  promised: {says}", self.number, self.what)
    }
}

/// What a check found: nothing, or what is wrong.
type Finding = Result<(), String>;

/// A promise, and where it is checked.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its number.
    pub number: &'static str,
    /// What is promised.
    pub says: &'static str,
    /// Where it is checked.
    pub place: Place,
}

/// Where a promise is checked.
#[derive(Clone, Copy)]
pub enum Place {
    /// At everything that a process does.
    Step(fn(&World, &Fact) -> Finding),
    /// In every world that is at rest.
    Rest(fn(&World) -> Finding),
    /// At both.
    Both(fn(&World, &Fact) -> Finding, fn(&World) -> Finding),
    /// By the explorer, over all worlds that can be reached.
    Explorer,
    /// By the long runs.
    Soak,
    /// Not here: for the reason given.
    Elsewhere(&'static str),
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Step(_) => "at every step",
            Self::Rest(_) => "at rest",
            Self::Both(..) => "at every step and at rest",
            Self::Explorer => "over all states",
            Self::Soak => "in long runs",
            Self::Elsewhere(place) => place,
        })
    }
}

const fn check(number: &'static str, says: &'static str, place: Place) -> Check {
    Check { number, says, place }
}

/// Every promise.
pub const ALL: [Check; 31] = [
    check(
        "S1",
        "signs only what is Approved and not Denied in the newest view",
        Place::Step(safety::s1),
    ),
    check(
        "S2",
        "touches no request of another issuer, signs none that is finished",
        Place::Step(safety::s2),
    ),
    check(
        "S3",
        "a certificate, once written, never changes",
        Place::Step(status::s3),
    ),
    check(
        "S4",
        "every status carries uid and resourceVersion; a terminal one is never overwritten",
        Place::Step(status::s4),
    ),
    check(
        "S5",
        "a certificate is only ever written to the uid that it was signed for",
        Place::Step(certificate::s5),
    ),
    check(
        "S6",
        "a written certificate has the CSR's key; an unsigned CSR is never sent",
        Place::Step(certificate::s6),
    ),
    check(
        "S7",
        "a written certificate has the names, the kind and the life that were asked for",
        Place::Step(certificate::s7),
    ),
    check("S8", "Secrets and tokens are an issuer's own", Place::Step(safety::s8)),
    check(
        "S9",
        "signatures per uid: 1 + crashes + lost replies + processes at work beside another",
        Place::Step(safety::s9),
    ),
    check("S10", "no secret in an event or a status", Place::Step(safety::s10)),
    check(
        "S11",
        "reasons are of a fixed set, messages short and clean",
        Place::Step(status::s11),
    ),
    check(
        "S12",
        "credentials go only to the issuer's own server, over https",
        Place::Step(safety::s12),
    ),
    check(
        "S13",
        "a denied request ends Denied, with its time of failure set once",
        Place::Both(status::s13, rest::s13),
    ),
    check(
        "S14",
        "a request fails only when it was refused for good",
        Place::Step(status::s14),
    ),
    check("S15", "conditions are well-formed", Place::Step(status::s15)),
    check(
        "S16",
        "an issuer is Ready only after a probe of its present spec",
        Place::Step(status::s16),
    ),
    check("S17", "replies are read up to 1 MiB", Place::Step(safety::s17)),
    check(
        "S18",
        "nothing is kept of requests that are finished or gone",
        Place::Rest(rest::s18),
    ),
    check("S19", "no token is used after its end", Place::Step(safety::s19)),
    check(
        "S20",
        "one token per issuer and process; none is left behind",
        Place::Both(safety::s20, rest::s20),
    ),
    check(
        "S21",
        "private keys of requests are never handled",
        Place::Elsewhere(
            "by type: the core reads Secrets only by the references of an issuer's spec; xtask codegen grants no others",
        ),
    ),
    check(
        "S22",
        "no panic, no unsafe code",
        Place::Elsewhere(
            "by lint: unsafe_code is forbidden, panics are denied in the core; the fuzz targets look for the rest",
        ),
    ),
    check(
        "L1",
        "every request comes to its end in bounded time after the last fault",
        Place::Explorer,
    ),
    check(
        "L2",
        "then all is quiet but the periodic check, for 24 hours",
        Place::Explorer,
    ),
    check(
        "L3",
        "an outage costs at most 20 requests to Vault per issuer and 3 writes per request in its first hour",
        Place::Soak,
    ),
    check("L4", "Retry-After is honoured", Place::Step(safety::l4)),
    check("L5", "when Vault is back, it is noticed within 15 s", Place::Soak),
    check("L6", "an issuer that is out delays no other", Place::Soak),
    check("L7", "a mended issuer is tried at once", Place::Soak),
    check("L8", "nothing is signed after leadership ends", Place::Soak),
    check(
        "L9",
        "a process that stops saves what it has signed",
        Place::Step(safety::l9),
    ),
];

/// Holds something that a process does against every promise.
pub(crate) fn check_step(world: &World, fact: &Fact) -> Result<(), Violation> {
    all(world, |check| match check.place {
        Place::Step(look) | Place::Both(look, _) => look(world, fact),
        _ => Ok(()),
    })
}

/// Holds a world that is at rest against every promise.
pub(crate) fn check_rest(world: &World) -> Result<(), Violation> {
    all(world, |check| match check.place {
        Place::Rest(look) | Place::Both(_, look) => look(world),
        _ => Ok(()),
    })
}

fn all(world: &World, look: impl Fn(&Check) -> Finding) -> Result<(), Violation> {
    let wanted = |check: &&Check| world.setup.only.is_none_or(|only| only == check.number);
    ALL.iter().filter(wanted).try_for_each(|check| {
        look(check).map_err(|what| Violation {
            number: check.number,
            what,
        })
    })
}

/// Finds something wrong unless it holds.
fn ensure(holds: bool, what: impl FnOnce() -> String) -> Finding {
    if holds { Ok(()) } else { Err(what()) }
}
