//! The blocking driver: sends the requests of the core with ureq, and returns the replies.
//!
//! It decides nothing. ureq's own redirects, proxies, default headers and status errors are off; retries, cookies and
//! compression are not compiled in. A connection is reused only if a probe right before finds it open, and a request
//! that has met a broken one is not sent again.

mod dial;

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use issuer_core::{Body, Connect, ConnectError, Flow, Now, Reply, Request, Step, TransportError};
use issuer_tls::{
    Cache, HEAD_MAX, IDLE, IDLE_MAX, PresentedCertificates, USER_AGENT, body_buffer, exchange_error, now,
};
use ureq::config::Config;
use ureq::{Agent, Error, Timeout};

use crate::dial::{Dial, Resolve};

/// Sends requests on the calling thread.
///
/// # Examples
///
/// Signs a certificate with the access that a check has returned:
///
/// ```
/// use issuer_core::access::Access;
/// use issuer_core::vault::{Sign, SignError};
/// use issuer_core::{SigningRequest, Verified};
/// use issuer_ureq::Driver;
///
/// fn sign(driver: &Driver, access: &Access, request: SigningRequest) -> Result<Verified, SignError> {
///     let Access { vault, path, lease, .. } = access;
///     driver.drive(Sign::begin(vault, path, lease, request, issuer_tls::signatures()))
/// }
/// ```
#[derive(Debug, Default)]
pub struct Driver {
    agents: Cache<Agent>,
}

impl Driver {
    /// Creates a driver without connections.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends a request once and waits for the whole reply, within its timeout and the limits of its `connect`.
    ///
    /// Resolving the host's name may take as long as connecting once more.
    ///
    /// # Errors
    ///
    /// [`TransportError`] if there is no whole reply; every HTTP status is a reply.
    pub fn call(&self, request: Request) -> Reply {
        let body_limit = request.body_limit();
        self.exchange(&request.connect, request.http, request.timeout, body_limit)
    }

    /// Sends a request that is not for Vault, like [`call`](Self::call); `body_limit` is the most bytes that the body of the
    /// reply may have.
    ///
    /// # Errors
    ///
    /// As for `call`.
    pub fn exchange(
        &self,
        connect: &Arc<Connect>,
        request: http::Request<Body>,
        timeout: Duration,
        body_limit: usize,
    ) -> Reply {
        let agent = self.agents.entry(connect, || {
            Ok(Agent::with_parts(
                config(connect),
                Dial::new(connect)?,
                Resolve::new(connect),
            ))
        })?;
        let (parts, body) = request.into_parts();
        let timeout = Some(timeout);
        let response = if parts.method.is_safe() {
            let request = agent.configure_request(http::Request::from_parts(parts, ()));
            agent.run(request.timeout_global(timeout).build())
        } else {
            let request = agent.configure_request(http::Request::from_parts(parts, body.as_bytes()));
            agent.run(request.timeout_global(timeout).build())
        };
        read(response.map_err(transport_error)?, body_limit)
    }

    /// Drives a conversation to its end.
    pub fn drive<F: Flow>(&self, mut step: Step<F>) -> F::Output {
        loop {
            match step {
                Step::Send(request, flow) => {
                    let reply = self.call(request);
                    step = flow.resume(Self::now(), reply);
                }
                Step::Done(output) => return output,
            }
        }
    }

    /// Returns a line for each certificate that the server presents, whether or not it is trusted; none without TLS, or
    /// if the server is out of reach. Nothing is sent over the connection.
    pub fn presented_certificates(&self, connect: &Connect) -> Vec<String> {
        let presented = PresentedCertificates::default();
        if connect.origin.is_tls() {
            // The handshake always fails; what it has shown is the result.
            let _ = dial::handshake(connect, &presented);
        }
        presented.describe()
    }

    /// Samples the clocks; the monotonic one starts with the process's first sample.
    pub fn now() -> Now {
        now()
    }
}

fn config(connect: &Connect) -> Config {
    let limits = connect.limits;
    let dial = limits.connect;
    Config::builder()
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(USER_AGENT)
        .accept("")
        .accept_encoding("")
        .timeout_resolve(Some(dial))
        .timeout_connect(Some(dial))
        .max_idle_age(IDLE)
        .max_idle_connections(IDLE_MAX)
        .max_idle_connections_per_host(IDLE_MAX)
        .max_response_header_size(HEAD_MAX)
        .build()
}

fn read(response: http::Response<ureq::Body>, limit: usize) -> Reply {
    let (parts, body) = response.into_parts();
    let mut bytes = body_buffer(body.content_length(), limit)?;
    let reader = body.into_reader();
    let read = reader.take(limit as u64 + 1).read_to_end(&mut bytes);
    let body = Body::from(bytes);
    read.map_err(|error| transport_error(error.into()))?;
    if body.as_bytes().len() > limit {
        return Err(TransportError::TooLarge);
    }
    Ok(http::Response::from_parts(parts, body))
}

fn transport_error(error: Error) -> TransportError {
    match error {
        Error::Other(ours) => ours.downcast_ref().copied().unwrap_or(TransportError::Reset),
        Error::Timeout(Timeout::Resolve | Timeout::Connect) => ConnectError::Timeout.into(),
        Error::Timeout(_) => TransportError::Timeout,
        Error::Io(error) => exchange_error(&error, false),
        Error::Protocol(_) | Error::LargeResponseHeader(..) => TransportError::NotHttp,
        _ => TransportError::Reset,
    }
}
