//! Faults of servers, proxies and networks.

mod edit;
mod faults;
mod handled;
mod kind;
mod replies;

pub(crate) use kind::CaDefect;

pub use faults::Faults;
pub use handled::Handled;
pub use kind::{Fault, Redirect, RetryAfter};
