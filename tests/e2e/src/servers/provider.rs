//! Who runs the servers.

use super::kind;
use super::local::Local;

/// Who runs the servers.
pub(crate) enum Provider {
    /// This program, on loopback.
    Local(tokio::sync::Mutex<Local>),
    /// A kind cluster.
    Kind(kind::Cluster),
}
