//! Both drivers, one table: what comes back from the wire means the same in each.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs};

use issuer_core::{
    Body, Connect, ConnectError, DialError, Flow, Limits, Now, Operation, Origin, Reply, Request, Roots, Step,
    TlsError, TransportError,
};
use issuer_kube::Transport;
use issuer_ureq::Driver;
use rustls::version::{TLS12, TLS13};
use tokio::runtime::Runtime;

use crate::server::Act::{Hang, Notify, Read, Send, Wait};
use crate::server::{Act, PKI, Server, Speaks};

const TLS: Speaks = Speaks::Tls {
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

const OK: Act = Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
const FINE: Expected = Ok((200, "{}"));
const SOON: Duration = Duration::from_millis(200);

/// The two drivers behind one face.
enum Either {
    Async(Runtime, Transport),
    Blocking(Driver),
}

impl Either {
    fn both() -> [Self; 2] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        [Self::Async(runtime, Transport::new()), Self::Blocking(Driver::new())]
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Async(..) => "async",
            Self::Blocking(_) => "blocking",
        }
    }

    fn call(&self, request: Request) -> Reply {
        match self {
            Self::Async(runtime, transport) => runtime.block_on(transport.call(request)),
            Self::Blocking(driver) => driver.call(request),
        }
    }

    fn drive<F: Flow>(&self, step: Step<F>) -> F::Output {
        match self {
            Self::Async(runtime, transport) => runtime.block_on(transport.drive(step)),
            Self::Blocking(driver) => driver.drive(step),
        }
    }
}

type Expected = Result<(u16, &'static str), TransportError>;

struct Case {
    name: &'static str,
    server: Speaks,
    scripts: &'static [&'static [Act]],
    client: fn(&mut Connect),
    events: &'static [Event],
    /// How many requests the server has read in the end.
    seen: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Event {
    /// The client sends a request, which comes to this.
    Call(Expected),
    /// A connection ends on the server's side.
    Ended,
    /// The server goes on from where it waits.
    Proceed,
}

use Event::{Call, Ended, Proceed};

/// One request, answered over TLS.
const CASE: Case = Case {
    name: "answered",
    server: TLS,
    scripts: &[&[Read, OK]],
    client: |_| (),
    events: &[Call(FINE)],
    seen: 1,
};

const fn tls(error: TlsError) -> Expected {
    Err(TransportError::Tls(error))
}

const fn unconnected(error: ConnectError) -> Expected {
    Err(TransportError::Connect(error))
}

const ANSWERS: &[Case] = &[
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

const CHUNKED: Act = Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n");

const TWICE: Act = Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");

const CERTIFICATES: &[Case] = &[
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
        client: |connect| connect.roots = Roots::Bundle(PKI.stranger()),
        events: &[Call(tls(TlsError::UnknownIssuer))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "unknown CA of the same name",
        client: |connect| connect.roots = Roots::Bundle(PKI.namesake()),
        events: &[Call(tls(TlsError::UnknownIssuer))],
        seen: 0,
        ..CASE
    },
    Case {
        name: "one known CA among others",
        client: |connect| connect.roots = Roots::Bundle([PKI.stranger(), PKI.ca()].concat()),
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
        name: "closed during the handshake",
        server: Speaks::Plain,
        scripts: &[&[]],
        events: &[Call(tls(TlsError::Handshake))],
        seen: 0,
        ..CASE
    },
];

const CONNECTIONS: &[Case] = &[
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

fn plain(connect: &mut Connect) {
    connect.origin = origin("http", "127.0.0.1", connect.origin.port());
}

fn known(connect: &mut Connect) {
    connect.identity = Some(PKI.client());
}

fn unknown(connect: &mut Connect) {
    connect.identity = Some(PKI.strange_client());
}

fn origin(scheme: &str, host: &str, port: u16) -> Origin {
    Origin::parse(&format!("{scheme}://{host}:{port}")).unwrap()
}

fn connect(port: u16) -> Connect {
    Connect {
        origin: origin("https", "127.0.0.1", port),
        server_name: None,
        roots: Roots::Bundle(PKI.ca()),
        identity: None,
        limits: Limits::default(),
    }
}

fn sign(connect: &Arc<Connect>) -> Request {
    let http = http::Request::post(format!("{}/v1/pki/sign/web", connect.origin))
        .header("X-Vault-Token", "hvs.token")
        .body(Body::from(b"{\"csr\":\"\"}".to_vec()));
    Request {
        connect: Arc::clone(connect),
        operation: Operation::Sign,
        http: http.unwrap(),
    }
}

fn run(case: &Case, driver: &Either) {
    let name = format!("{}, {}", case.name, driver.name());
    let server = Server::start(case.server, case.scripts);
    let mut connect = connect(server.port);
    (case.client)(&mut connect);
    let connect = Arc::new(connect);
    for event in case.events {
        match event {
            Ended => server.ended(),
            Proceed => server.proceed(),
            Call(expected) => {
                let reply = driver.call(sign(&connect));
                let reply = reply.as_ref().map(|reply| {
                    let body = str::from_utf8(reply.body().as_bytes()).unwrap();
                    (reply.status().as_u16(), body)
                });
                assert_eq!(
                    reply,
                    expected.as_ref().map(|(status, body)| (*status, *body)),
                    "{name}"
                );
            }
        }
    }
    assert_eq!(server.seen().len(), case.seen, "{name}");
}

fn run_all(cases: &[Case]) {
    for driver in Either::both() {
        cases.iter().for_each(|case| run(case, &driver));
    }
}

#[test]
fn answers() {
    run_all(ANSWERS);
}

#[test]
fn certificates() {
    run_all(CERTIFICATES);
}

#[test]
fn connections() {
    run_all(CONNECTIONS);
}

/// The refusal, and the closing after it, race with what the client is still writing.
#[test]
fn a_refused_client_certificate_is_always_told_apart() {
    let refused = [Call(tls(TlsError::ClientCertificate))];
    for driver in Either::both() {
        for _ in 0..50 {
            let cases = CERTIFICATES.iter().filter(|case| case.events == refused);
            cases.for_each(|case| run(case, &driver));
        }
    }
}

#[test]
fn nothing_to_talk_to() {
    // The port of a connection's other end: nothing listens there, and nothing else can meanwhile.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let closed = taken.local_addr().unwrap().port();
    // A label of more than 63 bytes fails without asking a name server.
    let nowhere = format!("{}.invalid", "x".repeat(64));
    for driver in Either::both() {
        let call = |change: &dyn Fn(&mut Connect)| {
            let mut connect = connect(closed);
            change(&mut connect);
            driver.call(sign(&Arc::new(connect))).unwrap_err()
        };
        assert_eq!(call(&|_| ()), ConnectError::Refused.into());
        // No TCP connection can be made to everybody.
        let everybody = origin("http", "255.255.255.255", 80);
        assert_eq!(
            call(&|c| c.origin = everybody.clone()),
            ConnectError::Unreachable.into()
        );
        assert_eq!(
            call(&|c| c.origin = origin("http", &nowhere, 80)),
            ConnectError::Dns.into()
        );
        assert_eq!(call(&|c| c.roots = Roots::Bundle(Vec::new())), DialError::Roots.into());
        assert_eq!(
            call(&|c| c.server_name = Some("no name".into())),
            DialError::ServerName.into()
        );
        assert_eq!(
            call(&|c| {
                let key = PKI.strange_client().key;
                c.identity = Some(issuer_core::Identity { key, ..PKI.client() });
            }),
            DialError::Identity.into()
        );
    }
}

#[test]
fn a_head_without_end_is_no_http() {
    let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(300 << 10)).leak();
    let script: &'static [Act] = vec![Read, Send(head), Hang].leak();
    let case = Case {
        scripts: vec![script].leak(),
        events: &[Call(Err(TransportError::NotHttp)), Ended],
        ..CASE
    };
    run_all(&[case]);
}

#[test]
fn the_request_goes_out_as_it_is() {
    for driver in Either::both() {
        let server = Server::start(Speaks::Plain, &[&[Read, OK, Read, OK, Read, OK]]);
        let mut connect = connect(server.port);
        plain(&mut connect);
        let connect = Arc::new(connect);
        let other = |method: &str| {
            let url = format!("{}/v1/sys/health?standbyok=true", connect.origin);
            let http = http::Request::builder().method(method).uri(url).body(Body::default());
            Request {
                http: http.unwrap(),
                ..sign(&connect)
            }
        };
        for request in [sign(&connect), other("GET"), other("PUT")] {
            driver.call(request).unwrap();
        }
        let seen = server.seen();
        let lines = |request: usize| {
            let mut lines: Vec<_> = seen[request].lines().map(str::to_lowercase).collect();
            lines.sort();
            lines
        };
        let host = format!("host: 127.0.0.1:{}", server.port);
        let agent = "user-agent: vault-issuer/0.1.0";
        let token = "x-vault-token: hvs.token";
        let signing = "post /v1/pki/sign/web http/1.1";
        let length = "content-length: 10";
        assert_eq!(lines(0), ["", length, &host, signing, agent, token, "{\"csr\":\"\"}"]);
        assert_eq!(
            lines(1),
            ["", "get /v1/sys/health?standbyok=true http/1.1", &host, agent]
        );
        let put = "put /v1/sys/health?standbyok=true http/1.1";
        assert_eq!(lines(2), ["", "content-length: 0", &host, put, agent]);
    }
}

#[test]
fn equal_connects_share_connections_and_others_do_not() {
    for driver in Either::both() {
        let server = Server::start(TLS, &[&[Read, OK, Read, OK, Hang], &[Read, OK, Hang]]);
        let first = Arc::new(connect(server.port));
        let equal = Arc::new(connect(server.port));
        let other = Arc::new(Connect {
            identity: Some(PKI.client()),
            ..connect(server.port)
        });
        driver.call(sign(&first)).unwrap();
        driver.call(sign(&equal)).unwrap();
        drop((first, equal));
        // Nobody uses the first connection any more: it closes, and the server comes to the second.
        driver.call(sign(&other)).unwrap();
        server.ended();
        assert_eq!(server.seen().len(), 3);
    }
}

/// Asks twice, and counts.
struct Twice(Request, u16);

impl Flow for Twice {
    type Output = (u16, Now);

    fn resume(self, now: Now, reply: Reply) -> Step<Self> {
        let sum = self.1 + reply.unwrap().status().as_u16();
        if self.1 > 0 {
            return Step::Done((sum, now));
        }
        Step::Send(self.0.clone(), Self(self.0, sum))
    }
}

#[test]
fn a_conversation_is_carried_to_its_end() {
    for driver in Either::both() {
        let server = Server::start(TLS, &[&[Read, OK, Read, OK]]);
        let request = sign(&Arc::new(connect(server.port)));
        let (sum, now) = driver.drive(Step::Send(request.clone(), Twice(request, 0)));
        assert_eq!(sum, 400);
        assert!(now.unix > Duration::from_secs(1_700_000_000));
        assert!(now.monotonic < Duration::from_secs(3600));
    }
}

/// Runs a test again in a process of its own, with these variables set; tells whether this is that process.
fn apart(test: &str, variables: &[(&str, &str)]) -> bool {
    const APART: &str = "VAULT_ISSUER_TEST_APART";
    if env::var_os(APART).is_some() {
        return true;
    }
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", test])
        .envs(variables.iter().copied())
        .env(APART, "")
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&output.stdout);
    assert!(output.contains("1 passed"), "{output}");
    false
}

#[test]
fn proxies_of_the_environment_are_not_used() {
    let proxy = "http://127.0.0.1:1";
    let proxies = [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ];
    let variables = proxies.map(|name| (name, proxy));
    if apart("drivers::proxies_of_the_environment_are_not_used", &variables) {
        run_all(ANSWERS);
    }
}

#[test]
fn the_systems_ca_certificates_are_used_if_there_is_no_bundle() {
    let path = env::temp_dir().join(format!("vault-issuer-ca-{}.pem", std::process::id()));
    let name = path.to_str().unwrap();
    let test = "drivers::the_systems_ca_certificates_are_used_if_there_is_no_bundle";
    let variables = [("SSL_CERT_FILE", name), ("SSL_CERT_DIR", "/nowhere")];
    // The CA differs from process to process: the child writes its own.
    if apart(test, &variables) {
        fs::write(env::var("SSL_CERT_FILE").unwrap(), PKI.ca()).unwrap();
        run_all(&[Case {
            client: |connect| connect.roots = Roots::System,
            ..CASE
        }]);
        fs::remove_file(env::var("SSL_CERT_FILE").unwrap()).unwrap();
    }
}

#[test]
fn a_system_without_ca_certificates_says_so() {
    let variables = [("SSL_CERT_FILE", "/dev/null"), ("SSL_CERT_DIR", "/nowhere")];
    if apart("drivers::a_system_without_ca_certificates_says_so", &variables) {
        let expected = Err(TransportError::Dial(DialError::SystemRoots));
        for driver in Either::both() {
            let connect = Connect {
                roots: Roots::System,
                ..connect(1)
            };
            assert_eq!(driver.call(sign(&Arc::new(connect))).map(drop), expected);
        }
    }
}
