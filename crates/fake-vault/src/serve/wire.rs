//! Connections, and faults on them.

use std::fmt;
use std::net::TcpListener;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, StatusCode, Uri};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use issuer_core::Body;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::clock::Clock;
use crate::answer::Refusal;
use crate::call::PeerCertificate;
use crate::fault::Handled;
use crate::server::FakeVault;

/// The `max_request_size` of Vault's listener.
const MAX_REQUEST: usize = 32 << 20;

/// The time that connections have to finish their exchanges at the end.
const GRACE: Duration = Duration::from_millis(500);

/// The state that connections share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) fake: Arc<Mutex<FakeVault>>,
    pub(super) clock: Arc<Clock>,
    pub(super) acceptor: Option<TlsAcceptor>,
    /// Closed when the server stops.
    pub(super) stopped: watch::Receiver<()>,
}

/// Accepts connections until the server stops.
pub(super) async fn listen(listener: TcpListener, shared: Shared) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let mut stopped = shared.stopped.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(stream, shared.clone()));
                }
            }
        }
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    drop(tokio::time::timeout(GRACE, finished).await);
}

async fn connection(stream: TcpStream, shared: Shared) {
    drop(stream.set_nodelay(true));
    let Some(acceptor) = &shared.acceptor else {
        return drive(TokioIo::new(stream), None, shared).await;
    };
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let peer = certificates.and_then(|chain| chain.first());
    let peer = peer.map(|certificate| PeerCertificate(certificate.to_vec()));
    drive(TokioIo::new(stream), peer, shared).await;
}

async fn drive<I>(io: I, peer: Option<PeerCertificate>, shared: Shared)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    let mut stopped = shared.stopped.clone();
    let service = service_fn(|request| answer(request, peer.clone(), shared.clone()));
    let mut connection = pin!(http1::Builder::new().serve_connection(io, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    drop(ended);
}

/// Answers one request, or breaks the connection.
async fn answer(
    request: Request<Incoming>,
    peer: Option<PeerCertificate>,
    mut shared: Shared,
) -> Result<Response<Wire>, Broken> {
    let (mut parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_REQUEST).collect().await else {
        let error = "http: request body too large";
        return Ok(whole(
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error).into_response(),
        ));
    };
    parts.uri = absolute(&parts, shared.acceptor.is_some());
    let mut request = Request::from_parts(parts, Body::from(body.to_bytes().to_vec()));
    if let Some(peer) = peer {
        request.extensions_mut().insert(peer);
    }
    let handled = {
        let mut fake = shared.fake.lock().unwrap_or_else(PoisonError::into_inner);
        fake.exchange(shared.clock.now(), request)
    };
    match handled {
        Handled::Closed => Err(Broken),
        Handled::Cut(response, length) => Ok(cut(response, length)),
        Handled::Late(delay, response) => {
            drop(tokio::time::timeout(delay, shared.stopped.changed()).await);
            Ok(whole(response))
        }
        Handled::Reply(response) => Ok(whole(response)),
        Handled::Silent => {
            drop(shared.stopped.changed().await);
            Err(Broken)
        }
    }
}

/// Returns the absolute URL of a request.
fn absolute(parts: &http::request::Parts, is_tls: bool) -> Uri {
    let host = parts
        .headers
        .get(http::header::HOST)
        .and_then(|host| host.to_str().ok());
    let authority = host.and_then(|host| host.parse::<Authority>().ok());
    let mut absolute = parts.uri.clone().into_parts();
    absolute.scheme = Some(if is_tls { Scheme::HTTPS } else { Scheme::HTTP });
    absolute.authority = absolute.authority.or(authority);
    absolute.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    Uri::from_parts(absolute).unwrap_or_else(|_| parts.uri.clone())
}

fn whole(response: Response<Body>) -> Response<Wire> {
    let (parts, body) = response.into_parts();
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    let length = bytes.len();
    Response::from_parts(
        parts,
        Wire {
            bytes: Some(bytes),
            length,
            end: End::Proper,
        },
    )
}

/// Returns a reply that announces the whole body and sends only its beginning.
fn cut(response: Response<Body>, length: usize) -> Response<Wire> {
    let (parts, wire) = whole(response).into_parts();
    let kept = length.min(wire.length.saturating_sub(1));
    let bytes = wire.bytes.map(|bytes| bytes.slice(..kept));
    Response::from_parts(
        parts,
        Wire {
            bytes,
            end: End::Abrupt,
            ..wire
        },
    )
}

/// The body of a reply on the wire.
struct Wire {
    bytes: Option<Bytes>,
    /// The length that the reply announces.
    length: usize,
    end: End,
}

/// The end of a body.
enum End {
    /// With an error, after the sent bytes have been flushed.
    Abrupt,
    /// With an error, now.
    Error,
    Proper,
}

/// The connection is closed on purpose.
#[derive(Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closed on purpose")
    }
}

impl std::error::Error for Broken {}

impl http_body::Body for Wire {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        if let Some(bytes) = this.bytes.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match this.end {
            End::Abrupt => {
                // hyper flushes while a body is pending, and throws its buffer away when a body fails.
                this.end = End::Error;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            End::Error => Poll::Ready(Some(Err(Broken))),
            End::Proper => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.length).unwrap_or(u64::MAX))
    }
}
