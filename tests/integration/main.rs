//! Tests of several crates together.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected fails"
)]

mod cases;
mod cli;
mod corpus;
mod drivers;
mod hostile;
mod manifests;
mod mapping;
mod pages;
mod reference;
mod secrets;
mod server;
mod snapshots;
mod traces;
mod world;
