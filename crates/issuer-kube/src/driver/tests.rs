//! The driver's limits of time, memory and events.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::Full;
use issuer_api::VaultIssuer;
use issuer_core::reconcile::Change;
use issuer_core::reference::{IssuerKind, ListScope, RequestKind};
use issuer_core::target::{AllowedServers, IssuerPolicy};
use issuer_core::{ConnectError, Operation, Request};
use kube::client::Body;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::BoxError;

use super::*;
use crate::fixture::{config, connect, waiting};

fn room<A, B, F>(_: impl Fn(Arc<Driver>, A, B) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn shutdown_fits_into_the_grace_period() {
    // The chart's terminationGracePeriodSeconds, and the longest release of the Lease by default.
    let (grace, release) = (Duration::from_secs(60), Duration::from_secs(10));
    let margin = Duration::from_secs(5);
    assert!(DRAIN + release + REVOKE + margin <= grace);
}

/// The events of a shutdown, in their order.
type Log = Arc<Mutex<Vec<&'static str>>>;

/// Answers as Vault does, and logs revocations.
async fn serve_vault(mut stream: TcpStream, log: Log) {
    let mut request = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        request.push(byte);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() < length.map_or(0, |length| length.parse().unwrap()) {
            continue;
        }
        let (status, reply) = match head.split(' ').nth(1).unwrap() {
            "/v1/auth/approle/login" => (
                200,
                json!({ "auth": { "client_token": "hvs.made", "lease_duration": 600 } }),
            ),
            "/v1/pki/sign/web" => (400, json!({ "errors": ["\"csr\" is empty"] })),
            "/v1/auth/token/revoke-self" => {
                log.lock().unwrap().push("revoked");
                (200, json!({}))
            }
            _ => (200, json!({ "initialized": true, "sealed": false })),
        };
        let reply = reply.to_string();
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", reply.len());
        stream.write_all((head + &reply).as_bytes()).await.unwrap();
        request.clear();
    }
}

/// An API server that has one issuer, of the Vault at this port; notifies when a status is written.
fn api_with_issuer(port: u16, written: &Arc<Notify>) -> Client {
    let issuer = json!({
        "metadata": { "name": "vault", "namespace": "team", "uid": "u", "resourceVersion": "1", "generation": 1 },
        "spec": {
            "server": format!("http://127.0.0.1:{port}"),
            "path": "pki/sign/web",
            "auth": { "appRole": { "roleId": "web" } },
        },
    });
    let written = Arc::clone(written);
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let is_issuers = request.uri().path().ends_with("/vaultissuers");
        let items = if is_issuers { json!([issuer]) } else { json!([]) };
        if request.method() == Method::PATCH {
            written.notify_one();
        }
        async move {
            if request.uri().query().unwrap_or_default().contains("watch=") {
                futures::future::pending::<()>().await;
            }
            let list = json!({ "metadata": { "resourceVersion": "1" }, "items": items });
            Ok::<_, BoxError>(Response::new(Full::new(Bytes::from(list.to_string()))))
        }
    });
    Client::new(service, "default")
}

/// The next leader must not wait for a Vault that revokes slowly or not at all.
#[tokio::test]
async fn lease_is_released_before_tokens_are_revoked() {
    let log = Log::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn({
        let log = Arc::clone(&log);
        async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve_vault(stream, Arc::clone(&log)));
            }
        }
    });
    let checked = Arc::new(Notify::new());
    let policy = IssuerPolicy {
        allow_http: true,
        allowed_servers: AllowedServers::All,
        ..IssuerPolicy::default()
    };
    let setup = RunSetup {
        config: Config { policy, ..config() },
        client: api_with_issuer(port, &checked),
        transport: Transport::new(),
        metrics: Arc::new(Metrics::new()),
        health: Arc::new(ControllerHealth::new()),
        instance: String::new(),
        traces: None,
    };
    let release = async {
        // A revocation under way would end meanwhile.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        log.lock().unwrap().push("released");
    };
    run(setup, Leadership::always(), checked.notified(), release).await;
    assert_eq!(*log.lock().unwrap(), ["released", "revoked"]);
}

/// Every task that waits for an answer takes this room; the questions themselves are boxed.
#[test]
fn a_task_takes_little_room() {
    assert!(room(Driver::answer) <= 7 << 10, "{}", room(Driver::answer));
}

/// Every Secret that is watched takes this room beside its connection.
#[test]
fn a_watch_takes_little_room() {
    assert!(room(Driver::follow) <= 2 << 10, "{}", room(Driver::follow));
}

/// A driver whose API server answers everything but requests to record an event.
fn driver() -> Arc<Driver> {
    let service = tower::service_fn(|request: http::Request<Body>| async move {
        if request.method() == Method::POST {
            futures::future::pending::<()>().await;
        }
        Ok::<_, BoxError>(Response::new(Full::new(Bytes::from_static(b"{}"))))
    });
    driver_of(Client::new(service, "default"))
}

/// A driver that has listed everything.
fn driver_of(client: Client) -> Arc<Driver> {
    let driver = Driver::new(RunSetup {
        config: config(),
        client,
        transport: Transport::new(),
        metrics: Arc::new(Metrics::new()),
        health: Arc::new(ControllerHealth::new()),
        instance: String::new(),
        traces: None,
    });
    let requests = Change::Requests(RequestKind::CertificateRequest, ListScope::Cluster, BTreeSet::new());
    let issuers = |kind| Change::Issuers(kind, ListScope::Cluster, BTreeSet::new());
    let lists = [IssuerKind::Cluster, IssuerKind::Namespaced].map(issuers);
    for change in lists.into_iter().chain([requests]) {
        driver.controller().observe(Transport::now(), change);
    }
    Arc::new(driver)
}

#[tokio::test(start_paused = true)]
async fn no_task_waits_for_an_event() {
    let driver = driver();
    let mut tasks = JoinSet::new();
    for number in 0..256 {
        let request = waiting(format!("web-{number}"));
        driver
            .controller()
            .observe(Transport::now(), Change::Request(request.into()));
        driver.start(&mut tasks, || true);
        let ended = tokio::time::timeout(Duration::from_secs(3600), tasks.join_next()).await;
        ended.unwrap().unwrap().unwrap();
    }
    let request = waiting("one-more".to_owned());
    driver
        .controller()
        .observe(Transport::now(), Change::Request(request.into()));
    driver.start(&mut tasks, || true);
    // It waits for room, of which there is none, and then goes on without the event.
    let began = tokio::time::Instant::now();
    tasks.join_next().await.unwrap().unwrap();
    assert_eq!(began.elapsed(), EVENT_PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn few_objects_are_read_at_once() {
    let count = Arc::new(AtomicUsize::new(0));
    let reads = Arc::clone(&count);
    let service = tower::service_fn(move |request: http::Request<Body>| {
        assert!(request.uri().path().starts_with("/api/v1/namespaces/team/secrets/"));
        reads.fetch_add(1, Ordering::SeqCst);
        futures::future::pending::<Result<Response<Full<Bytes>>, BoxError>>()
    });
    let driver = driver_of(Client::new(service, "default"));
    for number in 0..2 * READS {
        let issuer = json!({
            "metadata": { "name": format!("vault-{number}"), "namespace": "team", "uid": "u", "generation": 1 },
            "spec": {
                "server": format!("https://vault-{number}"),
                "path": "pki/sign/web",
                "auth": { "tokenSecretRef": { "name": format!("token-{number}") } },
            },
        });
        let issuer: VaultIssuer = serde_json::from_value(issuer).unwrap();
        let key = IssuerKey {
            kind: IssuerKind::Namespaced,
            namespace: "team".into(),
            name: format!("vault-{number}").into(),
        };
        driver
            .controller()
            .observe(Transport::now(), Change::Issuer(key, issuer.into()));
    }
    let mut tasks = JoinSet::new();
    driver.start(&mut tasks, || true);
    assert_eq!(tasks.len(), 2 * READS);
    let none_ends = tokio::time::timeout(Duration::from_secs(1), tasks.join_next()).await;
    assert!(none_ends.is_err());
    assert_eq!(count.load(Ordering::SeqCst), READS);
}

#[tokio::test(start_paused = true)]
async fn wait_for_room_is_part_of_connecting() {
    let driver = driver();
    let room = driver.exchanges.acquire_many(EXCHANGES_MAX as u32).await.unwrap();
    let connect = connect(9);
    let request = |timeout| Request {
        connect: Arc::clone(&connect),
        operation: Operation::Sign,
        timeout,
        http: http::Request::post("http://127.0.0.1:9/v1/pki/sign/web")
            .body(issuer_core::Body::default())
            .unwrap(),
    };
    for (timeout, waited) in [
        (Duration::from_secs(600), connect.limits.connect),
        (EVENT_PATIENCE, EVENT_PATIENCE),
    ] {
        let began = tokio::time::Instant::now();
        // Vault has surely not seen it, so it counts as no answer that was lost.
        let reply = driver.exchange("team", request(timeout)).await;
        assert_eq!(reply.err(), Some(ConnectError::Timeout.into()));
        assert_eq!(began.elapsed(), waited);
    }
    drop(room);
}
