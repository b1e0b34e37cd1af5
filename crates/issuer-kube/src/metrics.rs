use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use issuer_core::reconcile::{Controller, Key, Outcome};
use issuer_core::reference::IssuerKey;
use issuer_core::{Operation, Reply};
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The metrics of this process, in the OpenMetrics text format.
///
/// Every label has a fixed set of values, but for the names of issuers.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<DurationLabels, Histogram, fn() -> Histogram>,
    concluded: Family<OutcomeLabels, Counter>,
    ready: Family<IssuerLabels, Gauge>,
    withdrawn: Family<KindLabels, Gauge>,
    pending: Gauge,
    unsaved: Gauge,
    leader: Gauge,
    watch_failures: Family<KindLabels, Counter>,
    unreadable: Family<KindLabels, Counter>,
    /// The controller that the gauges describe, while this process leads.
    controller: Mutex<Option<Arc<Mutex<Controller>>>>,
}

/// The media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: ClosedLabel,
    outcome: ClosedLabel,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurationLabels {
    operation: ClosedLabel,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: ClosedLabel,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: ClosedLabel,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IssuerLabels {
    kind: ClosedLabel,
    namespace: String,
    name: String,
}

/// A label with a fixed set of values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ClosedLabel(&'static str);

impl EncodeLabelValue for ClosedLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }
}

/// From a reply on the same host to the limit of an exchange.
const BUCKETS: [f64; 12] = [0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// The kinds that are watched.
const KINDS: [&str; 3] = ["CertificateRequest", "VaultClusterIssuer", "VaultIssuer"];

/// The final outcomes of a request.
const CONCLUSIONS: [Outcome; 3] = [Outcome::Denied, Outcome::Failed(""), Outcome::Issued];

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
            requests: Family::default(),
            durations: Family::new_with_constructor(histogram),
            concluded: Family::default(),
            ready: Family::default(),
            withdrawn: Family::default(),
            pending: Gauge::default(),
            unsaved: Gauge::default(),
            leader: Gauge::default(),
            watch_failures: Family::default(),
            unreadable: Family::default(),
            controller: Mutex::default(),
        };
        for operation in Operation::ALL {
            for outcome in ["ok", "refused", "unavailable", "transport"] {
                metrics.request(operation, outcome);
            }
        }
        for outcome in CONCLUSIONS {
            metrics.concluded_with(outcome);
        }
        for kind in KINDS {
            metrics.watch_failures.get_or_create_owned(&kind_label(kind));
            metrics.unreadable.get_or_create_owned(&kind_label(kind));
        }
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register(
            "vault_issuer_vault_requests",
            "Requests to Vault: ok (2xx, a healthy standby, an expected refusal of a probe), refused (3xx, 4xx), unavailable (429, 5xx), transport (no reply)",
            self.requests.clone(),
        );
        registry.register(
            "vault_issuer_vault_request_duration_seconds",
            "Time from the start of a request to Vault to the end of its reply",
            self.durations.clone(),
        );
        registry.register(
            "vault_issuer_certificate_requests",
            "CertificateRequests that have reached a final state",
            self.concluded.clone(),
        );
        registry.register(
            "vault_issuer_issuer_ready",
            "Whether an issuer can sign",
            self.ready.clone(),
        );
        registry.register(
            "vault_issuer_drop_in_stopped",
            "Kinds of cert-manager's issuers that are no longer served, since another controller signs for them",
            self.withdrawn.clone(),
        );
        registry.register(
            "vault_issuer_pending_requests",
            "CertificateRequests that are not finished",
            self.pending.clone(),
        );
        registry.register(
            "vault_issuer_unsaved_certificates",
            "Certificates being signed, or signed and not yet saved",
            self.unsaved.clone(),
        );
        registry.register(
            "vault_issuer_leader",
            "Whether this process is the leader",
            self.leader.clone(),
        );
        registry.register(
            "vault_issuer_watch_failures",
            "Lists and watches that the API server refused or broke off",
            self.watch_failures.clone(),
        );
        registry.register(
            "vault_issuer_unreadable_objects",
            "Versions of objects that could not be decoded and are ignored",
            self.unreadable.clone(),
        );
        self
    }

    fn request(&self, operation: Operation, outcome: &'static str) -> Counter {
        let labels = RequestLabels {
            operation: ClosedLabel(operation.as_str()),
            outcome: ClosedLabel(outcome),
        };
        self.requests.get_or_create_owned(&labels)
    }

    fn concluded_with(&self, outcome: Outcome) -> Counter {
        self.concluded.get_or_create_owned(&OutcomeLabels {
            outcome: ClosedLabel(outcome.as_str()),
        })
    }

    /// Counts an exchange with Vault.
    pub fn exchanged(&self, operation: Operation, reply: &Reply, took: Duration) {
        self.request(operation, outcome(operation, reply)).inc();
        let labels = DurationLabels {
            operation: ClosedLabel(operation.as_str()),
        };
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts a task that has ended.
    pub fn finished(&self, key: &Key, outcome: Outcome) {
        let concluded = matches!(outcome, Outcome::Denied | Outcome::Failed(_) | Outcome::Issued);
        if concluded && matches!(key, Key::Request(_)) {
            self.concluded_with(outcome).inc();
        }
    }

    /// Counts a list or a watch of a kind that failed.
    pub fn watch_failed(&self, kind: &'static str) {
        self.watch_failures.get_or_create(&kind_label(kind)).inc();
    }

    /// Counts an object of a kind that could not be decoded.
    pub fn unreadable(&self, kind: &'static str) {
        self.unreadable.get_or_create(&kind_label(kind)).inc();
    }

    /// Describes this controller from now on, until the process no longer leads.
    pub fn follow(&self, controller: Arc<Mutex<Controller>>) {
        *self.controller.lock().unwrap_or_else(PoisonError::into_inner) = Some(controller);
    }

    /// Sets the gauges to the state of the controller.
    pub fn observe(&self, controller: &Controller) {
        self.set_requests(controller.pending(), controller.unsaved());
        self.set_readiness(controller.readiness());
        self.withdrawn.clear();
        for kind in controller.withdrawn() {
            self.withdrawn.get_or_create(&kind_label(kind.as_str())).set(1);
        }
    }

    /// Sets whether this process leads. One that does not knows nothing of requests and issuers.
    pub fn set_leader(&self, leader: bool) {
        self.leader.set(leader.into());
        if !leader {
            *self.controller.lock().unwrap_or_else(PoisonError::into_inner) = None;
            self.set_requests(0, 0);
            self.set_readiness(std::iter::empty());
        }
    }

    fn set_requests(&self, pending: usize, unsaved: usize) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.pending.set(number(pending));
        self.unsaved.set(number(unsaved));
    }

    fn set_readiness<'a>(&self, readiness: impl Iterator<Item = (&'a IssuerKey, bool)>) {
        self.ready.clear();
        for (key, ready) in readiness {
            self.ready.get_or_create(&labels(key)).set(ready.into());
        }
    }

    /// Returns all metrics as text. The gauges are brought up to date only now, so an event costs nothing here.
    pub fn encode(&self) -> String {
        let controller = self.controller.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(controller) = controller {
            self.observe(&controller.lock().unwrap_or_else(PoisonError::into_inner));
        }
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn kind_label(kind: &'static str) -> KindLabels {
    KindLabels {
        kind: ClosedLabel(kind),
    }
}

fn labels(key: &IssuerKey) -> IssuerLabels {
    IssuerLabels {
        kind: ClosedLabel(key.kind.as_str()),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
    }
}

/// Classifies a reply. A healthy standby and a probe without a CSR are answered with errors that are good news; a redirect
/// is none, since it is not followed.
fn outcome(operation: Operation, reply: &Reply) -> &'static str {
    match (operation, reply.as_ref().map(|reply| reply.status().as_u16())) {
        (_, Err(_)) => "transport",
        (Operation::Health, Ok(429 | 473)) | (Operation::Probe, Ok(400)) | (_, Ok(..300)) => "ok",
        (_, Ok(429 | 500..)) => "unavailable",
        (_, Ok(_)) => "refused",
    }
}

#[cfg(test)]
mod tests {
    use issuer_core::reference::{IssuerKind, RequestKey};
    use issuer_core::{Body, TransportError};

    use super::*;

    fn reply(status: u16) -> Reply {
        let mut reply = http::Response::new(Body::default());
        *reply.status_mut() = status.try_into().unwrap();
        Ok(reply)
    }

    fn has(metrics: &Metrics, line: &str) {
        let text = metrics.encode();
        assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
    }

    #[test]
    fn exchanges_are_counted_by_their_class() {
        let metrics = Metrics::new();
        has(
            &metrics,
            r#"vault_issuer_vault_requests_total{operation="sign",outcome="ok"} 0"#,
        );
        for status in [200, 204, 307, 400, 403, 429, 500, 503] {
            metrics.exchanged(Operation::Sign, &reply(status), Duration::from_millis(3));
        }
        let lost = Err(TransportError::Timeout);
        metrics.exchanged(Operation::Sign, &lost, Duration::from_secs(30));
        for (outcome, count) in [("ok", 2), ("refused", 3), ("unavailable", 3), ("transport", 1)] {
            let labels = format!(r#"operation="sign",outcome="{outcome}""#);
            has(
                &metrics,
                &format!("vault_issuer_vault_requests_total{{{labels}}} {count}"),
            );
        }
        let seconds = "vault_issuer_vault_request_duration_seconds";
        has(&metrics, &format!(r#"{seconds}_count{{operation="sign"}} 9"#));
        has(
            &metrics,
            &format!(r#"{seconds}_bucket{{le="0.0025",operation="sign"}} 0"#),
        );
        has(
            &metrics,
            &format!(r#"{seconds}_bucket{{le="0.005",operation="sign"}} 8"#),
        );
    }

    #[test]
    fn good_news_is_counted_as_ok() {
        for (operation, status, expected) in [
            (Operation::Health, 200, "ok"),
            (Operation::Health, 429, "ok"),
            (Operation::Health, 473, "ok"),
            (Operation::Health, 472, "refused"),
            (Operation::Health, 503, "unavailable"),
            (Operation::Probe, 400, "ok"),
            (Operation::Probe, 403, "refused"),
            (Operation::Login, 400, "refused"),
            (Operation::Sign, 429, "unavailable"),
            (Operation::Sign, 473, "refused"),
        ] {
            assert_eq!(outcome(operation, &reply(status)), expected, "{operation:?} {status}");
        }
    }

    #[test]
    fn only_finished_requests_are_counted() {
        let metrics = Metrics::new();
        let request = Key::Request(RequestKey {
            namespace: "ns".into(),
            name: "cr".into(),
        });
        for outcome in [
            Outcome::Failed("A"),
            Outcome::Failed("B"),
            Outcome::Issued,
            Outcome::Pending("C"),
            Outcome::Idle,
            Outcome::Unsaved,
        ] {
            metrics.finished(&request, outcome);
        }
        metrics.finished(&Key::Token(1), Outcome::Failed("D"));
        has(
            &metrics,
            r#"vault_issuer_certificate_requests_total{outcome="failed"} 2"#,
        );
        has(
            &metrics,
            r#"vault_issuer_certificate_requests_total{outcome="issued"} 1"#,
        );
        has(
            &metrics,
            r#"vault_issuer_certificate_requests_total{outcome="denied"} 0"#,
        );
        assert!(!metrics.encode().contains("pending\""));
    }

    #[test]
    fn deleted_issuers_have_no_metric() {
        let metrics = Metrics::new();
        let key = |name: &str| IssuerKey {
            kind: IssuerKind::Namespaced,
            namespace: "ns".into(),
            name: name.into(),
        };
        let (a, b) = (key("a"), key("b"));
        let line = |name: &str, ready: u8| {
            let labels = format!(r#"kind="VaultIssuer",namespace="ns",name="{name}""#);
            format!("vault_issuer_issuer_ready{{{labels}}} {ready}")
        };
        metrics.set_leader(true);
        metrics.set_readiness([(&a, true), (&b, false)].into_iter());
        has(&metrics, &line("a", 1));
        has(&metrics, &line("b", 0));
        metrics.set_readiness([(&b, true)].into_iter());
        has(&metrics, &line("b", 1));
        assert!(!metrics.encode().contains(&line("a", 1)));
        metrics.set_leader(false);
        assert!(!metrics.encode().contains("vault_issuer_issuer_ready{"));
        has(&metrics, "vault_issuer_leader 0");
        assert!(metrics.encode().ends_with("# EOF\n"));
    }
}
