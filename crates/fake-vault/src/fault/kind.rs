//! The kinds of faults.

use std::time::Duration;

/// A fault that one request meets.
///
/// Up to [`Unavailable`](Self::Unavailable), the fault replaces Vault's answer, and Vault does nothing. From
/// [`Certificate`](Self::Certificate) on, Vault has handled the request, and may have signed a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection closes before Vault has seen the request.
    Dropped,
    /// 403, as from a standby that has not replicated a new token yet.
    Forbidden,
    /// This status with a gateway's JSON, which has no `errors`: Vault has not seen the request.
    Gateway(u16),
    /// 502 with a proxy's HTML page, which quotes the request, its token included.
    Html,
    /// 500.
    InternalError,
    /// 412: the state that the request needs has not been replicated yet.
    MissingState,
    /// 429: a rate limit quota is exceeded.
    RateLimited(RetryAfter),
    /// 307.
    Redirected(Redirect),
    /// This status, with the request and its token wherever a reply has room for text.
    Reflected(u16),
    /// 503, as if sealed.
    Unavailable,
    /// The signed certificate has this defect.
    Certificate(CaDefect),
    /// Every certificate of `ca_chain` is repeated.
    ChainDoubled,
    /// `ca_chain` is reversed.
    ChainShuffled,
    /// The connection closes after so many bytes of the body.
    Cut(usize),
    /// The body is ten thousand nested JSON arrays.
    DeepJson,
    /// 200 with `data` and `auth` null.
    EmptyData,
    /// The envelope and its parts have unknown fields.
    ExtraFields,
    /// The body has 10 MiB.
    Huge,
    /// The reply is delayed.
    Late(Duration),
    /// The connection closes without a reply.
    Lost,
    /// 204.
    NoContent,
    /// 200 with a body that is not JSON.
    NotJson,
    /// No reply ever arrives, and the connection stays open.
    Silent,
    /// The content type is `text/plain`.
    WrongContentType,
    /// Texts are numbers, lists are texts, numbers are objects.
    WrongTypes,
}

/// The `Retry-After` header of a rate-limited reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// An HTTP date, this many seconds ahead.
    Date(u64),
    /// No header.
    None,
    /// A number of seconds.
    Seconds(u64),
}

/// The target of a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// A host that must never receive a token.
    Elsewhere,
    /// Another port of 127.0.0.1.
    Port {
        /// Whether the scheme is https.
        tls: bool,
        /// The port.
        port: u16,
    },
    /// The same path of the same server.
    SameOrigin,
}

/// A defect of a certificate that a broken CA signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaDefect {
    /// It is signed by another CA of the same name.
    AnotherIssuer,
    /// It is for another key.
    AnotherKey,
    /// It is for another name.
    AnotherName,
    /// It is a CA's.
    CaCertificate,
    /// It is valid until the end of 9999.
    FarExpiry,
}

impl Fault {
    /// One fault of each kind that a careful client overcomes within a few requests.
    pub const TRANSIENT: [Self; 11] = [
        Self::ChainShuffled,
        Self::ExtraFields,
        Self::Forbidden,
        Self::InternalError,
        Self::Lost,
        Self::MissingState,
        Self::RateLimited(RetryAfter::Date(2)),
        Self::RateLimited(RetryAfter::None),
        Self::RateLimited(RetryAfter::Seconds(1)),
        Self::Redirected(Redirect::SameOrigin),
        Self::Unavailable,
    ];

    /// One fault of each kind.
    pub const ALL: [Self; 32] = [
        Self::Dropped,
        Self::Forbidden,
        Self::Gateway(400),
        Self::Html,
        Self::InternalError,
        Self::MissingState,
        Self::RateLimited(RetryAfter::Date(2)),
        Self::RateLimited(RetryAfter::None),
        Self::RateLimited(RetryAfter::Seconds(1)),
        Self::Redirected(Redirect::Elsewhere),
        Self::Redirected(Redirect::SameOrigin),
        Self::Reflected(500),
        Self::Unavailable,
        Self::Certificate(CaDefect::CaCertificate),
        Self::Certificate(CaDefect::AnotherKey),
        Self::Certificate(CaDefect::AnotherName),
        Self::Certificate(CaDefect::AnotherIssuer),
        Self::Certificate(CaDefect::FarExpiry),
        Self::ChainDoubled,
        Self::ChainShuffled,
        Self::Cut(20),
        Self::DeepJson,
        Self::EmptyData,
        Self::ExtraFields,
        Self::Huge,
        Self::Late(Duration::from_millis(50)),
        Self::Lost,
        Self::NoContent,
        Self::NotJson,
        Self::Silent,
        Self::WrongContentType,
        Self::WrongTypes,
    ];

    /// Returns `true` if Vault handles the request.
    pub fn is_handled(self) -> bool {
        !matches!(
            self,
            Self::Dropped
                | Self::Forbidden
                | Self::Gateway(_)
                | Self::Html
                | Self::InternalError
                | Self::MissingState
                | Self::RateLimited(_)
                | Self::Redirected(_)
                | Self::Reflected(_)
                | Self::Unavailable
        )
    }

    /// Returns the defect of the certificate that is signed with this fault.
    pub(crate) fn defect(self) -> Option<CaDefect> {
        match self {
            Self::Certificate(defect) => Some(defect),
            _ => None,
        }
    }
}
