//! The options of a server.

use std::time::Duration;

use issuer_core::Now;

use crate::ca::{Authority, FAR};

/// The address, protocol and clock of a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// The DNS names and IP addresses of the server's certificate.
    pub names: Vec<String>,
    /// The end of that certificate, since the Unix epoch.
    pub not_after: Duration,
    /// The protocol.
    pub protocol: Protocol,
    /// Whether clients are asked for certificates.
    pub client_certificates: ClientCertificates,
    /// The time of a clock that only [`Server::advance`](super::Server::advance) moves; `None` for the system's clock.
    pub standing: Option<Now>,
}

impl Default for Options {
    /// Returns `localhost` and `127.0.0.1` with TLS 1.2 or 1.3; client certificates are requested, as by Vault.
    fn default() -> Self {
        Self {
            names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            not_after: FAR,
            protocol: Protocol::Tls,
            client_certificates: ClientCertificates::Asked,
            standing: None,
        }
    }
}

/// The protocol of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP without TLS.
    Plain,
    /// TLS 1.2 or 1.3.
    Tls,
    /// TLS 1.2 only.
    Tls12,
    /// TLS 1.3 only.
    Tls13,
}

/// Whether clients are asked for certificates.
#[derive(Clone, Debug)]
pub enum ClientCertificates {
    /// Requested; any certificate and none are accepted.
    Asked,
    /// Not requested.
    NotAsked,
    /// Required, and signed by this CA.
    Required(Authority),
}
