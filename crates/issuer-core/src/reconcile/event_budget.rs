//! The rate limit of events about issued certificates.

use std::hash::{Hash, Hasher};
use std::time::Duration;

/// The seconds whose events may be published at once, if none were before.
const BURST: u32 = 10;

/// A token bucket for events of success: to record one costs the API server a third of what the certificate's status does,
/// and the status says the same.
///
/// It stores the moment at which the bucket is full again (the generic cell rate algorithm). Nothing but such events
/// depends on it, so it takes no part in hashes: states that differ in nothing else are one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct EventBudget {
    full: Duration,
}

impl EventBudget {
    /// Takes a token of a bucket that is filled with `rate` tokens a second; returns `false` if it is empty.
    pub(super) fn take(&mut self, rate: u32, now: Duration) -> bool {
        let Some(token) = Duration::from_secs(1).checked_div(rate) else {
            return false;
        };
        let full = self.full.max(now) + token;
        let fits = full - now <= Duration::from_secs(BURST.into());
        if fits {
            self.full = full;
        }
        fits
    }
}

impl Hash for EventBudget {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how many of `wanted` tokens there are at a second.
    fn taken(budget: &mut EventBudget, rate: u32, second: u64, wanted: usize) -> usize {
        let now = Duration::from_secs(second);
        (0..wanted).filter(|_| budget.take(rate, now)).count()
    }

    #[test]
    fn burst_and_rate_are_limited() {
        let mut budget = EventBudget::default();
        assert_eq!(taken(&mut budget, 10, 1_000, 500), 100);
        assert_eq!(taken(&mut budget, 10, 1_000, 500), 0);
        assert_eq!(taken(&mut budget, 10, 1_003, 500), 30);
        assert_eq!(taken(&mut budget, 10, 1_004, 4), 4);
        assert_eq!(taken(&mut budget, 10, 1_005, 500), 16);
    }

    #[test]
    fn rest_saves_no_more_than_a_burst() {
        let mut budget = EventBudget::default();
        assert_eq!(taken(&mut budget, 10, 0, 1), 1);
        assert_eq!(taken(&mut budget, 10, 100_000, 500), 100);
    }

    #[test]
    fn every_rate_is_possible() {
        assert_eq!(taken(&mut EventBudget::default(), 0, 0, 10), 0);
        assert_eq!(taken(&mut EventBudget::default(), 1, 0, 100), 10);
        assert_eq!(taken(&mut EventBudget::default(), u32::MAX, 0, 1_000), 1_000);
    }
}
