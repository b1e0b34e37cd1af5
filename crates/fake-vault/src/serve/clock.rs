//! The clock of a server.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use issuer_core::Now;

/// The system's clocks or fixed ones, which can be advanced.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    /// In milliseconds.
    ahead: AtomicU64,
    standing: Option<Now>,
}

impl Clock {
    /// Returns a clock that stands at `standing`; the system's if that is `None`.
    pub(super) fn new(standing: Option<Now>) -> Self {
        Self {
            start: Instant::now(),
            ahead: AtomicU64::new(0),
            standing,
        }
    }

    pub(super) fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.ahead.fetch_add(millis, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> Now {
        let ahead = Duration::from_millis(self.ahead.load(Ordering::Relaxed));
        let now = self.standing.unwrap_or_else(|| Now {
            monotonic: self.start.elapsed(),
            unix: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default(),
        });
        Now {
            monotonic: now.monotonic.saturating_add(ahead),
            unix: now.unix.saturating_add(ahead),
        }
    }
}
