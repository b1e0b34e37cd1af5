//! The model, called directly and over TLS.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod auth;
mod fault;
mod harness;
mod served;
mod sign;
mod system;
