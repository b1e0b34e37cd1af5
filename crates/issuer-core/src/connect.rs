//! The parameters of a connection: trusted CAs, client identity, proxy and permitted addresses.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::PrivateKeyDer;

use crate::digest::digest;
use crate::target::AllowedServers;
use crate::{ConnectError, Origin, Proxy, ProxyError, Secret, TransportError, pem, proxy};

/// The parameters of a connection, as data for a driver.
///
/// Two equal values may share connections; two that differ must not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Connect {
    /// The only scheme, host and port that requests go to.
    pub origin: Origin,
    /// The servers that may be dialed: what the name of the host resolves to is subject to them too.
    pub allowed_servers: AllowedServers,
    /// The proxy that forwards connections with TLS.
    pub proxy: Option<Proxy>,
    /// The name to send as SNI and to verify the server's certificate against, where it is not the origin's host.
    pub server_name: Option<String>,
    /// The CAs to which the server's certificate must chain.
    pub roots: Roots,
    /// The certificate to present where the server asks for one.
    pub identity: Option<Identity>,
    /// When to give up.
    pub limits: Limits,
}

impl Connect {
    /// Returns the scheme, host and port of the server, and the proxy: the same text for the same server.
    pub(crate) fn server(&self) -> String {
        proxy::server_through(self.proxy(), &self.origin)
    }

    /// Returns the proxy to use. Without TLS there is none: it would read the token.
    pub fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|_| self.origin.is_tls())
    }

    /// Returns the host and port to connect to: those of the proxy, or else of the origin.
    pub fn peer(&self) -> (&str, u16) {
        match self.proxy() {
            Some(proxy) => (proxy.host(), proxy.port()),
            None => (self.origin.host(), self.origin.port()),
        }
    }

    /// Returns `true` if the driver may connect to an address that the host of the [peer](Self::peer) resolves to.
    pub fn permits(&self, address: IpAddr) -> bool {
        let allowed = self.proxy().map_or(&self.allowed_servers, Proxy::allowed);
        allowed.permits_address(self.peer().0, address)
    }

    /// Returns the error that no connection to the [peer](Self::peer) could be made.
    pub fn unconnected(&self, error: ConnectError) -> TransportError {
        match self.proxy() {
            Some(_) => ProxyError::Connect(error).into(),
            None => error.into(),
        }
    }
}

/// The CAs to which a server's certificate must chain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Roots {
    /// Any of these certificates.
    Bundle(CaBundle),
    /// The system's CA certificates.
    System,
}

impl Roots {
    /// Trusts the certificates of a bundle: PEM, at least one block.
    pub fn bundle(pem: impl Into<Vec<u8>>) -> Self {
        Self::Bundle(CaBundle::new(pem))
    }
}

/// CA certificates, PEM. Clones share them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaBundle {
    /// The hash of the rest, made once: a connection is looked up for each request, and bundles are large.
    digest: u64,
    pem: Arc<[u8]>,
}

impl CaBundle {
    /// Keeps the certificates.
    pub(crate) fn new(pem: impl Into<Vec<u8>>) -> Self {
        let pem = pem.into();
        Self {
            digest: digest(&pem),
            pem: pem.into(),
        }
    }

    /// Returns the certificates as PEM, which may hold other text.
    pub(crate) fn pem(&self) -> &[u8] {
        &self.pem
    }

    /// Returns the certificates to trust, DER.
    pub fn certificates(&self) -> Vec<Vec<u8>> {
        pem::certificates(&self.pem).collect()
    }
}

impl Hash for CaBundle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

/// A client certificate and its private key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The certificate and its intermediates, PEM, leaf first.
    pub certificate: Vec<u8>,
    /// The private key, PEM (PKCS#8, PKCS#1 or SEC1).
    pub key: Secret,
}

impl Identity {
    /// Returns the certificates, DER, leaf first: those that Go's `tls.X509KeyPair` finds.
    pub fn chain(&self) -> Vec<Vec<u8>> {
        let certificates = pem::decode(&self.certificate).filter(|block| block.label == b"CERTIFICATE");
        certificates.map(|block| block.der).collect()
    }

    /// Returns the private key that Go's `tls.X509KeyPair` finds: the first whose label ends so. The bytes and not the label
    /// tell its format. `None` if there is none, or it is encrypted.
    pub fn private_key(&self) -> Option<PrivateKeyDer<'static>> {
        let is_key = |label: &[u8]| label == b"PRIVATE KEY" || label.ends_with(b" PRIVATE KEY");
        let block = pem::decode(self.key.expose()).find(|block| is_key(block.label))?;
        PrivateKeyDer::try_from(block.der).ok()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

/// When to give up on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Time to connect and to finish the TLS handshake.
    pub connect: Duration,
    /// Time from the start of a request to the end of the reply, connecting included, unless the request has another.
    pub exchange: Duration,
    /// Bytes of a reply's body.
    pub body: usize,
}

impl Default for Limits {
    /// Five seconds, thirty seconds, 256 KiB: Vault itself gives up after ninety seconds, and the largest chain that
    /// cert-manager accepts is 95 kB, of which an answer contains the CA twice. Hundreds of replies may come at once, so
    /// the limit bounds the memory of the process.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            exchange: Duration::from_secs(30),
            body: 256 << 10,
        }
    }
}
