//! The export of traces by OTLP over HTTP, which the environment variables of OpenTelemetry switch on
//! (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>).
//!
//! The spans are made by `issuer_kube`. The SDK collects them and sends them on a thread of its own, so the collector never
//! delays a task; the HTTP client is that of the command line, with the one TLS stack.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{Request, Response};
use issuer_core::target::AllowedServers;
use issuer_core::{Body, Connect, Limits, Origin, Roots};
use issuer_kube::{Metrics, SpanRoom, Traces};
use opentelemetry::KeyValue;
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter};

/// Time for the collector to answer, connecting included: the default of `OTEL_EXPORTER_OTLP_TIMEOUT`.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Time for a stopping process to send the last spans. It is part of the margin that the grace period of a pod leaves.
const FLUSH: Duration = Duration::from_secs(2);

/// The largest reply of a collector, in bytes.
const REPLY: usize = 64 << 10;

/// The name of the service, unless the environment has another.
const SERVICE: &str = "vault-issuer";

/// The collector that traces are sent to.
#[derive(Debug)]
pub struct Collector {
    /// The URL of its endpoint for traces.
    url: String,
    connect: Arc<Connect>,
}

impl Collector {
    /// Reads the collector from the environment; `None` if no endpoint is set, or traces are switched off.
    ///
    /// # Errors
    ///
    /// The variable that cannot be used, and what it must be like; its value, which may hold a password, is not quoted.
    pub fn of_environment(variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Option<Self>> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        // The variable for traces alone comes first.
        let first = |suffix: &str| {
            let names = ["OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"].map(|prefix| format!("{prefix}{suffix}"));
            names.into_iter().find_map(|name| set(&name).map(|value| (name, value)))
        };
        let is_off = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || set("OTEL_TRACES_EXPORTER").is_some_and(|exporter| exporter == "none");
        let Some((name, endpoint)) = first("ENDPOINT").filter(|_| !is_off) else {
            return Ok(None);
        };
        if let Some((name, protocol)) = first("PROTOCOL") {
            ensure!(
                protocol == "http/protobuf",
                "{name} cannot be used: traces are sent by http/protobuf, to port 4318 of most collectors"
            );
        }
        if let Some((name, compression)) = first("COMPRESSION") {
            ensure!(
                compression == "none",
                "{name} cannot be used: traces are sent without compression"
            );
        }
        let roots = match first("CERTIFICATE") {
            Some((name, file)) => {
                Roots::bundle(std::fs::read(file).with_context(|| format!("the file of {name} cannot be read"))?)
            }
            None => Roots::System,
        };
        let url = if name.contains("TRACES") {
            endpoint
        } else {
            format!("{}/v1/traces", endpoint.trim_end_matches('/'))
        };
        let collector = Self::new(&url, roots).with_context(|| format!("{name} cannot be used"))?;
        Ok(Some(collector))
    }

    /// Returns the collector with a URL, to which spans are posted.
    ///
    /// # Errors
    ///
    /// A message if it is no URL that can be used.
    pub fn new(url: &str, roots: Roots) -> anyhow::Result<Self> {
        let url = url.trim();
        let origin = Origin::parse(url).context(
            "give the URL of a collector that takes OTLP over HTTP, without a user, such as \
             http://otel-collector.monitoring:4318",
        )?;
        Ok(Self {
            url: url.to_owned(),
            connect: Arc::new(Connect {
                origin,
                allowed_servers: AllowedServers::All,
                proxy: None,
                server_name: None,
                roots,
                identity: None,
                limits: Limits::default(),
            }),
        })
    }
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// Sends spans to a collector, until it is dropped: then it sends the last ones, within two seconds.
#[derive(Debug)]
pub struct Exporter {
    provider: SdkTracerProvider,
    room: Arc<SpanRoom>,
}

impl Exporter {
    /// Starts to export; `instance` is the name of this process.
    ///
    /// # Errors
    ///
    /// The setting of the environment that the SDK cannot use.
    pub fn start(collector: Collector, instance: &str, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let room = Arc::new(SpanRoom::new(metrics));
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(collector.url.clone())
            .with_http_client(Client::new(collector))
            .build()?;
        let exporter = Counted {
            exporter,
            room: Arc::clone(&room),
        };
        // The room is the bound, so the queue never drops a part of a trace.
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(SpanRoom::SPANS)
            .build();
        let batches = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource(instance))
            .with_span_processor(batches)
            .build();
        Ok(Self { provider, room })
    }

    /// Returns the traces whose spans are exported.
    pub fn traces(&self) -> Traces {
        let tracer = self.provider.tracer(SERVICE);
        Traces::new(BoxedTracer::new(Box::new(tracer)), Arc::clone(&self.room))
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if self.provider.shutdown_with_timeout(FLUSH).is_err() {
            tracing::warn!("stopping before all spans were exported");
        }
    }
}

/// Returns what all spans are about: this process, and what the environment adds to it.
fn resource(instance: &str) -> Resource {
    let resource = Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_service_name(SERVICE)
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance.to_owned()),
        ])
        .with_detector(Box::new(EnvResourceDetector::new()));
    let name = std::env::var("OTEL_SERVICE_NAME").ok();
    match name.filter(|name| !name.is_empty()) {
        Some(name) => resource.with_service_name(name).build(),
        None => resource.build(),
    }
}

/// An exporter that gives the room of its spans back.
#[derive(Debug)]
struct Counted {
    exporter: opentelemetry_otlp::SpanExporter,
    room: Arc<SpanRoom>,
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let exported = self.exporter.export(batch).await;
        self.room.exported(spans, exported.is_ok());
        // It is counted, and the client has logged it; the SDK would log each.
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The HTTP client. It blocks, as that of the SDK's thread may.
#[derive(Debug)]
struct Client {
    collector: Collector,
    driver: issuer_ureq::Driver,
    /// Whether the last request has failed, which is logged once.
    fails: AtomicBool,
}

impl Client {
    fn new(collector: Collector) -> Self {
        Self {
            collector,
            driver: issuer_ureq::Driver::new(),
            fails: AtomicBool::new(false),
        }
    }

    fn report(&self, error: Option<&dyn fmt::Display>) {
        let failed = self.fails.swap(error.is_some(), Ordering::Relaxed);
        let collector = &self.collector;
        match error {
            Some(error) if !failed => {
                tracing::warn!(%collector, %error, "traces cannot be exported and are lost while that lasts");
            }
            None if failed => tracing::info!(%collector, "traces are exported again"),
            _ => {}
        }
    }
}

#[async_trait::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = request.map(|body| Body::from(Vec::from(body)));
        let reply = self.driver.exchange(&self.collector.connect, request, TIMEOUT, REPLY);
        match &reply {
            Ok(reply) if reply.status().is_success() => self.report(None),
            Ok(reply) => self.report(Some(&reply.status())),
            Err(error) => self.report(Some(error)),
        }
        Ok(reply?.map(|body| Bytes::copy_from_slice(body.as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collector(variables: &[(&str, &str)]) -> anyhow::Result<Option<String>> {
        let value = |name: &str| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        };
        let collector = Collector::of_environment(value)?;
        Ok(collector.map(|collector| collector.to_string()))
    }

    #[test]
    fn endpoint_is_that_of_the_environment() {
        let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://collector/traces");
        for (variables, url) in [
            (&[][..], None),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], None),
            (&[general], Some("http://collector:4318/v1/traces")),
            (&[general, own], Some("https://collector/traces")),
            (
                &[general, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")],
                Some("http://collector:4318/v1/traces"),
            ),
            (&[general, ("OTEL_SDK_DISABLED", "true")], None),
            (&[general, ("OTEL_TRACES_EXPORTER", "none")], None),
        ] {
            assert_eq!(collector(variables).unwrap().as_deref(), url, "{variables:?}");
        }
    }

    #[test]
    fn unusable_variable_is_named_and_not_quoted() {
        let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        for (variables, message) in [
            (
                &[("OTEL_EXPORTER_OTLP_ENDPOINT", "canary:4318")][..],
                "OTEL_EXPORTER_OTLP_ENDPOINT cannot be used: give the URL",
            ),
            (
                &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:canary@collector:4318")],
                "without a user",
            ),
            (
                &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://canary")],
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT cannot be used",
            ),
            (
                &[general, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
                "OTEL_EXPORTER_OTLP_PROTOCOL cannot be used: traces are sent by http/protobuf",
            ),
            (
                &[general, ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")],
                "OTEL_EXPORTER_OTLP_COMPRESSION cannot be used: traces are sent without compression",
            ),
            (
                &[general, ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/canary")],
                "the file of OTEL_EXPORTER_OTLP_CERTIFICATE cannot be read",
            ),
        ] {
            let error = format!("{:#}", collector(variables).unwrap_err());
            assert!(error.contains(message) && !error.contains("canary"), "{error}");
        }
    }
}
