//! The time, as an argument.

use std::time::Duration;

use jiff::Timestamp;

/// The time, as plain data: a driver samples it once for each answer it gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Now {
    /// Time since some fixed moment; never goes back. Every wait is measured by it.
    pub monotonic: Duration,
    /// Time since the Unix epoch; may jump. Used only for timestamps and for the validity of certificates.
    pub unix: Duration,
}

impl Now {
    /// Returns the wall time to the second, as Kubernetes writes it.
    pub fn timestamp(self) -> Timestamp {
        let seconds = i64::try_from(self.unix.as_secs()).unwrap_or(i64::MAX);
        Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
    }
}
