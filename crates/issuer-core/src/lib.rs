//! The decisions of vault-issuer, as pure state machines.
//!
//! # Overview
//!
//! A `CertificateRequest`, or a Kubernetes `CertificateSigningRequest`, names an issuer; the issuer's spec says where
//! Vault is, how to log in and which endpoint signs. The [`Controller`](reconcile::Controller) connects the two. The
//! driver reports watch events with `observe`, takes a task with `poll`, answers its question, and passes the answer to
//! `resume`. The controller does no IO.
//!
//! ```text
//!              CertificateRequests, issuers
//!                          |  observe
//!                          v
//!   +----------------- Controller ------------------+      Step::{ReadConfigMap, ReadSecret, MintToken,
//!   | queue    due keys, one task per key            | ---> ReadNamespace, ReadRequest, ReviewReference,
//!   |                                                |      WriteStatus, Publish}     --->  Kubernetes
//!   | issuers  Access: at most one token each        |
//!   | ledger   results that are not saved yet        | ---> Step::Exchange          --->  Vault
//!   +------------------------------------------------+
//! ```
//!
//! * An **issuer** is checked ([`access`]): its Secrets, Vault's health, a token (created, renewed or replaced), and the
//!   right to sign. Only the check logs in. It is also the circuit breaker: while the last check has failed, requests
//!   stay Pending and nothing is sent for them.
//! * A **request** is parsed into a [`SigningRequest`], sent to the signing endpoint ([`vault::Sign`]) with the access
//!   that the check left, and the answer is verified: only [`verify()`] creates a [`Verified`], and only a `Verified` can
//!   be saved. A failure that may be the issuer's leads to a check; only a definite refusal fails the request.
//!
//! [`reconcile`] has the state diagrams of both.
//!
//! # The interface
//!
//! A step is a question and the state that awaits its answer. A conversation with Vault is a [`Flow`], by value. One
//! level up, each question of [`reconcile::Step`] carries a continuation of its own type, so a driver cannot answer the
//! wrong one. State that is shared and lives long is `&mut self` and is given [`Now`]. A driver of the controller is this
//! loop for each task, with or without `.await`:
//!
//! ```
//! use issuer_core::reconcile::{Controller, Outcome, Step};
//! # use issuer_core::access::{ReadError, SecretData};
//! # use issuer_core::reconcile::{Event, ObservedRequest, ReferenceReview, StatusPatch, WriteError};
//! # use issuer_core::reference::{ConfigMapRef, RequestKey, SecretRef, TokenSource};
//! # use issuer_core::target::NamespaceLabels;
//! # use issuer_core::{Now, Reply, Request, Secret};
//! # trait Io {
//! #     fn now(&self) -> Now;
//! #     fn exchange(&self, request: Request) -> Reply;
//! #     fn obtain_token(&self, source: &TokenSource) -> Result<Secret, ReadError>;
//! #     fn publish(&self, event: &Event);
//! #     fn read_config_map(&self, config_map: &ConfigMapRef) -> Result<SecretData, ReadError>;
//! #     fn read_namespace(&self, name: &str) -> Result<NamespaceLabels, ReadError>;
//! #     fn read_request(&self, key: &RequestKey) -> Result<ObservedRequest, ReadError>;
//! #     fn read_secret(&self, secret: &SecretRef) -> Result<SecretData, ReadError>;
//! #     fn review_reference(&self, review: &ReferenceReview) -> Result<bool, ReadError>;
//! #     fn write_status(&self, patch: &StatusPatch) -> Result<(), WriteError>;
//! # }
//!
//! fn run(controller: &mut Controller, io: &impl Io, mut step: Step) -> Outcome {
//!     loop {
//!         step = match step {
//!             Step::Exchange(request, task) => task.resume(controller, io.now(), io.exchange(request)),
//!             Step::MintToken(source, task) => task.resume(controller, io.now(), io.obtain_token(&source)),
//!             Step::Publish(event, task) => {
//!                 io.publish(&event);
//!                 task.resume(controller)
//!             }
//!             Step::ReadConfigMap(config_map, task) => {
//!                 task.resume(controller, io.now(), io.read_config_map(&config_map))
//!             }
//!             Step::ReadNamespace(name, task) => task.resume(controller, io.now(), io.read_namespace(&name)),
//!             Step::ReadRequest(key, task) => task.resume(controller, io.now(), io.read_request(&key)),
//!             Step::ReadSecret(secret, task) => task.resume(controller, io.now(), io.read_secret(&secret)),
//!             Step::ReviewReference(review, task) => {
//!                 task.resume(controller, io.now(), io.review_reference(&review))
//!             }
//!             Step::WriteStatus(patch, task) => task.resume(controller, io.now(), io.write_status(&patch)),
//!             Step::Done(outcome) => return outcome,
//!         }
//!     }
//! }
//! ```
//!
//! # Code map
//!
//! | where | what |
//! |---|---|
//! | [`Flow`], [`Step`], [`Request`], [`Reply`] | the interface with Vault |
//! | [`Now`], [`Secret`], [`Body`], [`SplitMix64`] | time, secrets and randomness, as data |
//! | [`Connect`], [`Proxy`], [`TransportError`] | how to dial, and why no answer came, as data |
//! | [`mod@reference`] | keys of Kubernetes objects |
//! | [`target`], [`Origin`] | an issuer's spec, parsed once |
//! | [`vault`] | the conversations: health, login, lease, probe, sign, revoke; errors and their classes |
//! | [`access`] | one issuer's check: from its spec through its Secrets to a token that may sign |
//! | [`SigningRequest`], `csr`, `name`, `uri`, `usage`, [`mod@duration`] | the request: the CSR and the spec |
//! | [`verify()`], `chain`, [`Signatures`], [`KnownSignatures`], `der`, `pem` | whether the certificate is what was asked for |
//! | [`reconcile`] | the controller: queue, ledger, issuers, requests, status patches |
//! | [`leader`] | leader election |
//!
//! # To change X, go to Y
//!
//! | to change | go to |
//! |---|---|
//! | an auth method | `issuer-api/src/auth.rs` (fields, CEL rules), `target/method.rs` (parsed), `target/mod.rs` (the message that lists all), `target/bounds.rs` (its lengths), `access/resolve.rs` (its Secrets), `vault/login.rs` (the request), `access/login.rs` and `access/error.rs` (if it takes more than one), `vault-issuer/src/remedy.rs` (what `check` advises), `vault-issuer/src/migrate/moves.rs` (its service account), `fake-vault/src/auth/` and `fake-vault/src/conformance/table.rs`, `simulator/src/fixture/` and `simulator/src/invariants/secrecy.rs` (an issuer with it, and the credentials that it may send), `tests/integration/world/vault.rs` and `tests/properties/src/secret.rs` (an issuer with it), `tests/e2e/src/cases/api.rs` (its CEL rules) and `auth.rs` (a login), `deploy/examples/`, the table of fields in `README.md`; `cargo xtask codegen` |
//! | a field of the spec | `issuer-api/src/issuer.rs`, [`target`], `cargo xtask codegen` |
//! | the reason of a condition | `reason()` of the error that it comes from, `deploy/docs/troubleshooting.md` |
//! | how a refusal of Vault is classified | `vault/error.rs`, `vault/sign.rs`; a row in `fake-vault/src/conformance/` |
//! | what a certificate must be like | `verify/`; an example in `tests/integration/cases/` |
//! | when something is tried again | `reconcile/state/` (when a key is due), `reconcile/issuer.rs` and `reconcile/request/` (why) |
//! | what differs for Kubernetes' CertificateSigningRequests | `issuer-api/src/certificate_signing_request.rs`, `reconcile/observed_request.rs`, `reconcile/request/review.rs` (who may ask) |
//! | what differs for cert-manager's own issuers | `issuer-api/src/cert_manager.rs` (their spec), `reconcile/drop_in.rs` (their status, and who else signs), `issuer-kube/src/watch/drop_in.rs` |
//! | a metric | `issuer-kube/src/metrics/`, `reconcile/report.rs` (what it shows of the controller), `deploy/docs/metrics.md` (`UPDATE_EXPECT=1 cargo test -p integration reference`) |
//! | a span or an attribute of the traces | `issuer-kube/src/traces/`, `deploy/docs/metrics.md` |
//! | a flag | `vault-issuer/src/args/`, [`reconcile::Config`], the chart's `values.yaml`, `deploy/docs/cli.md` (as for a metric) |
//! | a promise | `simulator/src/invariants/`, with a seeded bug in `simulator/src/mutant.rs` that it must find |
//!
//! # Hashes of states
//!
//! States implement `Hash` for the simulator's explorer, which follows no state twice. Where it is written by hand, it leaves out
//! what the rest determines, and what no decision depends on. Equal states have equal hashes, as for any other use.
//!
//! # Architecture invariants
//!
//! * No socket, runtime, clock, randomness, thread, file or environment: all are arguments.
//! * No retry below [`reconcile`]: a flow sends each request once, and so does a driver.
//! * No cryptography but the HMAC of requests to AWS: [`Signatures`] is provided by the driver.
//! * No secret in anything that can be printed or serialized.
//! * No text from Vault in a status except a sanitized [`vault::Redacted`] and, for a mismatch, a sanitized name.
//!
//! Assertions and tests name the safety invariants (S1, S2, …) and the liveness invariants (L1, L2, …); they are listed,
//! with the check of each, in `simulator/src/invariants/`.

pub mod access;
mod chain;
mod connect;
mod csr;
mod der;
mod digest;
pub mod duration;
#[cfg(test)]
mod fixture;
mod flow;
mod known;
pub mod leader;
mod name;
mod now;
mod origin;
mod pem;
mod proxy;
mod random;
pub mod reconcile;
pub mod reference;
mod secret;
mod signatures;
mod signing_request;
pub mod target;
mod transport_error;
mod uri;
mod usage;
pub mod vault;
mod verify;

pub use connect::{CaBundle, Connect, Identity, Limits, Roots};
pub use flow::{Flow, Operation, Reply, Request, Step};
pub use known::KnownSignatures;
pub use now::Now;
pub use origin::Origin;
pub use proxy::{ConnectReply, Proxy};
pub use random::SplitMix64;
pub use secret::{Body, Secret};
pub use signatures::Signatures;
pub use signing_request::{RequestSpec, SigningRequest, SigningRequestError};
pub use transport_error::{ConnectError, DialError, ProxyError, TlsError, TransportError};
pub use verify::{Chain, Issued, SizeLimits, Verified, VerifyError, VerifyOptions, verify};
