//! The answers of a server.

use issuer_core::TransportError;

use super::Event::{Call, Ended};
use super::{CASE, Case, FINE, OK, plain};
use crate::server::ServerStep::{Hang, Notify, Read, Send};
use crate::server::{ServerStep, Speaks};

pub(in crate::drivers) const ANSWERS: &[Case] = &[
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
