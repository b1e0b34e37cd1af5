//! Exponential backoff with jitter.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::SplitMix64;

/// A source of jitter, seeded by the driver.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Jitter(SplitMix64);

impl Hash for Jitter {
    /// Ignores the generator: two states that differ only in future jitter count as one for the explorer.
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self(SplitMix64::new(seed))
    }

    /// Returns the wait, longer by up to a tenth.
    pub(super) fn over(&mut self, wait: Duration) -> Duration {
        wait + self.thousandths(wait / 10)
    }

    /// Returns a time between half of the span and the whole.
    pub(super) fn within(&mut self, span: Duration) -> Duration {
        span / 2 + self.thousandths(span / 2)
    }

    /// Returns up to the whole span, in steps of a thousandth.
    fn thousandths(&mut self, span: Duration) -> Duration {
        let thousandths = u32::try_from(self.0.next_u64() % 1001).unwrap_or(0);
        span * thousandths / 1000
    }
}

/// Returns the wait before attempt `failures + 1`: `first`, doubled with each failure, at most `most`.
pub(super) fn backoff(failures: u32, first: Duration, most: Duration) -> Duration {
    // Twenty doublings exceed every `most`, and the shift cannot overflow.
    let doublings = failures.saturating_sub(1).min(20);
    first.saturating_mul(1 << doublings).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_cap() {
        let wait = |failures| backoff(failures, Duration::from_secs(1), Duration::from_secs(15)).as_secs();
        assert_eq!([0, 1, 2, 3, 4, 5, 6, u32::MAX].map(wait), [1, 1, 2, 4, 8, 15, 15, 15]);
    }

    #[test]
    fn jitter_is_bounded_and_repeatable() {
        let wait = Duration::from_secs(10);
        let waits = |seed| {
            let mut jitter = Jitter::new(seed);
            [(); 1000].map(|()| jitter.over(wait))
        };
        assert!(waits(7).iter().all(|w| (wait..=wait * 11 / 10).contains(w)));
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(8));
    }

    #[test]
    fn spread_covers_the_second_half() {
        let span = Duration::from_secs(10);
        let mut jitter = Jitter::new(7);
        let waits = [(); 1000].map(|()| jitter.within(span));
        assert!(waits.iter().all(|w| (span / 2..=span).contains(w)));
        assert!(waits.iter().any(|w| *w < span * 6 / 10) && waits.iter().any(|w| *w > span * 9 / 10));
    }
}
