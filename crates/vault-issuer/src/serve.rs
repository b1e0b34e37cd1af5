//! Serves metrics and probes over HTTP: hyper directly, since five fixed paths need no router, and a framework brings no
//! limits for silent clients.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::{AbortHandle, spawn_blocking};

/// Time for a client to send the head of its request.
const HEADER: Duration = Duration::from_secs(1);

/// Time for a connection as a whole, which serves one request.
const CONNECTION: Duration = Duration::from_secs(10);

/// Connections at once. A further one takes the place of the oldest, which is most likely silent: so clients that connect
/// and send nothing cannot keep a probe out.
const CONNECTIONS: usize = 64;

/// The largest head of a request, in bytes.
const HEAD: usize = 16 << 10;

/// The content of a page.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) status: StatusCode,
    pub(crate) media_type: &'static str,
    pub(crate) text: String,
}

/// The parts of a request that a page may depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// The header `Accept`.
    pub(crate) accept: &'a str,
    /// The query of the URL.
    query: &'a str,
}

impl<'a> Asked<'a> {
    fn of<B>(request: &'a Request<B>) -> Self {
        let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
        Self {
            accept: accept.unwrap_or_default(),
            query: request.uri().query().unwrap_or_default(),
        }
    }

    /// Returns `true` if the query asks for details.
    pub(crate) fn is_verbose(self) -> bool {
        let mut parts = self.query.split('&');
        parts.any(|part| part.split('=').next() == Some("verbose"))
    }
}

/// Makes the content of a page when it is asked for.
pub(crate) type Page = Arc<dyn Fn(Asked<'_>) -> Content + Send + Sync>;

type Pages = Arc<[(&'static str, Page)]>;

/// A server of pages, each for GET and HEAD.
pub(crate) struct Server {
    listener: TcpListener,
    pages: Pages,
    /// The turn to make a page, if that may take long.
    turn: Option<Arc<Mutex<()>>>,
}

/// Listens on `address`, for pages by path.
pub(crate) async fn serve(address: SocketAddr, pages: Vec<(&'static str, Page)>) -> anyhow::Result<Server> {
    let listener = listen(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    Ok(Server {
        listener,
        pages: pages.into(),
        turn: None,
    })
}

/// Listens on `address`; where IPv6 is switched off, `[::]` means all IPv4 addresses.
async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let refused = match TcpListener::bind(address).await {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED => error,
        bound => return bound,
    };
    match refused.kind() {
        ErrorKind::AddrInUse | ErrorKind::PermissionDenied => Err(refused),
        _ => TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await,
    }
}

impl Server {
    /// Makes its pages on a thread of their own, one at a time: with thousands of issuers that takes longer than the other
    /// tasks may wait.
    pub(crate) fn off_thread(self) -> Self {
        let turn = Some(Arc::default());
        Self { turn, ..self }
    }

    /// Serves until it is dropped.
    pub(crate) async fn run(self) {
        let mut connections: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                // Out of file descriptors, or the client has gone: the next may do better.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            connections.retain(|connection| !connection.is_finished());
            if connections.len() == CONNECTIONS
                && let Some(oldest) = connections.pop_front()
            {
                oldest.abort();
            }
            let (pages, turn) = (Arc::clone(&self.pages), self.turn.clone());
            let task = tokio::spawn(async move {
                // A failure concerns the client alone.
                let _ = tokio::time::timeout(CONNECTION, connection(stream, pages, turn)).await;
            });
            connections.push_back(task.abort_handle());
        }
    }
}

async fn connection(stream: TcpStream, pages: Pages, turn: Option<Arc<Mutex<()>>>) -> hyper::Result<()> {
    let service = service_fn(|request| {
        let (pages, turn) = (Arc::clone(&pages), turn.clone());
        async move {
            let Some(turn) = turn else {
                return Ok(reply(&pages, &request));
            };
            // Kept to the end of the page, even if the client has gone.
            let turn = turn.lock_owned().await;
            let made = spawn_blocking(move || {
                let reply = reply(&pages, &request);
                drop(turn);
                reply
            });
            Ok::<_, Infallible>(made.await.unwrap_or_else(|_| empty(StatusCode::INTERNAL_SERVER_ERROR)))
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .keep_alive(false)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

fn reply<B>(pages: &[(&str, Page)], request: &Request<B>) -> Response<Full<Bytes>> {
    let Some((_, page)) = pages.iter().find(|(path, _)| *path == request.uri().path()) else {
        return empty(StatusCode::NOT_FOUND);
    };
    // hyper leaves the body of a reply to HEAD out.
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut reply = empty(StatusCode::METHOD_NOT_ALLOWED);
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return reply;
    }
    let Content {
        status,
        media_type,
        text,
    } = page(Asked::of(request));
    let mut reply = Response::new(Full::from(text));
    *reply.status_mut() = status;
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    reply
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = status;
    reply
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn server() -> SocketAddr {
        let page: Page = Arc::new(|asked| Content {
            status: StatusCode::OK,
            media_type: "text/plain",
            text: if asked.is_verbose() { "in full" } else { "ok" }.to_owned(),
        });
        let server = serve(([127, 0, 0, 1], 0).into(), vec![("/healthz", page)])
            .await
            .unwrap();
        let address = server.listener.local_addr().unwrap();
        tokio::spawn(server.run());
        address
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        // The server may close while the rest of the request is on its way.
        let _ = stream.read_to_end(&mut reply).await;
        String::from_utf8(reply).unwrap().to_lowercase()
    }

    #[tokio::test]
    async fn slow_page_delays_no_other_server() {
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let (end, ends) = std::sync::mpsc::channel();
        let ends = std::sync::Mutex::new(ends);
        let slow: Page = Arc::new(move |_| {
            begun.send(()).unwrap();
            Content {
                status: StatusCode::OK,
                media_type: "text/plain",
                text: ends.lock().unwrap().recv().unwrap(),
            }
        });
        let pages = vec![("/metrics", slow)];
        let slow = serve(([127, 0, 0, 1], 0).into(), pages).await.unwrap().off_thread();
        let address = slow.listener.local_addr().unwrap();
        tokio::spawn(slow.run());
        let scrape = || tokio::spawn(ask(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"));
        let scrapes = [scrape(), scrape()];
        begins.recv().await.unwrap();
        let probe = ask(server().await, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(probe.ends_with("\r\n\r\nok"), "{probe}");
        // The second waits for its turn.
        assert!(begins.try_recv().is_err());
        for _ in &scrapes {
            end.send("done".to_owned()).unwrap();
        }
        for scrape in scrapes {
            assert!(scrape.await.unwrap().ends_with("\r\n\r\ndone"));
        }
    }

    #[tokio::test]
    async fn pages_are_for_get_and_head() {
        let address = server().await;
        for (request, status, end) in [
            ("GET /healthz", "200 ok", "\r\n\r\nok"),
            ("GET /healthz?a&verbose=true", "200 ok", "\r\n\r\nin full"),
            ("HEAD /healthz", "200 ok", "\r\n\r\n"),
            ("GET /", "404 not found", "\r\n\r\n"),
            ("GET /healthz/", "404 not found", "\r\n\r\n"),
            ("POST /healthz", "405 method not allowed", "\r\n\r\n"),
        ] {
            let reply = ask(address, &format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
            assert!(
                reply.starts_with(&format!("http/1.1 {status}\r\n")),
                "{request}: {reply}"
            );
            assert!(reply.ends_with(end), "{request}: {reply}");
            assert!(reply.contains("connection: close"), "{reply}");
            assert_eq!(reply.contains("allow: get"), request.starts_with("POST"), "{reply}");
        }
    }

    #[tokio::test]
    async fn a_head_that_is_too_long_is_refused() {
        let address = server().await;
        let request = format!(
            "GET /healthz HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
            "x".repeat(2 * HEAD)
        );
        let reply = ask(address, &request).await;
        assert!(reply.is_empty() || reply.starts_with("http/1.1 431"), "{reply}");
    }

    #[tokio::test]
    async fn silent_clients_keep_no_one_out() {
        let address = server().await;
        let mut silent = Vec::new();
        for _ in 0..4 * CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
            if silent.len() % CONNECTIONS == 0 {
                let reply = ask(address, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
                assert!(reply.starts_with("http/1.1 200 ok"), "{} silent: {reply}", silent.len());
            }
        }
        let mut byte = [0];
        assert_eq!(silent[0].read(&mut byte).await.unwrap_or_default(), 0);
    }

    #[tokio::test]
    async fn all_addresses_include_ipv4() {
        let server = serve((Ipv6Addr::UNSPECIFIED, 0).into(), Vec::new()).await.unwrap();
        let port = server.listener.local_addr().unwrap().port();
        tokio::spawn(server.run());
        let reply = ask((Ipv4Addr::LOCALHOST, port).into(), "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(reply.starts_with("http/1.1 404 not found"), "{reply}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_dropped() {
        let address = server().await;
        assert!(!ask(address, "GET /healthz HTTP/1.1\r\n").await.contains("200 ok"));
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named() {
        let address = server().await;
        let error = serve(address, Vec::new()).await.err().unwrap();
        assert!(
            format!("{error:#}").starts_with(&format!("cannot listen on {address}: ")),
            "{error:#}"
        );
    }
}
