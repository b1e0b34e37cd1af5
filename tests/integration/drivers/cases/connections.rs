//! Connections that stall, end or carry more than was asked for.

use issuer_core::{ConnectError, TransportError};

use super::Event::{Call, Ended, Proceed};
use super::{CASE, Case, Expected, FINE, OK, SOON};
use crate::server::ServerStep::{Hang, Notify, Read, Send, Wait};
use crate::server::{ServerStep, Speaks};

pub(in crate::drivers) const CONNECTIONS: &[Case] = &[
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

const TWICE: ServerStep =
    Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");

const fn unconnected(error: ConnectError) -> Expected {
    Err(TransportError::Connect(error))
}
