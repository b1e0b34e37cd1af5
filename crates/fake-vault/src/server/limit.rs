//! Rate limit quotas: <https://developer.hashicorp.com/vault/api-docs/system/rate-limit-quotas>.

use std::time::Duration;

use issuer_core::Now;

use crate::answer::Refusal;
use crate::glob::glob;

/// A rate limit quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// The paths to which it applies: one path, or a glob.
    pub path: String,
    /// The number of requests per interval.
    pub rate: u64,
    /// The interval.
    pub interval: Duration,
}

/// A quota and its use. All clients share it: the model knows no addresses.
#[derive(Clone, Debug)]
pub(super) struct Quota {
    limit: RateLimit,
    /// The start of the first interval, on the monotonic clock.
    start: Option<Duration>,
    /// The number of the interval to which `used` refers.
    tick: u128,
    used: u64,
}

impl Quota {
    pub(super) fn new(limit: RateLimit) -> Self {
        Self {
            limit,
            start: None,
            tick: 0,
            used: 0,
        }
    }

    /// Counts a request, and refuses it if the quota is exceeded. The count starts anew in each interval.
    pub(super) fn take(&mut self, now: Now, path: &str) -> Result<(), Refusal> {
        if !glob(&self.limit.path, path) {
            return Ok(());
        }
        let start = *self.start.get_or_insert(now.monotonic);
        let interval = self.limit.interval.as_nanos().max(1);
        let tick = now.monotonic.saturating_sub(start).as_nanos() / interval;
        if tick != self.tick {
            (self.tick, self.used) = (tick, 0);
        }
        if self.used >= self.limit.rate {
            return Err(Refusal::rate_limited(path));
        }
        self.used += 1;
        Ok(())
    }
}
