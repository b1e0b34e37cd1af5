use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use issuer_core::reconcile::{Change, Config, Controller, Event, Key, Outcome, Step};
use issuer_core::reference::IssuerKey;
use issuer_core::{Reply, Request};
use issuer_tls::EXCHANGES_MAX;
use kube::Client;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use crate::api_server::ApiServer;
use crate::log::{log_event, object};
use crate::object::Watched;
use crate::watch::{self, Observer, Unreadable};
use crate::{ControllerHealth, Leadership, Metrics, Transport};

/// Time for a stopping controller to wait for signatures under way and to save them.
///
/// A signature may take longer (`sign_timeout`), but a pod has 60 seconds to end, of which giving the leadership up and
/// revoking the tokens may take ten each.
const DRAIN: Duration = Duration::from_secs(35);

/// Time for a stopping controller to revoke its tokens and to record its last events.
const REVOKE: Duration = Duration::from_secs(10);

/// The longest sleep of the loop, so that it gives signs of life.
const IDLE: Duration = Duration::from_secs(15);

/// How much later than planned a part of the process may give its sign of life: a paused or starved process is not hung.
const GRACE: Duration = Duration::from_secs(60);

/// The name of the loop among the parts of the process.
const LOOP: &str = "controller";

/// Tasks started before the runtime may do something else: a turn takes well below ten milliseconds.
const TURN: usize = 32;

/// Requests to the API server at once, without those for events; further ones wait.
const API_REQUESTS: usize = 32;

/// Events that are recorded at once; further ones wait, and no task with them.
const EVENT_REQUESTS: usize = 4;

/// Events that wait at most; after that, tasks wait too.
const EVENTS: usize = 256;

/// The controller of this process, before it runs.
pub struct RunSetup {
    /// The settings of the controller.
    pub config: Config,
    /// The client of the API server.
    pub client: Client,
    /// The transport to Vault.
    pub transport: Transport,
    /// The metrics of this process.
    pub metrics: Arc<Metrics>,
    /// The readiness of this process.
    pub health: Arc<ControllerHealth>,
    /// The name of this process in events.
    pub instance: String,
}

/// Work on a key.
struct Task {
    key: Key,
    /// The issuer that a request names, if it exists.
    issuer: Option<IssuerKey>,
    began: Duration,
}

/// The state that the tasks share: the controller, and the clients that answer its questions.
struct Driver {
    api: ApiServer,
    controller: Arc<Mutex<Controller>>,
    health: Arc<ControllerHealth>,
    metrics: Arc<Metrics>,
    transport: Transport,
    /// The kinds that are watched.
    watched: Vec<Watched>,
    /// Notified whenever there may be something to do.
    changed: Notify,
    /// Exchanges with Vault at once; further ones wait.
    exchanges: Semaphore,
    api_requests: Semaphore,
    event_requests: Semaphore,
    /// Room for events that wait.
    events: Arc<Semaphore>,
}

/// Runs the controller until `stop` resolves or the leadership is lost; then saves what is signed, gives the leadership
/// up with `release`, revokes the tokens and returns the result of `release`. That takes at most 45 seconds beside it.
pub async fn run<R>(
    setup: RunSetup,
    mut leadership: Leadership,
    stop: impl Future<Output = ()>,
    release: impl Future<Output = R>,
) -> R {
    let client = setup.client.clone();
    let driver = Arc::new(Driver::new(setup));
    let watches = tokio::spawn({
        let driver = Arc::clone(&driver);
        async move { watch::watch(&client, &driver.watched, &driver).await }
    });
    let mut tasks = JoinSet::new();
    let leads = leadership.clone();
    let end = async {
        tokio::select! {
            () = leadership.lost() => {}
            () = stop => {}
        }
    };
    let never = |_: &Controller| false;
    driver.work(&mut tasks, || leads.is_leader(), never, end).await;

    driver.controller().stop(Transport::now());
    let is_saved = |controller: &Controller| controller.unsaved() == 0;
    driver
        .work(&mut tasks, || true, is_saved, tokio::time::sleep(DRAIN))
        .await;
    let unsaved = driver.controller().unsaved();
    if unsaved > 0 {
        tracing::warn!(unsaved, "stopping before all certificates were saved");
    }
    // The next leader need not wait for the tokens of this one.
    let released = release.await;
    driver.controller().retire_all();
    let is_retired = Controller::is_retired;
    let retired = driver.work(&mut tasks, || true, is_retired, tokio::time::sleep(REVOKE));
    tokio::join!(retired, driver.events_recorded());
    if !driver.controller().is_retired() {
        tracing::warn!("stopping before all tokens were revoked; they expire");
    }
    watches.abort();
    for watched in &driver.watched {
        driver.health.ended(watched.kind());
    }
    driver.health.ended(LOOP);
    released
}

impl Observer for Arc<Driver> {
    fn observe(&self, change: Change) {
        if let Change::IssuerGone(issuer) = &change {
            self.metrics.issuer_gone(issuer);
        }
        self.controller().observe(Transport::now(), change);
        self.changed.notify_one();
    }

    fn unreadable(&self, object: Unreadable) {
        let Unreadable {
            watched,
            key,
            uid,
            error,
        } = object;
        self.metrics.unreadable(watched.kind());
        let event = Event {
            regarding: key,
            uid,
            warning: true,
            reason: "Unreadable",
            note: format!("The object cannot be read and is ignored: {error}"),
        };
        let driver = Self::clone(self);
        tokio::spawn(async move { driver.publish(event).await });
    }

    fn alive(&self, watched: Watched, within: Duration) {
        let next = Transport::now().monotonic + within + GRACE;
        self.health.alive(watched.kind(), next);
    }

    fn synced(&self, watched: Watched) {
        self.health.set(watched.kind(), Ok(()));
    }

    fn failed(&self, watched: Watched, error: &str, is_synced: bool) {
        self.metrics.watch_failed(watched.kind());
        if !is_synced {
            self.health.set(watched.kind(), Err(format!("not in sync: {error}")));
        }
    }
}

impl Driver {
    fn new(setup: RunSetup) -> Self {
        let watched = Watched::all_of(setup.config.request_kinds(), setup.config.kinds());
        let controller = Arc::new(Mutex::new(Controller::new(setup.config, Transport::seed())));
        setup.metrics.follow(Arc::clone(&controller));
        for watched in &watched {
            setup.health.set(watched.kind(), Err("not listed yet".to_owned()));
        }
        Self {
            api: ApiServer::new(setup.client, setup.instance),
            controller,
            health: setup.health,
            metrics: setup.metrics,
            transport: setup.transport,
            watched,
            changed: Notify::new(),
            exchanges: Semaphore::new(EXCHANGES_MAX),
            api_requests: Semaphore::new(API_REQUESTS),
            event_requests: Semaphore::new(EVENT_REQUESTS),
            events: Arc::new(Semaphore::new(EVENTS)),
        }
    }

    fn controller(&self) -> MutexGuard<'_, Controller> {
        self.controller.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts every task that is due while it `may`, until the controller `is_done` or `stop` resolves.
    async fn work(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        may: impl Fn() -> bool,
        is_done: impl Fn(&Controller) -> bool,
        stop: impl Future<Output = ()>,
    ) {
        let mut stop = pin!(stop);
        loop {
            let wait = self.start(tasks, &may);
            self.health.alive(LOOP, Transport::now().monotonic + wait + GRACE);
            if is_done(&self.controller()) {
                return;
            }
            tokio::select! {
                biased;
                () = &mut stop => return,
                () = self.changed.notified() => {}
                () = tokio::time::sleep(wait) => {}
                Some(ended) = tasks.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a task panicked");
                    }
                }
            }
        }
    }

    /// Starts some of the tasks that are due, and returns the time until the next is.
    fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>, may: impl Fn() -> bool) -> Duration {
        let mut controller = self.controller();
        for _ in 0..TURN {
            if !may() {
                break;
            }
            let now = Transport::now();
            let Some((key, step)) = controller.poll(now) else {
                break;
            };
            let issuer = match &key {
                Key::Request(request) => controller.issuer_of(request).cloned(),
                Key::Issuer(_) | Key::Token(_) => None,
            };
            let began = now.monotonic;
            let task = Task { key, issuer, began };
            match step {
                // There is nothing to ask, so it needs no task of its own.
                Step::Done(outcome) => self.done(&task, outcome),
                step => drop(tasks.spawn(Arc::clone(self).answer(task, step))),
            }
        }
        let due = controller.next_due().unwrap_or(Duration::MAX);
        due.saturating_sub(Transport::now().monotonic).min(IDLE)
    }

    /// Answers the questions of one task until it is done.
    async fn answer(self: Arc<Self>, task: Task, mut step: Step) {
        loop {
            step = match step {
                Step::Exchange(request, state) => {
                    let reply = Box::pin(self.exchange(request)).await;
                    state.resume(&mut self.controller(), Transport::now(), reply)
                }
                Step::MintToken(spec, state) => {
                    let answer = self.ask(Box::pin(self.api.mint_token(&spec))).await;
                    state.resume(&mut self.controller(), Transport::now(), answer)
                }
                Step::Publish(event, state) => {
                    self.publish(event).await;
                    state.resume(&mut self.controller())
                }
                Step::ReadConfigMap(config_map, state) => {
                    let answer = self.ask(Box::pin(self.api.read_config_map(&config_map))).await;
                    state.resume(&mut self.controller(), Transport::now(), answer)
                }
                Step::ReadRequest(request, state) => {
                    let answer = self.ask(Box::pin(self.api.read_request(&request))).await;
                    state.resume(&mut self.controller(), Transport::now(), answer)
                }
                Step::ReadSecret(secret, state) => {
                    let answer = self.ask(Box::pin(self.api.read_secret(&secret))).await;
                    state.resume(&mut self.controller(), Transport::now(), answer)
                }
                Step::ReviewReference(review, state) => {
                    let answer = self.ask(Box::pin(self.api.review_reference(&review))).await;
                    state.resume(&mut self.controller(), Transport::now(), answer)
                }
                Step::WriteStatus(patch, state) => {
                    let answer = self.ask(Box::pin(self.api.write_status(&patch))).await;
                    state.resume(&mut self.controller(), Transport::now(), answer)
                }
                Step::Done(outcome) => {
                    self.done(&task, outcome);
                    self.changed.notify_one();
                    return;
                }
            }
        }
    }

    /// Asks the API server, once there is a slot.
    ///
    /// The question is boxed, so that a task takes no room for all the questions that it might ask.
    async fn ask<T>(&self, question: Pin<Box<impl Future<Output = T>>>) -> T {
        let _slot = self.api_requests.acquire().await;
        let answer = question.await;
        if let Some(wait) = self.api.take_wait() {
            tracing::warn!(?wait, "the API server is overloaded; waiting");
            self.controller().pause(Transport::now(), wait);
        }
        answer
    }

    /// Logs an event and has it recorded, and waits only if there is no room for it: nothing depends on it.
    ///
    /// An event says what has changed, so what lasts is logged once.
    async fn publish(self: &Arc<Self>, event: Event) {
        log_event(&event);
        let room = Arc::clone(&self.events).acquire_owned().await;
        let driver = Arc::clone(self);
        tokio::spawn(async move {
            let _room = room;
            let _slot = driver.event_requests.acquire().await;
            driver.api.publish(event).await;
        });
    }

    /// Waits until every event is recorded, but not for long.
    async fn events_recorded(&self) {
        let all = self.events.acquire_many(EVENTS as u32);
        if tokio::time::timeout(REVOKE, all).await.is_err() {
            tracing::warn!("stopping before all events were recorded");
        }
    }

    /// Asks Vault, once there is a slot.
    async fn exchange(&self, request: Request) -> Reply {
        let _slot = self.exchanges.acquire().await;
        let operation = request.operation;
        let began = Transport::now().monotonic;
        let reply = self.transport.call(request).await;
        let took = Transport::now().monotonic - began;
        self.metrics.exchanged(operation, &reply, took);
        match &reply {
            Ok(reply) => tracing::debug!(
                operation = operation.as_str(),
                status = reply.status().as_u16(),
                ?took,
                "Vault answered"
            ),
            Err(error) => tracing::debug!(operation = operation.as_str(), %error, ?took, "Vault did not answer"),
        }
        reply
    }

    fn done(&self, task: &Task, outcome: Outcome) {
        let Task { key, issuer, began } = task;
        let took = Transport::now().monotonic.saturating_sub(*began);
        self.metrics.finished(key, issuer.as_ref(), outcome);
        self.metrics.worked(key, took);
        let (kind, namespace, name) = object(key);
        let reason = outcome.reason();
        match (key, outcome) {
            (Key::Request(_), Outcome::Issued) => tracing::info!(kind, namespace, name, "certificate issued"),
            (Key::Request(_), Outcome::Denied) => tracing::info!(kind, namespace, name, "request denied"),
            _ => tracing::debug!(
                kind,
                namespace,
                name,
                outcome = outcome.as_str(),
                reason,
                ?took,
                "task done"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use bytes::Bytes;
    use http::{Method, Response};
    use http_body_util::Full;
    use issuer_api::{CertificateRequest, IssuerRef, RequestCondition};
    use issuer_core::reference::{IssuerKind, RequestKind};
    use issuer_core::target::IssuerPolicy;
    use kube::client::Body;
    use tower::BoxError;

    use super::*;

    fn room<F>(_: impl Fn(Arc<Driver>, Task, Step) -> F) -> usize {
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

    /// A driver whose API server answers everything but requests to record an event.
    fn driver() -> Arc<Driver> {
        let service = tower::service_fn(|request: http::Request<Body>| async move {
            if request.method() == Method::POST {
                futures::future::pending::<()>().await;
            }
            Ok::<_, BoxError>(Response::new(Full::new(Bytes::from_static(b"{}"))))
        });
        let driver = Driver::new(RunSetup {
            config: Config {
                claim: None,
                check_interval: Duration::from_secs(60),
                cluster_resource_namespace: String::new(),
                drop_in: None,
                event_rate: 10,
                kubernetes_csrs: false,
                max_concurrent_reconciles: 1,
                max_lost_answers: 1,
                policy: IssuerPolicy::default(),
                sign_timeout: Duration::from_secs(60),
                verify: issuer_tls::signatures().into(),
            },
            client: Client::new(service, "default"),
            transport: Transport::new(),
            metrics: Arc::new(Metrics::new()),
            health: Arc::new(ControllerHealth::new()),
            instance: String::new(),
        });
        let requests = Change::Requests(RequestKind::CertificateRequest, BTreeSet::new());
        let lists = [IssuerKind::Cluster, IssuerKind::Namespaced].map(|kind| Change::Issuers(kind, BTreeSet::new()));
        for change in lists.into_iter().chain([requests]) {
            driver.controller().observe(Transport::now(), change);
        }
        Arc::new(driver)
    }

    /// Builds a request that waits for its issuer, which its status and an event say.
    fn waiting(name: String) -> CertificateRequest {
        let mut request = CertificateRequest::default();
        request.metadata.uid = Some(format!("uid-{name}"));
        request.metadata.name = Some(name);
        request.metadata.namespace = Some("team".to_owned());
        request.spec.issuer_ref = IssuerRef {
            name: "none".to_owned(),
            kind: Some("VaultIssuer".to_owned()),
            group: Some(issuer_api::GROUP.to_owned()),
        };
        let approved = RequestCondition {
            kind: "Approved".to_owned(),
            status: "True".to_owned(),
            last_transition_time: None,
            reason: None,
            message: None,
            others: BTreeMap::new(),
        };
        request.status.get_or_insert_default().conditions.push(approved);
        request
    }

    #[tokio::test(start_paused = true)]
    async fn no_task_waits_for_an_event() {
        let driver = driver();
        let mut tasks = JoinSet::new();
        for number in 0..EVENTS {
            let request = waiting(format!("web-{number}"));
            driver
                .controller()
                .observe(Transport::now(), Change::Request(request.into()));
            driver.start(&mut tasks, || true);
            let ended = tokio::time::timeout(Duration::from_secs(3600), tasks.join_next()).await;
            ended.unwrap().unwrap().unwrap();
        }
        assert_eq!(driver.events.available_permits(), 0);
        let request = waiting("one-more".to_owned());
        driver
            .controller()
            .observe(Transport::now(), Change::Request(request.into()));
        driver.start(&mut tasks, || true);
        let ended = tokio::time::timeout(Duration::from_secs(3600), tasks.join_next()).await;
        assert!(ended.is_err(), "more events wait than there is room for");
    }
}
