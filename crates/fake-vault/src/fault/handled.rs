//! The outcome of a request to a hostile server, as the connection shows it.

use std::time::Duration;

use http::Response;
use issuer_core::{Body, Limits, Reply, TransportError};

/// The outcome of a request to a hostile server.
#[derive(Clone, Debug)]
pub enum Handled {
    /// The connection closes without a reply.
    Closed,
    /// The connection closes after so many bytes of the reply's body.
    Cut(Response<Body>, usize),
    /// The reply arrives after a delay.
    Late(Duration, Response<Body>),
    /// The reply arrives at once.
    Reply(Response<Body>),
    /// No reply ever arrives, and the connection stays open.
    Silent,
}

impl Handled {
    /// Returns the reply or the transport error that a driver with these limits reports.
    ///
    /// # Errors
    ///
    /// The [`TransportError`] of the fault, or `TooLarge` for a body over the limit.
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
