//! Runs the controller: its tasks, watches, events and shutdown.

mod answers;
mod event_room;
mod observer;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use issuer_core::reconcile::{Config, Controller, Event, Key, Outcome, Step};
use issuer_core::reference::IssuerKey;
use issuer_tls::EXCHANGES_MAX;
use kube::Client;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use self::event_room::EventRoom;
use crate::api_server::ApiServer;
use crate::log::{log_event, object};
use crate::object::WatchedList;
use crate::traces::TaskTrace;
use crate::watch;
use crate::{ControllerHealth, Leadership, Metrics, Traces, Transport};

/// Time for a stopping controller to wait for signatures under way and to save them.
///
/// A signature may take longer (`sign_timeout`), but a pod has 60 seconds to end, of which giving the leadership up and
/// revoking the tokens may take ten each.
const DRAIN: Duration = Duration::from_secs(35);

/// Time for a stopping controller to revoke its tokens and to record its last events.
const REVOKE: Duration = Duration::from_secs(10);

/// The longest sleep of the loop, so that it sends heartbeats.
const IDLE: Duration = Duration::from_secs(15);

/// How much later than planned a part of the process may send its heartbeat: a paused or starved process is not hung.
const GRACE: Duration = Duration::from_secs(60);

/// The name of the loop among the parts of the process.
const LOOP: &str = "controller";

/// Tasks started before the runtime may do something else. The most that the start of one takes is to parse a CSR and verify
/// its signature, which `tests/micro` measures.
const TURN: usize = 32;

/// Requests to the API server at once, without those for events; further ones wait.
const API_REQUESTS: usize = 32;

/// Objects that are read at once; further ones wait. Each may have a megabyte and a half, as its owner likes, and is held until it
/// is complete.
const READS: usize = 8;

/// Events that are recorded at once; further ones wait, and no task with them.
const EVENT_REQUESTS: usize = 4;

/// How long a task waits for room for its event: a crowd of events must not delay the certificates of others.
const EVENT_PATIENCE: Duration = Duration::from_secs(1);

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
    /// The traces of requests, if there are to be any.
    pub traces: Option<Traces>,
}

/// Work on a key.
struct Task {
    key: Key,
    /// The issuer that a request names, if it exists.
    issuer: Option<IssuerKey>,
    /// The namespace of the issuer; empty for a cluster issuer.
    tenant: Arc<str>,
    began: Duration,
    trace: TaskTrace,
}

/// The state that the tasks share: the controller, and the clients that answer its questions.
struct Driver {
    api: ApiServer,
    controller: Arc<Mutex<Controller>>,
    health: Arc<ControllerHealth>,
    metrics: Arc<Metrics>,
    transport: Transport,
    /// The lists that are kept up to date.
    lists: Vec<WatchedList>,
    /// Notified whenever there may be something to do.
    changed: Notify,
    /// Room for exchanges with Vault. The controller begins fewer tasks than there is room for, unless there are very many
    /// tenants.
    exchanges: Semaphore,
    api_requests: Semaphore,
    reads: Semaphore,
    event_requests: Semaphore,
    events: Arc<EventRoom>,
    traces: Option<Traces>,
}

/// Runs the controller until `stop` resolves or the leadership is lost; then saves what is signed, releases the leadership
/// with `release`, revokes the tokens and returns the result of `release`. Apart from `release`, that takes at most 45
/// seconds.
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
        async move { watch::watch(&client, &driver.lists, &driver).await }
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
    for list in &driver.lists {
        driver.health.ended(&list.name());
    }
    driver.health.ended(LOOP);
    released
}

impl Driver {
    fn new(setup: RunSetup) -> Self {
        let lists = WatchedList::all_of(&setup.config);
        let controller = Arc::new(Mutex::new(Controller::new(setup.config, Transport::seed())));
        setup.metrics.describe(Arc::clone(&controller));
        for list in &lists {
            setup.health.set(list.name(), Err("not listed yet".to_owned()));
        }
        Self {
            api: ApiServer::new(setup.client, setup.instance),
            controller,
            health: setup.health,
            metrics: setup.metrics,
            transport: setup.transport,
            lists,
            changed: Notify::new(),
            exchanges: Semaphore::new(EXCHANGES_MAX),
            api_requests: Semaphore::new(API_REQUESTS),
            reads: Semaphore::new(READS),
            event_requests: Semaphore::new(EVENT_REQUESTS),
            events: Arc::new(EventRoom::new()),
            traces: setup.traces,
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
            let trace = self.traces.as_ref();
            let trace = trace.map(|traces| traces.begin(&key, issuer.as_ref(), &controller, now));
            let task = Task {
                trace: trace.unwrap_or_default(),
                tenant: controller.tenant(&key),
                key,
                issuer,
                began: now.monotonic,
            };
            match step {
                // There is nothing to ask, so it needs no task of its own.
                Step::Done(outcome) => self.done(task, outcome),
                step => drop(tasks.spawn(Arc::clone(self).answer(task, step))),
            }
        }
        for _ in 0..TURN {
            if !may() {
                break;
            }
            let Some((source, state)) = controller.poll_watch(Transport::now()) else {
                break;
            };
            drop(tasks.spawn(Arc::clone(self).follow(source, state)));
        }
        let due = [controller.next_due(), controller.next_watch_due()];
        let due = due.into_iter().flatten().min().unwrap_or(Duration::MAX);
        due.saturating_sub(Transport::now().monotonic).min(IDLE)
    }

    /// Logs an event and has it recorded. Waits for a moment if there is no room for it, and leaves it to the log if there is
    /// none then: nothing depends on it.
    ///
    /// An event says what has changed, so what lasts is logged once.
    async fn publish(self: &Arc<Self>, event: Event) {
        log_event(&event);
        let Some(place) = self.events.place(&event.regarding, EVENT_PATIENCE).await else {
            tracing::debug!(reason = event.reason, "too many events; one is not recorded");
            return;
        };
        let driver = Arc::clone(self);
        tokio::spawn(async move {
            let _place = place;
            let _slot = driver.event_requests.acquire().await;
            driver.api.publish(event).await;
        });
    }

    /// Waits until every event is recorded, but not for long.
    async fn events_recorded(&self) {
        if tokio::time::timeout(REVOKE, self.events.emptied()).await.is_err() {
            tracing::warn!("stopping before all events were recorded");
        }
    }

    fn done(&self, task: Task, outcome: Outcome) {
        let Task {
            key,
            issuer,
            began,
            trace,
            ..
        } = task;
        let took = Transport::now().monotonic.saturating_sub(began);
        self.metrics.record_task_result(&key, issuer.as_ref(), outcome);
        self.metrics.record_task_duration(&key, took);
        if let Some(traces) = &self.traces {
            traces.done(&key, issuer.as_ref(), trace, outcome);
        }
        let (kind, namespace, name) = object(&key);
        let reason = outcome.reason();
        match (&key, outcome) {
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
