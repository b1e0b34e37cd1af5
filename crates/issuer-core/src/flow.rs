use std::sync::Arc;
use std::time::Duration;

use crate::{Body, Connect, Now};

/// A conversation that waits for the reply to the one request it has sent.
///
/// A value exists only while a request is outstanding, so there is no unstarted or finished state to misuse.
/// A driver is this loop, with or without `.await`:
///
/// ```
/// # use issuer_core::{Flow, Now, Reply, Request, Step};
/// fn drive<F: Flow>(mut step: Step<F>, now: impl Fn() -> Now, call: impl Fn(Request) -> Reply) -> F::Output {
///     loop {
///         match step {
///             Step::Send(request, flow) => {
///                 let reply = call(request);
///                 step = flow.resume(now(), reply);
///             }
///             Step::Done(output) => return output,
///         }
///     }
/// }
/// ```
pub trait Flow: Sized {
    /// The result of the conversation.
    type Output;

    /// Takes the reply to the outstanding request.
    fn resume(self, now: Now, reply: Reply) -> Step<Self>;
}

/// A question and the state that awaits its answer, or the end of the conversation.
#[must_use]
#[derive(Debug)]
pub enum Step<F: Flow> {
    /// Send this request and resume the conversation with the reply.
    Send(Request, F),
    /// The conversation is over.
    Done(F::Output),
}

/// A request to Vault: what to send, and how to dial.
///
/// The URI is absolute and lies within the origin of `connect`. A driver sends it once, follows no redirect and
/// adds nothing but `Host`, `Content-Length` and `User-Agent`.
#[derive(Clone, Debug)]
pub struct Request {
    /// How to reach the server.
    pub connect: Arc<Connect>,
    /// What the request is for.
    pub operation: Operation,
    /// The request itself.
    pub http: http::Request<Body>,
    /// Time from the start of the request to the end of the reply, connecting included.
    pub timeout: Duration,
}

impl Request {
    /// Returns the most bytes that the body of the reply may have.
    pub fn body_limit(&self) -> usize {
        self.connect.limits.body.min(self.operation.body_limit())
    }
}

/// The result of a request.
///
/// Every status is an `Ok`; a body over the [limit](Request::body_limit) is [`TransportError::TooLarge`].
pub type Reply = Result<http::Response<Body>, TransportError>;

/// What a request to Vault is for; a label for metrics and for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Asks whether the server is initialised, unsealed and active.
    Health,
    /// Exchanges credentials for a token.
    Login,
    /// Asks what a given token is worth.
    Lookup,
    /// Asks the signing endpoint whether it would sign, without a CSR.
    Probe,
    /// Extends the token's lifetime.
    Renew,
    /// Revokes the token.
    Revoke,
    /// Signs a certificate.
    Sign,
}

impl Operation {
    /// Every operation, in the order of the enum.
    pub const ALL: [Self; 7] = [
        Self::Health,
        Self::Login,
        Self::Lookup,
        Self::Probe,
        Self::Renew,
        Self::Revoke,
        Self::Sign,
    ];

    /// Returns the most bytes that the body of a reply may have: only certificates are long.
    fn body_limit(self) -> usize {
        match self {
            Self::Sign => usize::MAX,
            Self::Health | Self::Login | Self::Lookup | Self::Probe | Self::Renew | Self::Revoke => 64 << 10,
        }
    }

    /// Returns the operation as a lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Login => "login",
            Self::Lookup => "lookup",
            Self::Probe => "probe",
            Self::Renew => "renew",
            Self::Revoke => "revoke",
            Self::Sign => "sign",
        }
    }
}

/// Why a request has no reply.
///
/// `Connect`, `Dial` and `Tls` mean that Vault surely did not see the request; after any other a signature may
/// have been made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No connection could be made.
    #[error("cannot connect: {0}")]
    Connect(ConnectError),
    /// The [`Connect`] itself cannot be used.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection broke before a whole reply had come.
    #[error("the connection broke before the reply was complete")]
    Reset,
    /// No whole reply came in time.
    #[error("no reply in time")]
    Timeout,
    /// The TLS handshake failed.
    #[error("TLS handshake failed: {0}")]
    Tls(TlsError),
    /// The reply is larger than allowed.
    #[error("the reply is larger than allowed")]
    TooLarge,
    /// What came back is not HTTP.
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
            Self::Connect(_) | Self::Dial(_) | Self::Tls(_) => false,
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
    /// The host answers that nothing listens on the port.
    #[error("connection refused")]
    Refused,
    /// The host did not answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The network has no way to the host.
    #[error("the host is unreachable")]
    Unreachable,
}

/// Why a [`Connect`] cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The CA bundle holds no usable certificate.
    #[error("the CA bundle holds no usable certificate")]
    Roots,
    /// The client certificate or its key is unusable, or they do not belong together.
    #[error("the client certificate and its key are not a usable pair")]
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
    /// The server's certificate is not one for a server.
    #[error(
        "the server's certificate is not fit for a server: it is of X.509 version 1, malformed, or for another use"
    )]
    Certificate,
    /// The server asks for a client certificate and got none or one that it does not accept.
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
        "the server broke the handshake off, or there is no version (TLS 1.2, 1.3), cipher suite (ECDHE with AES-GCM or ChaCha20-Poly1305) or protocol (HTTP/1.1) in common"
    )]
    Handshake,
    /// The server's certificate is not for the name asked for.
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
