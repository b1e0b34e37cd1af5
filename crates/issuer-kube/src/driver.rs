use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use issuer_core::reconcile::{Change, Config, Controller, Event, Key, Outcome, Step};
use issuer_core::{Reply, Request};
use kube::Client;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use crate::api_server::ApiServer;
use crate::object::Watched;
use crate::watch::{self, Observer, Unreadable};
use crate::{ControllerHealth, Leadership, Metrics, Transport};

/// Time for a stopping controller to wait for signatures under way and to save them.
///
/// A signature may take longer (`sign_timeout`), but a pod has 60 seconds to end, of which giving the leadership up and
/// revoking the tokens may take ten each.
const DRAIN: Duration = Duration::from_secs(35);

/// Time for a stopping controller to revoke its tokens.
const REVOKE: Duration = Duration::from_secs(10);

/// Tasks started before the runtime may do something else: a turn takes well below ten milliseconds.
const TURN: usize = 32;

/// Exchanges with Vault at once, over all issuers; further ones wait. Each takes two file descriptors and about 40 kB.
const EXCHANGES: usize = 256;

/// Requests to the API server at once; further ones wait.
const API_REQUESTS: usize = 32;

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
    exchanges: Semaphore,
    api_requests: Semaphore,
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
    driver
        .work(&mut tasks, || true, is_retired, tokio::time::sleep(REVOKE))
        .await;
    if !driver.controller().is_retired() {
        tracing::warn!("stopping before all tokens were revoked; they expire");
    }
    watches.abort();
    released
}

impl Observer for Arc<Driver> {
    fn observe(&self, change: Change) {
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
        tracing::warn!(?key, error, "cannot read an object; it is ignored");
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

    fn synced(&self, watched: Watched) {
        self.health.set(watched.kind(), Ok(()));
    }

    fn failed(&self, watched: Watched, error: &str, is_synced: bool) {
        self.metrics.watch_failed(watched.kind());
        if !is_synced {
            self.health
                .set(watched.kind(), Err(format!("cannot be listed: {error}")));
        }
    }
}

impl Driver {
    fn new(setup: RunSetup) -> Self {
        let watched = Watched::all_of(setup.config.kinds());
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
            exchanges: Semaphore::new(EXCHANGES),
            api_requests: Semaphore::new(API_REQUESTS),
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
            match controller.poll(Transport::now()) {
                None => break,
                // There is nothing to ask, so it needs no task of its own.
                Some((key, Step::Done(outcome))) => self.done(&key, outcome),
                Some((key, step)) => drop(tasks.spawn(Arc::clone(self).answer(key, step))),
            }
        }
        let due = controller.next_due().unwrap_or(Duration::MAX);
        due.saturating_sub(Transport::now().monotonic)
            .min(Duration::from_secs(3600))
    }

    /// Answers the questions of one task until it is done.
    async fn answer(self: Arc<Self>, key: Key, mut step: Step) {
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
                Step::WriteStatus(patch, state) => {
                    let answer = self.ask(Box::pin(self.api.write_status(&patch))).await;
                    state.resume(&mut self.controller(), Transport::now(), answer)
                }
                Step::Done(outcome) => {
                    self.done(&key, outcome);
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
        question.await
    }

    async fn publish(&self, event: Event) {
        self.ask(Box::pin(self.api.publish(event))).await;
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

    fn done(&self, key: &Key, outcome: Outcome) {
        self.metrics.finished(key, outcome);
        match (key, outcome) {
            (_, Outcome::Idle) | (Key::Token(_), _) => tracing::debug!(?key, ?outcome, "nothing to do"),
            (Key::Issuer(issuer), Outcome::Ready) => tracing::debug!(%issuer, "issuer is ready"),
            (Key::Issuer(issuer), outcome) => tracing::warn!(%issuer, ?outcome, "issuer is not ready"),
            (Key::Request(request), Outcome::Issued) => tracing::info!(%request, "issued"),
            (Key::Request(request), outcome) => tracing::info!(%request, ?outcome, "not issued"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room<F>(_: impl Fn(Arc<Driver>, Key, Step) -> F) -> usize {
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
}
