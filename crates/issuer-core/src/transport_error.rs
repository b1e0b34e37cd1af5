//! Why a request to Vault got no reply.

/// Why a request has no reply.
///
/// `Connect`, `Dial`, `Proxy` and `Tls` mean that Vault did not receive the request; after any other error it may have
/// signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No connection could be made.
    #[error("cannot connect: {0}")]
    Connect(ConnectError),
    /// The [`Connect`](crate::Connect) itself cannot be used.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The proxy did not forward the connection.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The connection was closed before the reply was complete.
    #[error("the connection broke before the reply was complete")]
    Reset,
    /// The reply was not complete in time.
    #[error("no reply in time")]
    Timeout,
    /// The TLS handshake failed.
    #[error("TLS handshake failed: {0}")]
    Tls(TlsError),
    /// The reply is larger than allowed.
    #[error("the reply is larger than allowed")]
    TooLarge,
    /// The reply is not HTTP.
    #[error("the reply is not HTTP")]
    NotHttp,
}

impl From<ConnectError> for TransportError {
    fn from(error: ConnectError) -> Self {
        Self::Connect(error)
    }
}

impl From<TlsError> for TransportError {
    fn from(error: TlsError) -> Self {
        Self::Tls(error)
    }
}

impl TransportError {
    /// Returns `true` if Vault may have acted on the request.
    pub fn may_have_been_handled(self) -> bool {
        match self {
            Self::Connect(_) | Self::Dial(_) | Self::Proxy(_) | Self::Tls(_) => false,
            // Even a reply that cannot be read may answer a signature that was made.
            Self::Reset | Self::Timeout | Self::TooLarge | Self::NotHttp => true,
        }
    }
}

/// Why no connection could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The host's name resolves to addresses that the operator does not permit.
    #[error("the host resolves to an address that is not allowed: the operator has to list it (--allowed-servers)")]
    NotAllowed,
    /// The host's name does not resolve.
    #[error("the host name does not resolve")]
    Dns,
    /// The host refused the connection: nothing listens on the port.
    #[error("connection refused")]
    Refused,
    /// The host did not answer in time.
    #[error("no answer in time")]
    Timeout,
    /// There is no route to the host.
    #[error("the host is unreachable")]
    Unreachable,
}

/// Why a proxy did not forward a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// The proxy demands other credentials.
    #[error("the proxy demands authentication (407): set its user and password in HTTPS_PROXY")]
    Authentication,
    /// The proxy closed the connection before it had answered.
    #[error("the proxy closed the connection before it had answered CONNECT")]
    Closed,
    /// No connection to the proxy could be made.
    #[error("cannot connect to the proxy: {0}")]
    Connect(ConnectError),
    /// The answer of the proxy is not HTTP.
    #[error("the proxy's answer to CONNECT is not HTTP")]
    NotHttp,
    /// The proxy refused to connect to the server, with this status.
    #[error("the proxy refuses to connect to the server ({0})")]
    Refused(u16),
    /// The proxy did not answer in time.
    #[error("the proxy did not connect to the server in time")]
    Timeout,
    /// The proxy could not connect to the server; it answered with this status.
    #[error("the proxy cannot connect to the server ({0})")]
    Unreachable(u16),
}

/// Why a [`Connect`](crate::Connect) cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The CA bundle holds no usable certificate.
    #[error("the CA bundle holds no usable certificate")]
    Roots,
    /// The client certificate or its key is unusable, or they do not belong together.
    #[error(
        "the client certificate and its key are not a usable pair; a key may be RSA from 2048 bits on, EC P-256, P-384 or \
         P-521, or Ed25519"
    )]
    Identity,
    /// The server name is not a DNS name or an IP address.
    #[error("the server name is not a DNS name or an IP address")]
    ServerName,
    /// The system has no CA certificates.
    #[error("the system has no CA certificates; set caBundle or caBundleSecretRef")]
    SystemRoots,
}

/// Why a TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The server's certificate is a CA certificate.
    #[error(
        "the server's certificate is a CA certificate: give the server one with CA:FALSE, or put exactly this one into the CA bundle"
    )]
    CaCertificate,
    /// The server's certificate cannot be used by a server: it is of X.509 version 1, malformed, or for another purpose.
    #[error(
        "the server's certificate is not fit for a server: it is of X.509 version 1, malformed, or for another use"
    )]
    Certificate,
    /// The server requires a client certificate, and got none or one that it does not accept.
    #[error("the server does not accept the client certificate, or none was given")]
    ClientCertificate,
    /// A certificate of the server has a critical extension that is not supported.
    #[error("a certificate in the server's chain has a critical extension that is not supported, such as policies")]
    CriticalExtension,
    /// The server's certificate is expired or not yet valid.
    #[error("the server's certificate is expired or not yet valid")]
    Expired,
    /// The handshake failed for another reason.
    #[error(
        "the server aborted the handshake, such as for want of a common TLS version (1.2, 1.3), cipher suite (ECDHE with AES-GCM or ChaCha20-Poly1305) or protocol (HTTP/1.1)"
    )]
    Handshake,
    /// The server's certificate is not valid for the expected name.
    #[error("the server's certificate is for another name")]
    Name,
    /// A signature of the server or in its certificate's chain does not verify.
    #[error(
        "a signature in the server's chain or handshake cannot be verified: it is of another CA with the name of a trusted one, or of an RSA key shorter than 2048 bits"
    )]
    Signature,
    /// The server's certificate does not chain to a CA that the issuer trusts.
    #[error(
        "the server's certificate is not signed by a CA that the issuer trusts: the CA bundle must hold that CA, or exactly this certificate"
    )]
    UnknownIssuer,
}
