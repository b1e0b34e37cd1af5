//! The metrics of a process.

mod issuers;
mod process;
mod table;
#[cfg(test)]
mod tests;
mod text;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use issuer_core::reconcile::{Backlog, Controller, Key, Outcome, Report, Reporter};
use issuer_core::reference::{IssuerKey, IssuerKind, RequestKind};
use issuer_core::{Operation, Reply};
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

pub use self::table::{METRICS, MetricInfo, MetricKind};
pub use self::text::TextFormat;

use self::issuers::IssuerMetrics;
use self::process::ProcessMetrics;
use crate::Transport;

/// The metrics of this process, in the text formats of Prometheus.
///
/// Labels have fixed sets of values, except issuer names and the API server's address.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    api_durations: Durations<ApiLabels>,
    api_requests: Family<ApiRequestLabels, Counter>,
    issuers: Arc<IssuerMetrics>,
    leader: Gauge,
    lease_failures: Counter,
    queue_depth: Family<QueueLabels, Gauge>,
    queue_retries: Family<QueueLabels, Counter>,
    trace_spans: Family<SpanLabels, Counter>,
    unreadable: Family<KindLabels, Counter>,
    unsaved: Gauge,
    vault_durations: Durations<OperationLabels>,
    vault_requests: Family<RequestLabels, Counter>,
    watch_failures: Family<KindLabels, Counter>,
    withdrawn: Family<KindLabels, Gauge>,
    work_durations: Durations<QueueLabels>,
    /// The controller that the gauges describe, while this process leads.
    controller: Mutex<Option<Arc<Mutex<Controller>>>>,
}

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiLabels {
    host: String,
    verb: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiRequestLabels {
    code: String,
    host: String,
    method: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: ClosedLabel,
    outcome: ClosedLabel,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: ClosedLabel,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: ClosedLabel,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabels {
    name: ClosedLabel,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SpanLabels {
    outcome: ClosedLabel,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: ClosedLabel,
}

/// A label with a fixed set of values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ClosedLabel(&'static str);

impl EncodeLabelValue for ClosedLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }
}

/// Seconds, from a reply on the same host up to the timeout of an exchange.
const BUCKETS: [f64; 12] = [0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// The work queues, one per kind of key.
const QUEUES: [&str; 3] = ["certificaterequests", "issuers", "tokens"];

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Creates the metrics. Counters whose labels are known start at zero.
    pub fn new() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        let metrics = Self {
            registry: Registry::default(),
            api_durations: Family::new_with_constructor(histogram),
            api_requests: Family::default(),
            issuers: Arc::default(),
            leader: Gauge::default(),
            lease_failures: Counter::default(),
            queue_depth: Family::default(),
            queue_retries: Family::default(),
            trace_spans: Family::default(),
            unreadable: Family::default(),
            unsaved: Gauge::default(),
            vault_durations: Family::new_with_constructor(histogram),
            vault_requests: Family::default(),
            watch_failures: Family::default(),
            withdrawn: Family::default(),
            work_durations: Family::new_with_constructor(histogram),
            controller: Mutex::default(),
        };
        for operation in Operation::ALL {
            for outcome in ["ok", "refused", "unavailable", "transport"] {
                metrics.vault_request(operation, outcome);
            }
        }
        let requests = RequestKind::ALL.map(RequestKind::as_str);
        for kind in requests.into_iter().chain(IssuerKind::ALL.map(IssuerKind::as_str)) {
            metrics.watch_failures.get_or_create_owned(&kind_label(kind));
            metrics.unreadable.get_or_create_owned(&kind_label(kind));
        }
        for name in QUEUES {
            metrics.queue_retries.get_or_create_owned(&queue_label(name));
        }
        metrics.set_backlog(Backlog::default());
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        let build = Family::<BuildLabels, Gauge>::default();
        let version = ClosedLabel(env!("CARGO_PKG_VERSION"));
        build.get_or_create(&BuildLabels { version }).set(1);
        register(registry, table::BUILD_INFO, build);
        register(registry, table::LEADER, self.leader.clone());
        register(registry, table::LEASE_FAILURES, self.lease_failures.clone());
        register(registry, table::WATCH_FAILURES, self.watch_failures.clone());
        register(registry, table::UNREADABLE, self.unreadable.clone());
        register(registry, table::DROP_IN_STOPPED, self.withdrawn.clone());
        registry.register_collector(Box::new(Arc::clone(&self.issuers)));
        register(registry, table::UNSAVED, self.unsaved.clone());
        register(registry, table::VAULT_REQUESTS, self.vault_requests.clone());
        register(registry, table::VAULT_DURATION, self.vault_durations.clone());
        register(registry, table::QUEUE_DEPTH, self.queue_depth.clone());
        register(registry, table::QUEUE_RETRIES, self.queue_retries.clone());
        register(registry, table::WORK_DURATION, self.work_durations.clone());
        register(registry, table::API_REQUESTS, self.api_requests.clone());
        register(registry, table::API_DURATION, self.api_durations.clone());
        register(registry, table::TRACE_SPANS, self.trace_spans.clone());
        registry.register_collector(Box::new(ProcessMetrics::new()));
        self
    }

    fn vault_request(&self, operation: Operation, outcome: &'static str) -> Counter {
        let labels = RequestLabels {
            operation: ClosedLabel(operation.as_str()),
            outcome: ClosedLabel(outcome),
        };
        self.vault_requests.get_or_create_owned(&labels)
    }

    /// Counts an exchange with Vault.
    pub fn record_exchange(&self, operation: Operation, reply: &Reply, took: Duration) {
        self.vault_request(operation, outcome(operation, reply)).inc();
        let labels = OperationLabels {
            operation: ClosedLabel(operation.as_str()),
        };
        self.vault_durations.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts a request to the API server `host`; there is no status without a reply.
    pub(crate) fn api_request(&self, host: &str, method: &Method, status: Option<StatusCode>, took: Duration) {
        let code = status.map_or_else(|| "<error>".to_owned(), |status| status.as_str().to_owned());
        let (host, method) = (host.to_owned(), method.to_string());
        let labels = ApiLabels {
            host: host.clone(),
            verb: method.clone(),
        };
        self.api_durations.get_or_create(&labels).observe(took.as_secs_f64());
        let labels = ApiRequestLabels { code, host, method };
        self.api_requests.get_or_create(&labels).inc();
    }

    /// Counts a task that has ended; a request counts for the issuer that it names, if that exists.
    pub fn record_task_result(&self, key: &Key, issuer: Option<&IssuerKey>, outcome: Outcome) {
        match (key, outcome) {
            (Key::Issuer(checked), outcome) => self.issuers.checked(checked, outcome),
            (Key::Request(_), Outcome::Denied | Outcome::Failed(_) | Outcome::Issued) => {
                self.issuers.finished(issuer, outcome);
            }
            _ => {}
        }
        if matches!(outcome, Outcome::NotReady(_) | Outcome::Pending(_) | Outcome::Unsaved) {
            self.queue_retries.get_or_create(&queue_label(queue(key))).inc();
        }
    }

    /// Notes how long a task took.
    pub(crate) fn record_task_duration(&self, key: &Key, took: Duration) {
        let labels = queue_label(queue(key));
        self.work_durations.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts spans of traces by their outcome; without traces there are none, and no series.
    pub(crate) fn record_spans(&self, outcome: &'static str, spans: usize) {
        let labels = SpanLabels {
            outcome: ClosedLabel(outcome),
        };
        self.trace_spans.get_or_create(&labels).inc_by(spans as u64);
    }

    /// Forgets an issuer that does not exist any more.
    pub(crate) fn issuer_gone(&self, issuer: &IssuerKey) {
        self.issuers.forget(issuer);
    }

    /// Counts a list or a watch of a kind that failed.
    pub fn inc_watch_failures(&self, kind: &'static str) {
        self.watch_failures.get_or_create(&kind_label(kind)).inc();
    }

    /// Counts a read or a write of the Lease that failed.
    pub fn inc_lease_failures(&self) {
        self.lease_failures.inc();
    }

    /// Counts an object of a kind that could not be decoded.
    pub fn inc_unreadable(&self, kind: &'static str) {
        self.unreadable.get_or_create(&kind_label(kind)).inc();
    }

    /// Describes this controller from now on, until the process no longer leads.
    pub fn describe(&self, controller: Arc<Mutex<Controller>>) {
        *self.controller.lock().unwrap_or_else(PoisonError::into_inner) = Some(controller);
    }

    /// Sets the gauges to the state of the controller.
    pub fn observe(&self, report: Report) {
        self.set_unsaved(report.unsaved);
        self.set_backlog(report.backlog);
        self.withdrawn.clear();
        for kind in &report.withdrawn {
            self.withdrawn.get_or_create(&kind_label(kind.as_str())).set(1);
        }
        self.issuers.observe(Some(report));
    }

    /// Sets whether this process leads. One that does not knows nothing of requests and issuers.
    pub fn set_leader(&self, leader: bool) {
        self.leader.set(leader.into());
        if !leader {
            *self.controller.lock().unwrap_or_else(PoisonError::into_inner) = None;
            self.set_unsaved(0);
            self.set_backlog(Backlog::default());
            self.issuers.observe(None);
        }
    }

    fn set_unsaved(&self, unsaved: usize) {
        self.unsaved.set(number(unsaved));
    }

    fn set_backlog(&self, backlog: Backlog) {
        let Backlog {
            issuers,
            requests,
            tokens,
        } = backlog;
        for (name, keys) in QUEUES.into_iter().zip([requests, issuers, tokens]) {
            self.queue_depth.get_or_create(&queue_label(name)).set(number(keys));
        }
    }

    /// Writes all metrics. Nothing that a task needs is locked meanwhile.
    fn write(&self, to: &mut impl fmt::Write) -> fmt::Result {
        encode(to, &self.registry)
    }

    /// Returns all metrics as text. The gauges are brought up to date only now, so an event costs nothing here.
    pub fn encode(&self, format: TextFormat) -> String {
        let controller = self.controller.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(controller) = controller {
            self.observe(report(&controller));
        }
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        match format {
            TextFormat::OpenMetrics => text,
            TextFormat::Prometheus => text::prometheus(&text),
        }
    }
}

/// Describes a controller, which no task waits for longer than a portion of that takes.
fn report(controller: &Mutex<Controller>) -> Report {
    let (now, mut reporter) = (Transport::now(), Reporter::default());
    loop {
        let portion = {
            let controller = controller.lock().unwrap_or_else(PoisonError::into_inner);
            controller.report_portion(now, &mut reporter)
        };
        match portion {
            Some(report) => return report,
            // The lock is not fair: those who wait for it must get a chance.
            None => std::thread::yield_now(),
        }
    }
}

fn register(registry: &mut Registry, metric: MetricInfo, value: impl Metric) {
    registry.register(metric.name, metric.help, value);
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn kind_label(kind: &'static str) -> KindLabels {
    KindLabels {
        kind: ClosedLabel(kind),
    }
}

fn queue_label(name: &'static str) -> QueueLabels {
    QueueLabels {
        name: ClosedLabel(name),
    }
}

fn queue(key: &Key) -> &'static str {
    match key {
        Key::Issuer(_) => "issuers",
        Key::Request(_) => "certificaterequests",
        Key::Token(_) => "tokens",
    }
}

/// Returns `true` if a reply has a status that is no error of its operation.
pub(crate) fn is_expected(operation: Operation, reply: &Reply) -> bool {
    outcome(operation, reply) == "ok"
}

/// Classifies a reply. The error statuses of a healthy standby and of a probe without a CSR count as `ok`; a redirect, which
/// is not followed, does not.
fn outcome(operation: Operation, reply: &Reply) -> &'static str {
    match (operation, reply.as_ref().map(|reply| reply.status().as_u16())) {
        (_, Err(_)) => "transport",
        (Operation::Health, Ok(429 | 473)) | (Operation::Probe, Ok(400)) | (_, Ok(..300)) => "ok",
        (_, Ok(429 | 500..)) => "unavailable",
        (_, Ok(_)) => "refused",
    }
}
