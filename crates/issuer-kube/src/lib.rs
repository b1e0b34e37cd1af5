//! The async drivers: hyper for Vault, the kube runtime for Kubernetes.
//!
//! [`run`] is the whole controller: the watches tell `issuer_core::reconcile::Controller` what they saw, and its
//! questions are answered by [`Cluster`] and [`Transport`]. [`Candidate`] answers those of the lease machine.
//!
//! Architecture invariant: nothing here decides. No retry, no backoff, no redirect, no order of events.

mod client;
mod cluster;
mod driver;
mod lease;
mod metrics;
mod transport;
mod watch;

pub use client::{ClientError, client};
pub use cluster::Cluster;
pub use driver::run;
pub use lease::{Candidate, Leadership};
pub use metrics::{CONTENT_TYPE, Metrics};
pub use transport::Transport;
