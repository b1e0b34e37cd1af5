//! A server for plain HTTP, as a sidecar in the same pod would be: it forwards to Vault over TLS.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// Forwards connections to a TLS server on loopback until it is dropped.
pub(crate) struct PlainProxy {
    port: u16,
    accepting: JoinHandle<()>,
}

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
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let connector = connector.clone();
                // A failure closes the connection, which the client notices.
                tokio::spawn(async move { drop(forward(client, target, &connector).await) });
            }
        });
        Ok(Self { port, accepting })
    }

    /// Returns the port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for PlainProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward(mut client: TcpStream, target: u16, connector: &TlsConnector) -> anyhow::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", target)).await?;
    let name = ServerName::try_from("127.0.0.1")?;
    let mut server = connector.connect(name, server).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
