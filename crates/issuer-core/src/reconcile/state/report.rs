//! The report that metrics are made from.

use std::time::Duration;

use jiff::Timestamp;

use super::{LaneKey, State};
use crate::Now;
use crate::reconcile::report::{Backlog, IssuerReport, Portion, Report, Reporter};
use crate::reference::{IssuerKey, RequestKey};

/// The requests or issuers that are described at once.
const PORTION: usize = 512;

impl State {
    /// Adds the next portion to a report; returns the report once it is complete.
    pub(in crate::reconcile) fn report(&self, now: Now, reporter: &mut Reporter) -> Option<Report> {
        match std::mem::take(&mut reporter.next) {
            Portion::Requests(last) => {
                reporter.next = self.report_requests(reporter, last.as_ref());
                None
            }
            Portion::Issuers(last) => {
                if let Some(next) = self.report_issuers(now, reporter, last.as_ref()) {
                    reporter.next = next;
                    return None;
                }
                let Reporter {
                    unassigned, issuers, ..
                } = std::mem::take(reporter);
                Some(Report {
                    issuers,
                    unassigned,
                    backlog: self.backlog(now),
                    unsaved: self.ledger.unsaved(),
                    withdrawn: self.withdrawn.iter().copied().collect(),
                })
            }
        }
    }

    /// Counts the requests that wait by their issuers.
    fn report_requests(&self, reporter: &mut Reporter, last: Option<&RequestKey>) -> Portion {
        let mut count = 0;
        for (key, tracked) in self.requests.after(last) {
            if tracked.is_open() {
                let created = tracked.object.created;
                let issuer = tracked.issuer.as_ref();
                let known = issuer.filter(|issuer| self.issuers.get(issuer).is_some());
                match known {
                    None => reporter.unassigned.add(created),
                    Some(issuer) => reporter.add(issuer, created),
                }
            }
            count += 1;
            if count == PORTION {
                return Portion::Requests(Some(key.clone()));
            }
        }
        Portion::Issuers(None)
    }

    /// Describes issuers; returns `None` after the last.
    fn report_issuers(&self, now: Now, reporter: &mut Reporter, last: Option<&IssuerKey>) -> Option<Portion> {
        let wall_clock = |at: Duration| {
            let left = at.saturating_sub(now.monotonic).as_secs();
            i64::try_from(now.unix.as_secs().saturating_add(left))
                .ok()
                .and_then(second)
        };
        let mut count = 0;
        for (key, issuer) in self.issuers.after(last) {
            let access = issuer.access.as_ref();
            reporter.issuers.push(IssuerReport {
                key: key.clone(),
                is_ready: issuer.is_ready(),
                token_expires: access.and_then(|access| wall_clock(access.lease.expires_at()?)),
                ca_expires: issuer.ca_not_after,
                waiting: reporter.waiting.remove(key).unwrap_or_default(),
            });
            count += 1;
            if count == PORTION {
                return Some(Portion::Issuers(Some(key.clone())));
            }
        }
        None
    }

    /// Returns the number of keys of each kind that are due and could run if there was a slot.
    fn backlog(&self, now: Now) -> Backlog {
        let mut backlog = Backlog::default();
        for (lane, keys) in self.queue.backlog(now.monotonic) {
            let count = match lane {
                LaneKey::Checks(_) => &mut backlog.issuers,
                LaneKey::Requests(_) | LaneKey::Unassigned => &mut backlog.requests,
                LaneKey::Tokens(..) => &mut backlog.tokens,
            };
            *count += keys;
        }
        backlog
    }
}

fn second(seconds: i64) -> Option<Timestamp> {
    Timestamp::from_second(seconds).ok()
}
