//! The metrics of issuers and of their requests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use issuer_core::reconcile::{IssuerReport, Outcome, Report, Waiting};
use issuer_core::reference::IssuerKey;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::table::{
    CA_EXPIRATION, CONCLUDED, FAILED, ISSUER_LABELS, ISSUER_NOT_READY_REASON, ISSUER_READY, MetricInfo, OLDEST_PENDING,
    PENDING, TOKEN_EXPIRATION,
};

/// The labels that name an issuer, as those of cert-manager's metrics.
type Labels<'a> = [(&'static str, &'a str); 4];

/// The metrics of issuers. Each scrape writes them anew, so that no series outlives its issuer.
#[derive(Debug, Default)]
pub(super) struct IssuerMetrics {
    known: Mutex<Known>,
    /// The state of the controller at the last scrape; `None` if this process does not lead, and knows of no issuer. It has a
    /// lock of its own, so that no task waits while thousands of series are written.
    report: Mutex<Option<Report>>,
}

/// The state of the issuers that exist, and the counts of their requests.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Why issuers are not ready.
    reasons: BTreeMap<IssuerKey, &'static str>,
    /// The requests that have finished, by issuer; without one if it did not exist, since anyone can invent its name.
    finished: BTreeMap<Option<IssuerKey>, Finished>,
}

/// Numbers of requests.
#[derive(Clone, Debug, Default)]
struct Finished {
    denied: u64,
    issued: u64,
    failed: BTreeMap<&'static str, u64>,
}

impl Finished {
    fn by_outcome(&self) -> [(&'static str, u64); 3] {
        [
            ("denied", self.denied),
            ("failed", self.failed.values().sum()),
            ("issued", self.issued),
        ]
    }
}

impl IssuerMetrics {
    /// Returns `true` if no task would have to wait now to record something.
    #[cfg(test)]
    pub(super) fn is_free(&self) -> bool {
        self.known.try_lock().is_ok()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self) -> MutexGuard<'_, Option<Report>> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a check.
    pub(super) fn checked(&self, issuer: &IssuerKey, outcome: Outcome) {
        let mut known = self.known();
        match outcome {
            Outcome::NotReady(reason) => drop(known.reasons.insert(issuer.clone(), reason)),
            Outcome::Ready => drop(known.reasons.remove(issuer)),
            _ => {}
        }
    }

    /// Counts a request that has finished.
    pub(super) fn finished(&self, issuer: Option<&IssuerKey>, outcome: Outcome) {
        let mut known = self.known();
        let counts = known.finished.entry(issuer.cloned()).or_default();
        match outcome {
            Outcome::Denied => counts.denied += 1,
            Outcome::Issued => counts.issued += 1,
            Outcome::Failed(reason) => *counts.failed.entry(reason).or_default() += 1,
            _ => {}
        }
    }

    /// Forgets an issuer that does not exist any more.
    pub(super) fn forget(&self, issuer: &IssuerKey) {
        let mut known = self.known();
        known.reasons.remove(issuer);
        known.finished.remove(&Some(issuer.clone()));
    }

    /// Sets the state to show; `None` if this process does not lead, and knows of no issuer.
    pub(super) fn observe(&self, report: Option<Report>) {
        if let Some(report) = &report {
            let exist: BTreeSet<&IssuerKey> = report.issuers.iter().map(|issuer| &issuer.key).collect();
            let mut known = self.known();
            known.reasons.retain(|issuer, _| exist.contains(issuer));
            known
                .finished
                .retain(|issuer, _| issuer.as_ref().is_none_or(|issuer| exist.contains(issuer)));
        }
        *self.report() = report;
    }
}

impl Collector for IssuerMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let report = self.report();
        let Some(report) = &*report else {
            return Ok(());
        };
        let known = self.known().clone();
        known.encode_issuers(report, &mut encoder)?;
        known.encode_requests(report, &mut encoder)
    }
}

impl Known {
    fn encode_issuers(&self, report: &Report, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let each = |value: fn(&IssuerReport) -> Option<i64>| {
            let issuers = report.issuers.iter();
            issuers.filter_map(move |issuer| Some((labels(&issuer.key), ConstGauge::new(value(issuer)?))))
        };
        write(encoder, ISSUER_READY, each(|issuer| Some(issuer.is_ready.into())))?;
        let reasons = self.reasons.iter();
        let reasons = reasons.map(|(issuer, reason)| ((labels(issuer), [("reason", *reason)]), ConstGauge::new(1_i64)));
        write(encoder, ISSUER_NOT_READY_REASON, reasons)?;
        let token = each(|issuer| issuer.token_expires.map(|at| at.as_second()));
        write(encoder, TOKEN_EXPIRATION, token)?;
        let ca = each(|issuer| issuer.ca_expires.map(|at| at.as_second()));
        write(encoder, CA_EXPIRATION, ca)
    }

    fn encode_requests(&self, report: &Report, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let each = |value: fn(&Waiting) -> Option<i64>| {
            let issuers = report
                .issuers
                .iter()
                .map(|issuer| (labels(&issuer.key), &issuer.waiting));
            let unassigned = Some(&report.unassigned).filter(|waiting| waiting.requests > 0);
            let all = issuers.chain(unassigned.map(|waiting| (nobody(), waiting)));
            all.filter_map(move |(labels, waiting)| Some((labels, ConstGauge::new(value(waiting)?))))
        };
        let pending = each(|waiting| i64::try_from(waiting.requests).ok());
        write(encoder, PENDING, pending)?;
        let oldest = each(|waiting| waiting.oldest.map(|at| at.as_second()));
        write(encoder, OLDEST_PENDING, oldest)?;

        // Counters of known issuers start at zero, so that their first increase is one.
        let none = Finished::default();
        let known = report.issuers.iter().map(|issuer| Some(issuer.key.clone()));
        let unassigned = self.finished.contains_key(&None).then_some(None);
        let finished: Vec<_> = known
            .chain(unassigned)
            .map(|issuer| (self.finished.get(&issuer).unwrap_or(&none), issuer))
            .collect();
        let outcomes = finished.iter().flat_map(|(counts, issuer)| {
            let labels = issuer.as_ref().map_or_else(nobody, labels);
            let outcomes = counts.by_outcome().into_iter();
            outcomes.map(move |(outcome, count)| ((labels, [("outcome", outcome)]), ConstCounter::new(count)))
        });
        write(encoder, CONCLUDED, outcomes)?;
        let failures = finished.iter().flat_map(|(counts, issuer)| {
            let labels = issuer.as_ref().map_or_else(nobody, labels);
            let reasons = counts.failed.iter();
            reasons.map(move |(reason, count)| ((labels, [("reason", *reason)]), ConstCounter::new(*count)))
        });
        write(encoder, FAILED, failures)
    }
}

/// Returns the labels of an issuer.
fn labels(issuer: &IssuerKey) -> Labels<'_> {
    [
        ("issuer_group", issuer.kind.group()),
        ("issuer_kind", issuer.kind.as_str()),
        ("issuer_name", &issuer.name),
        ("issuer_namespace", &issuer.namespace),
    ]
}

/// Returns the labels of the requests whose issuer does not exist.
fn nobody<'a>() -> Labels<'a> {
    ISSUER_LABELS.map(|label| (label, ""))
}

fn write<L: EncodeLabelSet, V: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    metric: MetricInfo,
    samples: impl Iterator<Item = (L, V)>,
) -> fmt::Result {
    // The registry ends all descriptions with a full stop.
    let help = format!("{}.", metric.help);
    let mut family = encoder.encode_descriptor(metric.name, &help, None, metric.kind.into())?;
    for (labels, value) in samples {
        value.encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
