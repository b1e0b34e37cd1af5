//! What the checks are told: everything that a process did and that came of it.

use std::sync::Arc;
use std::time::Duration;

use fake_kube::{Object, Refusal};
use issuer_core::reconcile::{Event, Key, Outcome, StatusPatch};
use issuer_core::reference::{SecretRef, TokenSpec};
use issuer_core::{Operation, Reply};

use crate::event::Who;
use crate::vault::Grant;

/// Something that a process did, or that came of it.
#[derive(Clone, Debug)]
pub enum Fact {
    /// A process sends a request to Vault.
    Asks(Asks),
    /// A process has died, and with it the knowledge of so many tokens that are alive.
    Crashed(Who, u32),
    /// A task has ended.
    Done(Who, Key, Outcome),
    /// A process asks for a service account's token.
    Mints(Who, Key, TokenSpec),
    /// A process reads a Secret.
    Reads(Who, Key, SecretRef),
    /// A reply of Vault arrives.
    Replied(Replied),
    /// Vault did what it was asked.
    Served(Served),
    /// A process has begun.
    Started(Who),
    /// A process has stopped in good order.
    Stopped(Stopped),
    /// An event is recorded.
    Tells(Who, Event),
    /// The API server took a status or did not.
    Wrote(Wrote),
}

/// A request to Vault, as it is sent.
#[derive(Clone, Debug)]
pub struct Asks {
    /// Who sends it.
    pub who: Who,
    /// The task that it is part of, and when that began.
    pub key: Key,
    /// When the task began, by the world's clock.
    pub begun: Duration,
    /// What it is for.
    pub operation: Operation,
    /// Where it goes to: scheme, host and port.
    pub origin: String,
    /// The token that it carries.
    pub token: Option<String>,
    /// Its body.
    pub body: String,
    /// The number of the CSR to be signed.
    pub csr: Option<u32>,
    /// The largest reply that the process will read.
    pub limit: usize,
    /// The newest version of the request of the task that the process was shown.
    pub view: Option<Arc<Object>>,
    /// Whether the process was ever shown that its issuer is at this server.
    pub known: bool,
}

/// A process that has stopped.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// Which one.
    pub who: Who,
    /// How many certificates it has not saved.
    pub unsaved: usize,
    /// Whether it was kept from it: the API server did not take a status, or an answer was slow.
    pub hindered: bool,
}

/// What Vault did.
#[derive(Clone, Debug)]
pub struct Served {
    /// Whom it served.
    pub who: Who,
    /// The task that asked.
    pub key: Key,
    /// The number of the CSR that it signed.
    pub signed: Option<u32>,
    /// The token that it made, and the server.
    pub granted: Option<(Grant, usize)>,
    /// The server that renewed the token of the request.
    pub renewed: Option<String>,
}

/// A reply of Vault, as it arrives.
#[derive(Clone, Debug)]
pub struct Replied {
    /// Whose request it answers.
    pub who: Who,
    /// The task that asked.
    pub key: Key,
    /// What the request was for.
    pub operation: Operation,
    /// Where it went to: origin and path.
    pub url: String,
    /// The number of the CSR to be signed.
    pub csr: Option<u32>,
    /// Whether a certificate or token was made that it tells nothing of.
    pub lost: bool,
    /// Whether it holds another certificate than was asked for.
    pub wrong: bool,
    /// The reply itself.
    pub reply: Reply,
}

/// What became of a status.
#[derive(Clone, Debug)]
pub struct Wrote {
    /// Who wrote it.
    pub who: Who,
    /// What was written.
    pub patch: StatusPatch,
    /// The object before.
    pub before: Option<Arc<Object>>,
    /// The object after, or why it was not written.
    pub after: Result<Arc<Object>, Refusal>,
}
