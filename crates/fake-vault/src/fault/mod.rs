//! Faults of servers, proxies and networks.

mod edit;
mod faults;
mod handled;
mod kind;
mod replies;

pub use faults::Faults;
pub use handled::Handled;
pub use kind::{CaDefect, Fault, Redirect, RetryAfter};
