//! Room for the spans that wait to be exported.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::Metrics;

/// Room for the spans that wait to be exported: a collector that is slow or out of reach costs bounded memory.
pub struct SpanRoom {
    waiting: AtomicUsize,
    metrics: Arc<Metrics>,
}

impl SpanRoom {
    /// The most spans that wait, those that are being sent included.
    pub const SPANS: usize = 2048;

    /// Creates room in which nothing waits; what becomes of the spans is counted in `metrics`.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        for outcome in ["exported", "failed", "dropped"] {
            metrics.record_spans(outcome, 0);
        }
        Self {
            waiting: AtomicUsize::new(0),
            metrics,
        }
    }

    /// Takes room for the spans of a trace; returns `false`, and counts them as dropped, if there is none.
    pub(super) fn take(&self, spans: usize) -> bool {
        let add = |waiting: usize| Some(waiting + spans).filter(|sum| *sum <= Self::SPANS);
        let taken = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        if taken.is_err() {
            self.metrics.record_spans("dropped", spans);
        }
        taken.is_ok()
    }

    /// Gives room back for spans that are not exported, by a decision of the sampler.
    pub(super) fn give_back(&self, spans: usize) {
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
    }

    /// Gives room back for spans that were exported, or were not because that has failed.
    pub fn exported(&self, spans: usize, is_ok: bool) {
        self.give_back(spans);
        self.metrics
            .record_spans(if is_ok { "exported" } else { "failed" }, spans);
    }
}

impl fmt::Debug for SpanRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpanRoom")
    }
}
