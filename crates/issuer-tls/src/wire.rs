//! Limits and habits of both drivers on the wire.

use std::io::{self, ErrorKind};
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use issuer_core::{Now, TransportError};

/// How long an unused connection is kept: more than the interval of an issuer's checks, less than the five minutes
/// after which Vault closes it.
pub const IDLE: Duration = Duration::from_secs(120);

/// How many exchanges with Vault there are at once, over all servers: a bound of the memory, since each takes two file
/// descriptors and the buffers of TLS and HTTP. The tasks that may be begun for all requests are half as many.
pub const EXCHANGES_MAX: usize = 1024;

/// How many unused connections to one server are kept: more than there are exchanges with one server by default, so that a
/// burst does not dial again for each of its requests.
pub const IDLE_MAX: usize = 256;

/// The largest head of a reply, in bytes.
pub const HEAD_MAX: usize = 64 << 10;

/// The `User-Agent` of every request.
pub const USER_AGENT: &str = concat!("vault-issuer/", env!("CARGO_PKG_VERSION"));

/// Room for a reply's body whose length is not known, in bytes: enough for nearly all.
const BODY_TYPICAL: u64 = 16 << 10;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Samples the clocks. The monotonic one starts with the process's first sample.
pub fn now() -> Now {
    Now {
        monotonic: START.elapsed(),
        unix: SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default(),
    }
}

/// Returns room for a reply's body of `length` bytes, if that is known.
///
/// It is sized at once where possible: a vector that grows leaves copies behind that are not wiped.
///
/// # Errors
///
/// [`TransportError::TooLarge`] if the body is longer than `limit`.
pub fn body_buffer(length: Option<u64>, limit: usize) -> Result<Vec<u8>, TransportError> {
    match length {
        Some(length) if length > limit as u64 => Err(TransportError::TooLarge),
        length => Ok(Vec::with_capacity(length.unwrap_or(BODY_TYPICAL) as usize)),
    }
}

/// Returns the result of writing `length` bytes, but success if the server has closed the connection.
///
/// The driver then goes on to read: a server that refuses the client certificate says so in an alert and closes at
/// once, so a write may fail while the alert waits to be read.
///
/// # Errors
///
/// Any other error of the write.
pub fn defer_write_error(written: io::Result<usize>, length: usize) -> io::Result<usize> {
    let is_closed = |error: &io::Error| matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
    match written {
        Err(error) if is_closed(&error) => Ok(length),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_closed_connection_is_deferred() {
        for kind in [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset] {
            assert_eq!(defer_write_error(Err(kind.into()), 7).ok(), Some(7));
        }
        assert!(defer_write_error(Err(ErrorKind::TimedOut.into()), 7).is_err());
        assert_eq!(defer_write_error(Ok(3), 7).ok(), Some(3));
    }

    #[test]
    fn a_body_has_room_at_once() {
        assert_eq!(body_buffer(Some(8), 8).map(|bytes| bytes.capacity() >= 8), Ok(true));
        assert_eq!(body_buffer(Some(9), 8), Err(TransportError::TooLarge));
        assert!(body_buffer(None, 8).is_ok());
    }

    #[test]
    fn time_goes_on() {
        let before = now();
        let after = now();
        assert!(before.monotonic <= after.monotonic && before.unix > Duration::from_secs(1_600_000_000));
    }
}
