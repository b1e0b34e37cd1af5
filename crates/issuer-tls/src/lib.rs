//! The parts that both drivers share below HTTP: the TLS configuration for a [`Connect`](issuer_core::Connect), the meaning
//! of a broken connection, the limits on the wire, and a cache per server. No IO but one reading of the system's CA
//! certificates.
//!
//! Nothing here can switch the verification of a certificate off, the cryptography is aws-lc-rs and named explicitly,
//! and a client certificate is sent whenever the server asks for one: a server's list of acceptable issuers often
//! leaves out the intermediate that signed it.

mod cache;
mod config;
mod error;
mod presented;
mod signatures;
mod verifier;
mod wire;

pub use cache::Cache;
pub use config::{client_config, server_name};
pub use error::{classify, connect_error, exchange_error, handshake_error, proxy_error};
pub use presented::PresentedCertificates;
pub use signatures::signatures;
pub use wire::{EXCHANGES_MAX, HEAD_MAX, IDLE, IDLE_MAX, USER_AGENT, body_buffer, defer_write_error, now};
