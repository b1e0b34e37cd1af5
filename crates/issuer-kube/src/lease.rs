//! Answers the elector's questions with a Lease of the API server.

use std::fmt::Display;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use issuer_core::leader::{Elector, LeaseWriteError, ReadFailed, Step, Timing};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, PostParams};
use kube::{Client, Error};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::api_server::Cause;
use crate::log::LogThrottle;
use crate::{ControllerHealth, Metrics, Transport};

/// The name of the Lease's check.
const CHECK: &str = "lease";

/// How much later than planned a step may begin until the process counts as hung.
const GRACE: Duration = Duration::from_secs(30);

/// A candidate for leadership: an [`Elector`], and the API server that answers its questions.
#[derive(Debug)]
pub struct Candidate {
    api: Api<Lease>,
    health: Arc<ControllerHealth>,
    metrics: Arc<Metrics>,
    throttle: LogThrottle,
    namespace: String,
    name: String,
    elector: Elector,
    timing: Timing,
    held_until: watch::Sender<Duration>,
}

/// Whether this process leads. Clones share it.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Duration>);

impl Candidate {
    /// Creates a candidate for the Lease `namespace`/`name`. No other process may have the same `identity`.
    ///
    /// Whether the Lease can be read and written is reported to `health`, as the check `lease`; failures are counted in
    /// `metrics`.
    pub fn new(
        client: Client,
        (namespace, name): (&str, &str),
        identity: String,
        timing: Timing,
        health: Arc<ControllerHealth>,
        metrics: Arc<Metrics>,
    ) -> (Self, Leadership) {
        let (held_until, leadership) = watch::channel(Duration::ZERO);
        health.set(CHECK, Err("not read yet".to_owned()));
        let candidate = Self {
            api: Api::namespaced(client, namespace),
            health,
            metrics,
            throttle: LogThrottle::default(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            elector: Elector::new(identity, timing, Transport::seed()),
            timing,
            held_until,
        };
        (candidate, Leadership(leadership))
    }

    /// Campaigns until `stop` resolves, then releases the leadership, which takes at most the renew deadline.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        while self.next(&mut stop).await {}
        self.elector.release();
        self.publish();
        let limit = self.timing.renew();
        let release = async { while self.next(std::future::pending()).await {} };
        if timeout(limit, release).await.is_err() {
            tracing::warn!(lease = self.name, "failed to release the Lease; it expires");
        }
        self.health.ended(CHECK);
    }

    /// Takes the next step. Returns `false` after the last.
    async fn next(&mut self, stop: impl Future<Output = ()>) -> bool {
        let now = Transport::now();
        let step = self.elector.poll(now);
        let next = match &step {
            Step::Wait(until) => *until,
            _ => now.monotonic + self.limit(),
        };
        self.health.alive(CHECK, next + GRACE);
        match step {
            Step::Read(state) => {
                let answer = self.read().await;
                state.resume(&mut self.elector, Transport::now(), answer);
            }
            Step::Create(lease, state) => {
                let answer = self.create(lease).await;
                state.resume(&mut self.elector, Transport::now(), answer);
            }
            Step::Update(lease, state) => {
                let answer = self.update(&lease).await;
                state.resume(&mut self.elector, Transport::now(), answer);
            }
            Step::Wait(until) => {
                let wait = until.saturating_sub(Transport::now().monotonic);
                // An early wake-up costs one more poll.
                return timeout(wait, stop).await.is_err();
            }
            Step::Released => return false,
        }
        self.publish();
        true
    }

    fn publish(&self) {
        let until = self.elector.held_until();
        let led = !self.held_until.borrow().is_zero();
        let leads = self.elector.is_leader(Transport::now());
        if led != leads {
            let holder = self.elector.holder().unwrap_or_default();
            tracing::info!(
                lease = self.name,
                holder,
                "{}",
                if leads { "became leader" } else { "leader election lost" }
            );
        }
        self.held_until.send_replace(if leads { until } else { Duration::ZERO });
    }

    /// Half the renew deadline leaves time for another attempt.
    fn limit(&self) -> Duration {
        self.timing.renew() / 2
    }

    async fn read(&mut self) -> Result<Option<Lease>, ReadFailed> {
        match timeout(self.limit(), self.api.get(&self.name)).await {
            Ok(Ok(lease)) => {
                self.report(Ok(()));
                Ok(Some(lease))
            }
            Ok(Err(Error::Api(status))) if status.code == 404 => Ok(None),
            Ok(Err(error)) => {
                self.failed("read", &Cause(&error));
                Err(ReadFailed)
            }
            Err(_) => {
                self.failed("read", &"no reply in time");
                Err(ReadFailed)
            }
        }
    }

    async fn create(&mut self, mut lease: Lease) -> Result<Lease, LeaseWriteError> {
        lease.metadata.name = Some(self.name.clone());
        let write = async { self.api.create(&PostParams::default(), &lease).await };
        let written = timeout(self.limit(), write).await.ok();
        self.written("create", written)
    }

    async fn update(&mut self, lease: &Lease) -> Result<Lease, LeaseWriteError> {
        let write = async { self.api.replace(&self.name, &PostParams::default(), lease).await };
        let written = timeout(self.limit(), write).await.ok();
        self.written("update", written)
    }

    fn written(&mut self, verb: &str, answer: Option<Result<Lease, Error>>) -> Result<Lease, LeaseWriteError> {
        match answer {
            Some(Ok(lease)) => {
                self.report(Ok(()));
                Ok(lease)
            }
            Some(Err(Error::Api(status))) if status.code == 409 => {
                self.report(Ok(()));
                Err(LeaseWriteError::Conflict)
            }
            // Nothing to update: it has been deleted. Nothing to create it in: the namespace does not exist.
            Some(Err(Error::Api(status))) if status.code == 404 => {
                if verb == "create" {
                    self.failed(verb, &"its namespace does not exist");
                }
                Err(LeaseWriteError::Conflict)
            }
            Some(Err(error)) => {
                self.failed(verb, &Cause(&error));
                Err(LeaseWriteError::Unanswered)
            }
            None => {
                self.failed(verb, &"no reply in time");
                Err(LeaseWriteError::Unanswered)
            }
        }
    }

    fn failed(&mut self, verb: &str, cause: &dyn Display) {
        self.metrics.inc_lease_failures();
        self.report(Err(format!("failed to {verb} the Lease: {cause}")));
    }

    /// Reports whether this process can campaign. Logs it when that changes, and again at growing intervals if it
    /// cannot.
    fn report(&mut self, result: Result<(), String>) {
        let lease = || format!("{}/{}", self.namespace, self.name);
        match &result {
            Ok(()) if self.throttle.record_success() => tracing::info!(lease = lease(), "Lease is accessible again"),
            Err(error) if self.throttle.record_failure(error, Transport::now().monotonic) => {
                tracing::warn!(lease = lease(), error, "failed to acquire or renew the Lease");
            }
            _ => {}
        }
        self.health.set(CHECK, result);
    }
}

impl Leadership {
    /// Returns the leadership of a process without an election, which never ends.
    pub fn always() -> Self {
        Self(watch::channel(Duration::MAX).1)
    }

    /// Returns `true` if this process leads now. It becomes `false` at the deadline even if no task runs.
    pub fn is_leader(&self) -> bool {
        Transport::now().monotonic < *self.0.borrow()
    }

    /// Waits until this process leads.
    pub async fn acquired(&mut self) {
        while !self.is_leader() {
            if self.0.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// Waits until this process does not lead.
    pub async fn lost(&mut self) {
        loop {
            let until = *self.0.borrow_and_update();
            let left = until.saturating_sub(Transport::now().monotonic);
            if left.is_zero() {
                return;
            }
            if let Ok(Err(_)) = timeout(left, self.0.changed()).await {
                // The candidate is gone, so it is not renewed any more.
                sleep(left).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::{Method, Request, Response, StatusCode};
    use http_body_util::BodyExt;
    use kube::client::Body;
    use serde_json::json;
    use tokio::sync::{mpsc, oneshot};
    use tower::BoxError;

    use super::*;
    use crate::TextFormat;

    type Stored = Arc<Mutex<Option<Lease>>>;

    async fn answer(stored: Stored, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let base = "/apis/coordination.k8s.io/v1/namespaces/ns/leases";
        let path = if parts.method == Method::POST {
            base.to_owned()
        } else {
            format!("{base}/x")
        };
        assert_eq!(parts.uri.path(), path);
        let version = |lease: &Lease| lease.metadata.resource_version.clone();
        let mut stored = stored.lock().unwrap();
        let refused = match parts.method {
            Method::GET => stored.is_none().then_some(StatusCode::NOT_FOUND),
            Method::POST => stored.is_some().then_some(StatusCode::CONFLICT),
            Method::PUT => {
                let sent = serde_json::from_slice::<Lease>(&body)?;
                (version(&sent) != stored.as_ref().and_then(version)).then_some(StatusCode::CONFLICT)
            }
            other => panic!("{other}"),
        };
        if let Some(code) = refused {
            let status =
                json!({"kind": "Status", "status": "Failure", "message": "", "reason": "", "code": code.as_u16()});
            return Ok(Response::builder()
                .status(code)
                .body(status.to_string().into_bytes().into())?);
        }
        if parts.method != Method::GET {
            let mut lease = serde_json::from_slice::<Lease>(&body)?;
            let next = stored
                .as_ref()
                .and_then(version)
                .map_or(1, |v| v.parse::<u64>().unwrap() + 1);
            lease.metadata.resource_version = Some(next.to_string());
            *stored = Some(lease);
        }
        Ok(Response::new(serde_json::to_vec(&*stored)?.into()))
    }

    fn candidate(stored: &Stored, identity: &str) -> (Candidate, Leadership) {
        let stored = Arc::clone(stored);
        let service = tower::service_fn(move |request| answer(Arc::clone(&stored), request));
        let timing = Timing::new(
            Duration::from_secs(3600),
            Duration::from_secs(60),
            Duration::from_millis(10),
        );
        let client = Client::new(service, "default");
        let health = Arc::new(ControllerHealth::new());
        let metrics = Arc::new(Metrics::new());
        Candidate::new(
            client,
            ("ns", "x"),
            identity.to_owned(),
            timing.unwrap(),
            health,
            metrics,
        )
    }

    #[tokio::test]
    async fn candidates_take_turns() {
        let stored = Stored::default();
        let (first, mut first_leads) = candidate(&stored, "first");
        let (second, mut second_leads) = candidate(&stored, "second");
        let (stop_first, stopped) = oneshot::channel::<()>();
        let first = tokio::spawn(first.run(async move { drop(stopped.await) }));
        first_leads.acquired().await;
        assert_eq!(
            stored.lock().unwrap().as_ref().unwrap().metadata.name.as_deref(),
            Some("x")
        );

        let (stop_second, stopped) = oneshot::channel::<()>();
        let second = tokio::spawn(second.run(async move { drop(stopped.await) }));
        assert!(
            timeout(Duration::from_millis(50), second_leads.acquired())
                .await
                .is_err()
        );

        drop(stop_first);
        first.await.unwrap();
        assert!(!first_leads.is_leader());
        second_leads.acquired().await;
        drop(stop_second);
        second.await.unwrap();
        let lease = stored.lock().unwrap().take().unwrap();
        assert_eq!(lease.spec.unwrap().holder_identity.as_deref(), Some(""));
    }

    #[tokio::test]
    async fn unusable_lease_is_reported() {
        for (code, cause) in [
            (403, "failed to read the Lease: No (403)"),
            (404, "failed to create the Lease: its namespace does not exist"),
        ] {
            let status = json!({ "kind": "Status", "code": code, "reason": "No", "message": "" }).to_string();
            let (call, mut called) = mpsc::unbounded_channel();
            let service = tower::service_fn(move |_: Request<Body>| {
                // Nobody counts any more once the candidate was told to stop.
                let _ = call.send(());
                let reply = Response::builder()
                    .status(code)
                    .body(Body::from(status.clone().into_bytes()));
                async { reply }
            });
            let health = Arc::new(ControllerHealth::new());
            let timing = Timing::new(
                Duration::from_secs(15),
                Duration::from_secs(10),
                Duration::from_millis(1),
            );
            let client = Client::new(service, "default");
            let identity = "first".to_owned();
            let metrics = Arc::new(Metrics::new());
            let (reports, counts) = (Arc::clone(&health), Arc::clone(&metrics));
            let (candidate, leadership) =
                Candidate::new(client, ("ns", "x"), identity, timing.unwrap(), reports, counts);
            assert_eq!(health.ready().1, "[-]lease failed: not read yet\n");
            let stop = async move {
                for _ in 0..3 {
                    called.recv().await;
                }
            };
            candidate.run(stop).await;
            let counted = metrics.encode(TextFormat::Prometheus);
            assert!(!counted.contains("vault_issuer_lease_failures_total 0"), "{counted}");
            assert_eq!(health.ready(), (false, format!("[-]lease failed: {cause}\n")));
            assert!(!leadership.is_leader());
        }
    }

    fn leadership(held_until: Duration) -> (watch::Sender<Duration>, Leadership) {
        let (sender, receiver) = watch::channel(held_until);
        (sender, Leadership(receiver))
    }

    fn after(milliseconds: u64) -> Duration {
        Transport::now().monotonic + Duration::from_millis(milliseconds)
    }

    #[tokio::test]
    async fn the_only_process_leads() {
        let mut leadership = Leadership::always();
        assert!(leadership.is_leader());
        leadership.acquired().await;
        assert!(timeout(Duration::from_millis(1), leadership.lost()).await.is_err());
    }

    #[tokio::test]
    async fn a_leadership_expires_by_itself() {
        let (_sender, mut leadership) = leadership(after(20));
        assert!(leadership.is_leader());
        leadership.lost().await;
        assert!(!leadership.is_leader());
    }

    #[tokio::test]
    async fn a_leadership_without_a_candidate_expires() {
        let (sender, mut leadership) = leadership(after(20));
        drop(sender);
        leadership.lost().await;
        assert!(!leadership.is_leader());
    }

    #[tokio::test]
    async fn renewal_and_release_take_effect() {
        let (sender, mut leadership) = leadership(Duration::ZERO);
        assert!(!leadership.is_leader());
        leadership.lost().await;
        sender.send_replace(after(60_000));
        leadership.acquired().await;
        sender.send_replace(Duration::ZERO);
        leadership.lost().await;
        assert!(!leadership.is_leader());
    }
}
