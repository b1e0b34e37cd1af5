//! The parts of a trace: questions to Vault and to the API server, and their answers.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use issuer_core::access::ReadError;
use issuer_core::reconcile::WriteError;
use issuer_core::{Now, Operation, Reply, Request, TransportError};

use crate::metrics::is_expected;

/// An error as the attribute `error.type` names it: a word of a fixed set.
pub(crate) trait ErrorType {
    /// Returns the word.
    fn error_type(&self) -> &'static str;
}

impl ErrorType for ReadError {
    fn error_type(&self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Unavailable => "unavailable",
        }
    }
}

impl ErrorType for WriteError {
    fn error_type(&self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Postponed(_) => "postponed",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }
}

impl ErrorType for TransportError {
    fn error_type(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Dial(_) => "dial",
            Self::Proxy(_) => "proxy",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Tls(_) => "tls",
            Self::TooLarge => "too_large",
            Self::NotHttp => "not_http",
            // As the semantic conventions call what has no word of its own.
            _ => "_OTHER",
        }
    }
}

/// The longest text of an attribute, in characters: thousands are kept.
const TEXT: usize = 256;

/// Cuts a text off where it is too long to be kept.
fn shortened(text: &str) -> String {
    text.chars().take(TEXT).collect()
}

/// A part of a trace.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(super) name: &'static str,
    pub(super) began: Now,
    pub(super) took: Duration,
    /// The value of `error.type`.
    pub(super) error: Option<Cow<'static, str>>,
    /// The exchange with Vault, if it is one.
    pub(super) exchange: Option<Exchange>,
    /// The parts of a check, which all requests share that have waited for it.
    pub(super) within: Arc<[Self]>,
}

/// A request to Vault and the status of its reply.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) status: Option<u16>,
}

impl Part {
    pub(super) fn new(name: &'static str, began: Now) -> Self {
        Self {
            name,
            began,
            took: Duration::ZERO,
            error: None,
            exchange: None,
            within: Arc::default(),
        }
    }

    /// A request to Vault that is being sent. Its URL holds no secret: these are in headers and bodies.
    pub(super) fn of_request(request: &Request, began: Now) -> Self {
        let origin = &request.connect.origin;
        let exchange = Exchange {
            method: request.http.method().clone(),
            url: shortened(&request.http.uri().to_string()),
            host: shortened(origin.host().trim_matches(['[', ']'])),
            port: origin.port(),
            status: None,
        };
        Self {
            exchange: Some(exchange),
            ..Self::new(request.operation.as_str(), began)
        }
    }

    pub(super) fn end(&mut self, now: Now, error: Option<&'static str>) {
        self.took = now.monotonic.saturating_sub(self.began.monotonic);
        self.error = error.map(Cow::Borrowed);
    }

    /// Ends an exchange. A status that is expected, such as that of a healthy standby, is no error.
    pub(super) fn end_exchange(&mut self, now: Now, operation: Operation, reply: &Reply) {
        self.end(now, reply.as_ref().err().map(ErrorType::error_type));
        let Ok(response) = reply else { return };
        if let Some(exchange) = &mut self.exchange {
            exchange.status = Some(response.status().as_u16());
        }
        if !is_expected(operation, reply) {
            self.error = Some(response.status().as_str().to_owned().into());
        }
    }

    /// Returns the number of its spans.
    pub(super) fn spans(&self) -> usize {
        1 + self.within.iter().map(Self::spans).sum::<usize>()
    }
}
