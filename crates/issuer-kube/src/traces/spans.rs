//! The spans of a request, by OpenTelemetry's semantic conventions
//! (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-client>).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use issuer_core::Now;
use issuer_core::reconcile::Outcome;
use issuer_core::reference::{IssuerKey, RequestKey};
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::{Span, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};

use super::Record;
use super::part::{Exchange, Part};
use super::room::SpanRoom;

/// A request that is concluded.
pub(super) struct Concluded<'a> {
    pub(super) request: &'a RequestKey,
    pub(super) issuer: Option<&'a IssuerKey>,
    pub(super) outcome: Outcome,
    pub(super) record: Record,
    pub(super) ended: Now,
}

impl Concluded<'_> {
    /// Makes the spans, if there is room for all of them.
    pub(super) fn emit(self, tracer: &BoxedTracer, room: &SpanRoom) {
        let parts = &self.record.parts;
        let spans = 1 + parts.iter().map(Part::spans).sum::<usize>();
        if !room.take(spans) {
            return;
        }
        let since = self.record.since;
        let builder = SpanBuilder::from_name("request")
            .with_start_time(time(since.unix))
            .with_attributes(self.attributes());
        let mut request = tracer.build_with_context(builder, &Context::new());
        if !request.span_context().is_sampled() {
            room.give_back(spans);
            return;
        }
        if let Some(reason) = self.outcome.reason() {
            request.set_status(Status::error(reason));
        }
        let context = Context::new().with_span(request);
        for part in parts {
            emit(tracer, &context, part);
        }
        let took = self.ended.monotonic.saturating_sub(since.monotonic);
        context.span().end_with_timestamp(time(since.unix + took));
    }

    fn attributes(&self) -> Vec<KeyValue> {
        let request = self.request;
        let mut attributes = vec![
            KeyValue::new("vault_issuer.request.kind", request.kind.as_str()),
            KeyValue::new("vault_issuer.request.name", Arc::clone(&request.name)),
            KeyValue::new("vault_issuer.outcome", self.outcome.as_str()),
        ];
        let mut add = |name: &'static str, value: &str| attributes.push(KeyValue::new(name, value.to_owned()));
        if !request.namespace.is_empty() {
            add("k8s.namespace.name", &request.namespace);
        }
        if !self.record.uid.is_empty() {
            add("vault_issuer.request.uid", &self.record.uid);
        }
        if let Some(issuer) = self.issuer {
            add("vault_issuer.issuer.kind", issuer.kind.as_str());
            add("vault_issuer.issuer.name", &issuer.name);
        }
        if let Some(reason) = self.outcome.reason() {
            add("error.type", reason);
        }
        if self.record.omitted > 0 {
            let omitted = i64::try_from(self.record.omitted).unwrap_or(i64::MAX);
            attributes.push(KeyValue::new("vault_issuer.omitted_spans", omitted));
        }
        attributes
    }
}

/// Makes the spans of a part.
fn emit(tracer: &BoxedTracer, parent: &Context, part: &Part) {
    let kind = if part.exchange.is_some() {
        SpanKind::Client
    } else {
        SpanKind::Internal
    };
    let began = part.began.unix;
    let builder = SpanBuilder::from_name(part.name)
        .with_kind(kind)
        .with_start_time(time(began))
        .with_attributes(attributes(part));
    let mut span = tracer.build_with_context(builder, parent);
    if part.error.is_some() {
        span.set_status(Status::error(""));
    }
    let context = parent.with_span(span);
    for inner in part.within.iter() {
        emit(tracer, &context, inner);
    }
    context.span().end_with_timestamp(time(began + part.took));
}

fn attributes(part: &Part) -> Vec<KeyValue> {
    let error = part.error.clone().map(|error| KeyValue::new("error.type", error));
    let mut attributes: Vec<_> = error.into_iter().collect();
    if let Some(exchange) = &part.exchange {
        let Exchange {
            method,
            url,
            host,
            port,
            status,
        } = exchange;
        attributes.extend([
            KeyValue::new("http.request.method", method.to_string()),
            KeyValue::new("url.full", url.clone()),
            KeyValue::new("server.address", host.clone()),
            KeyValue::new("server.port", i64::from(*port)),
        ]);
        attributes.extend(status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
    }
    attributes
}

fn time(unix: Duration) -> SystemTime {
    SystemTime::UNIX_EPOCH + unix
}
