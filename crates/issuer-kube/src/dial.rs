//! Connections by TCP, through a proxy where there is one.

use std::net::IpAddr;
use std::sync::Arc;

use issuer_core::{Connect, ConnectError, ConnectReply, Origin, Proxy, ProxyError, TransportError};
use issuer_tls::{connect_error, proxy_error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::resolve::Resolver;
use crate::room::Room;

/// Connects to the server, or to the proxy and has it connect to the server. The name is looked up with the room of a tenant.
pub(crate) async fn dial(
    connect: &Connect,
    deadline: Instant,
    resolver: &Resolver,
    room: &Arc<Room>,
) -> Result<TcpStream, TransportError> {
    let (host, _) = connect.peer();
    let found = timeout_at(deadline, resolver.resolve(host.trim_matches(['[', ']']), room)).await;
    let found = found.map_err(|_| connect.unconnected(ConnectError::Timeout))?;
    let mut stream = tcp(connect, found.as_deref().unwrap_or_default(), deadline)
        .await
        .map_err(|error| connect.unconnected(error))?;
    if let Some(proxy) = connect.proxy() {
        let tunnel = tunnel(&mut stream, proxy, &connect.origin);
        timeout_at(deadline, tunnel).await.map_err(|_| ProxyError::Timeout)??;
    }
    Ok(stream)
}

/// Connects to the first permitted address that answers; each but the last gets half of what time is left.
async fn tcp(connect: &Connect, found: &[IpAddr], deadline: Instant) -> Result<TcpStream, ConnectError> {
    let (_, port) = connect.peer();
    let mut last = ConnectError::Dns;
    let mut addresses = found
        .iter()
        .filter(|address| {
            let permitted = connect.permits(**address);
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
        match tokio::time::timeout(share, TcpStream::connect((*address, port))).await {
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
