//! The decisions of vault-issuer, as pure state machines.
#![allow(missing_docs)]

mod chain;
mod connect;
mod der;
mod flow;
pub mod leader;
mod name;
mod now;
mod order;
mod origin;
pub mod reconcile;
pub mod reference;
mod secret;
pub mod session;
mod signatures;
pub mod target;
pub mod vault;
mod verify;

pub use connect::{Connect, Identity, Limits, Roots};
pub use flow::{
    ConnectError, DialError, Flow, Operation, Reply, Request, Step, TlsError, TransportError,
};
pub use now::Now;
pub use order::{Order, OrderError};
pub use origin::Origin;
pub use secret::{Body, Secret};
pub use signatures::Signatures;
pub use verify::{Chain, Issued, Verified, VerifyError, verify};
