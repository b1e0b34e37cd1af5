//! The driver's reaction to the observations of the watches.

use std::sync::Arc;
use std::time::Duration;

use issuer_core::reconcile::{Change, Event};

use super::{Driver, GRACE};
use crate::Transport;
use crate::object::{RequestHeader, WatchedList};
use crate::watch::{Observer, Unreadable};

impl Observer for Arc<Driver> {
    fn observe(&self, change: Change) {
        if let Change::IssuerGone(issuer) = &change {
            self.metrics.issuer_gone(issuer);
        }
        let now = Transport::now();
        if let Some(traces) = &self.traces {
            traces.observe(now, &change);
        }
        self.controller().observe(now, change);
        self.changed.notify_one();
    }

    fn needs(&self, request: &RequestHeader) -> bool {
        self.controller().needs(&request.key(), request.uid(), request.issuer())
    }

    fn unreadable(&self, object: Unreadable) {
        let Unreadable {
            watched,
            key,
            uid,
            error,
        } = object;
        self.metrics.inc_unreadable(watched.kind());
        let event = Event {
            regarding: key,
            uid,
            warning: true,
            reason: "Unreadable",
            note: format!("The object cannot be read and is ignored: {error}"),
        };
        let driver = Self::clone(self);
        tokio::spawn(async move { driver.publish(event).await });
    }

    fn alive(&self, list: &WatchedList, within: Duration) {
        let next = Transport::now().monotonic + within + GRACE;
        self.health.alive(list.name(), next);
    }

    fn synced(&self, list: &WatchedList) {
        self.health.set(list.name(), Ok(()));
    }

    fn failed(&self, list: &WatchedList, error: &str, is_synced: bool) {
        self.metrics.inc_watch_failures(list.watched.kind());
        if !is_synced {
            self.health.set(list.name(), Err(format!("not in sync: {error}")));
        }
    }
}
