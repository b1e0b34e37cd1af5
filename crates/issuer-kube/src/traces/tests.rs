//! The spans of requests, as a processor gets them.

use std::collections::BTreeSet;
use std::time::SystemTime;

use issuer_core::TransportError;
use issuer_core::access::ReadError;
use issuer_core::reconcile::{ObservedRequest, WriteError};
use issuer_core::reference::{IssuerKind, ListScope, RequestKind};
use opentelemetry::trace::{SpanKind, Status, TracerProvider};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};

use super::*;
use crate::fixture::{config, connect, waiting};
use crate::{Metrics, TextFormat};

/// Keeps the spans that have ended.
#[derive(Clone, Debug, Default)]
struct Ended(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Ended {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

impl Ended {
    /// Returns each span as a line: its name below those that it is part of, and what it says.
    fn tree(&self) -> Vec<String> {
        let spans = self.0.lock().unwrap();
        let mut sorted: Vec<_> = spans.iter().collect();
        sorted.sort_by_key(|span| span.start_time);
        let path = |span: &SpanData| {
            let parent = spans
                .iter()
                .find(|other| other.span_context.span_id() == span.parent_span_id);
            parent.map_or(String::new(), |parent| format!("{}/", parent.name))
        };
        let line = |span: &&SpanData| {
            let error = span
                .attributes
                .iter()
                .find(|attribute| attribute.key.as_str() == "error.type");
            let error = error.map_or(String::new(), |error| format!(" {}", error.value));
            format!("{}{}{error}", path(span), span.name)
        };
        sorted.iter().map(line).collect()
    }

    fn attribute(&self, span: &str, name: &str) -> Option<String> {
        let spans = self.0.lock().unwrap();
        let span = spans.iter().find(|ended| ended.name == span).unwrap();
        let attribute = span.attributes.iter().find(|attribute| attribute.key.as_str() == name);
        attribute.map(|attribute| attribute.value.to_string())
    }
}

struct World {
    traces: Traces,
    ended: Ended,
    room: Arc<SpanRoom>,
    metrics: Arc<Metrics>,
    controller: Controller,
}

fn world(sampler: Sampler) -> World {
    let (ended, metrics) = (Ended::default(), Arc::new(Metrics::new()));
    let provider = SdkTracerProvider::builder()
        .with_sampler(sampler)
        .with_simple_exporter(ended.clone())
        .build();
    let room = Arc::new(SpanRoom::new(Arc::clone(&metrics)));
    let tracer = BoxedTracer::new(Box::new(provider.tracer("test")));
    World {
        traces: Traces::new(tracer, Arc::clone(&room)),
        ended,
        room,
        metrics,
        controller: Controller::new(config(), 1),
    }
}

fn issuer() -> IssuerKey {
    IssuerKey {
        kind: IssuerKind::Namespaced,
        namespace: "team".into(),
        name: "vault".into(),
    }
}

fn observed() -> ObservedRequest {
    waiting("web".to_owned()).into()
}

fn request(operation: Operation) -> Request {
    let path = format!("http://127.0.0.1:9/v1/{}", operation.as_str());
    Request {
        connect: connect(9),
        operation,
        timeout: Duration::from_secs(1),
        http: http::Request::post(path).body(issuer_core::Body::default()).unwrap(),
    }
}

fn reply(status: u16) -> Reply {
    let mut reply = http::Response::new(issuer_core::Body::default());
    *reply.status_mut() = status.try_into().unwrap();
    Ok(reply)
}

fn exchange(trace: &mut TaskTrace, operation: Operation, reply: &Reply) {
    let part = trace.sends(&request(operation));
    trace.replied(part, operation, reply);
}

fn ask<E: ErrorType>(trace: &mut TaskTrace, name: &'static str, answer: Result<(), E>) {
    let part = trace.asks(name);
    trace.answered(part, &answer);
}

impl World {
    fn observe(&self, change: Change) {
        self.traces.observe(Transport::now(), &change);
    }

    /// Runs a task, which asks something.
    fn task(&self, key: &Key, outcome: Outcome, asks: impl FnOnce(&mut TaskTrace)) {
        let issuer = issuer();
        let mut trace = self
            .traces
            .begin(key, Some(&issuer), &self.controller, Transport::now());
        asks(&mut trace);
        self.traces.done(key, Some(&issuer), trace, outcome);
    }

    fn check(&self, outcome: Outcome) {
        self.task(&Key::Issuer(issuer()), outcome, |trace| {
            ask(trace, "read secret", Ok::<_, ReadError>(()));
            exchange(trace, Operation::Login, &reply(200));
        });
    }

    fn sign(&self, outcome: Outcome, reply: &Reply) {
        self.task(&Key::Request(observed().key()), outcome, |trace| {
            exchange(trace, Operation::Sign, reply);
            ask(trace, "save", Ok::<_, WriteError>(()));
        });
    }

    /// Returns the number of requests of which something is kept.
    fn kept(&self) -> usize {
        self.traces.state().requests.len()
    }
}

#[test]
fn wait_for_a_check_is_part_of_the_trace() {
    let world = world(Sampler::AlwaysOn);
    world.observe(Change::Request(observed()));
    world.check(Outcome::Ready);
    world.sign(Outcome::Issued, &reply(200));
    let expected = [
        "request",
        "request/check",
        "check/read secret",
        "check/login",
        "request/sign",
        "request/save",
    ];
    assert_eq!(world.ended.tree(), expected);
    let spans = world.ended.0.lock().unwrap();
    let trace = spans[0].span_context.trace_id();
    assert!(spans.iter().all(|span| span.span_context.trace_id() == trace));
    assert!(spans.iter().all(|span| span.start_time <= span.end_time));
    assert!(spans.iter().all(|span| span.end_time <= SystemTime::now()));
    let is_client = |span: &&SpanData| span.span_kind == SpanKind::Client;
    assert_eq!(spans.iter().filter(is_client).count(), 2);
}

#[test]
fn spans_follow_the_conventions() {
    let world = world(Sampler::AlwaysOn);
    world.observe(Change::Request(observed()));
    world.sign(Outcome::Issued, &reply(200));
    for (span, name, value) in [
        ("request", "k8s.namespace.name", "team"),
        ("request", "vault_issuer.request.kind", "CertificateRequest"),
        ("request", "vault_issuer.request.name", "web"),
        ("request", "vault_issuer.request.uid", "uid-web"),
        ("request", "vault_issuer.issuer.kind", "VaultIssuer"),
        ("request", "vault_issuer.issuer.name", "vault"),
        ("request", "vault_issuer.outcome", "issued"),
        ("sign", "http.request.method", "POST"),
        ("sign", "url.full", "http://127.0.0.1:9/v1/sign"),
        ("sign", "server.address", "127.0.0.1"),
        ("sign", "server.port", "9"),
        ("sign", "http.response.status_code", "200"),
    ] {
        assert_eq!(
            world.ended.attribute(span, name).as_deref(),
            Some(value),
            "{span} {name}"
        );
    }
    assert_eq!(world.ended.attribute("request", "error.type"), None);
}

#[test]
fn only_a_concluded_request_has_a_trace() {
    let world = world(Sampler::AlwaysOn);
    world.observe(Change::Request(observed()));
    world.sign(Outcome::Pending("SignFailed"), &reply(503));
    world.sign(Outcome::Pending("SignFailed"), &Err(TransportError::Timeout));
    assert!(world.ended.tree().is_empty());
    world.sign(Outcome::Failed("SignRefused"), &reply(400));
    let expected = [
        "request SignRefused",
        "request/sign 503",
        "request/save",
        "request/sign timeout",
        "request/save",
        "request/sign 400",
        "request/save",
    ];
    assert_eq!(world.ended.tree(), expected);
    assert_eq!(world.kept(), 0);
    let spans = world.ended.0.lock().unwrap();
    let failed = |span: &&SpanData| matches!(span.status, Status::Error { .. });
    assert_eq!(spans.iter().filter(failed).count(), 4);
}

#[test]
fn check_before_the_request_is_not_its() {
    let world = world(Sampler::AlwaysOn);
    world.check(Outcome::Ready);
    world.observe(Change::Request(observed()));
    world.sign(Outcome::Pending("SignFailed"), &reply(403));
    world.check(Outcome::NotReady("VaultSealed"));
    world.check(Outcome::Ready);
    world.sign(Outcome::Issued, &reply(200));
    let tree = world.ended.tree();
    assert_eq!(
        tree.iter().filter(|span| *span == "request/check").count(),
        1,
        "{tree:?}"
    );
}

#[test]
fn expected_statuses_are_no_errors() {
    let world = world(Sampler::AlwaysOn);
    world.observe(Change::Request(observed()));
    world.task(&Key::Issuer(issuer()), Outcome::Ready, |trace| {
        exchange(trace, Operation::Health, &reply(473));
        exchange(trace, Operation::Probe, &reply(400));
        ask(trace, "read secret", Err(ReadError::NotFound));
    });
    world.sign(Outcome::Issued, &reply(200));
    let tree = world.ended.tree();
    for span in ["check/health", "check/probe", "check/read secret not_found"] {
        assert!(tree.contains(&span.to_owned()), "{tree:?}");
    }
}

#[test]
fn last_parts_are_kept() {
    let world = world(Sampler::AlwaysOn);
    world.observe(Change::Request(observed()));
    for _ in 0..PARTS {
        world.sign(Outcome::Unsaved, &reply(200));
    }
    world.sign(Outcome::Issued, &reply(200));
    assert_eq!(world.ended.tree().len(), 1 + PARTS);
    let omitted = world.ended.attribute("request", "vault_issuer.omitted_spans");
    assert_eq!(omitted, Some((PARTS + 2).to_string()));
}

#[test]
fn trace_without_room_is_dropped_and_counted() {
    let world = world(Sampler::AlwaysOn);
    let counted = |outcome: &str, spans: usize| {
        let text = world.metrics.encode(TextFormat::Prometheus);
        let line = format!("vault_issuer_trace_spans_total{{outcome=\"{outcome}\"}} {spans}\n");
        assert!(text.contains(&line), "{line}{text}");
    };
    counted("dropped", 0);
    assert!(world.room.take(SpanRoom::SPANS - 2));
    world.sign(Outcome::Issued, &reply(200));
    assert!(world.ended.tree().is_empty());
    counted("dropped", 3);
    world.room.exported(1, false);
    world.sign(Outcome::Issued, &reply(200));
    assert_eq!(world.ended.tree().len(), 3);
    counted("failed", 1);
    world.room.exported(3, true);
    counted("exported", 3);
    assert!(world.room.take(3) && !world.room.take(1));
}

#[test]
fn unsampled_traces_take_no_room() {
    let world = world(Sampler::AlwaysOff);
    world.sign(Outcome::Issued, &reply(200));
    assert!(world.ended.tree().is_empty());
    assert!(world.room.take(SpanRoom::SPANS));
}

#[test]
fn requests_that_are_gone_are_forgotten() {
    let world = world(Sampler::AlwaysOn);
    let key = observed().key();
    let note = || {
        world.observe(Change::Request(observed()));
        assert_eq!(world.kept(), 1);
    };
    note();
    world.observe(Change::RequestGone(key.clone()));
    assert_eq!(world.kept(), 0);
    note();
    let all = |scope, keys: &[&RequestKey]| {
        let keys: BTreeSet<_> = keys.iter().map(|key| (*key).clone()).collect();
        world.observe(Change::Requests(RequestKind::CertificateRequest, scope, keys));
        world.kept()
    };
    assert_eq!(all(ListScope::Cluster, &[&key]), 1);
    assert_eq!(all(ListScope::Namespace("other".to_owned()), &[]), 1);
    assert_eq!(all(ListScope::Cluster, &[]), 0);
    note();
    let mut answered = waiting("web".to_owned());
    answered.status.as_mut().unwrap().certificate = Some(issuer_api::Base64::encode("certificate"));
    assert!(ObservedRequest::from(answered.clone()).is_terminal());
    world.observe(Change::Request(answered.into()));
    assert_eq!(world.kept(), 0);
}

#[test]
fn request_that_goes_during_its_task_is_forgotten() {
    let world = world(Sampler::AlwaysOn);
    world.observe(Change::Request(observed()));
    let key = observed().key();
    world.task(&Key::Request(key.clone()), Outcome::Idle, |_| {
        // A version that is seen meanwhile begins no second trace.
        world.observe(Change::Request(observed()));
        assert_eq!(world.kept(), 1);
        world.observe(Change::RequestGone(key));
    });
    assert_eq!(world.kept(), 0);
}

#[test]
fn what_is_kept_is_bounded() {
    let world = world(Sampler::AlwaysOn);
    let mut state = world.traces.state();
    let now = Transport::now();
    for number in 0..=REQUESTS {
        let key = RequestKey {
            name: number.to_string().into(),
            ..observed().key()
        };
        state.note(key, "uid", now);
    }
    assert_eq!(state.requests.len(), REQUESTS);
    for number in 0..=CHECKS {
        let issuer = IssuerKey {
            name: number.to_string().into(),
            ..issuer()
        };
        state.checked(&issuer, Duration::from_secs(number as u64), Part::new("check", now));
    }
    assert_eq!(state.checks.len(), CHECKS);
    let first = IssuerKey {
        name: "0".into(),
        ..issuer()
    };
    assert!(!state.checks.contains_key(&first));
}

/// Without traces, a task keeps a null pointer.
#[test]
fn task_without_a_trace_notes_nothing() {
    assert_eq!(size_of::<TaskTrace>(), size_of::<usize>());
    let mut trace = TaskTrace::default();
    assert!(trace.asks("save").is_none() && trace.sends(&request(Operation::Sign)).is_none());
    ask(&mut trace, "save", Ok::<_, WriteError>(()));
    assert!(trace.0.is_none());
}
