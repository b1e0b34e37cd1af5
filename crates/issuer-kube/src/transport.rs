//! The transport to Vault: hyper's HTTP/1.1 connections, and a pool of those that are idle.
//!
//! Connections have no task of their own. The future of a request polls its connection, so errors reach the caller, and
//! dropping the future closes the connection. The pooled client of hyper-util does not serve: it spawns a task for each
//! connection, which outlives a request that is dropped.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderValue, USER_AGENT};
use http_body_util::Full;
use issuer_core::{Body, Connect, DialError, Flow, Now, Reply, Request, Step, TransportError};
use issuer_tls::{Cache, IDLE, IDLE_MAX, USER_AGENT as AGENT, client_config, now, server_name};
use rustls::pki_types::ServerName;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::dial::dial;
use crate::link::Link;
use crate::resolve::Resolver;
use crate::room::{Room, Rooms, Slot};

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
    resolver: Resolver,
    rooms: Arc<Rooms>,
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
        self.call_for("", request).await
    }

    /// Sends a request like [`call`](Self::call), for a tenant: the names that are looked up for one and the connections that
    /// are kept for one are bounded, so that no tenant takes those of others.
    ///
    /// # Errors
    ///
    /// As for `call`.
    pub async fn call_for(&self, tenant: &str, request: Request) -> Reply {
        let connect = Arc::clone(&request.connect);
        let pool = self.pools.entry(&connect, || Pool::new(&connect, &self.resolver))?;
        let room = self.rooms.of(tenant);
        let body_limit = request.body_limit();
        let (timeout, request) = (request.timeout, wire(request.http));
        pool.call(&connect, (request, body_limit), timeout, &room).await
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
    idle: Mutex<Vec<Idle>>,
    resolver: Resolver,
}

/// A connection that is not used, in the room of the tenant that used it last.
struct Idle {
    since: Instant,
    link: Link,
    _slot: Slot,
}

impl Pool {
    fn new(connect: &Connect, resolver: &Resolver) -> Result<Self, DialError> {
        let tls = if connect.origin.is_tls() {
            Some((client_config(connect)?.into(), server_name(connect)?))
        } else {
            None
        };
        Ok(Self {
            tls,
            idle: Mutex::default(),
            resolver: resolver.clone(),
        })
    }

    async fn call(
        &self,
        connect: &Connect,
        (request, body_limit): (Outgoing, usize),
        timeout: Duration,
        room: &Arc<Room>,
    ) -> Reply {
        let limits = connect.limits;
        let start = Instant::now();
        let deadline = start + timeout;
        let link = match self.take() {
            Some(link) => link,
            None => {
                let deadline = deadline.min(start + limits.connect);
                self.dial(connect, deadline, room).await?
            }
        };
        let exchange = link.exchange(request, body_limit);
        let (response, link) = timeout_at(deadline, exchange)
            .await
            .map_err(|_| TransportError::Timeout)??;
        self.keep(link, room);
        Ok(response)
    }

    fn take(&self) -> Option<Link> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = idle.partition_point(|idle| idle.since.elapsed() >= IDLE);
        drop(idle.drain(..stale));
        // To look at a connection takes a system call, so only one that is about to be used is looked at.
        while let Some(Idle { link, .. }) = idle.pop() {
            if link.is_young() && link.is_open() {
                return Some(link);
            }
        }
        None
    }

    fn keep(&self, link: Option<Link>, room: &Arc<Room>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = link
            && idle.len() < IDLE_MAX
            && link.is_young()
            && let Some(slot) = room.idle()
        {
            let since = Instant::now();
            idle.push(Idle {
                since,
                link,
                _slot: slot,
            });
        }
    }

    async fn dial(&self, connect: &Connect, deadline: Instant, room: &Arc<Room>) -> Result<Link, TransportError> {
        let tcp = dial(connect, deadline, &self.resolver, room).await?;
        Link::new(tcp, self.tls.as_ref(), deadline).await
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use issuer_core::Operation;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::{Barrier, Semaphore};

    use super::*;
    use crate::fixture::connect;

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
    async fn tenant_keeps_connections_within_its_room() {
        let (port, accepted) = server(2).await;
        let connect = connect(port);
        let pool = Pool::new(&connect, &Resolver::default()).unwrap();
        let of_all = Arc::new(Semaphore::new(9));
        let room = Arc::new(Room::new(1, 1, &of_all));
        for connections in [2, 3, 4] {
            let call = || {
                let request = (wire(health(&connect).http), 1 << 10);
                pool.call(&connect, request, Duration::from_secs(60), &room)
            };
            let (one, other) = tokio::join!(call(), call());
            assert!(one.is_ok() && other.is_ok());
            assert_eq!(accepted.load(Ordering::SeqCst), connections);
        }
        // Another tenant that reaches the server in the same way takes what is kept.
        let others = Arc::new(Room::new(1, 2, &of_all));
        let call = || {
            pool.call(
                &connect,
                (wire(health(&connect).http), 1 << 10),
                Duration::from_secs(60),
                &others,
            )
        };
        for _ in 0..3 {
            let (one, other) = tokio::join!(call(), call());
            assert!(one.is_ok() && other.is_ok());
        }
        assert_eq!(accepted.load(Ordering::SeqCst), 5);
    }

    /// A server must not keep the process busy for as long as a signature may take.
    #[tokio::test]
    async fn endless_interim_replies_are_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n".repeat(100);
            while stream.write_all(&interim).await.is_ok() {}
        });
        let connect = connect(port);
        let reply = tokio::time::timeout(Duration::from_secs(20), async {
            Transport::new().call(health(&connect)).await
        });
        assert_eq!(reply.await.unwrap().err(), Some(TransportError::NotHttp));
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
