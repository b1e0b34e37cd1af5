//! What can happen next.
//!
//! All of these print as the Rust expressions that make them, so a trace is a test.

use fake_kube::Kind;

use crate::fixture::IssuerId;

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// The first.
    A,
    /// The second.
    B,
}

impl Who {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    pub(crate) fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }
}

/// Something that happens.
///
/// A question on its way is named by its place among those of its process, ordered by what they are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// A question has its effect and is answered.
    Answer(Who, u8),
    /// A question has its effect; the answer is on its way.
    Apply(Who, u8),
    /// The process dies.
    Crash(Who),
    /// The answer arrives.
    Deliver(Who, u8),
    /// A question meets a fault.
    Fail(Who, u8, Fault),
    /// A watch breaks and lists anew: what it had not told is never told.
    Relist(Who, Kind),
    /// The process starts.
    Start(Who),
    /// The process is asked to stop.
    Stop(Who),
    /// Time passes until the process has something to do.
    Tick(Who),
    /// Sealed servers are unsealed.
    Unseal,
    /// Somebody else does something.
    User(Act),
    /// A watch tells the next thing that happened.
    Watch(Who, Kind),
}

/// What goes wrong with a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Vault: status 500, without effect.
    Broken,
    /// It has its effect; then the process dies.
    CrashAfter,
    /// Kubernetes: status 403.
    Forbidden,
    /// Vault: it has its effect; the answer makes no sense.
    Garbage,
    /// It has its effect; no answer comes.
    Lost,
    /// It never arrives, and the process knows.
    Refused,
    /// Vault: all tokens were revoked just before.
    Revoked,
    /// Vault: it was sealed just before.
    Sealed,
    /// It has its effect; the answer comes after timers that are due before.
    Slow,
    /// Vault: status 429, and to come back in three seconds.
    Throttled,
    /// Vault: the certificate is for another key.
    WrongKey,
}

/// What people and other controllers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Act {
    /// A request is approved.
    Approve(u16),
    /// A request is created.
    Create(u16),
    /// A request is deleted.
    Delete(u16),
    /// A request is denied.
    Deny(u16),
    /// An issuer is created, with its Secret.
    CreateIssuer(IssuerId),
    /// An issuer is deleted.
    DeleteIssuer(IssuerId),
    /// An issuer gets the other signing path.
    EditIssuer(IssuerId),
    /// An issuer gets the other server.
    MoveIssuer(IssuerId),
    /// A request is created and approved at once.
    CreateApproved(u16),
    /// A request is deleted, and another of the same name is created and approved.
    Recreate(u16),
    /// An issuer's secret ID is rotated, in Vault and in its Secret.
    Rotate(IssuerId),
    /// An annotation of a request is written.
    Touch(u16),
    /// An annotation of an issuer is written.
    TouchIssuer(IssuerId),
}
