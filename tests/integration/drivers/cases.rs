//! The table: the behaviour of a server and the result of the driver.

use std::time::Duration;

use issuer_core::{Connect, ConnectError, Origin, Roots, TlsError, TransportError};
use rustls::version::{TLS12, TLS13};

use crate::server::ServerStep::{Hang, Notify, Read, Send, Wait};
use crate::server::{PKI, ServerStep, Speaks};

pub(super) const TLS: Speaks = Speaks::Tls {
    versions: &[&TLS13, &TLS12],
    expired: false,
    client_auth: false,
};
const OLD: Speaks = Speaks::Tls {
    versions: &[&TLS12],
    expired: false,
    client_auth: false,
};
const NEW: Speaks = Speaks::Tls {
    versions: &[&TLS13],
    expired: false,
    client_auth: false,
};
const EXPIRED: Speaks = Speaks::Tls {
    versions: &[&TLS13, &TLS12],
    expired: true,
    client_auth: false,
};
const OLD_MUTUAL: Speaks = Speaks::Tls {
    versions: &[&TLS12],
    expired: false,
    client_auth: true,
};
const NEW_MUTUAL: Speaks = Speaks::Tls {
    versions: &[&TLS13],
    expired: false,
    client_auth: true,
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

use Event::{Call, Ended, Proceed};

/// One request, answered over TLS.
pub(super) const CASE: Case = Case {
    name: "answered",
    server: TLS,
    scripts: &[&[Read, OK]],
    client: |_| (),
    events: &[Call(FINE)],
    seen: 1,
};

pub(super) const fn tls(error: TlsError) -> Expected {
    Err(TransportError::Tls(error))
}

const fn unconnected(error: ConnectError) -> Expected {
    Err(TransportError::Connect(error))
}

pub(super) const ANSWERS: &[Case] = &[
    CASE,
    Case {
        name: "plain HTTP",
        server: Speaks::Plain,
        client: plain,
        ..CASE
    },
    Case {
        name: "every status, on one connection",
        scripts: &[&[
            Read,
            Send("HTTP/1.1 400 Bad Request\r\nContent-Length: 13\r\n\r\n{\"errors\":[]}"),
            Read,
            Send("HTTP/1.1 403 Forbidden\r\nContent-Length: 1\r\n\r\na"),
            Read,
            Send("HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nb"),
            Read,
            Send("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"),
            Read,
            Send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 1\r\n\r\nc"),
            Read,
            Send("HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1/\r\nContent-Length: 1\r\n\r\nd"),
            Read,
            Send("HTTP/1.1 307 Moved\r\nLocation: /v1/other\r\nContent-Length: 0\r\n\r\n"),
            Read,
            Send("HTTP/1.1 473 \r\nContent-Length: 0\r\n\r\n"),
            Read,
            Send("HTTP/1.1 204 No Content\r\n\r\n"),
            Read,
            OK,
        ]],
        events: &[
            Call(Ok((400, "{\"errors\":[]}"))),
            Call(Ok((403, "a"))),
            Call(Ok((404, "b"))),
            Call(Ok((429, ""))),
            Call(Ok((503, "c"))),
            Call(Ok((307, "d"))),
            Call(Ok((307, ""))),
            Call(Ok((473, ""))),
            Call(Ok((204, ""))),
            Call(FINE),
        ],
        seen: 10,
        ..CASE
    },
    Case {
        name: "chunked",
        scripts: &[&[Read, CHUNKED, Read, OK]],
        events: &[Call(Ok((200, "{\"a\":1}"))), Call(FINE)],
        seen: 2,
        ..CASE
    },
    Case {
        name: "answered in two steps",
        scripts: &[&[Read, Send("HTTP/1.1 100 Continue\r\n\r\n"), OK]],
        ..CASE
    },
    Case {
        name: "ended by closing",
        scripts: &[&[Read, Send("HTTP/1.1 200 OK\r\n\r\n{}"), Notify]],
        ..CASE
    },
    Case {
        name: "ended by closing without notice",
        scripts: &[&[Read, Send("HTTP/1.1 200 OK\r\n\r\n{}")]],
        events: &[Call(Err(TransportError::Reset))],
        ..CASE
    },
    Case {
        name: "body of just the allowed size",
        scripts: &[&[Read, OK, Read, CHUNKED]],
        client: |connect| connect.limits.body = 7,
        events: &[Call(FINE), Call(Ok((200, "{\"a\":1}")))],
        seen: 2,
        ..CASE
    },
    Case {
        name: "body over the limit, announced",
        scripts: &[&[
            Read,
            Send("HTTP/1.1 200 OK\r\nContent-Length: 7000000000\r\n\r\n"),
            Hang,
        ]],
        events: &[Call(Err(TransportError::TooLarge)), Ended],
        ..CASE
    },
    Case {
        name: "body over the limit, chunked",
        scripts: &[&[Read, CHUNKED, Hang]],
        client: |connect| connect.limits.body = 6,
        events: &[Call(Err(TransportError::TooLarge)), Ended],
        ..CASE
    },
    Case {
        name: "not HTTP",
        scripts: &[&[Read, Send("+OK POP3 ready\r\n\r\n"), Hang]],
        events: &[Call(Err(TransportError::NotHttp)), Ended],
        ..CASE
    },
    Case {
        name: "speaks first",
        server: Speaks::Plain,
        scripts: &[&[Send("SSH-2.0-OpenSSH_10.2\r\n"), Hang]],
        client: plain,
        events: &[Call(Err(TransportError::NotHttp)), Ended],
        seen: 0,
    },
    Case {
        name: "broken chunk",
        scripts: &[&[
            Read,
            Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"),
            Hang,
        ]],
        events: &[Call(Err(TransportError::NotHttp)), Ended],
        ..CASE
    },
];

const CHUNKED: ServerStep =
    Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n");

const TWICE: ServerStep =
    Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");

pub(super) const CERTIFICATES: &[Case] = &[
    Case {
        name: "TLS 1.2 only",
        server: OLD,
        ..CASE
    },
    Case {
        name: "TLS 1.3 only",
        server: NEW,
        ..CASE
    },
    Case {
        name: "unknown CA",
        client: |connect| connect.roots = Roots::bundle(PKI.stranger()),
        events: &[Call(tls(TlsError::UnknownIssuer))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "unknown CA of the same name",
        client: |connect| connect.roots = Roots::bundle(PKI.namesake()),
        events: &[Call(tls(TlsError::Signature))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "one known CA among others",
        client: |connect| connect.roots = Roots::bundle([PKI.stranger(), PKI.ca()].concat()),
        ..CASE
    },
    Case {
        name: "the server's own certificate",
        client: |connect| connect.roots = Roots::bundle(PKI.servers()),
        ..CASE
    },
    Case {
        name: "the server's own certificate, of another name",
        client: |connect| {
            connect.roots = Roots::bundle(PKI.servers());
            connect.server_name = Some("other.test".into());
        },
        events: &[Call(tls(TlsError::Name))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "the server's own certificate, expired",
        server: EXPIRED,
        client: |connect| connect.roots = Roots::bundle(PKI.servers()),
        events: &[Call(tls(TlsError::Expired))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "wrong name",
        client: |connect| connect.origin = origin("https", "localhost", connect.origin.port()),
        events: &[Call(tls(TlsError::Name))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "another name asked for, and found",
        client: |connect| {
            connect.origin = origin("https", "localhost", connect.origin.port());
            connect.server_name = Some("vault.test".into());
        },
        ..CASE
    },
    Case {
        name: "another name asked for, and not found",
        client: |connect| connect.server_name = Some("other.test".into()),
        events: &[Call(tls(TlsError::Name))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "expired",
        server: EXPIRED,
        events: &[Call(tls(TlsError::Expired))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "client certificate, TLS 1.2",
        server: OLD_MUTUAL,
        client: known,
        ..CASE
    },
    Case {
        name: "client certificate, TLS 1.3",
        server: NEW_MUTUAL,
        client: known,
        ..CASE
    },
    Case {
        name: "client certificate not asked for",
        client: known,
        ..CASE
    },
    Case {
        name: "no client certificate, TLS 1.2",
        server: OLD_MUTUAL,
        events: &[Call(tls(TlsError::ClientCertificate))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "no client certificate, TLS 1.3",
        server: NEW_MUTUAL,
        events: &[Call(tls(TlsError::ClientCertificate))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "another CA's client certificate, TLS 1.2",
        server: OLD_MUTUAL,
        client: unknown,
        events: &[Call(tls(TlsError::ClientCertificate))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "another CA's client certificate, TLS 1.3",
        server: NEW_MUTUAL,
        client: unknown,
        events: &[Call(tls(TlsError::ClientCertificate))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "client certificate of a CA of the same name, TLS 1.2",
        server: OLD_MUTUAL,
        client: |connect| connect.identity = Some(PKI.namesake_client()),
        events: &[Call(tls(TlsError::ClientCertificate))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "client certificate of a CA of the same name, TLS 1.3",
        server: NEW_MUTUAL,
        client: |connect| connect.identity = Some(PKI.namesake_client()),
        events: &[Call(tls(TlsError::ClientCertificate))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "plain text where TLS is expected",
        server: Speaks::Plain,
        scripts: &[&[Send("HTTP/1.0 400 Bad Request\r\n\r\n"), Hang]],
        events: &[Call(tls(TlsError::Handshake)), Ended],
        seen: 0,
        ..CASE
    },
    Case {
        name: "a server that wants TLS 1.1",
        server: Speaks::Plain,
        scripts: &[&[Send("\x15\x03\x01\0\x02\x02\x46"), Hang]],
        events: &[Call(tls(TlsError::Handshake)), Ended],
        seen: 0,
        ..CASE
    },
    Case {
        name: "no cipher suite in common",
        server: Speaks::Plain,
        scripts: &[&[Send("\x15\x03\x03\0\x02\x02\x28"), Hang]],
        events: &[Call(tls(TlsError::Handshake)), Ended],
        seen: 0,
        ..CASE
    },
    Case {
        name: "no application protocol in common",
        server: Speaks::Plain,
        scripts: &[&[Send("\x15\x03\x03\0\x02\x02\x78"), Hang]],
        events: &[Call(tls(TlsError::Handshake)), Ended],
        seen: 0,
        ..CASE
    },
    Case {
        name: "closed during the handshake",
        server: Speaks::Plain,
        scripts: &[&[]],
        events: &[Call(tls(TlsError::Handshake))],
        seen: 0,
        ..CASE
    },
];

pub(super) const CONNECTIONS: &[Case] = &[
    Case {
        name: "silent during the handshake",
        server: Speaks::Plain,
        scripts: &[&[Hang]],
        client: |connect| connect.limits.connect = SOON,
        events: &[Call(unconnected(ConnectError::Timeout)), Ended],
        seen: 0,
    },
    Case {
        name: "silent after the request",
        scripts: &[&[Read, Hang]],
        client: |connect| connect.limits.exchange = SOON,
        events: &[Call(Err(TransportError::Timeout)), Ended],
        ..CASE
    },
    Case {
        name: "silent within the body",
        scripts: &[&[Read, Send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"), Hang]],
        client: |connect| connect.limits.exchange = SOON,
        events: &[Call(Err(TransportError::Timeout)), Ended],
        ..CASE
    },
    Case {
        name: "an answer in HTTP/2",
        scripts: &[&[Read, Send("\0\0\0\x04\0\0\0\0\0"), Hang]],
        events: &[Call(Err(TransportError::NotHttp)), Ended],
        ..CASE
    },
    Case {
        name: "cut within the head",
        scripts: &[&[Read, Send("HTTP/1.1 200 OK\r\nContent-")]],
        events: &[Call(Err(TransportError::Reset))],
        ..CASE
    },
    Case {
        name: "cut within the body",
        scripts: &[&[Read, Send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"), Notify]],
        events: &[Call(Err(TransportError::Reset))],
        ..CASE
    },
    Case {
        name: "cut within a chunk",
        scripts: &[&[
            Read,
            Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{"),
        ]],
        events: &[Call(Err(TransportError::Reset))],
        ..CASE
    },
    Case {
        name: "cut between chunks",
        scripts: &[&[
            Read,
            Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"),
        ]],
        events: &[Call(Err(TransportError::Reset))],
        ..CASE
    },
    Case {
        name: "closed while idle",
        scripts: &[&[Read, OK, Wait], &[Read, OK]],
        events: &[Call(FINE), Proceed, Ended, Call(FINE)],
        seen: 2,
        ..CASE
    },
    Case {
        name: "closed while idle, with notice",
        scripts: &[&[Read, OK, Wait, Notify], &[Read, OK]],
        events: &[Call(FINE), Proceed, Ended, Call(FINE)],
        seen: 2,
        ..CASE
    },
    Case {
        name: "closed as announced",
        scripts: &[
            &[
                Read,
                Send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"),
                Hang,
            ],
            &[Read, OK],
        ],
        events: &[Call(FINE), Ended, Call(FINE)],
        seen: 2,
        ..CASE
    },
    Case {
        name: "request read, then closed",
        scripts: &[&[Read], &[Read, OK]],
        events: &[Call(Err(TransportError::Reset)), Call(FINE)],
        seen: 2,
        ..CASE
    },
    Case {
        name: "second request read, then closed",
        scripts: &[&[Read, OK, Read], &[Read, OK]],
        events: &[Call(FINE), Call(Err(TransportError::Reset)), Call(FINE)],
        seen: 3,
        ..CASE
    },
    Case {
        name: "an unasked answer while idle",
        scripts: &[&[Read, OK, Wait, OK], &[Read, OK]],
        events: &[Call(FINE), Proceed, Ended, Call(FINE)],
        seen: 2,
        ..CASE
    },
    Case {
        name: "another answer after the answer",
        scripts: &[&[Read, TWICE, Hang], &[Read, OK]],
        events: &[Call(FINE), Ended, Call(FINE)],
        seen: 2,
        ..CASE
    },
];

pub(super) fn plain(connect: &mut Connect) {
    connect.origin = origin("http", "127.0.0.1", connect.origin.port());
}

fn known(connect: &mut Connect) {
    connect.identity = Some(PKI.client());
}

fn unknown(connect: &mut Connect) {
    connect.identity = Some(PKI.strange_client());
}

pub(super) fn origin(scheme: &str, host: &str, port: u16) -> Origin {
    Origin::parse(&format!("{scheme}://{host}:{port}")).unwrap()
}
