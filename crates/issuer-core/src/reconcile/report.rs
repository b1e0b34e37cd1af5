//! The state of the controller, as metrics show it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::reference::{IssuerKey, IssuerKind, RequestKey};

/// A snapshot of the controller's state.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Every issuer.
    pub issuers: Vec<IssuerReport>,
    /// The requests whose issuer does not exist.
    pub unassigned: Waiting,
    /// The tasks that wait for a slot.
    pub backlog: Backlog,
    /// The number of certificates that are being signed or wait to be saved.
    pub unsaved: usize,
    /// The kinds of cert-manager's issuers that are no longer served.
    pub withdrawn: Vec<IssuerKind>,
}

/// A report under way. It is made in portions, between which the controller can be used: there may be tens of thousands of
/// requests. What changes meanwhile may be missing from it.
#[derive(Debug, Default)]
pub struct Reporter {
    pub(super) waiting: BTreeMap<IssuerKey, Waiting>,
    pub(super) unassigned: Waiting,
    pub(super) issuers: Vec<IssuerReport>,
    pub(super) next: Portion,
}

impl Reporter {
    /// Adds a request that waits for an issuer.
    pub(super) fn add(&mut self, issuer: &IssuerKey, created: Option<Timestamp>) {
        match self.waiting.get_mut(issuer) {
            Some(waiting) => waiting.add(created),
            None => {
                let mut waiting = Waiting::default();
                waiting.add(created);
                self.waiting.insert(issuer.clone(), waiting);
            }
        }
    }
}

/// A portion of a report: what follows this key, or the first.
#[derive(Debug)]
pub(super) enum Portion {
    Requests(Option<RequestKey>),
    Issuers(Option<IssuerKey>),
}

impl Default for Portion {
    fn default() -> Self {
        Self::Requests(None)
    }
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
    pub(super) fn add(&mut self, created: Option<Timestamp>) {
        self.requests += 1;
        self.oldest = self.oldest.into_iter().chain(created).min();
    }
}
