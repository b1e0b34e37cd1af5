//! The tables: the behavior of a server and the result of the driver.

pub(super) mod answers;
pub(super) mod certificates;
pub(super) mod connections;

use std::time::Duration;

use issuer_core::{Connect, Origin, TlsError, TransportError};
use rustls::version::{TLS12, TLS13};

use crate::server::ServerStep::{Read, Send};
use crate::server::{ServerStep, Shown, Speaks};

pub(super) const TLS: Speaks = Speaks::Tls {
    versions: &[&TLS13, &TLS12],
    shows: Shown::Good,
    client_auth: false,
};

pub(super) const OK: ServerStep = Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
pub(super) const FINE: Expected = Ok((200, "{}"));
pub(super) const SOON: Duration = Duration::from_millis(200);

pub(super) type Expected = Result<(u16, &'static str), TransportError>;

pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) server: Speaks,
    pub(super) scripts: &'static [&'static [ServerStep]],
    pub(super) client: fn(&mut Connect),
    pub(super) events: &'static [Event],
    /// The number of requests that the server has read.
    pub(super) seen: usize,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Event {
    /// The client sends a request, with this result.
    Call(Expected),
    /// A connection ends on the server's side.
    Ended,
    /// The server is released.
    Proceed,
}

/// One request, answered over TLS.
pub(super) const CASE: Case = Case {
    name: "answered",
    server: TLS,
    scripts: &[&[Read, OK]],
    client: |_| (),
    events: &[Event::Call(FINE)],
    seen: 1,
};

pub(super) const fn tls(error: TlsError) -> Expected {
    Err(TransportError::Tls(error))
}

pub(super) fn plain(connect: &mut Connect) {
    connect.origin = origin("http", "127.0.0.1", connect.origin.port());
}

pub(super) fn origin(scheme: &str, host: &str, port: u16) -> Origin {
    Origin::parse(&format!("{scheme}://{host}:{port}")).unwrap()
}
