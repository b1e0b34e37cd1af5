//! Two controllers of which one leads, each started again when it ends, as a kubelet does it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use tokio::sync::Mutex;

use super::controller::{Controller, Launch, NAMESPACE};
use super::process::Signal;

/// Two controllers.
pub(crate) struct Replicas {
    launch: Launch,
    flags: Vec<&'static str>,
    both: [Mutex<Controller>; 2],
    leases: Api<Lease>,
    restarts: AtomicUsize,
}

/// The names of their logs.
const NAMES: [&str; 2] = ["vault-issuer-a", "vault-issuer-b"];

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
            restarts: AtomicUsize::new(0),
        })
    }

    /// Starts whichever has ended again, for as long as that works.
    pub(crate) async fn tend(&self) -> anyhow::Result<()> {
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            for (name, one) in NAMES.into_iter().zip(&self.both) {
                let mut one = one.lock().await;
                if one.process().check().is_err() {
                    *one = self.launch.start(name, &self.flags).await?;
                    self.restarts.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Returns how often one was started again.
    pub(crate) fn restarts(&self) -> usize {
        self.restarts.load(Ordering::Relaxed)
    }

    /// Returns the process id of the one that holds the Lease; fails if neither does.
    pub(crate) async fn leader(&self) -> anyhow::Result<u32> {
        let lease = self.leases.get("vault-issuer").await?;
        let holder = lease.spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
        // <host>_<process id>_<time of start>
        let id = holder.rsplit('_').nth(1).and_then(|id| id.parse().ok());
        let id = id.with_context(|| format!("{holder:?} leads"))?;
        for one in &self.both {
            if one.lock().await.process().id() == id {
                return Ok(id);
            }
        }
        bail!("process {id} leads, which has ended")
    }

    /// Sends a signal to the one with this process id.
    pub(crate) async fn signal(&self, id: u32, signal: Signal) -> anyhow::Result<()> {
        for one in &self.both {
            let mut one = one.lock().await;
            if one.process().id() == id {
                return one.process().signal(signal);
            }
        }
        bail!("no controller is process {id}")
    }

    /// Asks both to end and waits until they have.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        for one in self.both {
            one.into_inner().process().stop()?;
        }
        Ok(())
    }
}
