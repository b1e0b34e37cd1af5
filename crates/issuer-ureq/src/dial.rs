//! Connects for ureq: resolution, proxies and TLS.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Instant;

use http::Uri;
use issuer_core::{Connect, ConnectError, ConnectReply, DialError, Origin, Proxy, ProxyError, TransportError};
use issuer_tls::{
    PresentedCertificates, classify, client_config, connect_error, defer_write_error, exchange_error, handshake_error,
    proxy_error, server_name,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use ureq::Error;
use ureq::config::Config;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, TcpConnector, Transport, TransportAdapter,
};

/// Resolves the name of the server, or of the proxy before it, as ureq does, to permitted addresses only, and reports a
/// failure as one to connect.
#[derive(Debug)]
pub(crate) struct Resolve {
    connect: Connect,
    resolver: DefaultResolver,
}

impl Resolve {
    pub(crate) fn new(connect: &Connect) -> Self {
        Self {
            connect: connect.clone(),
            resolver: DefaultResolver::default(),
        }
    }
}

impl Resolver for Resolve {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let connect = &self.connect;
        let unconnected = |error| ours(connect.unconnected(error));
        let proxy = match connect.proxy() {
            Some(proxy) => Some(Uri::try_from(format!("http://{proxy}/")).map_err(http::Error::from)?),
            None => None,
        };
        let found = self
            .resolver
            .resolve(proxy.as_ref().unwrap_or(uri), config, timeout)
            .map_err(|error| match error {
                Error::Timeout(_) => unconnected(ConnectError::Timeout),
                _ => unconnected(ConnectError::Dns),
            })?;
        let mut permitted = self.resolver.empty();
        for address in found.iter() {
            if connect.permits(address.ip()) {
                permitted.push(*address);
            }
        }
        if permitted.is_empty() && !found.is_empty() {
            return Err(unconnected(ConnectError::NotAllowed));
        }
        Ok(permitted)
    }
}

/// Makes connections: TCP, through a proxy where there is one, and TLS above it as the [`Connect`] says.
///
/// ureq's own TLS settings take neither a rustls configuration nor a server name other than the host.
#[derive(Debug)]
pub(crate) struct Dial {
    connect: Connect,
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
            connect: connect.clone(),
            tcp: TcpConnector::default(),
            tls,
        })
    }
}

impl Connector for Dial {
    type Out = Box<dyn Transport>;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Self::Out>, Error> {
        let start = Instant::now();
        let unconnected = |error| ours(self.connect.unconnected(error));
        let tcp = match Connector::<()>::connect(&self.tcp, details, None) {
            Ok(tcp) => tcp.ok_or_else(|| unconnected(ConnectError::Unreachable))?,
            Err(Error::Timeout(_)) => return Err(unconnected(ConnectError::Timeout)),
            Err(Error::Io(error)) => return Err(unconnected(connect_error(&error))),
            Err(_) => return Err(unconnected(ConnectError::Unreachable)),
        };
        let Some((config, name)) = &self.tls else {
            return Ok(Some(Box::new(tcp)));
        };
        let mut timeout = details.timeout;
        timeout.after = timeout.after.saturating_sub(start.elapsed()).into();
        let clock = details.current_time.clone();
        let mut sock = DeferWriteErrors(TransportAdapter::new(Box::new(tcp), clock));
        sock.0.set_timeout(timeout);
        if let Some(proxy) = self.connect.proxy() {
            tunnel(&mut sock.0, proxy, &self.connect.origin).map_err(|error| match Error::from(error) {
                Error::Io(error) => ours(proxy_cause(&error)),
                _ => ours(ProxyError::Timeout),
            })?;
        }
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
    let limit = connect.limits.connect;
    let name = server_name(connect).map_err(io::Error::other)?;
    let (host, port) = connect.peer();
    let addresses = (host.trim_matches(['[', ']']), port).to_socket_addrs()?;
    let mut permitted = addresses.filter(|address| connect.permits(address.ip()));
    let address = permitted.next().ok_or(io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    if let Some(proxy) = connect.proxy() {
        tunnel(&mut stream, proxy, &connect.origin)?;
    }
    let mut connection = ClientConnection::new(presented.config(), name).map_err(io::Error::other)?;
    connection.complete_io(&mut stream).map(drop)
}

/// Has a proxy connect to a server; its refusal is the cause of the error.
fn tunnel(stream: &mut (impl Read + Write), proxy: &Proxy, server: &Origin) -> io::Result<()> {
    stream.write_all(proxy.request(server).expose())?;
    stream.flush()?;
    let mut reply = ConnectReply::default();
    let mut bytes = [0; 512];
    loop {
        let count = stream.read(&mut bytes)?;
        if let Some(connected) = reply.take(bytes.get(..count).unwrap_or_default()) {
            return connected.map_err(io::Error::other);
        }
    }
}

/// Returns the refusal of a proxy, or else what happened to its connection.
fn proxy_cause(error: &io::Error) -> ProxyError {
    let refusal = error.get_ref().and_then(|cause| cause.downcast_ref::<ProxyError>());
    refusal.copied().unwrap_or_else(|| proxy_error(error))
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
