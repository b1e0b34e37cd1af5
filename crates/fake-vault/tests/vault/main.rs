//! The model, called directly and over TLS.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

mod auth;
mod engine;
mod fault;
mod harness;
mod lease;
mod served;
mod sign;
mod system;
mod wrapping;
