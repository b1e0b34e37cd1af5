//! An outage of Vault while many requests wait and many have finished, in little memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::point::until;
use super::population::Population;
use super::{api_requests, is_status_write, signatures};
use crate::bench::measure::peak_memory;
use crate::servers::controller::Controller;
use crate::servers::etcd::Batch;
use crate::servers::memory_limit::MemoryLimit;
use crate::servers::say;

/// The longest time for all requests to be told that they wait, and for all to be signed.
const LIMIT: Duration = Duration::from_secs(3600);

/// The time between two liveness probes.
const PAUSE: Duration = Duration::from_millis(100);

/// The requests, and the memory of the controller.
pub(super) struct Outage {
    /// Requests that are approved during the outage.
    pub(super) waiting: usize,
    /// Requests that have finished before.
    pub(super) finished: usize,
    /// The limit of the controller's memory, bytes.
    pub(super) memory: u64,
}

/// How an outage was survived.
pub(super) struct Survived {
    /// The requests.
    pub(super) outage: Outage,
    /// How the memory was limited.
    pub(super) limit: String,
    /// Resident memory at most, bytes.
    pub(super) memory: u64,
    /// The answers to liveness probes, sorted by time.
    pub(super) probes: Vec<Duration>,
    /// From the start of the process until the status of each request says why it waits.
    pub(super) told: Duration,
    /// From Vault's start until all are signed and saved.
    pub(super) signed: Duration,
}

impl Outage {
    /// Starts the controller during an outage, ends the outage once all requests are told of it, and waits until all are
    /// signed.
    pub(super) async fn measure(self, population: &Population<'_>) -> anyhow::Result<Survived> {
        let env = population.test.env;
        say(&format!(
            "an outage with {} waiting and {} finished requests",
            self.waiting, self.finished
        ));
        population.approve("outage", self.waiting, Batch::Many).await?;
        let limit = Arc::new(MemoryLimit::new(self.memory));
        let launch = {
            let mut local = env.local_servers().await?;
            local.vault.process().stop()?;
            let mut launch = local.launch(local.cluster.port)?;
            launch.memory = Some(Arc::clone(&limit));
            launch
        };
        let mut controller = launch.spawn("vault-issuer", &[])?;
        let mut probes = Vec::new();
        let (told, signed) = tokio::select! {
            survived = self.survive(population) => survived?,
            failed = probe(&controller, &mut probes) => return failed.context("the liveness probe failed"),
        };
        let memory = peak_memory(controller.process().id())?;
        controller.process().stop()?;
        population.delete("outage").await?;
        probes.sort();
        Ok(Survived {
            outage: self,
            limit: limit.describe(),
            memory,
            probes,
            told,
            signed,
        })
    }

    /// Returns the times in which all are told, and in which all are signed.
    async fn survive(&self, population: &Population<'_>) -> anyhow::Result<(Duration, Duration)> {
        let env = population.test.env;
        let mut written = api_requests(env, is_status_write).await?;
        let begun = Instant::now();
        until(LIMIT, async || Ok(written.read()? > self.waiting))
            .await
            .context("not all are told")?;
        let told = begun.elapsed();
        say(&format!(
            "all are told after {:.1} s; starting Vault",
            told.as_secs_f64()
        ));
        let mut signatures = signatures(env)?;
        let mut saved = api_requests(env, is_status_write).await?;
        env.local_servers().await?.vault.restart(&env.vault.admin).await?;
        let begun = Instant::now();
        // The status of the issuer is written as well.
        until(LIMIT, async || {
            Ok(signatures.read()? >= self.waiting && saved.read()? > self.waiting)
        })
        .await
        .context("not all are signed")?;
        ensure!(signatures.total == self.waiting, "{} signatures", signatures.total);
        Ok((told, begun.elapsed()))
    }
}

/// Probes until the process does not answer; returns its failure.
async fn probe(controller: &Controller, answered: &mut Vec<Duration>) -> anyhow::Result<Survived> {
    let begun = Instant::now();
    loop {
        tokio::time::sleep(PAUSE).await;
        match controller.liveness().await {
            Ok(took) => answered.push(took),
            // It does not listen yet.
            Err(_) if answered.is_empty() && begun.elapsed() < Duration::from_secs(10) => {}
            Err(error) => return Err(error),
        }
    }
}
