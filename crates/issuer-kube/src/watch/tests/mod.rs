//! Lists and watches against scripted replies.

mod appeared;
mod failures;
mod namespace;
mod selection;
mod unneeded;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt;
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{Full, StreamBody};
use issuer_core::reference::{IssuerKind, ListScope, RequestKind};
use serde_json::{Value, json};
use tower::BoxError;

use super::*;

const REQUESTS: Watched = Watched::Requests(RequestKind::CertificateRequest);

const CSRS: Watched = Watched::Requests(RequestKind::CertificateSigningRequest);

type Replies = VecDeque<Response<UnsyncBoxBody<Bytes, Infallible>>>;

/// Answers with one reply after the other, then never; and notes what is asked, and when.
#[derive(Clone, Default)]
struct Server {
    replies: Arc<Mutex<Replies>>,
    asked: Arc<Mutex<Vec<(Duration, String)>>>,
}

impl Server {
    fn new(replies: impl IntoIterator<Item = Response<UnsyncBoxBody<Bytes, Infallible>>>) -> Self {
        Self {
            replies: Arc::new(Mutex::new(replies.into_iter().collect())),
            asked: Arc::default(),
        }
    }

    fn client(&self) -> Client {
        let (server, start) = (self.clone(), Instant::now());
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let server = server.clone();
            async move {
                let uri = request.uri().path_and_query().unwrap().to_string();
                server.asked.lock().unwrap().push((start.elapsed(), uri));
                let reply = server.replies.lock().unwrap().pop_front();
                match reply {
                    Some(reply) => Ok::<_, BoxError>(reply),
                    None => futures::future::pending().await,
                }
            }
        });
        Client::new(service, "default")
    }

    /// Follows one kind until nothing more is answered.
    async fn follow(&self, watched: Watched) -> Record {
        self.follow_in(ListScope::Cluster, watched).await
    }

    /// The same in one scope.
    async fn follow_in(&self, scope: ListScope, watched: Watched) -> Record {
        let record = Record::default();
        let client = self.client();
        let list = WatchedList { watched, scope };
        let drop_in = DropInIssuers::new(std::slice::from_ref(&list));
        let run = Reflector::new(&client, &list, &record, &drop_in).run();
        assert!(timeout(Duration::from_secs(3600), run).await.is_err());
        record
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(_, uri)| uri.clone()).collect()
    }

    fn times(&self) -> Vec<Duration> {
        self.asked.lock().unwrap().iter().map(|(at, _)| *at).collect()
    }
}

/// Returns the list of a kind in the whole cluster.
fn everywhere(watched: Watched) -> WatchedList {
    WatchedList {
        watched,
        scope: ListScope::Cluster,
    }
}

/// A record of the observations, in short.
#[derive(Default)]
struct Record(Mutex<Vec<String>>);

impl Record {
    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Observer for Record {
    fn observe(&self, change: Change) {
        let line = match change {
            Change::Request(request) => {
                format!("{} at {}", request.key().name, request.version())
            }
            Change::RequestGone(key) => format!("{} is gone", key.name),
            Change::Requests(_, _, all) => {
                let names: Vec<_> = all.into_iter().map(|key| key.name).collect();
                format!("all: {}", names.join(" "))
            }
            Change::Issuer(key, _) => key.to_string(),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(line);
    }

    fn needs(&self, _: &RequestHeader) -> bool {
        true
    }

    fn unreadable(&self, object: Unreadable) {
        self.0
            .lock()
            .unwrap()
            .push(format!("unreadable {}: {}", object.uid, object.error));
    }

    fn alive(&self, _: &WatchedList, within: Duration) {
        assert!(within <= Duration::from_secs(60));
    }

    fn synced(&self, list: &WatchedList) {
        self.0.lock().unwrap().push(format!("{} synced", list.name()));
    }

    fn failed(&self, _: &WatchedList, error: &str, is_synced: bool) {
        let state = if is_synced { "in sync" } else { "out of sync" };
        self.0.lock().unwrap().push(format!("{state}: {error}"));
    }
}

fn request(name: &str, version: &str) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "ns", "uid": format!("uid-{name}"), "resourceVersion": version },
        "spec": { "request": "QR==", "issuerRef": { "name": "vault" } },
    })
}

fn odd(name: &str, version: &str) -> Value {
    let mut object = request(name, version);
    object["spec"]["request"] = json!(7);
    object
}

fn ok(body: impl Into<Bytes>) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    Response::new(Full::new(body.into()).boxed_unsync())
}

fn list(items: &[Value], version: &str, next: &str) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    ok(json!({ "items": items, "metadata": { "resourceVersion": version, "continue": next } }).to_string())
}

fn events(events: &[(&str, Value)]) -> String {
    let lines = events
        .iter()
        .map(|(kind, object)| format!("{}\n", json!({ "type": kind, "object": object })));
    lines.collect()
}

/// A watch that shows `events` and then stays open.
fn open(shown: &[(&str, Value)]) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    let bytes = events(shown).into_bytes();
    let frames: Vec<_> = bytes
        .chunks(5)
        .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    let frames = futures::stream::iter(frames).chain(futures::stream::pending());
    Response::new(StreamBody::new(frames).boxed_unsync())
}

fn refuse(code: u16, retry_after: Option<&str>) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    let mut reply = ok(json!({ "kind": "Status", "code": code, "reason": "No", "message": "no" }).to_string());
    *reply.status_mut() = StatusCode::from_u16(code).unwrap();
    if let Some(seconds) = retry_after {
        reply.headers_mut().insert("retry-after", seconds.parse().unwrap());
    }
    reply
}

#[tokio::test(start_paused = true)]
async fn undecodable_object_is_skipped() {
    let server = Server::new([
        list(&[request("a", "1"), odd("b", "2"), request("c", "3")], "4", ""),
        open(&[
            ("ADDED", odd("d", "5")),
            ("MODIFIED", odd("b", "6")),
            ("MODIFIED", request("a", "7")),
            ("MODIFIED", request("b", "8")),
            ("DELETED", odd("d", "9")),
        ]),
    ]);
    let lines = server.follow(REQUESTS).await.lines();
    let error = |name| format!("unreadable uid-{name}: invalid type: integer `7`, expected a string");
    let short: Vec<_> = lines
        .iter()
        .map(|line| line.split(" at line").next().unwrap_or(line))
        .collect();
    let expected = [
        "a at 1",
        "b is gone",
        &error("b"),
        "c at 3",
        "all: a c",
        "CertificateRequest synced",
        "d is gone",
        &error("d"),
        "b is gone",
        &error("b"),
        "a at 7",
        "b at 8",
        "d is gone",
    ];
    assert_eq!(short[..expected.len()], expected);
}

#[tokio::test(start_paused = true)]
async fn csrs_of_other_signers_count_as_absent() {
    let csr = |name: &str, version: &str, signer: &str| {
        json!({
            "metadata": { "name": name, "uid": format!("uid-{name}"), "resourceVersion": version },
            "spec": { "request": "QQ==", "signerName": signer },
        })
    };
    let (ours, theirs) = (
        "vaultissuers.vault-issuer.io/team.vault",
        "kubernetes.io/kubelet-serving",
    );
    let server = Server::new([
        list(&[csr("a", "1", ours), csr("b", "2", theirs)], "3", ""),
        open(&[("ADDED", csr("c", "4", theirs)), ("ADDED", csr("d", "5", ours))]),
    ]);
    let record = server.follow(CSRS).await;
    let expected = [
        "a at 1",
        "b is gone",
        "all: a",
        "CertificateSigningRequest synced",
        "c is gone",
        "d at 5",
    ];
    assert_eq!(record.lines()[..expected.len()], expected);
    // Its signer can be selected by equality only.
    assert!(server.asked().iter().all(|uri| !uri.contains("fieldSelector")));
}

#[tokio::test(start_paused = true)]
async fn an_odd_object_is_reported_once() {
    let server = Server::new([
        list(&[odd("a", "1"), odd("b", "2")], "3", ""),
        refuse(410, None),
        list(&[odd("a", "1"), odd("b", "4")], "5", ""),
    ]);
    let lines = server.follow(REQUESTS).await.lines();
    let reports = lines.iter().filter(|line| line.starts_with("unreadable"));
    let uids: Vec<_> = reports.map(|line| &line[..16]).collect();
    assert_eq!(uids, ["unreadable uid-a", "unreadable uid-b", "unreadable uid-b"]);
}

#[tokio::test(start_paused = true)]
async fn finished_requests_take_no_room() {
    let mut finished = request("b", "2");
    finished["status"] = json!({ "conditions": [{ "type": "Ready", "status": "True", "reason": "Issued" }] });
    let server = Server::new([list(&[request("a", "1"), finished], "3", "")]);
    let record = server.follow(REQUESTS).await;
    assert_eq!(record.lines()[..3], ["a at 1", "b at 2", "all: a"]);
}

#[tokio::test(start_paused = true)]
async fn pages_make_one_list() {
    let server = Server::new([
        list(&[request("a", "1")], "3", "x/y"),
        list(&[request("b", "2")], "3", ""),
    ]);
    let record = server.follow(REQUESTS).await;
    let expected = ["a at 1", "b at 2", "all: a b", "CertificateRequest synced"];
    assert_eq!(record.lines()[..expected.len()], expected);
    let asked = server.asked();
    assert!(
        asked[0].contains("limit=500") && !asked[0].contains("continue"),
        "{asked:?}"
    );
    assert!(asked[1].contains("continue=x%2Fy"), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_where_it_ended() {
    let bookmark = json!({ "kind": "CertificateRequest", "metadata": { "resourceVersion": "9" } });
    let expired = json!({ "kind": "Status", "code": 410, "reason": "Expired" });
    let server = Server::new([
        list(&[], "1", ""),
        ok(events(&[("ADDED", request("a", "2")), ("BOOKMARK", bookmark)])),
        ok(events(&[("ERROR", expired)])),
        list(&[], "12", ""),
    ]);
    let record = server.follow(REQUESTS).await;
    let expected = [
        "all: ",
        "CertificateRequest synced",
        "a at 2",
        "out of sync: Expired (410)",
        "all: ",
        "CertificateRequest synced",
    ];
    assert_eq!(record.lines()[..expected.len()], expected);
    let asked = server.asked();
    let version = |uri: &String| uri.split("resourceVersion=").nth(1).map(str::to_owned);
    let versions: Vec<_> = asked.iter().take(5).map(version).collect();
    let expected = [None, Some("1"), Some("9"), None, Some("12")];
    assert_eq!(versions, expected.map(|version| version.map(str::to_owned)));
}

#[tokio::test(start_paused = true)]
async fn each_kind_is_followed() {
    let server = Server::new([]);
    let record = Record::default();
    let client = server.client();
    let kinds = [
        REQUESTS,
        Watched::Issuers(IssuerKind::Cluster),
        Watched::Issuers(IssuerKind::Namespaced),
    ];
    let lists = kinds.map(everywhere);
    let watches = watch(&client, &lists, &record);
    assert!(timeout(Duration::from_secs(1), watches).await.is_err());
    let mut paths: Vec<_> = server
        .asked()
        .iter()
        .map(|uri| uri.split('?').next().unwrap().to_owned())
        .collect();
    paths.sort();
    assert_eq!(
        paths,
        [
            "/apis/cert-manager.io/v1/certificaterequests",
            "/apis/vault-issuer.io/v1alpha1/vaultclusterissuers",
            "/apis/vault-issuer.io/v1alpha1/vaultissuers",
        ]
    );
}

fn issuer(name: &str, kind: &str) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "ns", "uid": format!("uid-{name}"), "resourceVersion": "3" },
        "spec": { kind: { "server": "https://vault", "path": "pki/sign/web", "auth": {} } },
    })
}
