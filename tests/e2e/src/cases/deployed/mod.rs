//! The chart in a cluster: what an operator does to it, and what happens to its pods and nodes.

pub(super) mod ipv6;
pub(super) mod leader;
mod load;
pub(super) mod memory;
pub(super) mod policy;
pub(super) mod release;
pub(super) mod token;
