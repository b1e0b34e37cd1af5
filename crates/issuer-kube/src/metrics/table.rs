//! Every metric, as the reference in `deploy/docs` lists it.

use prometheus_client::metrics::MetricType;

use self::MetricKind::{Counter, Gauge, Histogram};

/// A metric, as its users know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricInfo {
    /// The name in the registry, without the suffix `_total` of a counter.
    pub(super) name: &'static str,
    /// Its type.
    pub kind: MetricKind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// Its meaning.
    pub help: &'static str,
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A number that only grows.
    Counter,
    /// A number.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl MetricKind {
    /// Returns the type as the text format writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl From<MetricKind> for MetricType {
    fn from(kind: MetricKind) -> Self {
        match kind {
            Counter => Self::Counter,
            Gauge => Self::Gauge,
            Histogram => Self::Histogram,
        }
    }
}

impl MetricInfo {
    const fn new(kind: MetricKind, name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self {
            name,
            kind,
            labels,
            help,
        }
    }

    /// Returns the name by which it is queried; that of a histogram gets the suffixes `_bucket`, `_count` and `_sum`.
    pub fn query_name(&self) -> String {
        let suffix = if self.kind == Counter { "_total" } else { "" };
        format!("{}{suffix}", self.name)
    }
}

/// The labels that name an issuer.
pub(super) const ISSUER_LABELS: [&str; 4] = ["issuer_group", "issuer_kind", "issuer_name", "issuer_namespace"];

const ISSUER: &[&str] = &ISSUER_LABELS;

pub(super) const BUILD_INFO: MetricInfo = MetricInfo::new(
    Gauge,
    "vault_issuer_build_info",
    &["version"],
    "1, with the version of the controller",
);
pub(super) const LEADER: MetricInfo =
    MetricInfo::new(Gauge, "vault_issuer_leader", &[], "Whether this process is the leader");
pub(super) const LEASE_FAILURES: MetricInfo = MetricInfo::new(
    Counter,
    "vault_issuer_lease_failures",
    &[],
    "Reads and writes of the Lease that failed",
);
pub(super) const WATCH_FAILURES: MetricInfo = MetricInfo::new(
    Counter,
    "vault_issuer_watch_failures",
    &["kind"],
    "Lists and watches that the API server refused or aborted",
);
pub(super) const UNREADABLE: MetricInfo = MetricInfo::new(
    Counter,
    "vault_issuer_unreadable_objects",
    &["kind"],
    "Versions of objects that could not be decoded and are ignored",
);
pub(super) const DROP_IN_STOPPED: MetricInfo = MetricInfo::new(
    Gauge,
    "vault_issuer_drop_in_stopped",
    &["kind"],
    "1 if cert-manager's issuers of this kind are no longer served, since another controller signs for them",
);
pub(super) const ISSUER_READY: MetricInfo =
    MetricInfo::new(Gauge, "vault_issuer_issuer_ready", ISSUER, "Whether an issuer can sign");
pub(super) const ISSUER_NOT_READY_REASON: MetricInfo = MetricInfo::new(
    Gauge,
    "vault_issuer_issuer_not_ready_reason",
    &[
        "issuer_group",
        "issuer_kind",
        "issuer_name",
        "issuer_namespace",
        "reason",
    ],
    "1, with the reason why an issuer cannot sign",
);
pub(super) const TOKEN_EXPIRATION: MetricInfo = MetricInfo::new(
    Gauge,
    "vault_issuer_token_expiration_timestamp_seconds",
    ISSUER,
    "When the Vault token of an issuer expires, unless it is renewed or replaced before",
);
pub(super) const CA_EXPIRATION: MetricInfo = MetricInfo::new(
    Gauge,
    "vault_issuer_ca_expiration_timestamp_seconds",
    ISSUER,
    "When the first of the CAs expires that are above the certificate signed last",
);
pub(super) const PENDING: MetricInfo = MetricInfo::new(
    Gauge,
    "vault_issuer_pending_requests",
    ISSUER,
    "CertificateRequests that are approved and not finished; without an issuer's name if theirs does not exist",
);
pub(super) const OLDEST_PENDING: MetricInfo = MetricInfo::new(
    Gauge,
    "vault_issuer_oldest_pending_request_timestamp_seconds",
    ISSUER,
    "When the oldest of the pending CertificateRequests was created",
);
pub(super) const UNSAVED: MetricInfo = MetricInfo::new(
    Gauge,
    "vault_issuer_unsaved_certificates",
    &[],
    "Certificates being signed, or signed and not yet saved",
);
pub(super) const CONCLUDED: MetricInfo = MetricInfo::new(
    Counter,
    "vault_issuer_certificate_requests",
    &[
        "issuer_group",
        "issuer_kind",
        "issuer_name",
        "issuer_namespace",
        "outcome",
    ],
    "CertificateRequests that have reached a final state: issued, failed, denied",
);
pub(super) const FAILED: MetricInfo = MetricInfo::new(
    Counter,
    "vault_issuer_certificate_request_failures",
    &[
        "issuer_group",
        "issuer_kind",
        "issuer_name",
        "issuer_namespace",
        "reason",
    ],
    "CertificateRequests that have failed, by reason",
);
pub(super) const VAULT_REQUESTS: MetricInfo = MetricInfo::new(
    Counter,
    "vault_issuer_vault_requests",
    &["operation", "outcome"],
    "Requests to Vault: ok (2xx, a healthy standby, an expected refusal of a probe), refused (3xx, 4xx), unavailable (429, 5xx), transport (no reply)",
);
pub(super) const VAULT_DURATION: MetricInfo = MetricInfo::new(
    Histogram,
    "vault_issuer_vault_request_duration_seconds",
    &["operation"],
    "Time from the start of a request to Vault to the end of its reply",
);
pub(super) const QUEUE_DEPTH: MetricInfo = MetricInfo::new(
    Gauge,
    "workqueue_depth",
    &["name"],
    "Tasks that are due and wait for a slot: issuers to check, CertificateRequests to sign or to answer, tokens to revoke",
);
pub(super) const QUEUE_RETRIES: MetricInfo = MetricInfo::new(
    Counter,
    "workqueue_retries",
    &["name"],
    "Tasks that ended without success and are tried again",
);
pub(super) const WORK_DURATION: MetricInfo = MetricInfo::new(
    Histogram,
    "workqueue_work_duration_seconds",
    &["name"],
    "Time from the start of a task to its end",
);
pub(super) const API_REQUESTS: MetricInfo = MetricInfo::new(
    Counter,
    "rest_client_requests",
    &["code", "host", "method"],
    "Requests to the API server by status code, <error> if there was no reply",
);
pub(super) const API_DURATION: MetricInfo = MetricInfo::new(
    Histogram,
    "rest_client_request_duration_seconds",
    &["host", "verb"],
    "Time from the start of a request to the API server to the head of its reply",
);
pub(super) const TRACE_SPANS: MetricInfo = MetricInfo::new(
    Counter,
    "vault_issuer_trace_spans",
    &["outcome"],
    "Spans of traces, where these are on: exported, failed (the collector did not take them), dropped (too many waited)",
);
pub(super) const CPU: MetricInfo = MetricInfo::new(
    Counter,
    "process_cpu_seconds",
    &[],
    "CPU time of the process, user and system",
);
pub(super) const RESIDENT_MEMORY: MetricInfo = MetricInfo::new(
    Gauge,
    "process_resident_memory_bytes",
    &[],
    "Resident memory of the process",
);
pub(super) const VIRTUAL_MEMORY: MetricInfo = MetricInfo::new(
    Gauge,
    "process_virtual_memory_bytes",
    &[],
    "Virtual memory of the process",
);
pub(super) const OPEN_FILES: MetricInfo =
    MetricInfo::new(Gauge, "process_open_fds", &[], "Open file descriptors of the process");
pub(super) const MOST_FILES: MetricInfo =
    MetricInfo::new(Gauge, "process_max_fds", &[], "Limit of the open file descriptors");
pub(super) const START_TIME: MetricInfo =
    MetricInfo::new(Gauge, "process_start_time_seconds", &[], "When the process started");

/// Every metric, in the order of the reference.
pub const METRICS: [MetricInfo; 29] = [
    BUILD_INFO,
    LEADER,
    LEASE_FAILURES,
    WATCH_FAILURES,
    UNREADABLE,
    DROP_IN_STOPPED,
    ISSUER_READY,
    ISSUER_NOT_READY_REASON,
    TOKEN_EXPIRATION,
    CA_EXPIRATION,
    PENDING,
    OLDEST_PENDING,
    UNSAVED,
    CONCLUDED,
    FAILED,
    VAULT_REQUESTS,
    VAULT_DURATION,
    QUEUE_DEPTH,
    QUEUE_RETRIES,
    WORK_DURATION,
    API_REQUESTS,
    API_DURATION,
    TRACE_SPANS,
    CPU,
    RESIDENT_MEMORY,
    VIRTUAL_MEMORY,
    OPEN_FILES,
    MOST_FILES,
    START_TIME,
];
