//! The decisions of vault-issuer, as pure state machines.
#![allow(missing_docs)]

mod connect;
mod flow;
mod now;
mod secret;
mod signatures;
mod target;

pub use connect::{Connect, Identity, Limits, Roots};
pub use flow::{
    ConnectError, DialError, Flow, Operation, Reply, Request, Step, TlsError, TransportError,
};
pub use now::Now;
pub use secret::{Body, Secret};
pub use signatures::Signatures;
pub use target::Origin;
