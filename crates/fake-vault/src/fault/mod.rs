//! A hostile Vault: what servers, proxies and networks do to an issuer that trusts them.

mod edit;
mod faults;

use std::time::Duration;

use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER, WARNING};
use http::{HeaderValue, Request, Response, StatusCode};
use issuer_core::{Body, Limits, Now, Reply, TransportError};
use serde_json::json;

use crate::answer::{Refusal, json_reply, occurred, reply};
use crate::{FakeVault, origin_of};

pub use faults::Faults;

/// What goes wrong with one request.
///
/// Those of the first half come instead of an answer: Vault does nothing. Those of the second half come with or
/// after it: Vault has done what was asked, and a certificate may have been signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection closes before Vault has seen the request.
    Dropped,
    /// 403, as from a standby that does not know a new token yet.
    Forbidden,
    /// 502 with the HTML page of a proxy, which quotes the request, its token included.
    Html,
    /// 500.
    InternalError,
    /// 412: the state that the request needs has not arrived yet.
    MissingState,
    /// 429: a quota is used up.
    RateLimited(RetryAfter),
    /// 307.
    Redirected(Redirect),
    /// This status, and wherever an answer has room for text, the request with its token.
    Reflected(u16),
    /// 503, as if sealed.
    Unavailable,

    /// The certificate is a CA's.
    CaCertificate,
    /// The certificate is for another key.
    AnotherKey,
    /// The certificate is for another name.
    AnotherName,
    /// The certificate is signed by another CA of the same name.
    AnotherIssuer,
    /// The certificate is valid until the end of 9999.
    FarExpiry,
    /// Every certificate of `ca_chain` is there twice.
    ChainDoubled,
    /// `ca_chain` is upside down.
    ChainShuffled,
    /// The connection breaks off after so many bytes of the body.
    Cut(usize),
    /// The body is JSON of ten thousand arrays in each other.
    DeepJson,
    /// 200 with `data` and `auth` null.
    EmptyData,
    /// The envelope and its parts have fields that nobody knows.
    ExtraFields,
    /// The body is 10 MiB long.
    Huge,
    /// The reply comes this much later.
    Late(Duration),
    /// The connection closes without a reply.
    Lost,
    /// 204.
    NoContent,
    /// 200 with a body that is not JSON.
    NotJson,
    /// No reply ever comes, and the connection stays open.
    Silent,
    /// The content type is that of plain text.
    WrongContentType,
    /// Texts are numbers, lists are texts, numbers are objects.
    WrongTypes,
}

/// When a rate-limited client may come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// A date of HTTP, this many seconds ahead.
    Date(u64),
    /// The server does not say.
    None,
    /// This many seconds.
    Seconds(u64),
}

/// Where a redirect leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// To a host that must never see a token.
    Elsewhere,
    /// To another port of 127.0.0.1, over TLS or not.
    Port {
        /// Whether the scheme is https.
        tls: bool,
        /// The port.
        port: u16,
    },
    /// To the same path of the same server.
    SameOrigin,
}

/// What a broken CA does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Twist {
    AnotherIssuer,
    AnotherKey,
    AnotherName,
    CaCertificate,
    FarExpiry,
}

/// What becomes of a request to a hostile server.
#[derive(Clone, Debug)]
pub enum Handled {
    /// The connection closes without a reply.
    Closed,
    /// The connection closes after so many bytes of the reply's body.
    Cut(Response<Body>, usize),
    /// The reply comes this much later.
    Late(Duration, Response<Body>),
    /// The reply.
    Reply(Response<Body>),
    /// No reply ever comes.
    Silent,
}

impl Handled {
    /// Returns what a driver makes of it that keeps to these limits.
    pub fn reply(self, limits: Limits) -> Reply {
        let response = match self {
            Self::Closed | Self::Cut(..) => return Err(TransportError::Reset),
            Self::Silent => return Err(TransportError::Timeout),
            Self::Late(delay, _) if delay >= limits.exchange => {
                return Err(TransportError::Timeout);
            }
            Self::Late(_, response) | Self::Reply(response) => response,
        };
        if response.body().as_bytes().len() > limits.body {
            return Err(TransportError::TooLarge);
        }
        Ok(response)
    }
}

impl Fault {
    /// The faults that a careful client gets over within a few requests, one of each kind.
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

    /// One of each kind.
    pub const ALL: [Self; 31] = [
        Self::Dropped,
        Self::Forbidden,
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
        Self::CaCertificate,
        Self::AnotherKey,
        Self::AnotherName,
        Self::AnotherIssuer,
        Self::FarExpiry,
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

    /// Tells whether Vault does what was asked.
    pub fn is_handled(self) -> bool {
        !matches!(
            self,
            Self::Dropped
                | Self::Forbidden
                | Self::Html
                | Self::InternalError
                | Self::MissingState
                | Self::RateLimited(_)
                | Self::Redirected(_)
                | Self::Reflected(_)
                | Self::Unavailable
        )
    }

    fn twist(self) -> Option<Twist> {
        match self {
            Self::AnotherIssuer => Some(Twist::AnotherIssuer),
            Self::AnotherKey => Some(Twist::AnotherKey),
            Self::AnotherName => Some(Twist::AnotherName),
            Self::CaCertificate => Some(Twist::CaCertificate),
            Self::FarExpiry => Some(Twist::FarExpiry),
            _ => None,
        }
    }

    /// Acts the fault out.
    pub(crate) fn act(self, vault: &mut FakeVault, now: Now, request: &Request<Body>) -> Handled {
        if !self.is_handled() {
            // What it says is of no interest: only that it came.
            drop(vault.arrive(request));
            return self.instead(now, request);
        }
        let response = vault.answer(now, request, self.twist());
        match self {
            Self::Cut(length) => Handled::Cut(response, length),
            Self::Late(delay) => Handled::Late(delay, response),
            Self::Lost => Handled::Closed,
            Self::Silent => Handled::Silent,
            _ => Handled::Reply(edit::spoilt(self, response)),
        }
    }

    /// Returns what comes instead of an answer.
    fn instead(self, now: Now, request: &Request<Body>) -> Handled {
        let refusal = |status, error: &str| Refusal::new(status, error).into_response();
        Handled::Reply(match self {
            Self::Forbidden => Refusal::permission_denied().into_response(),
            Self::Html => html(&quoted(request)),
            Self::InternalError => refusal(StatusCode::INTERNAL_SERVER_ERROR, &occurred(&["internal error"])),
            Self::MissingState => refusal(StatusCode::PRECONDITION_FAILED, "required index state not present"),
            Self::RateLimited(after) => {
                let path = request.uri().path().trim_start_matches("/v1/");
                let error = format!("request path {path:?}: rate limit quota exceeded");
                let response = refusal(StatusCode::TOO_MANY_REQUESTS, &error);
                with_header(response, RETRY_AFTER, after.value(now))
            }
            Self::Redirected(to) => {
                let response = reply(StatusCode::TEMPORARY_REDIRECT, Vec::new());
                with_header(response, LOCATION, Some(to.location(request)))
            }
            Self::Reflected(status) => reflected(status, &quoted(request)),
            Self::Unavailable => Refusal::sealed().into_response(),
            _ => return Handled::Closed,
        })
    }
}

impl RetryAfter {
    fn value(self, now: Now) -> Option<String> {
        match self {
            Self::Date(seconds) => {
                let unix = now.unix.saturating_add(Duration::from_secs(seconds));
                let date = Now { unix, ..now }.timestamp();
                Some(date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
            }
            Self::None => None,
            Self::Seconds(seconds) => Some(seconds.to_string()),
        }
    }
}

impl Redirect {
    fn location(self, request: &Request<Body>) -> String {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        match self {
            Self::Elsewhere => format!("https://elsewhere.invalid{path}"),
            Self::Port { tls, port } => {
                let scheme = if tls { "https" } else { "http" };
                format!("{scheme}://127.0.0.1:{port}{path}")
            }
            Self::SameOrigin => origin_of(request) + path,
        }
    }
}

fn with_header(mut response: Response<Body>, name: http::HeaderName, value: Option<String>) -> Response<Body> {
    if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
        response.headers_mut().insert(name, value);
    }
    response
}

/// Returns the request's token and body.
fn quoted(request: &Request<Body>) -> String {
    let token = request.headers().get("x-vault-token").map(HeaderValue::as_bytes);
    let token = String::from_utf8_lossy(token.unwrap_or_default());
    let body = String::from_utf8_lossy(request.body().as_bytes());
    format!("token {token} is bad, and so is {body}")
}

fn html(quoted: &str) -> Response<Body> {
    let page = format!(
        "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
         <center><h1>502 Bad Gateway</h1></center>\r\n<pre>{quoted}</pre>\r\n</body>\r\n</html>\r\n"
    );
    let mut response = reply(StatusCode::BAD_GATEWAY, page.into_bytes());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response
}

/// Returns a reply that says the same everywhere.
fn reflected(status: u16, quoted: &str) -> Response<Body> {
    let body = json!({
        "auth": { "accessor": quoted, "client_token": "" },
        "data": { "certificate": quoted, "issuing_ca": quoted, "ca_chain": [quoted] },
        "errors": [quoted],
        "warnings": [quoted],
    });
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = json_reply(status, &body);
    for name in [LOCATION, RETRY_AFTER, WARNING] {
        response = with_header(response, name, Some(quoted.to_owned()));
    }
    response
}
