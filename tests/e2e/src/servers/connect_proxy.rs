//! An HTTP proxy on loopback that forwards connections with CONNECT, and no requests.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

use super::acceptor::Acceptor;

/// The reaction of a proxy to a CONNECT request.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    /// Connects to the target, whatever name it is asked for.
    Connects,
    /// Connects only if it is given this value of `Proxy-Authorization`.
    Demands(&'static str),
    /// Answers with this status line.
    Refuses(&'static str),
}

/// The heads of requests.
type Heads = Arc<Mutex<Vec<String>>>;

/// Forwards connections to a port on loopback until it is dropped.
pub(crate) struct ConnectProxy {
    acceptor: Acceptor,
    heads: Heads,
}

impl ConnectProxy {
    /// Listens on a free port and forwards connections to `target`.
    pub(crate) async fn start(target: u16, answer: Answer) -> anyhow::Result<Self> {
        let heads = Heads::default();
        let seen = Arc::clone(&heads);
        let serve = move |client| serve(client, target, answer, Arc::clone(&seen));
        Ok(Self {
            acceptor: Acceptor::start(serve).await?,
            heads,
        })
    }

    /// Returns its host and port.
    pub(crate) fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.acceptor.port())
    }

    /// Returns the heads of all requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(mut client: TcpStream, target: u16, answer: Answer, heads: Heads) -> anyhow::Result<()> {
    let head = head(&mut client).await?;
    heads.lock().unwrap_or_else(PoisonError::into_inner).push(head.clone());
    let refusal = match answer {
        _ if !head.starts_with("CONNECT ") => Some("405 Method Not Allowed"),
        Answer::Refuses(status) => Some(status),
        Answer::Demands(value) if !head.contains(&format!("Proxy-Authorization: {value}\r\n")) => {
            Some("407 Proxy Authentication Required")
        }
        Answer::Connects | Answer::Demands(_) => None,
    };
    if let Some(status) = refusal {
        client
            .write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes())
            .await?;
        bail!("{status}");
    }
    let mut server = TcpStream::connect(("127.0.0.1", target)).await?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// Reads the head of a request, and not a byte more.
async fn head(client: &mut TcpStream) -> anyhow::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < 16 * 1024, "an endless head");
        head.push(client.read_u8().await?);
    }
    String::from_utf8(head).context("a head that is no text")
}
