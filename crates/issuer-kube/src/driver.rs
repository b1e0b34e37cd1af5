use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use issuer_core::reconcile::{Change, Config, Controller, Key, Outcome, Step};
use issuer_core::{Reply, Request};
use kube::Client;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::{Leadership, Metrics, Transport, watch};

/// How long a stopping controller may take to save what is signed, and then to revoke its tokens.
const GRACE: Duration = Duration::from_secs(10);

/// What the tasks of the driver share: the core, and the ways out of it.
pub(crate) struct Shared {
    cluster: Cluster,
    controller: Mutex<Controller>,
    metrics: Arc<Metrics>,
    transport: Transport,
    /// Told whenever there may be something to do.
    changed: Notify,
}

/// Runs the controller until `stop` resolves or the leadership is lost; then saves what is signed, revokes the tokens
/// and returns.
pub async fn run(
    client: Client,
    transport: Transport,
    config: Config,
    metrics: Arc<Metrics>,
    instance: String,
    mut leadership: Leadership,
    stop: impl Future<Output = ()>,
) {
    let seed = u64::try_from(Transport::now().unix.as_nanos() & u128::from(u64::MAX)).unwrap_or_default();
    let shared = Arc::new(Shared {
        cluster: Cluster::new(client.clone(), instance),
        controller: Mutex::new(Controller::new(config, seed)),
        metrics,
        transport,
        changed: Notify::new(),
    });
    let watches = tokio::spawn(watch::watch(client, Arc::clone(&shared)));
    let mut tasks = JoinSet::new();
    let leads = leadership.clone();
    let end = async {
        tokio::select! {
            () = leadership.lost() => {}
            () = stop => {}
        }
    };
    shared.work(&mut tasks, || leads.is_leader(), end).await;

    shared.controller().stop(Transport::now());
    let drained = shared.work(&mut tasks, || true, shared.until(Controller::is_drained));
    if timeout(GRACE, drained).await.is_err() {
        tracing::warn!(
            unsaved = shared.controller().unsaved(),
            "stopping before all certificates were saved"
        );
    }
    shared.controller().retire_all();
    let revoked = shared.work(&mut tasks, || true, shared.until(Controller::is_retired));
    if timeout(GRACE, revoked).await.is_err() {
        tracing::warn!("stopping before all tokens were revoked; they end by themselves");
    }
    watches.abort();
}

impl Shared {
    pub(crate) fn observe(&self, change: Change) {
        let now = Transport::now();
        self.controller().observe(now, change);
        self.changed.notify_one();
    }

    fn controller(&self) -> MutexGuard<'_, Controller> {
        self.controller.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts every task that is due while it `may`, and waits for the next, until `stop` resolves.
    async fn work(self: &Arc<Self>, tasks: &mut JoinSet<()>, may: impl Fn() -> bool, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        loop {
            let due = self.start(tasks, &may);
            let wait = due.map(|due| due.saturating_sub(Transport::now().monotonic));
            let timer = tokio::time::sleep(wait.unwrap_or(Duration::from_secs(3600)));
            tokio::select! {
                biased;
                () = &mut stop => return,
                () = self.changed.notified() => {}
                () = timer => {}
                Some(ended) = tasks.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a task broke");
                    }
                }
            }
        }
    }

    fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>, may: impl Fn() -> bool) -> Option<Duration> {
        let mut controller = self.controller();
        while may()
            && let Some((key, step)) = controller.poll(Transport::now())
        {
            tasks.spawn(Arc::clone(self).answer(key, step));
        }
        self.metrics.observe(&controller);
        controller.next_due()
    }

    async fn until(self: &Arc<Self>, holds: fn(&Controller) -> bool) {
        while !holds(&self.controller()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Answers the questions of one task until it is done.
    async fn answer(self: Arc<Self>, key: Key, mut step: Step) {
        loop {
            step = match step {
                Step::Exchange(request, state) => {
                    let reply = self.exchange(request).await;
                    state.resume(&mut self.controller(), Transport::now(), reply)
                }
                Step::MintToken(spec, state) => {
                    let answer = self.cluster.mint_token(&spec).await;
                    state.resume(&mut self.controller(), Transport::now(), answer)
                }
                Step::Publish(event, state) => {
                    self.cluster.publish(event).await;
                    state.resume(&mut self.controller())
                }
                Step::ReadRequest(request, state) => {
                    let answer = self.cluster.read_request(&request).await;
                    state.resume(&mut self.controller(), Transport::now(), answer)
                }
                Step::ReadSecret(secret, state) => {
                    let answer = self.cluster.read_secret(&secret).await;
                    state.resume(&mut self.controller(), Transport::now(), answer)
                }
                Step::WriteStatus(patch, state) => {
                    let answer = self.cluster.write_status(&patch).await;
                    state.resume(&mut self.controller(), Transport::now(), answer)
                }
                Step::Done(outcome) => {
                    self.done(&key, outcome);
                    return;
                }
            }
        }
    }

    async fn exchange(&self, request: Request) -> Reply {
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
                "Vault"
            ),
            Err(error) => tracing::debug!(operation = operation.as_str(), %error, ?took, "Vault"),
        }
        reply
    }

    fn done(&self, key: &Key, outcome: Outcome) {
        self.metrics.finished(key, outcome);
        match (key, outcome) {
            (_, Outcome::Idle) | (Key::Token(_), _) => tracing::debug!(?key, ?outcome, "done"),
            (Key::Issuer(issuer), Outcome::Ready) => tracing::debug!(%issuer, "ready"),
            (Key::Issuer(issuer), outcome) => tracing::warn!(%issuer, ?outcome, "not ready"),
            (Key::Request(request), Outcome::Issued) => tracing::info!(%request, "issued"),
            (Key::Request(request), outcome) => tracing::info!(%request, ?outcome, "not issued"),
        }
        self.changed.notify_one();
    }
}
