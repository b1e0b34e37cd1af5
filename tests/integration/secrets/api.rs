//! An HTTP API server over `fake-kube`, for kube's client and the controller's driver.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fake_kube::{FakeKube, Kind, Object, WatchEvent};
use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::channel::oneshot;
use futures::stream::StreamExt;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use issuer_core::reconcile::{Key, PatchKind, StatusPatch};
use issuer_core::reference::{RequestKey, RequestKind, SecretRef};
use issuer_kube::{ControllerHealth, Leadership, Metrics, RunSetup, TextFormat, Traces, Transport};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower::BoxError;

use crate::world::{self, JWT, Login, NAMESPACE, Vault};

type Reply = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// The result of a run.
pub(crate) struct Ended {
    /// Everything that was stored, recorded and counted, as text.
    pub(crate) text: String,
    /// All tokens of the run.
    pub(crate) tokens: BTreeSet<String>,
    /// The events, each as a line.
    pub(crate) events: Vec<String>,
}

/// Runs the controller until its two requests are finished, with traces if there are to be any.
pub(crate) async fn run(vault: &Vault, login: Login, traces: Option<Traces>) -> Ended {
    let mut cluster = FakeKube::default();
    world::create_issuer(&mut cluster, vault, login);
    let requests = ["one", "two"].map(|name| world::create_request(&mut cluster, name));
    let (finish, finished) = oneshot::channel();
    let server = Arc::new(Mutex::new(Server {
        cluster,
        secrets: vault
            .secrets()
            .into_iter()
            .map(|(key, secret)| (key, secret.data))
            .collect(),
        requests,
        watches: Vec::new(),
        posted: Vec::new(),
        broken: true,
        finish: Some(finish),
    }));
    let tokens = Arc::<Mutex<BTreeSet<String>>>::default();
    let service = {
        let (server, tokens, fake, now) = (
            Arc::clone(&server),
            Arc::clone(&tokens),
            vault.shared(),
            vault.server.now(),
        );
        tower::service_fn(move |request| {
            tokens.lock().unwrap().extend(fake.lock().unwrap().live_tokens(now));
            answer(Arc::clone(&server), request)
        })
    };
    let metrics = Arc::new(Metrics::new());
    let client = Client::new(service, "default");
    let stop = async { finished.await.unwrap() };
    let setup = RunSetup {
        config: world::config(),
        client,
        transport: Transport::new(),
        metrics: Arc::clone(&metrics),
        health: Arc::new(ControllerHealth::new()),
        instance: "test".to_owned(),
        traces,
    };
    let (fake, now) = (vault.shared(), vault.server.now());
    let release = async { fake.lock().unwrap().live_tokens(now).len() };
    let held = issuer_kube::run(setup, Leadership::always(), stop, release).await;
    assert!(
        held > 0,
        "the tokens are revoked only after the leadership was given up"
    );
    let server = server.lock().unwrap();
    let posted: String = server.posted.iter().map(|posted| format!("{posted}\n")).collect();
    let text = format!(
        "{:?}\n{posted}{}",
        server.cluster,
        metrics.encode(TextFormat::OpenMetrics)
    );
    let tokens = tokens.lock().unwrap().clone();
    let events = server.posted.iter().map(event_line).collect();
    Ended { text, tokens, events }
}

/// Returns an event as `kubectl describe` shows it.
fn event_line(event: &Value) -> String {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let [kind, name] = ["/regarding/kind", "/regarding/name"].map(text);
    let [level, reason, note] = ["/type", "/reason", "/note"].map(text);
    format!("{kind} {name}: {level} {reason}: {note}")
}

type Data = std::collections::BTreeMap<String, issuer_core::Secret>;

struct Server {
    cluster: FakeKube,
    secrets: std::collections::BTreeMap<SecretRef, Data>,
    requests: [RequestKey; 2],
    watches: Vec<(Kind, UnboundedSender<Value>)>,
    posted: Vec<Value>,
    /// Whether the next answer with a secret is cut off.
    broken: bool,
    finish: Option<oneshot::Sender<()>>,
}

async fn answer(server: Arc<Mutex<Server>>, request: Request<Body>) -> Result<Reply, BoxError> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let path: Vec<_> = parts.uri.path().split('/').skip(1).collect();
    let query = parts.uri.query().unwrap_or_default();
    let mut server = server.lock().unwrap();
    let answer = match (&parts.method, &path[..]) {
        (&Method::GET, ["apis", _, _, plural]) if query.contains("watch=true") => {
            return Ok(server.watch(kind(plural), since(query)));
        }
        (&Method::GET, ["apis", _, _, plural]) => server.list(kind(plural)),
        (method, ["apis", _, _, "namespaces", _, plural, name, "status"]) => {
            return Ok(server.write(method, plural, name, body));
        }
        (&Method::GET, ["api", "v1", "namespaces", _, "secrets", name]) => return Ok(server.secret(name)),
        (&Method::POST, ["api", "v1", "namespaces", _, "serviceaccounts", _, "token"]) => {
            let status = json!({ "token": JWT, "expirationTimestamp": "2030-01-01T00:00:00Z" });
            return Ok(server.secretive(&json!({ "metadata": {}, "spec": body["spec"], "status": status })));
        }
        (&Method::POST, ["apis", "events.k8s.io", ..]) => {
            server.posted.push(body.clone());
            body
        }
        other => panic!("{other:?}"),
    };
    Ok(reply(200, answer.to_string()))
}

fn reply(status: u16, body: String) -> Reply {
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {});
    Response::builder().status(status).body(body.boxed_unsync()).unwrap()
}

fn kind(plural: &str) -> Kind {
    match plural {
        "certificaterequests" => Kind::Requests,
        "vaultclusterissuers" => Kind::ClusterIssuers,
        "vaultissuers" => Kind::Issuers,
        other => panic!("{other}"),
    }
}

/// Returns the revision that a watch begins after.
fn since(query: &str) -> u64 {
    let version = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
    version.unwrap().parse().unwrap()
}

fn value(object: &Object) -> Value {
    match object {
        Object::ClusterIssuer(issuer) => serde_json::to_value(issuer),
        Object::DropInIssuer(issuer) | Object::Issuer(issuer) => serde_json::to_value(issuer),
        Object::Request(request) => serde_json::to_value(request),
        Object::Csr(csr) => serde_json::to_value(csr),
    }
    .unwrap()
}

fn told(event: &WatchEvent) -> Value {
    json!({ "type": event.change.as_str(), "object": value(&event.object) })
}

impl Server {
    fn list(&self, kind: Kind) -> Value {
        let items: Vec<_> = self.cluster.list(kind).map(|object| value(object)).collect();
        json!({ "metadata": { "resourceVersion": self.cluster.revision().to_string() }, "items": items })
    }

    /// Sends the watch events since a revision, then new ones.
    fn watch(&mut self, kind: Kind, since: u64) -> Reply {
        let (sender, receiver) = unbounded();
        for event in self.cluster.watch(kind, since).unwrap() {
            sender.unbounded_send(told(event)).unwrap();
        }
        self.watches.push((kind, sender));
        let frames = receiver.map(|event| Ok::<_, BoxError>(Frame::data(Bytes::from(format!("{event}\n")))));
        Response::new(StreamBody::new(frames).boxed_unsync())
    }

    fn write(&mut self, method: &Method, plural: &str, name: &str, body: Value) -> Reply {
        let kind = kind(plural);
        let key = match kind {
            Kind::Requests => Key::Request(RequestKey {
                kind: RequestKind::CertificateRequest,
                namespace: NAMESPACE.into(),
                name: name.into(),
            }),
            _ => world::issuer(),
        };
        let before = self.cluster.revision();
        let kind_of_write = match *method {
            Method::PATCH => PatchKind::Merge,
            Method::PUT => PatchKind::Replace,
            ref method => panic!("{method} of a status"),
        };
        let written = self.cluster.write_status(&StatusPatch {
            of: key,
            body: body.to_string(),
            kind: kind_of_write,
        });
        let written = written.map(|object| value(&object));
        for event in self.cluster.watch(kind, before).unwrap() {
            for (_, watch) in self.watches.iter().filter(|(watched, _)| *watched == kind) {
                // A watch may have ended.
                let _ = watch.unbounded_send(told(event));
            }
        }
        let is_finished = |key| matches!(world::ready(&self.cluster, key).0.as_str(), "Issued" | "Failed");
        if self.requests.iter().all(is_finished) {
            self.finish.take().map(|finish| finish.send(()));
        }
        match written {
            Ok(object) => reply(200, object.to_string()),
            Err(refusal) => {
                let code = refusal.status();
                let status =
                    json!({ "kind": "Status", "status": "Failure", "message": "", "reason": "", "code": code });
                reply(code, status.to_string())
            }
        }
    }

    fn secret(&mut self, name: &str) -> Reply {
        let reference = SecretRef {
            namespace: NAMESPACE.to_owned(),
            name: name.to_owned(),
        };
        let data = self.secrets[&reference]
            .iter()
            .map(|(key, value)| (key.clone(), STANDARD.encode(value.expose()).into()));
        let data: serde_json::Map<String, Value> = data.collect();
        let metadata = json!({ "name": name, "namespace": NAMESPACE, "resourceVersion": "1" });
        self.secretive(&json!({ "metadata": metadata, "data": data }))
    }

    /// Answers with a secret; the first answer is cut off after it.
    fn secretive(&mut self, body: &Value) -> Reply {
        let mut text = body.to_string();
        if std::mem::take(&mut self.broken) {
            text.pop();
        }
        reply(200, text)
    }
}
