//! The transport to Vault: hyper's HTTP/1.1 connections, and a pool of those that are idle.
//!
//! Connections have no task of their own. The future of a request polls its connection, so errors reach the caller, and
//! dropping the future closes the connection. The pooled client of hyper-util does not serve: it spawns a task for each
//! connection, which outlives a request that is dropped.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use http::header::{CONTENT_LENGTH, HOST, HeaderValue, USER_AGENT};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use issuer_core::{Body, Connect, ConnectError, DialError, Flow, Now, Reply, Request, Step, TransportError};
use issuer_tls::{
    Cache, HEAD_MAX, IDLE, IDLE_MAX, USER_AGENT as AGENT, body_buffer, client_config, defer_write_error,
    exchange_error, handshake_error, now, server_name,
};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::dial::dial;

/// How long a connection is used at most, so that a changed address of the server is followed.
const AGE_MAX: Duration = Duration::from_secs(300);

/// Sends requests to Vault for all the tasks of a process; clones share their connections.
///
/// It makes no decisions: it neither retries nor follows redirects nor reads the environment. A connection is reused
/// only if a probe right before finds it open, and a request that has met a broken one is not sent again.
///
/// # Examples
///
/// Signs a certificate with the access that a check has returned:
///
/// ```
/// use issuer_core::access::Access;
/// use issuer_core::vault::{Sign, SignError};
/// use issuer_core::{SigningRequest, Verified};
/// use issuer_kube::Transport;
///
/// async fn sign(transport: &Transport, access: &Access, request: SigningRequest) -> Result<Verified, SignError> {
///     let Access { vault, path, lease, .. } = access;
///     let step = Sign::begin(vault, path, lease, request, issuer_tls::signatures());
///     transport.drive(step).await
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Transport {
    pools: Arc<Cache<Pool>>,
}

impl Transport {
    /// Creates a transport without connections.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends a request once and waits for the complete reply, within its timeout and the limits of its `connect`.
    ///
    /// Dropping the future closes the connection.
    ///
    /// # Errors
    ///
    /// [`TransportError`] if there is no complete reply; a reply may have any HTTP status.
    pub async fn call(&self, request: Request) -> Reply {
        let connect = Arc::clone(&request.connect);
        let pool = self.pools.entry(&connect, || Pool::new(&connect))?;
        let body_limit = request.body_limit();
        pool.call(&connect, (wire(request.http), body_limit), request.timeout)
            .await
    }

    /// Drives a conversation to its end.
    pub async fn drive<F: Flow>(&self, mut step: Step<F>) -> F::Output {
        loop {
            match step {
                Step::Send(request, flow) => {
                    let reply = self.call(request).await;
                    step = flow.resume(Self::now(), reply);
                }
                Step::Done(output) => return output,
            }
        }
    }

    /// Samples the clocks; the monotonic one starts with the process's first sample.
    pub fn now() -> Now {
        now()
    }

    /// Returns a seed that differs from process to process.
    pub(crate) fn seed() -> u64 {
        u64::try_from(Self::now().unix.as_nanos() & u128::from(u64::MAX)).unwrap_or_default()
    }
}

type Outgoing = http::Request<Full<Bytes>>;

/// A body on its way out, wiped once it is sent.
struct Owned(Body);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

fn wire(request: http::Request<Body>) -> Outgoing {
    let (mut parts, body) = request.into_parts();
    let host = parts.uri.authority().map(|authority| authority.as_str());
    if let Some(host) = host.and_then(|host| HeaderValue::from_str(host).ok()) {
        parts.headers.insert(HOST, host);
    }
    if let Some(path) = parts.uri.path_and_query() {
        parts.uri = path.clone().into();
    }
    let agent = HeaderValue::from_static(AGENT);
    parts.headers.insert(USER_AGENT, agent);
    if !parts.method.is_safe() {
        parts.headers.insert(CONTENT_LENGTH, body.as_bytes().len().into());
    }
    http::Request::from_parts(parts, Full::new(Bytes::from_owner(Owned(body))))
}

/// The idle connections to one server, the last used last, and the TLS configuration for new ones.
struct Pool {
    tls: Option<(TlsConnector, ServerName<'static>)>,
    idle: Mutex<Vec<(Instant, Link)>>,
}

impl Pool {
    fn new(connect: &Connect) -> Result<Self, DialError> {
        let tls = if connect.origin.is_tls() {
            Some((client_config(connect)?.into(), server_name(connect)?))
        } else {
            None
        };
        Ok(Self {
            tls,
            idle: Mutex::default(),
        })
    }

    async fn call(&self, connect: &Connect, (request, body_limit): (Outgoing, usize), timeout: Duration) -> Reply {
        let limits = connect.limits;
        let start = Instant::now();
        let deadline = start + timeout;
        let link = match self.take() {
            Some(link) => link,
            None => self.dial(connect, deadline.min(start + limits.connect)).await?,
        };
        let exchange = link.exchange(request, body_limit);
        let (response, link) = timeout_at(deadline, exchange)
            .await
            .map_err(|_| TransportError::Timeout)??;
        self.keep(link);
        Ok(response)
    }

    fn take(&self) -> Option<Link> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = idle.partition_point(|(since, _)| since.elapsed() >= IDLE);
        drop(idle.drain(..stale));
        // To look at a connection takes a system call, so only one that is about to be used is looked at.
        while let Some((_, link)) = idle.pop() {
            if link.is_young() && link.is_open() {
                return Some(link);
            }
        }
        None
    }

    fn keep(&self, link: Option<Link>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = link
            && idle.len() < IDLE_MAX
            && link.is_young()
        {
            idle.push((Instant::now(), link));
        }
    }

    async fn dial(&self, connect: &Connect, deadline: Instant) -> Result<Link, TransportError> {
        let tcp = dial(connect, deadline).await?;
        let (tcp, probe) = twice(tcp).map_err(|_| ConnectError::Unreachable)?;
        let stream: Box<dyn Stream> = match &self.tls {
            Some((tls, name)) => {
                let shaken = timeout_at(deadline, tls.connect(name.clone(), DeferWriteErrors(tcp))).await;
                let shaken = shaken.map_err(|_| ConnectError::Timeout)?;
                Box::new(shaken.map_err(|error| handshake_error(&error))?)
            }
            None => Box::new(tcp),
        };
        let mut http = http1::Builder::new();
        http.max_buf_size(HEAD_MAX);
        let hands = http.handshake(TokioIo::new(stream)).await;
        let (sender, connection) = hands.map_err(|_| TransportError::Reset)?;
        Ok(Link {
            sender,
            connection,
            probe,
            since: Instant::now(),
            first: true,
        })
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool")
    }
}

/// Returns the connection, and a second handle to look at it without the runtime.
fn twice(tcp: TcpStream) -> io::Result<(TcpStream, std::net::TcpStream)> {
    let tcp = tcp.into_std()?;
    let probe = tcp.try_clone()?;
    Ok((TcpStream::from_std(tcp)?, probe))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection whose write errors are left to reading; see [`defer_write_error`].
struct DeferWriteErrors(TcpStream);

impl AsyncRead for DeferWriteErrors {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, bytes)
    }
}

impl AsyncWrite for DeferWriteErrors {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.0).poll_write(cx, bytes);
        written.map(|written| defer_write_error(written, bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A connection; `first` until the server has answered on it.
struct Link {
    sender: SendRequest<Full<Bytes>>,
    connection: Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>,
    probe: std::net::TcpStream,
    since: Instant,
    first: bool,
}

impl Link {
    /// Returns `true` if the connection may be used once more.
    fn is_young(&self) -> bool {
        self.since.elapsed() < AGE_MAX
    }

    /// Returns `true` if the server has neither closed the idle connection nor sent anything on it.
    fn is_open(&self) -> bool {
        self.probe
            .peek(&mut [0])
            .is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Sends a request and returns the reply, and the connection if it can be used again.
    async fn exchange(
        self,
        request: Outgoing,
        limit: usize,
    ) -> Result<(http::Response<Body>, Option<Self>), TransportError> {
        let Self {
            mut sender,
            connection,
            probe,
            since,
            first,
        } = self;
        let (reply, connection) = {
            let reply = pin!(async {
                let response = sender.send_request(request).await;
                read(response.map_err(|error| transport_error(&error, first))?, limit).await
            });
            match select(reply, connection).await {
                Either::Left((reply, connection)) => (reply?, connection),
                Either::Right((_, reply)) => return Ok((reply.await?, None)),
            }
        };
        let link = Self {
            sender,
            connection,
            probe,
            since,
            first: false,
        };
        Ok((reply, link.idle().await))
    }

    /// Returns the connection if it is ready for another request.
    async fn idle(mut self) -> Option<Self> {
        let open = poll_fn(|cx| Poll::Ready(Pin::new(&mut self.connection).poll(cx).is_pending()));
        (open.await && self.sender.is_ready()).then_some(self)
    }
}

async fn read(response: http::Response<Incoming>, limit: usize) -> Reply {
    let (parts, mut incoming) = response.into_parts();
    let mut bytes = body_buffer(incoming.size_hint().exact(), limit)?;
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| transport_error(&error, false))?;
        let data = frame.into_data().unwrap_or_default();
        if data.len() > limit - bytes.len() {
            return Err(TransportError::TooLarge);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(http::Response::from_parts(parts, bytes.into()))
}

fn transport_error(error: &hyper::Error, first: bool) -> TransportError {
    match io_cause(error) {
        _ if error.is_parse() => TransportError::NotHttp,
        Some(cause) if is_decoding(cause) => TransportError::NotHttp,
        Some(cause) => exchange_error(cause, first),
        // The server has sent something before it was asked.
        None if error.source().is_some_and(|cause| cause.is::<hyper::Error>()) => TransportError::NotHttp,
        None => TransportError::Reset,
    }
}

/// Returns `true` if hyper could not decode a body.
fn is_decoding(error: &io::Error) -> bool {
    let is_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput) && !is_tls
}

fn io_cause(error: &hyper::Error) -> Option<&io::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use issuer_core::target::AllowedServers;
    use issuer_core::{Limits, Operation, Origin, Roots};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::Barrier;

    use super::*;

    /// Serves connections, each of which answers a request once `together` of them have one; counts the connections.
    async fn server(together: usize) -> (u16, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepted = Arc::<AtomicUsize>::default();
        let (count, barrier) = (Arc::clone(&accepted), Arc::new(Barrier::new(together)));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let barrier = Arc::clone(&barrier);
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while let Ok(byte) = stream.read_u8().await {
                        head.push(byte);
                        if head.ends_with(b"\r\n\r\n") {
                            head.clear();
                            barrier.wait().await;
                            stream.write_all(b"HTTP/1.1 204 X\r\n\r\n").await.unwrap();
                        }
                    }
                });
            }
        });
        (port, accepted)
    }

    fn connect(port: u16) -> Arc<Connect> {
        Arc::new(Connect {
            origin: Origin::parse(&format!("http://127.0.0.1:{port}")).unwrap(),
            allowed_servers: AllowedServers::All,
            proxy: None,
            server_name: None,
            roots: Roots::System,
            identity: None,
            limits: Limits::default(),
        })
    }

    fn health(connect: &Arc<Connect>) -> Request {
        let http = http::Request::get(format!("{}/v1/sys/health", connect.origin)).body(Body::default());
        Request {
            connect: Arc::clone(connect),
            operation: Operation::Health,
            timeout: Duration::from_secs(60),
            http: http.unwrap(),
        }
    }

    #[tokio::test]
    async fn each_exchange_of_a_burst_keeps_its_connection() {
        const TOGETHER: usize = 40;
        let (port, accepted) = server(TOGETHER).await;
        let (transport, connect) = (Transport::new(), connect(port));
        for _ in 0..3 {
            let calls = (0..TOGETHER).map(|_| transport.call(health(&connect)));
            let replies = futures::future::join_all(calls).await;
            assert!(replies.into_iter().all(|reply| reply.is_ok()));
        }
        assert_eq!(accepted.load(Ordering::SeqCst), TOGETHER);
    }

    #[tokio::test]
    async fn connections_outlive_checks_but_grow_old() {
        let (port, accepted) = server(1).await;
        let (transport, connect) = (Transport::new(), connect(port));
        // The longest check interval by default; idle for almost too long; in use until it is too old; idle for too
        // long.
        for (passed, connections) in [(0, 1), (66, 1), (119, 1), (110, 1), (10, 2), (66, 2), (121, 3)] {
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(passed)).await;
            tokio::time::resume();
            transport.call(health(&connect)).await.unwrap();
            assert_eq!(accepted.load(Ordering::SeqCst), connections, "{passed} s later");
        }
    }
}
