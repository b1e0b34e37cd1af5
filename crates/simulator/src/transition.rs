//! The transitions of the simulated world.
//!
//! All of these print as the Rust expressions that make them, so a printed trace is a test.

use fake_kube::Kind;

use crate::fixture::IssuerId;

/// Identifies a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProcessId {
    /// The first process.
    A,
    /// The second process.
    B,
}

impl ProcessId {
    /// Both processes.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    pub(crate) fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }
}

/// A transition from one state of the world to the next.
///
/// A step in flight is identified by its position among those of its process, ordered by their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transition {
    /// A step takes effect and its answer arrives.
    Answer(ProcessId, u8),
    /// A step takes effect; its answer stays in flight.
    Apply(ProcessId, u8),
    /// The process crashes.
    Crash(ProcessId),
    /// The answer of a step arrives.
    Deliver(ProcessId, u8),
    /// A step fails.
    Fail(ProcessId, u8, StepFault),
    /// A watch breaks and is started again with a list; pending events are lost.
    Relist(ProcessId, Kind),
    /// The process starts.
    Start(ProcessId),
    /// The process is asked to stop.
    Stop(ProcessId),
    /// Time passes until the next timer of the process.
    Tick(ProcessId),
    /// Sealed servers are unsealed.
    Unseal,
    /// A user, or another controller, changes an object.
    User(UserAction),
    /// A watch delivers its next event.
    Watch(ProcessId, Kind),
}

/// A fault of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepFault {
    /// Vault, or AWS, fails with a server error and does nothing.
    Broken,
    /// The step takes effect; then the process crashes.
    CrashAfter,
    /// Kubernetes, or AWS, answers 403.
    Forbidden,
    /// Vault, or AWS, handles the request; its answer cannot be parsed.
    Garbage,
    /// The step takes effect; its answer is lost.
    Lost,
    /// Admission refuses a status for now, and asks to wait.
    Postponed,
    /// The connection is refused, so the process knows that nothing was sent.
    Refused,
    /// All tokens were revoked in Vault just before.
    Revoked,
    /// Vault was sealed just before.
    Sealed,
    /// The step takes effect; its answer arrives after timers that are due before it.
    Slow,
    /// Vault answers 429 with `Retry-After: 3`.
    Throttled,
    /// Admission refuses a status, until the object or a policy changes.
    Unadmitted,
    /// Vault signs a certificate for another key.
    WrongKey,
}

impl StepFault {
    /// Every fault.
    pub const ALL: [Self; 13] = [
        Self::Broken,
        Self::CrashAfter,
        Self::Forbidden,
        Self::Garbage,
        Self::Lost,
        Self::Postponed,
        Self::Refused,
        Self::Revoked,
        Self::Sealed,
        Self::Slow,
        Self::Throttled,
        Self::Unadmitted,
        Self::WrongKey,
    ];
}

/// An action of a user or of another controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UserAction {
    /// Approves a request.
    Approve(u16),
    /// The built-in controller says that it cannot sign a request yet.
    BuiltInFails(u16),
    /// The built-in controller signs a request.
    BuiltInSigns(u16),
    /// Creates a request.
    Create(u16),
    /// Deletes a request.
    Delete(u16),
    /// Denies a request.
    Deny(u16),
    /// Creates an issuer and its Secret.
    CreateIssuer(IssuerId),
    /// Deletes an issuer.
    DeleteIssuer(IssuerId),
    /// Switches an issuer to the other signing path.
    EditIssuer(IssuerId),
    /// Switches an issuer to the other server.
    MoveIssuer(IssuerId),
    /// Creates a request that is approved at once.
    CreateApproved(u16),
    /// Deletes a request, then creates and approves another of the same name.
    Recreate(u16),
    /// Rotates the secret ID of an issuer, in Vault and in its Secret, which may hold a wrapping token in its place.
    Rotate(IssuerId),
    /// A user who may update a request, but not its status, forges the managed fields: as if the built-in controller's
    /// successor had written the status.
    Forge(u16),
    /// Labels the namespace of a request, so that the cluster issuer selects it.
    LabelNamespace(u16),
    /// Removes the labels of the namespace of a request, so that the cluster issuer does not select it.
    UnlabelNamespace(u16),
    /// Changes an annotation of a request.
    Touch(u16),
    /// Changes an annotation of an issuer.
    TouchIssuer(IssuerId),
    /// cert-manager writes the condition Ready of an issuer.
    WriteReady(IssuerId),
}
