//! The decisions of vault-issuer, as pure state machines.
//!
//! # Bird's-eye view
//!
//! A certificate is asked for with a `CertificateRequest`, which names an issuer. The issuer's spec says where Vault is,
//! how to log in and where to sign. Between them stands the [`Controller`](reconcile::Controller): it is told what the
//! watches saw, and says, one question at a time, which object to read, which request to send to Vault and which status
//! to write. It is resumed with the answers, and does nothing by itself.
//!
//! ```text
//!              CertificateRequests, issuers
//!                          |  observe
//!                          v
//!   +----------------- Controller ------------------+      Step::{ReadSecret, MintToken, ReadRequest,
//!   | queue    what is due, one task at a time a key | ---> WriteStatus, Publish}  --->  Kubernetes
//!   | issuers  Access: one token each, or none       |
//!   | ledger   what was signed and is not yet saved  | ---> Step::Exchange          --->  Vault
//!   +------------------------------------------------+
//! ```
//!
//! * An **issuer** is checked ([`access`], [`vault::Check`]): its Secrets, Vault's health, a token (made, renewed or
//!   replaced), and whether the token may sign. The check is the only one to log in, and it is the circuit breaker:
//!   while its last word is no, requests wait and cost Vault nothing.
//! * A **request** is turned into an [`SigningRequest`], signed ([`vault::Sign`]) with the access that the check left, and
//!   verified: only [`verify()`] makes a [`Verified`], and nothing else can be saved. If signing fails for a reason that
//!   may be the issuer's, the issuer is checked and the request waits; only a definite refusal fails it.
//!
//! # The interface
//!
//! A step is a question and the state that awaits its answer. A conversation with Vault is a [`Flow`], by value; each
//! question of [`reconcile::Step`] carries a continuation of its own type, so a driver cannot answer the wrong one.
//! What is shared and lives long is `&mut self` and is given [`Now`].
//!
//! # Code map
//!
//! | where | what |
//! |---|---|
//! | [`Flow`], [`Step`], [`Request`], [`Reply`] | the interface with Vault |
//! | [`Now`], [`Secret`], [`Body`], [`Connect`] | time, secrets and how to dial, as data |
//! | [`mod@reference`] | names of Kubernetes objects |
//! | [`target`], [`Origin`] | an issuer's spec, parsed once |
//! | [`vault`] | health, login, lease, probe, sign, revoke; errors and their classes |
//! | [`access`] | from a target through its Secrets to an access |
//! | [`SigningRequest`], `csr`, `name`, `uri`, `usage`, [`mod@duration`] | the request: the CSR and the spec |
//! | [`verify()`], `chain`, [`Signatures`], `der`, `pem` | whether the answer matches the request |
//! | [`reconcile`] | the controller: queue, ledger, issuers, requests, status patches |
//! | [`leader`] | the lease machine |
//!
//! # Architecture invariants
//!
//! * No socket, runtime, clock, randomness, thread, file or environment: all come in as arguments.
//! * No retry below [`reconcile`]: a flow sends each request once, a driver too.
//! * No cryptography: [`Signatures`] is given by the driver.
//! * No secret in anything that can be printed or serialized.
//! * No text of Vault in a status but an [`vault::Redacted`], and a name of a refused certificate, cut and printable.

pub mod access;
mod chain;
mod connect;
mod csr;
mod der;
pub mod duration;
#[cfg(test)]
mod fixture;
mod flow;
pub mod leader;
mod name;
mod now;
mod origin;
mod pem;
mod random;
pub mod reconcile;
pub mod reference;
mod secret;
mod signatures;
mod signing_request;
pub mod target;
mod uri;
mod usage;
pub mod vault;
mod verify;

pub use connect::{Connect, Identity, Limits, Roots};
pub use flow::{ConnectError, DialError, Flow, Operation, Reply, Request, Step, TlsError, TransportError};
pub use now::Now;
pub use origin::Origin;
pub use random::SplitMix64;
pub use secret::{Body, Secret};
pub use signatures::Signatures;
pub use signing_request::{RequestSpec, SigningRequest, SigningRequestError};
pub use verify::{Chain, Issued, SizeLimits, Verified, VerifyError, VerifyOptions, verify};
