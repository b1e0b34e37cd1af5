//! The clock of a process, which may be skewed and drift.

use std::time::Duration;

use issuer_core::Now;

use crate::digest::EPOCH;

/// The Unix time at which the simulated world begins.
pub const UNIX: Duration = Duration::from_secs(1_800_000_000);

/// A clock of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// The offset of the monotonic clock from that of the world.
    pub monotonic: Duration,
    /// The offset of the wall clock from that of the world, in seconds.
    pub unix: i64,
    /// The drift, in thousandths: positive if the clock is fast.
    pub rate: i32,
}

impl Clock {
    /// Returns the reading of the clock at a time of the world.
    pub fn now(self, world: Duration) -> Now {
        let unix = (UNIX + world).as_secs().saturating_add_signed(self.unix);
        Now {
            monotonic: EPOCH + self.monotonic + self.scaled(world),
            unix: Duration::from_secs(unix),
        }
    }

    fn scaled(self, world: Duration) -> Duration {
        let nanos = i128::try_from(world.as_nanos()).unwrap_or(i128::MAX);
        let nanos = nanos + nanos * i128::from(self.rate) / 1000;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Returns the time of the world at which the clock has a reading.
    pub fn when(self, monotonic: Duration) -> Duration {
        let reading = monotonic.saturating_sub(EPOCH + self.monotonic);
        if self.rate == 0 {
            return reading;
        }
        let nanos = i128::try_from(reading.as_nanos()).unwrap_or(i128::MAX);
        let nanos = nanos * 1000 / (1000 + i128::from(self.rate)) + 1;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}
