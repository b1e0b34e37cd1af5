//! A TCP proxy on loopback that can hold requests or replies, to fail a server between the two.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::acceptor::Acceptor;

/// Forwards connections to a port on loopback until it is dropped.
pub(crate) struct Proxy {
    acceptor: Acceptor,
    rules: watch::Sender<Rules>,
    held: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, Default)]
struct Rules {
    /// Bytes from clients are held.
    hold_requests: bool,
    /// Bytes from the server are held.
    hold_replies: bool,
    /// The number of cuts so far; each breaks the connections that exist.
    cuts: usize,
}

impl Proxy {
    /// Listens on a free port and forwards connections to `target`.
    pub(crate) async fn start(target: u16) -> anyhow::Result<Self> {
        let (rules, seen) = watch::channel(Rules::default());
        let held = Arc::new(AtomicUsize::new(0));
        let counter = held.clone();
        let serve = move |client| connection(client, target, seen.clone(), counter.clone());
        Ok(Self {
            acceptor: Acceptor::start(serve).await?,
            rules,
            held,
        })
    }

    /// Returns the port.
    pub(crate) fn port(&self) -> u16 {
        self.acceptor.port()
    }

    /// Returns its URL, if the target is an HTTPS server.
    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port())
    }

    /// Holds the bytes from clients, or releases them.
    pub(crate) fn hold_requests(&self, hold: bool) {
        self.rules.send_modify(|rules| rules.hold_requests = hold);
    }

    /// Holds the bytes from the server, or releases them.
    pub(crate) fn hold_replies(&self, hold: bool) {
        self.rules.send_modify(|rules| rules.hold_replies = hold);
    }

    /// Breaks all connections; held bytes are lost.
    pub(crate) fn cut(&self) {
        self.rules.send_modify(|rules| rules.cuts += 1);
    }

    /// Returns the number of bytes from clients that have been held.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

async fn connection(
    client: TcpStream,
    target: u16,
    rules: watch::Receiver<Rules>,
    held: Arc<AtomicUsize>,
) -> anyhow::Result<()> {
    let mut cut = rules.clone();
    let cuts = rules.borrow().cuts;
    let server = TcpStream::connect(("127.0.0.1", target)).await?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let none = Arc::new(AtomicUsize::new(0));
    tokio::select! {
        // Bytes that are held when the connection is cut are lost, even if they are released at the same time.
        biased;
        _ = cut.wait_for(|rules| rules.cuts > cuts) => Ok(()),
        passed = pass(from_client, to_server, rules.clone(), |rules| rules.hold_requests, held) => passed,
        passed = pass(from_server, to_client, rules.clone(), |rules| rules.hold_replies, none) => passed,
    }
}

/// Forwards bytes until the sender closes, waiting while the rules hold them.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut rules: watch::Receiver<Rules>,
    holds: fn(&Rules) -> bool,
    held: Arc<AtomicUsize>,
) -> anyhow::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        if holds(&rules.borrow()) {
            held.fetch_add(length, Ordering::Relaxed);
        }
        rules.wait_for(|rules| !holds(rules)).await?;
        to.write_all(buffer.get(..length).context("a read of more than was asked for")?)
            .await?;
    }
}
