//! The model over TLS.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_vault::serve::{ClientCertificates, Options, Protocol, Server};
use fake_vault::{AuthMethod, Authority, CertRole, Certified, Fault, TokenParams, Trusted};
use issuer_core::Operation;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};

use crate::harness::{HOUR, Harness, csr};

/// A TLS client that opens a connection for each request.
struct Client<'a> {
    server: &'a Server,
    name: &'static str,
    identity: Option<Certified>,
}

impl Client<'_> {
    fn config(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.server.ca_pem().as_bytes()).unwrap())
            .unwrap();
        let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let Some(identity) = &self.identity else {
            return builder.with_no_client_auth();
        };
        let chain = CertificateDer::pem_slice_iter(identity.chain_pem.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
        builder
            .with_client_auth_cert(chain.map(Result::unwrap).collect(), key)
            .unwrap()
    }

    /// Sends a request and reads until the connection ends.
    fn send(&self, head: &str, token: &str, body: &Value) -> io::Result<(String, bool)> {
        let name = ServerName::try_from(self.name).unwrap();
        let connection = ClientConnection::new(self.config().into(), name).unwrap();
        let socket = TcpStream::connect(self.server.address())?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut stream = StreamOwned::new(connection, socket);
        let body = body.to_string();
        write!(
            stream,
            "{head} HTTP/1.1\r\nHost: localhost\r\nX-Vault-Token: {token}\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut reply = Vec::new();
        let ended = match stream.read_to_end(&mut reply) {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => false,
            Err(error) => return Err(error),
        };
        Ok((String::from_utf8_lossy(&reply).into_owned(), ended))
    }

    fn post(&self, path: &str, token: &str, body: &Value) -> (u16, Value) {
        let (reply, _) = self.send(&format!("POST /v1/{path}"), token, body).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    fn login(&self) -> String {
        let (status, reply) = self.post(
            "auth/approle/login",
            "",
            &json!({ "role_id": "id", "secret_id": "secret" }),
        );
        assert_eq!(status, 200, "{reply}");
        reply["auth"]["client_token"].as_str().unwrap().to_owned()
    }
}

fn start(options: &Options) -> (Server, Arc<Mutex<fake_vault::FakeVault>>) {
    let fake = Arc::new(Mutex::new(Harness::new().vault));
    (Server::start(Arc::clone(&fake), options).unwrap(), fake)
}

fn client(server: &Server) -> Client<'_> {
    Client {
        server,
        name: "localhost",
        identity: None,
    }
}

fn csr_body() -> Value {
    json!({ "csr": csr(&["www.example.com"]) })
}

#[test]
fn signs_over_tls_12_and_13() {
    for protocol in [Protocol::Tls, Protocol::Tls12, Protocol::Tls13] {
        let (server, fake) = start(&Options {
            protocol,
            ..Options::default()
        });
        let client = client(&server);
        let token = client.login();
        let (status, reply) = client.post("pki/sign/web", &token, &csr_body());
        assert_eq!(status, 200, "{protocol:?} {reply}");
        assert_eq!(fake.lock().unwrap().counts().signs, 1);
    }
}

#[test]
fn serves_plain_http() {
    let (server, _) = start(&Options {
        protocol: Protocol::Plain,
        ..Options::default()
    });
    assert!(server.url().starts_with("http://127.0.0.1:"));
    let mut socket = TcpStream::connect(server.address()).unwrap();
    socket
        .write_all(b"GET /v1/sys/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut reply = String::new();
    socket.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 OK\r\n"), "{reply}");
}

#[test]
fn server_certificate_follows_options() {
    let names = vec!["vault.example.com".to_owned()];
    let (server, _) = start(&Options {
        names,
        ..Options::default()
    });
    let named = Client {
        name: "vault.example.com",
        ..client(&server)
    };
    named.login();
    let error = client(&server)
        .send("GET /v1/sys/health", "", &Value::Null)
        .unwrap_err();
    assert!(error.to_string().contains("not valid for name"), "{error}");
    let (server, _) = start(&Options {
        not_after: HOUR,
        ..Options::default()
    });
    let error = client(&server)
        .send("GET /v1/sys/health", "", &Value::Null)
        .unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
}

#[test]
fn client_certificates_reach_the_auth_method() {
    let authority = Authority::root("clients");
    let (server, fake) = start(&Options::default());
    let trusted = Trusted::Ca(authority.clone());
    let token = TokenParams::policies(["issuer"]);
    let role = CertRole {
        trusted,
        allowed_common_names: Vec::new(),
        token,
    };
    let roles = BTreeMap::from([("web".to_owned(), role)]);
    fake.lock().unwrap().enable_auth("cert", AuthMethod::Cert(roles));
    let stranger = Authority::root("others").client("issuer");
    for (identity, status) in [
        (None, 400),
        (Some(authority.client("issuer")), 200),
        (Some(stranger), 400),
    ] {
        let client = Client {
            identity,
            ..client(&server)
        };
        assert_eq!(client.post("auth/cert/login", "", &json!({})).0, status);
    }
}

#[test]
fn required_client_certificates_are_checked() {
    let authority = Authority::root("clients");
    let client_certificates = ClientCertificates::Required(authority.clone());
    for protocol in [Protocol::Tls12, Protocol::Tls13] {
        let client_certificates = client_certificates.clone();
        let options = Options {
            client_certificates,
            protocol,
            ..Options::default()
        };
        let (server, _) = start(&options);
        let stranger = Authority::root("others").client("issuer");
        for identity in [None, Some(stranger)] {
            let client = Client {
                identity,
                ..client(&server)
            };
            client.send("GET /v1/sys/health", "", &Value::Null).unwrap_err();
        }
        Client {
            identity: Some(authority.client("issuer")),
            ..client(&server)
        }
        .login();
    }
}

#[test]
fn faults_break_the_connection() {
    let (server, fake) = start(&Options::default());
    let client = client(&server);
    let token = client.login();
    let meet = |fault| {
        fake.lock().unwrap().faults_mut().script(Operation::Sign, fault);
        client.send("POST /v1/pki/sign/web", &token, &csr_body())
    };
    for fault in [Fault::Dropped, Fault::Lost] {
        assert_eq!(meet(fault).unwrap(), (String::new(), false), "{fault:?}");
    }
    let (reply, ended) = meet(Fault::Cut(20)).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    let announced = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    assert_eq!((body.len(), ended), (20, false));
    assert!(announced.parse::<usize>().unwrap() > 1_000, "{announced}");
    let (reply, ended) = meet(Fault::Late(Duration::from_millis(20))).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 OK") && ended);
    assert_eq!(fake.lock().unwrap().counts().signs, 3);
}

#[test]
fn silence_ends_with_the_server() {
    let (server, fake) = start(&Options::default());
    fake.lock()
        .unwrap()
        .faults_mut()
        .script(Operation::Health, Fault::Silent);
    let connection = ClientConnection::new(
        client(&server).config().into(),
        ServerName::try_from("localhost").unwrap(),
    );
    let socket = TcpStream::connect(server.address()).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut stream = StreamOwned::new(connection.unwrap(), socket);
    stream
        .write_all(b"GET /v1/sys/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let waiting = stream.read(&mut [0]).unwrap_err().kind();
    assert!(
        matches!(waiting, ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{waiting}"
    );
    let address = server.address();
    drop(server);
    assert!(!matches!(stream.read(&mut [0]), Ok(1..)));
    assert_eq!(
        TcpStream::connect(address).unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
}

#[test]
fn clock_can_be_advanced() {
    let (server, _) = start(&Options::default());
    let client = client(&server);
    let token = client.login();
    assert_eq!(client.post("pki/sign/web", &token, &csr_body()).0, 200);
    server.advance(HOUR);
    assert_eq!(client.post("pki/sign/web", &token, &csr_body()).0, 403);
}
