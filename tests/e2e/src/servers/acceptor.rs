//! A TCP server on loopback, which the test servers have in common.

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Accepts connections on a free port of the loopback interface until it is dropped.
pub(crate) struct Acceptor {
    port: u16,
    accepting: JoinHandle<()>,
}

impl Acceptor {
    /// Starts to accept, and serves each connection in a task of its own. A failure closes the connection, which its client
    /// notices.
    pub(crate) async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> anyhow::Result<Self>
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let served = serve(client);
                tokio::spawn(async move { drop(served.await) });
            }
        });
        Ok(Self { port, accepting })
    }

    /// Returns the port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
