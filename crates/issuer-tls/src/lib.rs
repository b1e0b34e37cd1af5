//! What both drivers share below HTTP: the TLS configuration that a [`Connect`](issuer_core::Connect) describes, what
//! a broken connection means, and what is kept per server. No IO but one reading of the system's CA certificates.
//!
//! Nothing here can switch the verification of a certificate off, the cryptography is aws-lc-rs and named explicitly,
//! and a client certificate is sent whenever the server asks for one: a server's list of acceptable issuers often
//! leaves out the intermediate that signed it.

mod cache;
mod config;
mod error;
mod signatures;

pub use cache::Cache;
pub use config::{client_config, server_name};
pub use error::{classify, connect_error, exchange_error, handshake_error, is_closed};
pub use signatures::signatures;
