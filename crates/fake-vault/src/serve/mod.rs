//! The model as a TLS server on a loopback port, with faults on the connection.
//!
//! This is the model's driver: it has a thread and reads the clock.

mod clock;
mod options;
mod tls;
mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use issuer_core::Now;
use tokio::sync::watch;

use self::clock::Clock;
use crate::ca::Authority;
use crate::server::FakeVault;

pub use options::{ClientCertificates, Options, Protocol};

/// A server, which runs until it is dropped.
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
    /// Starts to serve `fake` on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// Returns an error if no port or thread is available, or if the certificates of `options` are invalid.
    pub fn start(fake: Arc<Mutex<FakeVault>>, options: &Options) -> io::Result<Self> {
        let authority = Authority::root("Fake Vault listener CA");
        let acceptor = tls::acceptor(&authority, options)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let clock = Arc::new(Clock::new(options.standing));
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

    /// Returns the server's URL with its IP address.
    pub fn url(&self) -> String {
        let scheme = if self.protocol == Protocol::Plain {
            "http"
        } else {
            "https"
        };
        format!("{scheme}://{}", self.address)
    }

    /// Returns the address on which the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the CA certificate of the server's certificate, PEM.
    pub fn ca_pem(&self) -> String {
        format!("{}\n", self.authority.certificate().pem)
    }

    /// Advances the model's clock.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Returns the time of the model's clock.
    pub fn now(&self) -> Now {
        self.clock.now()
    }
}

impl Drop for Server {
    /// Lets connections finish their exchanges for at most half a second, and waits for the thread.
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
