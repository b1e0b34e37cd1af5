use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Time for a client to send the head of its request.
const HEADER: Duration = Duration::from_secs(5);

/// Time for a connection as a whole, which serves one request.
const CONNECTION: Duration = Duration::from_secs(15);

/// Connections at once; further ones wait.
const CONNECTIONS: usize = 32;

/// The most that the head of a request may take, in bytes.
const HEAD: usize = 16 << 10;

/// What a page holds: its media type and its text.
pub(crate) type Page = Arc<dyn Fn() -> (&'static str, String) + Send + Sync>;

/// A server of pages, each for GET only.
pub(crate) struct Server {
    listener: TcpListener,
    pages: Arc<[(&'static str, Page)]>,
}

/// Listens on `address`, for pages by path.
pub(crate) async fn serve(address: SocketAddr, pages: Vec<(&'static str, Page)>) -> anyhow::Result<Server> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    Ok(Server {
        listener,
        pages: pages.into(),
    })
}

impl Server {
    /// Serves for ever.
    pub(crate) async fn run(self) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS));
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            let Ok((stream, _)) = self.listener.accept().await else {
                // Out of file descriptors, or the client has gone: the next may do better.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let pages = Arc::clone(&self.pages);
            tokio::spawn(async move {
                // What goes wrong here is the client's affair.
                let _ = tokio::time::timeout(CONNECTION, connection(stream, &pages)).await;
                drop(slot);
            });
        }
    }
}

async fn connection(stream: TcpStream, pages: &[(&str, Page)]) -> hyper::Result<()> {
    let service = service_fn(|request| {
        let reply = reply(pages, &request);
        async { Ok::<_, Infallible>(reply) }
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
    if request.method() != Method::GET {
        let mut reply = empty(StatusCode::METHOD_NOT_ALLOWED);
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        return reply;
    }
    let (kind, text) = page();
    let mut reply = Response::new(Full::from(text));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
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
        let page: Page = Arc::new(|| ("text/plain", "ok".to_owned()));
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
    async fn pages_are_for_get_only() {
        let address = server().await;
        for (request, status, end) in [
            ("GET /healthz", "200 ok", "\r\n\r\nok"),
            ("GET /healthz?verbose", "200 ok", "\r\n\r\nok"),
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
