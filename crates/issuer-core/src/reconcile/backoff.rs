use std::hash::{Hash, Hasher};
use std::time::Duration;

/// A source of jitter: splitmix64, seeded by the driver.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Jitter(u64);

impl Hash for Jitter {
    /// Ignores the generator: two states that differ only in future jitter count as one for the explorer.
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the wait, longer by up to a tenth.
    pub(super) fn over(&mut self, wait: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let thousandth = u32::try_from((z ^ (z >> 31)) % 101).unwrap_or(0);
        wait + wait * thousandth / 1000
    }
}

/// Returns the wait before attempt `failures + 1`: `first`, doubled with each failure, at most `most`.
pub(super) fn backoff(failures: u32, first: Duration, most: Duration) -> Duration {
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
}
