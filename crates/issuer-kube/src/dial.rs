//! Connections by TCP, through a proxy where there is one.

use issuer_core::{Connect, ConnectError, ConnectReply, Origin, Proxy, ProxyError, TransportError};
use issuer_tls::{connect_error, proxy_error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

/// Connects to the server, or to the proxy and has it connect to the server.
pub(crate) async fn dial(connect: &Connect, deadline: Instant) -> Result<TcpStream, TransportError> {
    let mut stream = tcp(connect, deadline)
        .await
        .map_err(|error| connect.unconnected(error))?;
    if let Some(proxy) = connect.proxy() {
        let tunnel = tunnel(&mut stream, proxy, &connect.origin);
        timeout_at(deadline, tunnel).await.map_err(|_| ProxyError::Timeout)??;
    }
    Ok(stream)
}

/// Connects to the first permitted address that answers; each but the last gets half of what time is left.
async fn tcp(connect: &Connect, deadline: Instant) -> Result<TcpStream, ConnectError> {
    let (host, port) = connect.peer();
    let host = host.trim_matches(['[', ']']);
    let found = timeout_at(deadline, lookup_host((host, port))).await;
    let found = found
        .map_err(|_| ConnectError::Timeout)?
        .map_err(|_| ConnectError::Dns)?;
    let mut last = ConnectError::Dns;
    let mut addresses = found
        .filter(|address| {
            let permitted = connect.permits(address.ip());
            if !permitted {
                last = ConnectError::NotAllowed;
            }
            permitted
        })
        .collect::<Vec<_>>()
        .into_iter()
        .peekable();
    while let Some(address) = addresses.next() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = if addresses.peek().is_some() { left / 2 } else { left };
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Only costs some latency where it fails.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = connect_error(&error),
            Err(_) => last = ConnectError::Timeout,
        }
    }
    Err(last)
}

/// Has a proxy connect to a server.
async fn tunnel(stream: &mut TcpStream, proxy: &Proxy, server: &Origin) -> Result<(), ProxyError> {
    let failed = |error| proxy_error(&error);
    stream.write_all(proxy.request(server).expose()).await.map_err(failed)?;
    let mut reply = ConnectReply::default();
    let mut bytes = [0; 512];
    loop {
        let count = stream.read(&mut bytes).await.map_err(failed)?;
        if let Some(connected) = reply.take(bytes.get(..count).unwrap_or_default()) {
            return connected;
        }
    }
}
