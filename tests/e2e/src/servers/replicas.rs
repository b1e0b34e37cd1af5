//! Two controllers of which one leads; each is restarted when it exits, as by a kubelet.

use std::sync::{Mutex as SyncMutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::sync::Mutex;

use super::controller::{Controller, Launch, NAMESPACE};
use super::process::{Process, Signal};

/// Two controllers.
pub(crate) struct Replicas {
    launch: Launch,
    flags: Vec<&'static str>,
    both: [Mutex<Controller>; 2],
    leases: Api<Lease>,
    terms: SyncMutex<Vec<Term>>,
}

/// The longest time in which one process may have led.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    /// The process.
    pub(crate) id: u32,
    /// When it acquired the Lease, by the Lease.
    pub(crate) begun: Timestamp,
    /// When its exit was noticed, some time after it ceased to lead; `None` while it runs.
    pub(crate) ended: Option<Timestamp>,
    /// Whether it exited by itself before all certificates were saved.
    pub(crate) gave_up: bool,
}

/// The names of their logs.
const NAMES: [&str; 2] = ["vault-issuer-a", "vault-issuer-b"];

/// The time between two looks at the processes.
const PAUSE: Duration = Duration::from_millis(200);

impl Replicas {
    /// Starts both with these flags.
    pub(crate) async fn start(launch: Launch, client: Client, flags: Vec<&'static str>) -> anyhow::Result<Self> {
        let [a, b] = NAMES;
        let both = [launch.start(a, &flags).await?, launch.start(b, &flags).await?];
        Ok(Self {
            launch,
            flags,
            both: both.map(Mutex::new),
            leases: Api::namespaced(client, NAMESPACE),
            terms: SyncMutex::default(),
        })
    }

    /// Restarts controllers that have exited and records who leads, until a restart fails.
    pub(crate) async fn supervise(&self) -> anyhow::Result<()> {
        let note = async {
            loop {
                tokio::time::sleep(PAUSE).await;
                // Neither may lead, or the API server may be down.
                let _ = self.leader().await;
            }
        };
        let ([a, b], [log_a, log_b]) = (&self.both, NAMES);
        tokio::select! {
            ended = self.keep(a, log_a) => ended,
            ended = self.keep(b, log_b) => ended,
            () = note => Ok(()),
        }
    }

    async fn keep(&self, one: &Mutex<Controller>, log: &str) -> anyhow::Result<()> {
        let mut given_up = times_given_up(one.lock().await.process());
        loop {
            tokio::time::sleep(PAUSE).await;
            let mut one = one.lock().await;
            let process = one.process();
            if process.check().is_ok() {
                continue;
            }
            let before = std::mem::replace(&mut given_up, times_given_up(process));
            if let Some(term) = self.terms_mut().iter_mut().find(|term| term.id == process.id()) {
                term.ended = Some(Timestamp::now());
                term.gave_up = given_up > before;
            }
            *one = self.launch.start(log, &self.flags).await?;
        }
    }

    /// Returns the leaders so far, with their times.
    pub(crate) fn terms(&self) -> Vec<Term> {
        self.terms_mut().clone()
    }

    fn terms_mut(&self) -> MutexGuard<'_, Vec<Term>> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the process id of the holder of the Lease; fails if neither holds it.
    pub(crate) async fn leader(&self) -> anyhow::Result<u32> {
        let lease = self.leases.get("vault-issuer").await?.spec.unwrap_or_default();
        let holder = lease.holder_identity.unwrap_or_default();
        // <host>_<process id>_<time of start>
        let id = holder.rsplit('_').nth(1).and_then(|id| id.parse().ok());
        let id = id.with_context(|| format!("{holder:?} leads"))?;
        let begun = lease.acquire_time.context("a Lease without acquireTime")?.0;
        for one in &self.both {
            let mut one = one.lock().await;
            if one.process().id() == id {
                let mut terms = self.terms_mut();
                if !terms.iter().any(|term| term.id == id) {
                    terms.push(Term {
                        id,
                        begun,
                        ended: None,
                        gave_up: false,
                    });
                }
                return Ok(id);
            }
        }
        bail!("process {id} leads, which has ended")
    }

    /// Returns `true` if neither has this process id any more.
    pub(crate) async fn is_gone(&self, id: u32) -> bool {
        let [a, b] = &self.both;
        a.lock().await.process().id() != id && b.lock().await.process().id() != id
    }

    /// Sends a signal to the controller with this process id.
    pub(crate) async fn signal(&self, id: u32, signal: Signal) -> anyhow::Result<()> {
        for one in &self.both {
            let mut one = one.lock().await;
            if one.process().id() == id {
                return one.process().signal(signal);
            }
        }
        bail!("no controller is process {id}")
    }

    /// Kills the controller with this process id.
    pub(crate) async fn kill(&self, id: u32) -> anyhow::Result<()> {
        for one in &self.both {
            let mut one = one.lock().await;
            if one.process().id() == id {
                return one.process().kill().map(drop);
            }
        }
        bail!("no controller is process {id}")
    }

    /// Stops both with SIGTERM.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        for one in self.both {
            one.into_inner().process().stop()?;
        }
        Ok(())
    }
}

/// Counts the exits of a controller, and of its predecessors, before all certificates were saved, by the log.
fn times_given_up(process: &Process) -> usize {
    process
        .output()
        .matches("stopping before all certificates were saved")
        .count()
}
