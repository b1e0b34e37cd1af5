//! Metrics as Prometheus scrapes them.

use std::collections::{BTreeMap, BTreeSet};

use issuer_core::reconcile::{Change, IssuerReport, ObservedIssuer, ReadyWriters, Waiting};
use issuer_core::reference::{IssuerKind, RequestKey, RequestKind};
use issuer_core::{Body, TransportError};

use super::*;
use crate::fixture::config;

/// A text that must not be written while a task would have to wait for the controller or the metrics.
struct Unlocked<'a> {
    controller: &'a Mutex<Controller>,
    metrics: &'a Metrics,
    /// The length of the text.
    length: usize,
}

impl fmt::Write for Unlocked<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        assert!(self.controller.try_lock().is_ok(), "{text}");
        assert!(self.metrics.issuers.is_free(), "{text}");
        self.length += text.len();
        Ok(())
    }
}

#[test]
fn scrape_delays_no_task() {
    let controller = Arc::new(Mutex::new(Controller::new(config(), 1)));
    let observed = ObservedIssuer {
        uid: "uid".to_owned(),
        generation: 1,
        resource_version: "1".to_owned(),
        spec: issuer_api::VaultSpec::default(),
        status: issuer_api::IssuerStatus::default(),
        ready_writers: ReadyWriters::default(),
    };
    let change = Change::Issuer(issuer("a"), observed);
    controller.lock().unwrap().observe(Transport::now(), change);
    let metrics = Metrics::new();
    metrics.describe(Arc::clone(&controller));
    let text = text(&metrics);
    assert!(
        text.contains(&sample("vault_issuer_issuer_ready", "a", "", 0)),
        "{text}"
    );
    let mut unlocked = Unlocked {
        controller: &controller,
        metrics: &metrics,
        length: 0,
    };
    metrics.write(&mut unlocked).unwrap();
    // The process's own figures may differ by some digits.
    assert!(unlocked.length.abs_diff(text.len()) < 100);
}

fn reply(status: u16) -> Reply {
    let mut reply = http::Response::new(Body::default());
    *reply.status_mut() = status.try_into().unwrap();
    Ok(reply)
}

fn text(metrics: &Metrics) -> String {
    metrics.encode(TextFormat::OpenMetrics)
}

fn has(metrics: &Metrics, line: &str) {
    let text = text(metrics);
    assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
}

fn issuer(name: &str) -> IssuerKey {
    IssuerKey {
        kind: IssuerKind::Namespaced,
        namespace: "ns".into(),
        name: name.into(),
    }
}

fn request() -> Key {
    Key::Request(RequestKey {
        kind: RequestKind::CertificateRequest,
        namespace: "ns".into(),
        name: "cr".into(),
    })
}

/// Returns a sample of a metric with the labels of an issuer and perhaps one more.
fn sample(metric: &str, name: &str, more: &str, value: u64) -> String {
    let labels = format!(
        r#"issuer_group="vault-issuer.io",issuer_kind="VaultIssuer",issuer_name="{name}",issuer_namespace="ns""#
    );
    format!("{metric}{{{labels}{more}}} {value}")
}

fn second(seconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(seconds).unwrap()
}

/// A report of issuers that have nothing but their names.
fn report(names: &[&str]) -> Report {
    let issuers = names.iter().map(|name| IssuerReport {
        key: issuer(name),
        is_ready: false,
        token_expires: None,
        ca_expires: None,
        waiting: Waiting::default(),
    });
    Report {
        issuers: issuers.collect(),
        unassigned: Waiting::default(),
        backlog: Backlog::default(),
        unsaved: 0,
        withdrawn: Vec::new(),
    }
}

/// Metrics of a process in which everything has happened once.
fn metrics_of_everything() -> Metrics {
    let metrics = Metrics::new();
    for (outcome, issuer) in [Outcome::Issued, Outcome::Denied, Outcome::Failed("SignRefused")]
        .into_iter()
        .flat_map(|outcome| [(outcome, Some(issuer("a"))), (outcome, None)])
    {
        metrics.record_task_result(&request(), issuer.as_ref(), outcome);
    }
    metrics.record_task_result(&Key::Issuer(issuer("a")), None, Outcome::NotReady("VaultSealed"));
    metrics.record_task_duration(&request(), Duration::from_millis(1));
    metrics.record_exchange(Operation::Sign, &reply(200), Duration::from_millis(3));
    metrics.api_request("10.0.0.1:443", &Method::GET, None, Duration::from_secs(1));
    metrics.withdrawn.get_or_create(&kind_label("Issuer")).set(1);
    metrics.record_spans("dropped", 3);
    let mut report = report(&["a"]);
    let waiting = Waiting {
        requests: 2,
        oldest: Some(second(100)),
    };
    report.unassigned = waiting;
    report.issuers[0].waiting = waiting;
    (report.issuers[0].token_expires, report.issuers[0].ca_expires) = (Some(second(300)), Some(second(400)));
    metrics.issuers.observe(Some(report));
    metrics
}

#[test]
fn exchanges_are_counted_by_their_class() {
    let metrics = Metrics::new();
    has(
        &metrics,
        r#"vault_issuer_vault_requests_total{operation="sign",outcome="ok"} 0"#,
    );
    for status in [200, 204, 307, 400, 403, 429, 500, 503] {
        metrics.record_exchange(Operation::Sign, &reply(status), Duration::from_millis(3));
    }
    let lost = Err(TransportError::Timeout);
    metrics.record_exchange(Operation::Sign, &lost, Duration::from_secs(30));
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
    metrics.issuers.observe(Some(report(&["a", "b"])));
    let requests = "vault_issuer_certificate_requests_total";
    // The first increase of a counter that begins with it would be lost.
    for outcome in ["denied", "failed", "issued"] {
        has(&metrics, &sample(requests, "a", &format!(r#",outcome="{outcome}""#), 0));
    }
    for outcome in [
        Outcome::Failed("A"),
        Outcome::Failed("B"),
        Outcome::Failed("B"),
        Outcome::Issued,
        Outcome::Pending("C"),
        Outcome::Idle,
        Outcome::Unsaved,
    ] {
        metrics.record_task_result(&request(), Some(&issuer("a")), outcome);
    }
    metrics.record_task_result(&Key::Token(1), None, Outcome::Failed("D"));
    has(&metrics, &sample(requests, "a", r#",outcome="failed""#, 3));
    has(&metrics, &sample(requests, "a", r#",outcome="issued""#, 1));
    has(&metrics, &sample(requests, "b", r#",outcome="issued""#, 0));
    let failures = "vault_issuer_certificate_request_failures_total";
    has(&metrics, &sample(failures, "a", r#",reason="B""#, 2));
    has(&metrics, r#"workqueue_retries_total{name="certificaterequests"} 2"#);
    assert!(!text(&metrics).contains("pending\""));
}

#[test]
fn requests_of_no_issuer_have_no_name() {
    let metrics = metrics_of_everything();
    let nobody = r#"issuer_group="",issuer_kind="",issuer_name="",issuer_namespace="""#;
    for (metric, value) in [
        ("vault_issuer_pending_requests", 2),
        ("vault_issuer_oldest_pending_request_timestamp_seconds", 100),
    ] {
        has(&metrics, &format!("{metric}{{{nobody}}} {value}"));
        has(&metrics, &sample(metric, "a", "", value));
    }
}

#[test]
fn reason_of_an_issuer_ends_with_it() {
    let metrics = Metrics::new();
    metrics.set_leader(true);
    metrics.issuers.observe(Some(report(&["a", "b"])));
    for name in ["a", "b", "gone"] {
        metrics.record_task_result(&Key::Issuer(issuer(name)), None, Outcome::NotReady("VaultSealed"));
    }
    let reason = |name| {
        sample(
            "vault_issuer_issuer_not_ready_reason",
            name,
            r#",reason="VaultSealed""#,
            1,
        )
    };
    has(&metrics, &reason("a"));
    has(&metrics, &sample("vault_issuer_issuer_ready", "a", "", 0));
    metrics.record_task_result(&Key::Issuer(issuer("a")), None, Outcome::Ready);
    metrics.issuer_gone(&issuer("b"));
    metrics.issuers.observe(Some(report(&["a"])));
    assert!(!text(&metrics).contains("VaultSealed"));
    metrics.set_leader(false);
    assert!(!text(&metrics).contains("vault_issuer_issuer_ready{"));
    has(&metrics, "vault_issuer_leader 0");
}

#[test]
fn requests_to_the_api_server_are_counted() {
    let metrics = Metrics::new();
    let host = "10.0.0.1:443";
    for status in [Some(StatusCode::OK), Some(StatusCode::OK), None] {
        metrics.api_request(host, &Method::PATCH, status, Duration::from_millis(7));
    }
    for (code, count) in [("200", 2), ("<error>", 1)] {
        let labels = format!(r#"code="{code}",host="{host}",method="PATCH""#);
        has(&metrics, &format!("rest_client_requests_total{{{labels}}} {count}"));
    }
    let labels = format!(r#"host="{host}",verb="PATCH""#);
    has(
        &metrics,
        &format!("rest_client_request_duration_seconds_count{{{labels}}} 3"),
    );
}

#[test]
fn process_is_described() {
    let text = text(&Metrics::new());
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim().parse::<f64>().ok()).unwrap_or(-1.0)
    };
    assert!(value("process_resident_memory_bytes ") > 1e6, "{text}");
    assert!(value("process_virtual_memory_bytes ") > 1e6, "{text}");
    assert!(value("process_open_fds ") >= 1.0, "{text}");
    assert!(value("process_start_time_seconds ") > 1.7e9, "{text}");
    assert!(value("process_cpu_seconds_total ") >= 0.0, "{text}");
}

/// The reference is made of the table, so the table must not differ from what is scraped.
#[test]
fn table_lists_every_metric_and_label() {
    let text = metrics_of_everything().encode(TextFormat::Prometheus);
    let mut labels: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
        let name = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(name);
        let names = rest.split('"').step_by(2).filter_map(|part| part.strip_suffix('='));
        let names = names.map(|name| name.trim_start_matches(['{', ',']));
        labels
            .entry(name.to_owned())
            .or_default()
            .extend(names.filter(|name| *name != "le"));
    }
    let table: BTreeMap<_, BTreeSet<_>> = METRICS
        .iter()
        .map(|metric| (metric.query_name(), metric.labels.iter().copied().collect()))
        .collect();
    assert_eq!(labels, table);
    for metric in METRICS {
        let kind = format!("# TYPE {} {}\n", metric.query_name(), metric.kind.as_str());
        let help = format!("# HELP {} {}.\n", metric.query_name(), metric.help);
        assert!(text.contains(&kind) && text.contains(&help), "{kind}{help}");
    }
}

#[test]
fn format_follows_the_header_accept() {
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
    for (accept, format) in [
        (prometheus, TextFormat::OpenMetrics),
        ("text/plain;version=0.0.4", TextFormat::Prometheus),
        ("*/*", TextFormat::Prometheus),
        ("", TextFormat::Prometheus),
    ] {
        assert_eq!(TextFormat::accepted_by(accept), format, "{accept}");
    }
    let metrics = Metrics::new();
    assert!(text(&metrics).ends_with("# EOF\n"));
    let plain = metrics.encode(TextFormat::Prometheus);
    assert!(!plain.contains("# EOF") && plain.contains("\n# TYPE vault_issuer_leader gauge\n"));
}

#[test]
fn failed_watches_are_counted_by_kind() {
    let metrics = Metrics::new();
    for kind in ["VaultIssuer", "CertificateRequest", "VaultIssuer"] {
        metrics.inc_watch_failures(kind);
    }
    has(&metrics, r#"vault_issuer_watch_failures_total{kind="VaultIssuer"} 2"#);
    has(
        &metrics,
        r#"vault_issuer_watch_failures_total{kind="CertificateRequest"} 1"#,
    );
}
