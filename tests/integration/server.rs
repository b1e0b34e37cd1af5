//! A TLS server that follows a script, and its PKI.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::Duration;

use issuer_core::{Identity, Secret};
use rcgen::{BasicConstraints, Certificate, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ALL_VERSIONS, RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};

/// One step of a server on a connection; after the last one it closes without close_notify.
#[derive(Clone, Copy)]
pub(crate) enum ServerStep {
    /// Waits until the client closes.
    Hang,
    /// Sends close_notify.
    Notify,
    /// Reads one complete request.
    Read,
    /// Sends these bytes.
    Send(&'static str),
    /// Waits for `proceed`.
    Wait,
}

/// The transport of a server.
#[derive(Clone, Copy)]
pub(crate) enum Speaks {
    Plain,
    /// TLS, once it has answered CONNECT as a proxy.
    Tunnel,
    Tls {
        versions: &'static [&'static SupportedProtocolVersion],
        shows: Shown,
        client_auth: bool,
    },
}

/// The certificate that a server shows, with the CA certificates below the root.
#[derive(Clone, Copy)]
pub(crate) enum Shown {
    Good,
    Expired,
    /// Issued by a CA with a critical extension that lists its policies.
    UnderPolicies,
    /// Issued by a CA with a critical extension that demands policies.
    UnderPolicyConstraints,
    /// Issued by a CA with a key of RSA-1024.
    UnderShortRsa,
}

/// A server that accepts one connection for each of its scripts, one after the other.
pub(crate) struct Server {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<String>>>,
    ended: Receiver<()>,
    proceed: Sender<()>,
}

impl Server {
    pub(crate) fn start(speaks: Speaks, scripts: &'static [&'static [ServerStep]]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<_>>::default();
        let (end, ended) = channel();
        let (proceed, told) = channel();
        let stage = Stage {
            is_tunnel: matches!(speaks, Speaks::Tunnel),
            tls: config(speaks),
            seen: Arc::clone(&seen),
            told,
        };
        thread::spawn(move || {
            for script in scripts {
                let (tcp, _) = listener.accept().unwrap();
                // A failure is the client's doing, and what it is about.
                let _ = stage.play(script, tcp);
                let _ = end.send(());
            }
        });
        Self {
            port,
            seen,
            ended,
            proceed,
        }
    }

    /// Returns the requests that were read completely.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Releases a waiting server.
    pub(crate) fn proceed(&self) {
        self.proceed.send(()).unwrap();
    }

    /// Waits until one more connection has ended.
    pub(crate) fn ended(&self) {
        self.ended.recv_timeout(Duration::from_secs(20)).unwrap();
    }
}

/// The server's side of a connection.
struct Stage {
    is_tunnel: bool,
    tls: Option<Arc<ServerConfig>>,
    seen: Arc<Mutex<Vec<String>>>,
    told: Receiver<()>,
}

impl Stage {
    fn play(&self, script: &[ServerStep], mut tcp: TcpStream) -> io::Result<()> {
        let Some(config) = &self.tls else {
            return script.iter().try_for_each(|step| self.perform(*step, &mut tcp));
        };
        if self.is_tunnel {
            self.perform(ServerStep::Read, &mut tcp)?;
            self.perform(
                ServerStep::Send("HTTP/1.1 200 Connection established\r\n\r\n"),
                &mut tcp,
            )?;
        }
        let mut connection = ServerConnection::new(Arc::clone(config)).unwrap();
        connection.complete_io(&mut tcp)?;
        let mut stream = StreamOwned::new(connection, tcp);
        for step in script {
            if let ServerStep::Notify = step {
                stream.conn.send_close_notify();
                stream.flush()?;
            } else {
                self.perform(*step, &mut stream)?;
            }
        }
        Ok(())
    }

    fn perform(&self, step: ServerStep, stream: &mut (impl Read + Write)) -> io::Result<()> {
        match step {
            ServerStep::Hang => drop(io::copy(stream, &mut io::sink())?),
            ServerStep::Notify => (),
            ServerStep::Read => {
                let request = read(stream)?;
                self.seen.lock().unwrap().push(request);
            }
            ServerStep::Send(text) => {
                stream.write_all(text.as_bytes())?;
                stream.flush()?;
            }
            ServerStep::Wait => self.told.recv().unwrap(),
        }
        Ok(())
    }
}

fn read(stream: &mut impl Read) -> io::Result<String> {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_lowercase().lines().find_map(|line| {
                line.strip_prefix("content-length: ")
                    .map(|length| length.parse().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return Ok(text.into_owned());
            }
        }
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.extend(byte);
    }
}

fn config(speaks: Speaks) -> Option<Arc<ServerConfig>> {
    let (versions, shows, client_auth) = match speaks {
        Speaks::Plain => return None,
        Speaks::Tunnel => (ALL_VERSIONS, Shown::Good, false),
        Speaks::Tls {
            versions,
            shows,
            client_auth,
        } => (versions, shows, client_auth),
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap();
    let builder = if client_auth {
        let mut roots = RootCertStore::empty();
        roots.add(PKI.ca.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let shown = match shows {
        Shown::Good => pem(&[&PKI.server.0], &PKI.server.1),
        Shown::Expired => pem(&[&PKI.expired.0], &PKI.expired.1),
        Shown::UnderPolicies => under(&[2, 5, 29, 32], ANY_POLICY),
        Shown::UnderPolicyConstraints => under(&[2, 5, 29, 36], EXPLICIT_POLICY),
        Shown::UnderShortRsa => SHORT_RSA.to_owned(),
    };
    let chain = CertificateDer::pem_slice_iter(shown.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(shown.as_bytes()).unwrap();
    let config = builder.with_single_cert(chain.map(Result::unwrap).collect(), key);
    Some(Arc::new(config.unwrap()))
}

/// A server's certificate, the CA below the root that has issued it and has a key of RSA-1024, and the server's key.
const SHORT_RSA: &str = include_str!("cases/tls/handshake/under-rsa1024.pem");

/// The root of that CA.
pub(crate) const SHORT_RSA_ROOT: &str = include_str!("cases/tls/handshake/root.pem");

/// The extension certificatePolicies with anyPolicy.
const ANY_POLICY: &[u8] = &[0x30, 8, 0x30, 6, 6, 4, 0x55, 0x1d, 0x20, 0];

/// The extension policyConstraints with requireExplicitPolicy.
const EXPLICIT_POLICY: &[u8] = &[0x30, 3, 0x80, 1, 0];

/// The certificates of both sides.
pub(crate) struct Pki {
    ca: Certificate,
    stranger: Certificate,
    namesake: Certificate,
    issuer: Issuer<'static, KeyPair>,
    server: (Certificate, KeyPair),
    expired: (Certificate, KeyPair),
    client: (Certificate, KeyPair),
    strange_client: (Certificate, KeyPair),
    namesake_client: (Certificate, KeyPair),
}

pub(crate) static PKI: LazyLock<Pki> = LazyLock::new(|| {
    let (ca, issuer) = authority("ca");
    let (stranger, strange_issuer) = authority("stranger");
    let (namesake, namesake_issuer) = authority("ca");
    Pki {
        server: leaf(&issuer, 4000),
        expired: leaf(&issuer, 2020),
        client: leaf(&issuer, 4000),
        strange_client: leaf(&strange_issuer, 4000),
        namesake_client: leaf(&namesake_issuer, 4000),
        issuer,
        ca,
        stranger,
        namesake,
    }
});

impl Pki {
    /// Returns the CA certificate that the servers' certificates chain to.
    pub(crate) fn ca(&self) -> Vec<u8> {
        self.ca.pem().into()
    }

    /// Returns the CA certificate of one client's certificate.
    pub(crate) fn stranger(&self) -> Vec<u8> {
        self.stranger.pem().into()
    }

    /// Returns a CA certificate with the name of the servers' CA and another key.
    pub(crate) fn namesake(&self) -> Vec<u8> {
        self.namesake.pem().into()
    }

    /// Returns the servers' own certificates, the good one and the expired one.
    pub(crate) fn servers(&self) -> Vec<u8> {
        [self.server.0.pem(), self.expired.0.pem()].concat().into()
    }

    /// Returns a client certificate that the servers accept.
    pub(crate) fn client(&self) -> Identity {
        identity(&self.client)
    }

    /// Returns a client certificate that the servers do not accept.
    pub(crate) fn strange_client(&self) -> Identity {
        identity(&self.strange_client)
    }

    /// Returns a client certificate that seems to be of the servers' CA.
    pub(crate) fn namesake_client(&self) -> Identity {
        identity(&self.namesake_client)
    }
}

fn identity((certificate, key): &(Certificate, KeyPair)) -> Identity {
    let key = Secret::from(key.serialize_pem().as_str());
    Identity {
        certificate: certificate.pem().into(),
        key,
    }
}

fn authority(name: &str) -> (Certificate, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    (certificate, Issuer::new(params, key))
}

fn pem(chain: &[&Certificate], key: &KeyPair) -> String {
    let chain = chain.iter().map(|certificate| certificate.pem());
    chain.chain([key.serialize_pem()]).collect()
}

/// Returns a certificate that was issued by a CA with this critical extension.
fn under(oid: &[u64], extension: &[u8]) -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "intermediate");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut extension = CustomExtension::from_oid_content(oid, extension.to_vec());
    extension.set_criticality(true);
    params.custom_extensions.push(extension);
    let intermediate = params.signed_by(&key, &PKI.issuer).unwrap();
    let (leaf, key) = leaf(&Issuer::new(params, key), 4000);
    pem(&[&leaf, &intermediate], &key)
}

fn leaf(issuer: &Issuer<'static, KeyPair>, until: i32) -> (Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let names = ["127.0.0.1".to_owned(), "vault.test".to_owned()];
    let mut params = CertificateParams::new(names).unwrap();
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    (params.signed_by(&key, issuer).unwrap(), key)
}
