//! The model behind TLS: a server on a loopback port, in a thread of its own, that acts faults out on the wire.
//!
//! This is the driver's side of the model, so the clock is read here.

mod tls;
mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use issuer_core::Now;
use tokio::sync::watch;

use crate::{Authority, FakeVault};

/// How a server is to be reached.
#[derive(Clone, Debug)]
pub struct Options {
    /// The DNS names and IP addresses of the server's certificate.
    pub names: Vec<String>,
    /// When that certificate ends, in time since the Unix epoch.
    pub not_after: Duration,
    /// Which protocol is spoken.
    pub protocol: Protocol,
    /// Whether clients are asked for certificates.
    pub client_certificates: ClientCertificates,
    /// Where the model's clock stands, to be moved by [`Server::advance`] alone; with `None` it is the system's.
    pub standing: Option<Now>,
}

impl Default for Options {
    /// `localhost` and `127.0.0.1`, TLS of either version, and client certificates asked for, as Vault does.
    fn default() -> Self {
        Self {
            names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            not_after: crate::ca::FAR,
            protocol: Protocol::Tls,
            client_certificates: ClientCertificates::Asked,
            standing: None,
        }
    }
}

/// Which protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP without TLS.
    Plain,
    /// TLS 1.2 or 1.3.
    Tls,
    /// TLS 1.2 only.
    Tls12,
    /// TLS 1.3 only.
    Tls13,
}

/// Whether clients are asked for certificates.
#[derive(Clone, Debug)]
pub enum ClientCertificates {
    /// Asked for; none is needed and any is taken.
    Asked,
    /// Not asked for.
    NotAsked,
    /// Asked for, and only one that this CA has signed is taken.
    Required(Authority),
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    protocol: Protocol,
    authority: Authority,
    clock: Arc<Clock>,
    stop: Option<watch::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts to answer on a free port of 127.0.0.1, with what `fake` says.
    ///
    /// Fails where the system gives no port or thread, or where the certificates of `options` cannot be made.
    pub fn start(fake: Arc<Mutex<FakeVault>>, options: &Options) -> io::Result<Self> {
        let authority = Authority::root("Fake Vault listener CA");
        let acceptor = tls::acceptor(&authority, options)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let clock = Arc::new(Clock {
            start: Instant::now(),
            ahead: AtomicU64::new(0),
            standing: options.standing,
        });
        let (stop, stopped) = watch::channel(());
        let shared = wire::Shared {
            fake,
            clock: Arc::clone(&clock),
            acceptor,
            stopped,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new()
            .name("fake-vault".to_owned())
            .spawn(move || runtime.block_on(wire::listen(listener, shared)))?;
        let protocol = options.protocol;
        Ok(Self {
            address,
            protocol,
            authority,
            clock,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Returns the server's URL, by its IP address.
    pub fn url(&self) -> String {
        let scheme = if self.protocol == Protocol::Plain {
            "http"
        } else {
            "https"
        };
        format!("{scheme}://{}", self.address)
    }

    /// Returns where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the certificate of the CA that signed the server's certificate, PEM.
    pub fn ca_pem(&self) -> String {
        format!("{}\n", self.authority.certificate().pem)
    }

    /// Lets time pass for the model, and only for it.
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.clock.ahead.fetch_add(millis, Ordering::Relaxed);
    }

    /// Returns the time as the model sees it.
    pub fn now(&self) -> Now {
        self.clock.now()
    }
}

impl Drop for Server {
    /// Lets connections finish what they are at, for half a second at most, and waits for the thread to end.
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// The system's clocks, or some that stand, some milliseconds ahead.
#[derive(Debug)]
struct Clock {
    start: Instant,
    ahead: AtomicU64,
    standing: Option<Now>,
}

impl Clock {
    fn now(&self) -> Now {
        let ahead = Duration::from_millis(self.ahead.load(Ordering::Relaxed));
        let now = self.standing.unwrap_or_else(|| Now {
            monotonic: self.start.elapsed(),
            unix: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default(),
        });
        Now {
            monotonic: now.monotonic.saturating_add(ahead),
            unix: now.unix.saturating_add(ahead),
        }
    }
}
