//! The receiver of what the watches observe.

use std::time::Duration;

use issuer_core::reconcile::{Change, Key};

use crate::object::{RequestHeader, Watched, WatchedList};

/// Receives what the watches observe.
pub(crate) trait Observer {
    /// Receives a change.
    fn observe(&self, change: Change);
    /// Returns `false` if nothing depends on a request, which then need not be decoded.
    fn needs(&self, request: &RequestHeader) -> bool;
    /// Receives an object that cannot be decoded, once for each of its versions.
    fn unreadable(&self, object: Unreadable);
    /// Receives the heartbeat of a list; the next one follows within this time.
    fn alive(&self, list: &WatchedList, within: Duration);
    /// Learns that all objects of a list have been seen.
    fn synced(&self, list: &WatchedList);
    /// Learns that a list or a watch has failed; `is_synced` as long as what was seen is hardly out of date.
    fn failed(&self, list: &WatchedList, error: &str, is_synced: bool);
}

/// An object that cannot be decoded.
#[derive(Debug, PartialEq)]
pub(crate) struct Unreadable {
    pub(crate) watched: Watched,
    pub(crate) key: Key,
    pub(crate) uid: String,
    pub(crate) error: String,
}
