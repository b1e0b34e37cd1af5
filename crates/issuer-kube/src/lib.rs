//! The async drivers: hyper for Vault, kube's client for Kubernetes.
//!
//! [`run`] is the whole controller: the watches report to `issuer_core::reconcile::Controller`, and [`ApiServer`] and
//! [`Transport`] answer its questions. [`Candidate`] answers those of the leader election.
//!
//! Architecture invariant: no decision about certificates is made here: no retry, no redirect, no order of events.
//! Only lists and watches are retried here.

mod api_server;
mod client;
mod connection;
mod deadline;
mod dial;
mod driver;
mod events;
mod failure;
#[cfg(test)]
mod fixture;
mod health;
mod items;
mod lease;
mod link;
mod log;
mod measured;
mod metrics;
mod object;
mod resolve;
mod room;
mod source_watch;
mod token;
mod traces;
mod transport;
mod watch;

pub use api_server::ApiServer;
pub use client::{ClientError, client};
pub use driver::{RunSetup, run};
pub use health::ControllerHealth;
pub use lease::{Candidate, Leadership};
pub use metrics::{METRICS, MetricInfo, MetricKind, Metrics, TextFormat};
pub use traces::{SpanRoom, Traces};
pub use transport::Transport;
