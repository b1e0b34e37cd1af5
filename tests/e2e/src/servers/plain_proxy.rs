//! A server for plain HTTP, as a sidecar in the same pod would be: it forwards to Vault over TLS.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::acceptor::Acceptor;

/// Forwards connections to a TLS server on loopback until it is dropped.
pub(crate) struct PlainProxy(Acceptor);

impl PlainProxy {
    /// Listens on a free port, and forwards to the port `target`, whose certificate is signed by `ca`.
    pub(crate) async fn start(target: u16, ca: &str) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let forward = move |client| forward(client, target, connector.clone());
        Ok(Self(Acceptor::start(forward).await?))
    }

    /// Returns the port.
    pub(crate) fn port(&self) -> u16 {
        self.0.port()
    }
}

async fn forward(mut client: TcpStream, target: u16, connector: TlsConnector) -> anyhow::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", target)).await?;
    let name = ServerName::try_from("127.0.0.1")?;
    let mut server = connector.connect(name, server).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
