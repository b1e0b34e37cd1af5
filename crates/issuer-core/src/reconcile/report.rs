//! The state of the controller, as metrics show it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::state::State;
use crate::Now;
use crate::reference::IssuerKey;

/// What the controller knows at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Every issuer.
    pub issuers: Vec<IssuerReport>,
    /// The requests whose issuer does not exist.
    pub unassigned: Waiting,
    /// The tasks that wait for a slot.
    pub backlog: Backlog,
}

/// An issuer, and the requests that wait for it.
#[derive(Clone, Debug, PartialEq)]
pub struct IssuerReport {
    /// Its name.
    pub key: IssuerKey,
    /// Whether it can sign.
    pub is_ready: bool,
    /// When its token expires; `None` if it has none, or one that never expires.
    pub token_expires: Option<Timestamp>,
    /// When the first of the CAs expires that are above the certificate signed last.
    pub ca_expires: Option<Timestamp>,
    /// The requests that wait for it.
    pub waiting: Waiting,
}

/// Requests that are approved and have not finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Their number.
    pub requests: usize,
    /// When the oldest of them was created.
    pub oldest: Option<Timestamp>,
}

/// The number of tasks that are due and wait for a slot, by what they are about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Issuers to check.
    pub issuers: usize,
    /// Requests to sign or to answer.
    pub requests: usize,
    /// Tokens to revoke.
    pub tokens: usize,
}

impl Waiting {
    fn add(&mut self, created: Option<Timestamp>) {
        self.requests += 1;
        self.oldest = self.oldest.into_iter().chain(created).min();
    }
}

impl Report {
    pub(super) fn of(state: &State, now: Now) -> Self {
        let mut waiting: BTreeMap<&IssuerKey, Waiting> = BTreeMap::new();
        let mut unassigned = Waiting::default();
        for tracked in state.requests.iter().filter(|tracked| tracked.is_open()) {
            let issuer = tracked.issuer.as_ref();
            let known = issuer.filter(|issuer| state.issuers.get(issuer).is_some());
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
        let issuers = state.issuers.iter().map(|(key, issuer)| IssuerReport {
            key: key.clone(),
            is_ready: issuer.is_ready(),
            token_expires: issuer
                .access
                .as_ref()
                .and_then(|access| wall_clock(access.lease.expires_at()?)),
            ca_expires: issuer.ca_not_after,
            waiting: waiting.get(key).copied().unwrap_or_default(),
        });
        Self {
            issuers: issuers.collect(),
            unassigned,
            backlog: state.backlog(now),
        }
    }
}

fn second(seconds: i64) -> Option<Timestamp> {
    Timestamp::from_second(seconds).ok()
}
