//! What metrics show of the state.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::{Lane, State};
use crate::Now;
use crate::reconcile::report::{Backlog, IssuerReport, Report, Waiting};
use crate::reference::IssuerKey;

impl State {
    /// Returns what metrics show.
    pub(in crate::reconcile) fn report(&self, now: Now) -> Report {
        let mut waiting: BTreeMap<&IssuerKey, Waiting> = BTreeMap::new();
        let mut unassigned = Waiting::default();
        for tracked in self.requests.iter().filter(|tracked| tracked.is_open()) {
            let issuer = tracked.issuer.as_ref();
            let known = issuer.filter(|issuer| self.issuers.get(issuer).is_some());
            known
                .map_or(&mut unassigned, |issuer| waiting.entry(issuer).or_default())
                .add(tracked.object.created);
        }
        let wall_clock = |at: Duration| {
            let left = at.saturating_sub(now.monotonic).as_secs();
            i64::try_from(now.unix.as_secs().saturating_add(left))
                .ok()
                .and_then(second)
        };
        let issuers = self.issuers.iter().map(|(key, issuer)| IssuerReport {
            key: key.clone(),
            is_ready: issuer.is_ready(),
            token_expires: issuer
                .access
                .as_ref()
                .and_then(|access| wall_clock(access.lease.expires_at()?)),
            ca_expires: issuer.ca_not_after,
            waiting: waiting.get(key).copied().unwrap_or_default(),
        });
        Report {
            issuers: issuers.collect(),
            unassigned,
            backlog: self.backlog(now),
        }
    }

    /// Returns the number of keys of each kind that are due and could run if there was a slot.
    fn backlog(&self, now: Now) -> Backlog {
        let mut backlog = Backlog::default();
        for (lane, keys) in self.queue.backlog(now.monotonic) {
            let count = match lane {
                Lane::Checks(_) => &mut backlog.issuers,
                Lane::Requests(_) | Lane::Unassigned => &mut backlog.requests,
                Lane::Tokens(..) => &mut backlog.tokens,
            };
            *count += keys;
        }
        backlog
    }
}

fn second(seconds: i64) -> Option<Timestamp> {
    Timestamp::from_second(seconds).ok()
}
