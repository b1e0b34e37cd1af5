//! The driver's limits of time, memory and events.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{Method, Response};
use http_body_util::Full;
use issuer_core::reconcile::Change;
use issuer_core::reference::{IssuerKind, ListScope, RequestKind};
use issuer_core::{ConnectError, Operation, Request};
use kube::client::Body;
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
    let driver = Driver::new(RunSetup {
        config: config(),
        client: Client::new(service, "default"),
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
async fn wait_for_room_is_part_of_connecting() {
    let driver = driver();
    let room = driver.exchanges.acquire_many(EXCHANGES_MAX as u32).await.unwrap();
    let connect = connect();
    let request = |timeout| Request {
        connect: Arc::new(connect.clone()),
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
