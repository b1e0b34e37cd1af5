//! The rate limit of events about issued certificates.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// The seconds whose events may be published at once, if none were before.
const BURST: u32 = 10;

/// The further seconds whose events are for tenants that publish little: the crowd of one must not take all.
const RESERVE: u32 = 5;

/// The part of the rate up to which a tenant publishes little.
const SHARE: u32 = 10;

/// A token bucket for events of success: to record one costs the API server a third of what the certificate's status does,
/// and the status says the same.
///
/// It stores the moment at which the bucket is full again (the generic cell rate algorithm). Nothing but such events
/// depends on it, so it takes no part in hashes: states that differ in nothing else are one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct EventBudget {
    full: Duration,
    /// The same of a bucket of each tenant that has taken tokens lately, into which a tenth of the rate flows.
    by_tenant: BTreeMap<Arc<str>, Duration>,
}

impl EventBudget {
    /// Takes a token for a tenant from a bucket that is filled with `rate` tokens a second; returns `false` if it is empty.
    pub(super) fn take(&mut self, tenant: Arc<str>, rate: u32, now: Duration) -> bool {
        let Some(token) = Duration::from_secs(1).checked_div(rate) else {
            return false;
        };
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        self.by_tenant.retain(|_, full| *full > now);
        let own = self.by_tenant.get(&tenant).copied().unwrap_or(now) + token * SHARE;
        let publishes_little = own - now <= seconds(BURST);
        let full = self.full.max(now) + token;
        let most = BURST + if publishes_little { RESERVE } else { 0 };
        let fits = full - now <= seconds(most);
        if fits {
            self.full = full;
            self.by_tenant.insert(tenant, own.min(now + seconds(BURST)));
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
        taken_by("team", budget, rate, second, wanted)
    }

    fn taken_by(tenant: &str, budget: &mut EventBudget, rate: u32, second: u64, wanted: usize) -> usize {
        let now = Duration::from_secs(second);
        (0..wanted).filter(|_| budget.take(tenant.into(), rate, now)).count()
    }

    #[test]
    fn crowd_of_a_tenant_leaves_tokens_to_others() {
        let mut budget = EventBudget::default();
        assert_eq!(taken(&mut budget, 10, 1_000, 500), 100);
        assert_eq!(taken_by("other", &mut budget, 10, 1_000, 500), 10);
        // While the crowd goes on, another tenant publishes a tenth of the rate, and never waits for long.
        for second in 1_001..1_100 {
            taken(&mut budget, 10, second, 500);
            assert_eq!(taken_by("other", &mut budget, 10, second, 1), 1, "{second}");
        }
        assert!(budget.by_tenant.len() <= 2);

        // All together stay within the rate.
        let mut budget = EventBudget::default();
        let crowds = 0..1000;
        let all: usize = crowds
            .map(|tenant| taken_by(&tenant.to_string(), &mut budget, 10, 5, 500))
            .sum();
        assert_eq!(all, 150);
        assert_eq!(taken(&mut budget, 10, 100_000, 1), 1);
        assert_eq!(budget.by_tenant.len(), 1);
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
