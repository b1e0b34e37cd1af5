//! Properties that hold for any input from a server, a cluster or a user.
//!
//! Each function takes arbitrary bytes, passes them to the production code, and panics if a property does not hold.
//! `fuzz/` searches for such bytes; `tests/integration/corpus.rs` replays the inputs that the search has kept, on the
//! stable toolchain.
//!
//! The properties go beyond the absence of panics: results are checked by independent code here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken promise ends in a panic"
)]

mod chain;
mod fixture;
mod issuer;
mod names;
mod oracle;
mod paths;
mod refusal;
mod reply;
mod request;
mod secret;
mod sign;
mod signing_request;
mod spec;
mod text;
mod token;
mod world;

pub use chain::chain;
pub use paths::paths;
pub use refusal::{refusal, retry_after};
pub use request::certificate_request;
pub use secret::secret;
pub use sign::sign;
pub use signing_request::{duration, signing_request};
pub use spec::spec;
pub use token::{health, login};
pub use world::world;

/// A function that takes any bytes.
pub type FuzzTarget = fn(&[u8]);

/// Every target, by the name of its file in `fuzz/fuzz_targets/` and of its directory in `fuzz/corpus/`.
pub const TARGETS: [(&str, FuzzTarget); 13] = [
    ("certificate_request", certificate_request),
    ("chain", chain),
    ("duration", duration),
    ("health", health),
    ("login", login),
    ("signing_request", signing_request),
    ("paths", paths),
    ("refusal", refusal),
    ("retry_after", retry_after),
    ("secret", secret),
    ("sign", sign),
    ("spec", spec),
    ("world", world),
];
