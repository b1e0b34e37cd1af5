use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Instant;

use issuer_core::target::AllowedServers;
use issuer_core::{Connect, ConnectError, DialError, TransportError};
use issuer_tls::{
    PresentedCertificates, classify, client_config, connect_error, defer_write_error, exchange_error, handshake_error,
    server_name,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use ureq::Error;
use ureq::config::Config;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, TcpConnector, Transport, TransportAdapter,
};

/// Resolves names as ureq does, to permitted addresses only, and reports a failure as one to connect.
#[derive(Debug)]
pub(crate) struct Resolve {
    allowed: AllowedServers,
    resolver: DefaultResolver,
}

impl Resolve {
    pub(crate) fn new(connect: &Connect) -> Self {
        Self {
            allowed: connect.allowed_servers.clone(),
            resolver: DefaultResolver::default(),
        }
    }
}

impl Resolver for Resolve {
    fn resolve(&self, uri: &http::Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let found = self
            .resolver
            .resolve(uri, config, timeout)
            .map_err(|error| match error {
                Error::Timeout(_) => ours(ConnectError::Timeout),
                _ => ours(ConnectError::Dns),
            })?;
        let host = uri.host().unwrap_or_default();
        let mut permitted = self.resolver.empty();
        for address in found.iter() {
            if self.allowed.permits_address(host, address.ip()) {
                permitted.push(*address);
            }
        }
        if permitted.is_empty() && !found.is_empty() {
            return Err(ours(ConnectError::NotAllowed));
        }
        Ok(permitted)
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
        Ok(Self {
            tcp: TcpConnector::default(),
            tls,
        })
    }
}

impl Connector for Dial {
    type Out = Box<dyn Transport>;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Self::Out>, Error> {
        let start = Instant::now();
        let tcp = match Connector::<()>::connect(&self.tcp, details, None) {
            Ok(tcp) => tcp.ok_or_else(|| ours(ConnectError::Unreachable))?,
            Err(Error::Timeout(_)) => return Err(ours(ConnectError::Timeout)),
            Err(Error::Io(error)) => return Err(ours(connect_error(&error))),
            Err(_) => return Err(ours(ConnectError::Unreachable)),
        };
        let Some((config, name)) = &self.tls else {
            return Ok(Some(Box::new(tcp)));
        };
        let mut timeout = details.timeout;
        timeout.after = timeout.after.saturating_sub(start.elapsed()).into();
        let clock = details.current_time.clone();
        let mut sock = DeferWriteErrors(TransportAdapter::new(Box::new(tcp), clock));
        sock.0.set_timeout(timeout);
        let mut conn = ClientConnection::new(config.clone(), name.clone()).map_err(|error| ours(classify(&error)))?;
        conn.complete_io(&mut sock).map_err(|error| match Error::from(error) {
            Error::Io(error) => ours(handshake_error(&error)),
            _ => ours(ConnectError::Timeout),
        })?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        let stream = StreamOwned::new(conn, sock);
        Ok(Some(Box::new(Tls {
            stream,
            buffers,
            first: true,
        })))
    }
}

/// Begins a TLS handshake over a connection of its own.
pub(crate) fn handshake(connect: &Connect, presented: &PresentedCertificates) -> io::Result<()> {
    let (origin, limit) = (&connect.origin, connect.limits.connect);
    let name = server_name(connect).map_err(io::Error::other)?;
    let host = origin.host();
    let addresses = (host.trim_matches(['[', ']']), origin.port()).to_socket_addrs()?;
    let mut permitted = addresses.filter(|address| connect.allowed_servers.permits_address(host, address.ip()));
    let address = permitted.next().ok_or(io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    let mut connection = ClientConnection::new(presented.config(), name).map_err(io::Error::other)?;
    connection.complete_io(&mut stream).map(drop)
}

/// A TLS connection; `first` until the server has sent something after the handshake.
struct Tls {
    stream: StreamOwned<ClientConnection, DeferWriteErrors>,
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
}

impl Transport for Tls {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.sock.0.set_timeout(timeout);
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        let sent = self.stream.write_all(output).and_then(|()| self.stream.flush());
        sent.map_err(|error| self.failed(error))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.sock.0.set_timeout(timeout);
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
        conn.process_new_packets().is_ok_and(|state| !state.peer_has_closed()) && sock.0.get_mut().is_open()
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

/// A connection whose write errors are left to reading; see [`defer_write_error`].
struct DeferWriteErrors(TransportAdapter);

impl Read for DeferWriteErrors {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

impl Write for DeferWriteErrors {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        defer_write_error(self.0.write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn ours(error: impl Into<TransportError>) -> Error {
    Error::Other(Box::new(error.into()))
}
