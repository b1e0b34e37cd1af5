//! The controller: decides the next step for each CertificateRequest and issuer, one question at a time.
//!
//! The driver reports watch events with [`Controller::observe`], takes a task with [`Controller::poll`], and answers the
//! question of each [`Step`] until the task is done:
//!
//! ```text
//! watches --observe--> Controller --poll--> Step --resume(answer)--> Step --> .. --> Done
//!                          ^                                  |
//!                          +------- state, &mut, no IO -------+
//! ```
//!
//! # A request
//!
//! ```text
//!         not Approved          issuer missing, not ready or being checked
//!         +----------+          +------------------------------------------+
//!         v          |          v   lane of the issuer: costs no polling   |
//! watch --+--> Approved? --> Waiting --> issuer ready? --no----------------+
//!                |                            | yes
//!            Denied                           v
//!                |                       (Claimed) -> Signing --> no answer: the issuer is checked,
//!                |                            |          |        and the request backs off
//!                |       invalid CSR, refused |          | certificate
//!                v                            v          v
//!            Concluded <--------------------------------+
//!                |  ^
//!                |  +-- conflict: read again; API server out: retried with backoff
//!                v
//!            Saved: only the uid is kept, until the watch shows the terminal status
//! ```
//!
//! The requester of a Kubernetes CertificateSigningRequest may name any issuer. Before it is signed, the API server is asked
//! whether the requester may `reference` that issuer; if not, the request fails. Such a request has no condition Ready, so
//! events alone say why it waits.
//!
//! A request that is being signed, or whose conclusion is not saved, has an entry in the ledger. The entry is the reason
//! why a conflict, an outage or a stale watch never leads to a second signature (S9).
//!
//! # An issuer
//!
//! ```text
//!                  spec changed
//!             +---------------------------------------------+
//!             v                                             |
//! watch --> Unknown --check--> Ready <--check succeeds-- Suspended
//!                         |      |                          ^  |
//!                         |      +-- a signature failed ----+  |
//!                         |      +-- check fails --+           | check fails
//!                         v                        v           |
//!                      NotReady <------------------------------+
//!                         |  ^
//!                         +--+ checked again with backoff, or only when the spec changes if the spec is wrong
//! ```
//!
//! A Secret or ConfigMap that an issuer uses is watched, if the API server permits it, besides these tasks:
//! [`Controller::poll_watch`]. A change leads to a check.
//!
//! Only the check logs in. It is also the circuit breaker: while an issuer is not ready, nothing is sent for its requests.
//! And it decides whose fault a failed signature is. If it fails, the issuer is not ready, and its requests wait for it. If
//! it succeeds, the request alone backs off; where that has cost an answer, it fails after
//! [`max_lost_answers`](Config::max_lost_answers) of them. So a request that Vault cannot handle delays another by no more
//! than one check. Where several requests lose answers and none is signed in between, the endpoint fails in a way that
//! no check sees: no request fails for that, and those that have lost an answer are tried again one at a time.
//!
//! Architecture invariant: which request is sent to Vault, what is written to Kubernetes and when anything is tried
//! again is decided here and nowhere else. Within this module only `state` touches the queue.

mod backoff;
mod cause;
mod check;
mod claim;
mod controller;
mod drop_in;
mod event_budget;
mod issuer;
mod issuer_events;
mod issuer_room;
mod issuers;
mod lane;
mod ledger;
mod losses;
mod observed;
mod observed_request;
mod outcome;
mod queue;
mod quota;
mod recovery;
mod report;
mod request;
mod requests;
mod revoke;
mod servers;
mod snapshot;
mod sources;
mod state;
mod status;
mod step;
mod tally;
mod tenant;
#[cfg(test)]
mod tests;
mod texts;
mod tracked;

pub use claim::Claim;
pub use controller::Controller;
pub use drop_in::{
    BuiltInAnswer, DropIn, IssuerStatusMode, ReadyWriters, built_in_answer, built_in_writer, is_built_in,
};
pub use observed::{Change, Config, ObservedIssuer};
pub use observed_request::{NamedIssuer, ObservedRequest};
pub use outcome::{Event, Key, Outcome, WriteError};
pub use report::{Backlog, IssuerReport, Report, Reporter, Waiting};
pub use request::{ReferenceReview, Requester};
pub use sources::SourceEvent;
pub use status::{PatchKind, StatusPatch};
pub use step::{
    AwaitConfigMap, AwaitNamespace, AwaitPublish, AwaitReply, AwaitRequest, AwaitReview, AwaitSecret, AwaitSourceEvent,
    AwaitToken, AwaitWrite, Step,
};
