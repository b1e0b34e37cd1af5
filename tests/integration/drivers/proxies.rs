//! Connections through a proxy: both drivers ask for them alike, and report its refusals in the same words.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;

use issuer_core::target::AllowedServers;
use issuer_core::{Connect, ConnectError, Proxy, ProxyError, TlsError, TransportError};
use issuer_ureq::Driver;

use super::cases::{CASE, Case, Event, Expected, FINE, OK, SOON, origin, plain, tls};
use super::{Either, connect, run_all, sign};
use crate::server::ServerStep::{Hang, Read, Send};
use crate::server::{Server, ServerStep, Speaks};
use Event::{Call, Ended};

/// Puts a proxy at the port of the server before a Vault whose name nobody resolves.
fn proxied(connect: &mut Connect) {
    let url = format!("http://user:canary@127.0.0.1:{}", connect.origin.port());
    connect.proxy = Proxy::parse(&url, AllowedServers::All);
    connect.origin = origin("https", "vault.invalid", 8200);
    connect.allowed_servers = AllowedServers::Listed(vec!["vault.invalid".parse().unwrap()]);
    connect.server_name = Some("127.0.0.1".to_owned());
}

const fn refused(error: ProxyError) -> Expected {
    Err(TransportError::Proxy(error))
}

/// A proxy that answers CONNECT itself.
const REFUSAL: Case = Case {
    server: Speaks::Plain,
    client: proxied,
    ..CASE
};

const CASES: &[Case] = &[
    Case {
        name: "tunneled, and once more on the connection",
        server: Speaks::Tunnel,
        scripts: &[&[Read, OK, Read, OK]],
        client: proxied,
        events: &[Call(FINE), Call(FINE)],
        // CONNECT is the first.
        seen: 3,
    },
    Case {
        name: "another server behind the proxy",
        server: Speaks::Tunnel,
        client: |connect| {
            proxied(connect);
            connect.server_name = None;
        },
        events: &[Call(tls(TlsError::Name))],
        ..CASE
    },
    Case {
        name: "no or wrong credentials",
        scripts: &[&[
            Read,
            Send("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\nno"),
            Hang,
        ]],
        events: &[Call(refused(ProxyError::Authentication)), Ended],
        ..REFUSAL
    },
    Case {
        name: "not permitted",
        scripts: &[&[Read, Send("HTTP/1.1 403 Forbidden\r\n\r\n"), Hang]],
        events: &[Call(refused(ProxyError::Refused(403))), Ended],
        ..REFUSAL
    },
    Case {
        name: "server out of the proxy's reach",
        scripts: &[&[Read, Send("HTTP/1.1 502 Bad Gateway\r\n\r\n")]],
        events: &[Call(refused(ProxyError::Unreachable(502)))],
        ..REFUSAL
    },
    Case {
        name: "no proxy",
        scripts: &[&[Read, Send("220 mail.example ESMTP\r\n\r\n"), Hang]],
        events: &[Call(refused(ProxyError::NotHttp)), Ended],
        ..REFUSAL
    },
    Case {
        name: "bytes before their time",
        scripts: &[&[Read, Send("HTTP/1.1 200 OK\r\n\r\nhello"), Hang]],
        events: &[Call(refused(ProxyError::NotHttp)), Ended],
        ..REFUSAL
    },
    Case {
        name: "closed without an answer",
        scripts: &[&[Read]],
        events: &[Call(refused(ProxyError::Closed))],
        ..REFUSAL
    },
    Case {
        name: "silent",
        scripts: &[&[Read, Hang]],
        client: |connect| {
            proxied(connect);
            connect.limits.connect = SOON;
        },
        events: &[Call(refused(ProxyError::Timeout)), Ended],
        ..REFUSAL
    },
];

#[test]
fn proxies_and_their_refusals() {
    run_all(CASES);
}

#[test]
fn proxy_sees_the_name_alone() {
    for driver in Either::both() {
        let script: &'static [&'static [ServerStep]] = &[&[Read, OK]];
        let server = Server::start(Speaks::Tunnel, script);
        let mut connect = connect(server.port);
        proxied(&mut connect);
        driver.call(sign(&Arc::new(connect))).unwrap();
        let asked = "CONNECT vault.invalid:8200 HTTP/1.1\r\nHost: vault.invalid:8200\r\n\
                     Proxy-Authorization: Basic dXNlcjpjYW5hcnk=\r\n\r\n";
        assert_eq!(server.seen()[0], asked, "{}", driver.name());
    }
}

#[test]
fn proxy_must_be_reachable_and_allowed() {
    // The port of a connection's other end: nothing listens there, and nothing else can meanwhile.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let closed = taken.local_addr().unwrap().port();
    let port = listener.local_addr().unwrap().port();
    listener.accept().unwrap();
    listener.set_nonblocking(true).unwrap();
    let local = |port: u16| format!("http://localhost:{port}");
    let nowhere = format!("http://{}.invalid:3128", "x".repeat(64));
    for driver in Either::both() {
        let call = |url: &str, allowed: AllowedServers| {
            let mut connect = connect(port);
            proxied(&mut connect);
            connect.proxy = Some(Proxy::parse(url, allowed).unwrap());
            driver.call(sign(&Arc::new(connect))).map(drop)
        };
        let failed = |error| Err(ProxyError::Connect(error).into());
        assert_eq!(call(&local(closed), AllowedServers::All), failed(ConnectError::Refused));
        assert_eq!(call(&nowhere, AllowedServers::All), failed(ConnectError::Dns));
        // What a proxy resolves to is subject to the operator's list, as for a server.
        assert_eq!(
            call(&local(port), AllowedServers::default()),
            failed(ConnectError::NotAllowed)
        );
        assert!(listener.accept().is_err());
    }
}

/// A proxy would read the token.
#[test]
fn plain_http_goes_past_proxies() {
    for driver in Either::both() {
        let server = Server::start(Speaks::Plain, &[&[Read, OK]]);
        let mut connect = connect(server.port);
        plain(&mut connect);
        connect.proxy = Proxy::parse("http://proxy.invalid:3128", AllowedServers::All);
        assert_eq!(driver.call(sign(&Arc::new(connect))).unwrap().status(), 200);
        assert!(server.seen()[0].starts_with("POST /v1/pki/sign/web"));
    }
}

#[test]
fn presented_certificates_are_seen_through_proxies() {
    let server = Server::start(Speaks::Tunnel, &[&[]]);
    let mut connect = connect(server.port);
    proxied(&mut connect);
    assert!(!Driver::new().presented_certificates(&connect).is_empty());
}
