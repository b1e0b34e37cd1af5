//! Traces of a controller in a cluster, as a collector receives them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fake_vault::Fault;
use issuer_core::{Operation, Roots};
use issuer_kube::{Metrics, TextFormat};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;
use vault_issuer::traces;

use crate::secrets::api;
use crate::world::{Login, Vault};

/// A collector of traces at a loopback address.
pub(crate) struct Collector {
    url: String,
    received: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    metrics: Arc<Metrics>,
}

impl Collector {
    /// Starts a collector that takes all spans.
    pub(crate) fn start() -> Self {
        Self::serve(|stream, received| {
            received.lock().unwrap().push(read(&stream)?);
            let mut stream = stream;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .ok()
        })
    }

    /// Starts a collector that never answers.
    fn silent() -> Self {
        let held = Mutex::new(Vec::new());
        Self::serve(move |stream, _| {
            held.lock().unwrap().push(stream);
            None
        })
    }

    /// Serves each connection with `answer`.
    fn serve(
        answer: impl Fn(TcpStream, &Mutex<Vec<ExportTraceServiceRequest>>) -> Option<()> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let received = Arc::<Mutex<Vec<_>>>::default();
        let kept = Arc::clone(&received);
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &kept);
            }
        });
        Self {
            url,
            received,
            metrics: Arc::new(Metrics::new()),
        }
    }

    /// Starts to export to it. The spans have arrived when the exporter is dropped.
    pub(crate) fn exporter(&self) -> traces::Exporter {
        let collector = traces::Collector::new(&self.url, Roots::System).unwrap();
        traces::Exporter::start(collector, "instance", Arc::clone(&self.metrics)).unwrap()
    }

    /// Returns all spans that it has received.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        let resources = received.iter().flat_map(|request| &request.resource_spans);
        let scopes = resources.flat_map(|resource| &resource.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    fn resource(&self) -> Resource {
        self.received.lock().unwrap()[0].resource_spans[0]
            .resource
            .clone()
            .unwrap()
    }

    /// Returns the metric of spans with an outcome.
    fn counted(&self, outcome: &str) -> usize {
        let text = self.metrics.encode(TextFormat::Prometheus);
        let name = format!("vault_issuer_trace_spans_total{{outcome=\"{outcome}\"}} ");
        let count = text.lines().find_map(|line| line.strip_prefix(&name));
        count.unwrap().parse().unwrap()
    }
}

/// Reads a request to export spans.
fn read(stream: &TcpStream) -> Option<ExportTraceServiceRequest> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        reader.read_line(&mut head).ok().filter(|read| *read > 0)?;
    }
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).ok()?;
    Some(ExportTraceServiceRequest::decode(&body[..]).unwrap())
}

fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.key == name)?;
    match attribute.value.as_ref()? {
        AnyValue {
            value: Some(Value::StringValue(text)),
        } => Some(text.clone()),
        AnyValue {
            value: Some(Value::IntValue(number)),
        } => Some(number.to_string()),
        other => panic!("{name}: {other:?}"),
    }
}

/// Runs the controller with its two requests.
fn run(vault: &Vault, exporter: &traces::Exporter) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(api::run(vault, Login::AppRole, Some(exporter.traces())));
}

/// Returns the spans of each trace, by the outcome of its request: as their paths, with the error of those that have one.
fn trees(spans: &[Span]) -> BTreeMap<String, Vec<String>> {
    let mut trees = BTreeMap::new();
    for root in spans.iter().filter(|span| span.parent_span_id.is_empty()) {
        let mut lines = Vec::new();
        below(root, "", spans, &mut lines);
        trees.insert(attribute(&root.attributes, "vault_issuer.outcome").unwrap(), lines);
    }
    trees
}

fn below(span: &Span, path: &str, spans: &[Span], lines: &mut Vec<String>) {
    let path = format!("{path}/{}", span.name);
    let error = attribute(&span.attributes, "error.type").map_or(String::new(), |error| format!(" {error}"));
    let is_error = span
        .status
        .as_ref()
        .is_some_and(|status| status.code == i32::from(StatusCode::Error));
    assert_eq!(is_error, !error.is_empty(), "{span:?}");
    lines.push(format!("{path}{error}"));
    let mut children: Vec<_> = spans
        .iter()
        .filter(|child| child.parent_span_id == span.span_id)
        .collect();
    children.sort_by_key(|child| child.start_time_unix_nano);
    for child in children {
        assert_eq!(child.trace_id, span.trace_id);
        below(child, &path, spans, lines);
    }
}

#[test]
fn signed_and_failed_requests_are_traces() {
    let (vault, collector) = (Vault::of_today(11), Collector::start());
    vault.fake().faults_mut().script(Operation::Sign, Fault::Reflected(400));
    let exporter = collector.exporter();
    run(&vault, &exporter);
    drop(exporter);

    let spans = collector.spans();
    let trees = trees(&spans);
    let outcomes: Vec<_> = trees.keys().map(String::as_str).collect();
    assert_eq!(outcomes, ["failed", "issued"]);
    let check = [
        "/request/check",
        "/request/check/read secret",
        "/request/check/health",
        "/request/check/login",
        "/request/check/probe",
        "/request/check/save",
    ];
    for (outcome, end) in [
        ("issued", ["/request/sign", "/request/save"]),
        ("failed", ["/request/sign 400", "/request/save"]),
    ] {
        let tree = &trees[outcome];
        // The status may say before that the request waits.
        let tree: Vec<_> = tree.iter().map(String::as_str).collect();
        assert!(tree[0].starts_with("/request"), "{tree:?}");
        assert!(tree.ends_with(&end), "{tree:?}");
        assert!(tree.windows(check.len()).any(|part| part == check), "{tree:?}");
    }
    assert_eq!(trees["issued"][0], "/request");
    assert_eq!(trees["failed"][0], "/request SignRefused");

    let sign = spans.iter().find(|span| span.name == "sign").unwrap();
    let url = format!("{}/v1/pki/sign/web", vault.server.url());
    assert_eq!(attribute(&sign.attributes, "url.full"), Some(url));
    let resource = collector.resource().attributes;
    assert_eq!(attribute(&resource, "service.name").as_deref(), Some("vault-issuer"));
    assert_eq!(attribute(&resource, "service.instance.id").as_deref(), Some("instance"));
    assert_eq!(collector.counted("exported"), spans.len());
    assert_eq!((collector.counted("failed"), collector.counted("dropped")), (0, 0));
}

#[test]
fn silent_collector_delays_nothing() {
    let (vault, collector) = (Vault::of_today(12), Collector::silent());
    let exporter = collector.exporter();
    run(&vault, &exporter);
    let began = Instant::now();
    drop(exporter);
    // The flush takes two seconds; the rest is room for a busy machine. The collector would have ten.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(collector.counted("exported"), 0);
}
