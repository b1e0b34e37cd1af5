use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Instant;

use issuer_core::{Connect, ConnectError, DialError, TransportError};
use issuer_tls::{client_config, connect_error, exchange_error, handshake_error, server_name};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use ureq::Error;
use ureq::config::Config;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, TcpConnector, Transport,
    TransportAdapter,
};

/// Resolves names as ureq does; a failure is one to connect.
#[derive(Debug, Default)]
pub(crate) struct Resolve(DefaultResolver);

impl Resolver for Resolve {
    fn resolve(
        &self,
        uri: &http::Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        self.0.resolve(uri, config, timeout).map_err(|error| match error {
            Error::Timeout(_) => ours(ConnectError::Timeout),
            _ => ours(ConnectError::Dns),
        })
    }
}

/// Makes connections: TCP, and TLS above it as the [`Connect`] says.
///
/// ureq's own TLS settings take neither a rustls configuration nor a server name other than the host.
#[derive(Debug)]
pub(crate) struct Dial {
    tcp: TcpConnector,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Dial {
    pub(crate) fn new(connect: &Connect) -> Result<Self, DialError> {
        let tls = if connect.origin.is_tls() {
            Some((client_config(connect)?, server_name(connect)?))
        } else {
            None
        };
        Ok(Self { tcp: TcpConnector::default(), tls })
    }
}

impl Connector for Dial {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Self::Out>, Error> {
        let start = Instant::now();
        let tcp: Option<Box<dyn Transport>> =
            match Connector::<()>::connect(&self.tcp, details, None) {
                Ok(tcp) => tcp.map(|tcp| Box::new(tcp) as _),
                Err(Error::Timeout(_)) => return Err(ours(ConnectError::Timeout)),
                Err(Error::Io(error)) => return Err(ours(connect_error(&error))),
                Err(_) => return Err(ours(ConnectError::Unreachable)),
            };
        let (Some(tcp), Some((config, name))) = (tcp, &self.tls) else {
            return Ok(tcp);
        };
        let mut timeout = details.timeout;
        timeout.after = timeout.after.saturating_sub(start.elapsed()).into();
        let mut sock = TransportAdapter::new(tcp, details.current_time.clone());
        sock.set_timeout(timeout);
        let mut conn = ClientConnection::new(config.clone(), name.clone())
            .map_err(|error| ours(issuer_tls::classify(&error)))?;
        conn.complete_io(&mut sock).map_err(|error| match Error::from(error) {
            Error::Io(error) => ours(handshake_error(&error)),
            _ => ours(ConnectError::Timeout),
        })?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        let stream = StreamOwned::new(conn, sock);
        Ok(Some(Box::new(Tls { stream, buffers, first: true })))
    }
}

/// A TLS connection; `first` until the server has sent something after the handshake.
struct Tls {
    stream: StreamOwned<ClientConnection, TransportAdapter>,
    buffers: LazyBuffers,
    first: bool,
}

impl Tls {
    fn failed(&self, error: io::Error) -> Error {
        match Error::from(error) {
            Error::Io(error) => ours(exchange_error(&error, self.first)),
            error => error,
        }
    }

    /// Looks for an alert behind a failed write: a server that refuses the client certificate says so and closes at
    /// once, and then the write may meet the closed connection before anything has read the alert.
    fn last_words(&mut self, error: io::Error) -> Error {
        let StreamOwned { conn, sock } = &mut self.stream;
        let alert = conn.read_tls(sock).ok().and_then(|_| conn.process_new_packets().err());
        self.failed(alert.map_or(error, |alert| io::Error::new(io::ErrorKind::InvalidData, alert)))
    }
}

impl Transport for Tls {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.sock.set_timeout(timeout);
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        let sent = self.stream.write_all(output).and_then(|()| self.stream.flush());
        sent.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => self.last_words(error),
            _ => self.failed(error),
        })
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.sock.set_timeout(timeout);
        let amount = match self.stream.read(self.buffers.input_append_buf()) {
            Ok(amount) => amount,
            Err(error) => return Err(self.failed(error)),
        };
        self.buffers.input_appended(amount);
        self.first = false;
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        let StreamOwned { conn, sock } = &mut self.stream;
        conn.process_new_packets().is_ok_and(|state| !state.peer_has_closed())
            && sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

fn ours(error: impl Into<TransportError>) -> Error {
    Error::Other(Box::new(error.into()))
}
