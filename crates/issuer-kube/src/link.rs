//! One HTTP/1.1 connection to a server.

use std::error::Error;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use issuer_core::{Body, ConnectError, Reply, TransportError};
use issuer_tls::{HEAD_MAX, body_buffer, defer_write_error, exchange_error, handshake_error};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

/// How long a connection is used at most, so that a changed address of the server is followed.
const AGE_MAX: Duration = Duration::from_secs(300);

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

/// A connection that gives no more bytes than a reply may have: a server that sends interim replies without end would keep
/// the process busy until the request times out.
struct Metered {
    stream: Box<dyn Stream>,
    /// The bytes that may still be read.
    left: Arc<AtomicUsize>,
}

/// The bytes that a reply may take for each byte of its body: the chunks of a body have a length each.
const OVERHEAD: usize = 8;

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = bytes.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, bytes);
        let read = bytes.filled().len() - before;
        match self.left.load(Ordering::Relaxed).checked_sub(read) {
            Some(left) => self.left.store(left, Ordering::Relaxed),
            None => return Poll::Ready(Err(ErrorKind::InvalidData.into())),
        }
        polled
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// A connection; `first` until the server has answered on it.
pub(crate) struct Link {
    sender: SendRequest<Full<Bytes>>,
    connection: Connection<TokioIo<Metered>, Full<Bytes>>,
    left: Arc<AtomicUsize>,
    probe: std::net::TcpStream,
    since: Instant,
    first: bool,
}

impl Link {
    /// Makes a connection of one by TCP, with TLS if there is a configuration for that.
    pub(crate) async fn new(
        tcp: TcpStream,
        tls: Option<&(TlsConnector, ServerName<'static>)>,
        deadline: Instant,
    ) -> Result<Self, TransportError> {
        let (tcp, probe) = twice(tcp).map_err(|_| ConnectError::Unreachable)?;
        let stream: Box<dyn Stream> = match tls {
            Some((tls, name)) => {
                let shaken = timeout_at(deadline, tls.connect(name.clone(), DeferWriteErrors(tcp))).await;
                let shaken = shaken.map_err(|_| ConnectError::Timeout)?;
                Box::new(shaken.map_err(|error| handshake_error(&error))?)
            }
            None => Box::new(tcp),
        };
        let mut http = http1::Builder::new();
        http.max_buf_size(HEAD_MAX);
        let left = Arc::<AtomicUsize>::default();
        let metered = Metered {
            stream,
            left: Arc::clone(&left),
        };
        let hands = http.handshake(TokioIo::new(metered)).await;
        let (sender, connection) = hands.map_err(|_| TransportError::Reset)?;
        Ok(Self {
            sender,
            connection,
            left,
            probe,
            since: Instant::now(),
            first: true,
        })
    }

    /// Returns `true` if the connection may be used once more.
    pub(crate) fn is_young(&self) -> bool {
        self.since.elapsed() < AGE_MAX
    }

    /// Returns `true` if the server has neither closed the idle connection nor sent anything on it.
    pub(crate) fn is_open(&self) -> bool {
        self.probe
            .peek(&mut [0])
            .is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Sends a request and returns the reply, and the connection if it can be used again.
    pub(crate) async fn exchange(
        self,
        request: http::Request<Full<Bytes>>,
        limit: usize,
    ) -> Result<(http::Response<Body>, Option<Self>), TransportError> {
        let Self {
            mut sender,
            connection,
            left,
            probe,
            since,
            first,
        } = self;
        left.store(HEAD_MAX + OVERHEAD * limit, Ordering::Relaxed);
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
            left,
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
