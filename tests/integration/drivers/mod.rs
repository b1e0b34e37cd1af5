//! Both drivers against one table: they classify the same answers alike.

mod cases;
mod issuance;
mod proxies;
mod wrapping;

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs};

use issuer_core::target::AllowedServers;
use issuer_core::{
    Body, Connect, ConnectError, DialError, Flow, Identity, Limits, Now, Operation, Reply, Request, Roots, Step,
    TlsError, TransportError,
};
use issuer_kube::Transport;
use issuer_ureq::Driver;
use tokio::runtime::Runtime;

use self::cases::Event::{Call, Ended, Proceed};
use self::cases::answers::ANSWERS;
use self::cases::certificates::CERTIFICATES;
use self::cases::connections::CONNECTIONS;
use self::cases::{CASE, Case, OK, TLS, origin, plain, tls};
use crate::server::ServerStep::{Hang, Read, Send};
use crate::server::{PKI, Server, ServerStep, Speaks};

/// The two drivers behind one interface.
pub(crate) enum Either {
    Async(Runtime, Transport),
    Blocking(Driver),
}

impl Either {
    pub(crate) fn both() -> [Self; 2] {
        [Self::asynchronous(), Self::blocking()]
    }

    pub(crate) fn asynchronous() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        Self::Async(runtime, Transport::new())
    }

    pub(crate) fn blocking() -> Self {
        Self::Blocking(Driver::new())
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Async(..) => "async",
            Self::Blocking(_) => "blocking",
        }
    }

    pub(crate) fn call(&self, request: Request) -> Reply {
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

fn connect(port: u16) -> Connect {
    Connect {
        origin: origin("https", "127.0.0.1", port),
        allowed_servers: AllowedServers::All,
        proxy: None,
        server_name: None,
        roots: Roots::bundle(PKI.ca()),
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
        timeout: connect.limits.exchange,
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

/// The refusal and the close race with the client's write.
#[test]
fn refused_client_certificate_is_recognized() {
    let refused = [Call(tls(TlsError::ClientCertificate))];
    for driver in Either::both() {
        for _ in 0..50 {
            let cases = CERTIFICATES.iter().filter(|case| case.events == refused);
            cases.for_each(|case| run(case, &driver));
        }
    }
}

#[test]
fn connect_errors_are_classified() {
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
        assert_eq!(call(&|c| c.roots = Roots::bundle(Vec::new())), DialError::Roots.into());
        assert_eq!(
            call(&|c| c.server_name = Some("no name".into())),
            DialError::ServerName.into()
        );
        assert_eq!(
            call(&|c| {
                let key = PKI.strange_client().key;
                c.identity = Some(Identity { key, ..PKI.client() });
            }),
            DialError::Identity.into()
        );
    }
}

#[test]
fn resolved_addresses_must_be_allowed() {
    let listed =
        |patterns: &[&str]| AllowedServers::Listed(patterns.iter().map(|pattern| pattern.parse().unwrap()).collect());
    let to_localhost = |port: u16, allowed_servers: AllowedServers| {
        let origin = origin("http", "localhost", port);
        sign(&Arc::new(Connect {
            origin,
            allowed_servers,
            ..connect(port)
        }))
    };
    let refused = Err(ConnectError::NotAllowed.into());
    for driver in Either::both() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        for allowed in [listed(&[]), listed(&["10.0.0.0/8", "0.0.0.0/32"]), listed(&["other"])] {
            let request = to_localhost(port, allowed.clone());
            assert_eq!(driver.call(request).map(drop), refused, "{allowed:?}");
        }
        // Nothing has connected.
        assert!(listener.accept().is_err());
        for allowed in [listed(&["localhost"]), listed(&["127.0.0.0/8"]), AllowedServers::All] {
            let server = Server::start(Speaks::Plain, &[&[Read, OK]]);
            let reply = driver.call(to_localhost(server.port, allowed)).unwrap();
            assert_eq!(reply.status(), 200);
        }
    }
}

#[test]
fn endless_head_is_not_http() {
    let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(300 << 10)).leak();
    let script: &'static [ServerStep] = vec![Read, Send(head), Hang].leak();
    let case = Case {
        scripts: vec![script].leak(),
        events: &[Call(Err(TransportError::NotHttp)), Ended],
        ..CASE
    };
    run_all(&[case]);
}

#[test]
fn request_is_sent_unchanged() {
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
        let agent = concat!("user-agent: vault-issuer/", env!("CARGO_PKG_VERSION"));
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
fn only_equal_connects_share_connections() {
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
        // The first connection is unused: it closes, and the server accepts the second.
        driver.call(sign(&other)).unwrap();
        server.ended();
        assert_eq!(server.seen().len(), 3);
    }
}

/// A conversation of two requests.
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
fn conversation_runs_to_completion() {
    for driver in Either::both() {
        let server = Server::start(TLS, &[&[Read, OK, Read, OK]]);
        let request = sign(&Arc::new(connect(server.port)));
        let (sum, now) = driver.drive(Step::Send(request.clone(), Twice(request, 0)));
        assert_eq!(sum, 400);
        assert!(now.unix > Duration::from_secs(1_700_000_000));
        assert!(now.monotonic < Duration::from_secs(3600));
    }
}

/// Runs a test again in a process with these variables; returns `true` in that process.
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
fn proxy_variables_are_ignored() {
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
    if apart("drivers::proxy_variables_are_ignored", &variables) {
        run_all(ANSWERS);
    }
}

#[test]
fn system_roots_replace_missing_bundle() {
    let path = env::temp_dir().join(format!("vault-issuer-ca-{}.pem", std::process::id()));
    let name = path.to_str().unwrap();
    let test = "drivers::system_roots_replace_missing_bundle";
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
fn missing_system_roots_are_reported() {
    let variables = [("SSL_CERT_FILE", "/dev/null"), ("SSL_CERT_DIR", "/nowhere")];
    if apart("drivers::missing_system_roots_are_reported", &variables) {
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
