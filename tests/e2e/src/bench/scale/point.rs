//! The costs of a controller while a number of objects exist.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jiff::Timestamp;
use serde_json::Value;

use super::population::Population;
use super::{Metrics, Point, api_requests, is_status_write, signatures};
use crate::bench::measure::{cpu, peak_memory};
use crate::bench::table::to_f64;
use crate::servers::controller::Controller;
use crate::servers::etcd::Batch;

/// The longest time for a start, and for all requests.
const LIMIT: Duration = Duration::from_secs(900);

/// The figures of one point.
pub(super) struct Figures {
    /// The objects that exist.
    pub(super) point: Point,
    /// From the start of the process to its first signature, of a request that waited for it.
    pub(super) first_signature: Duration,
    /// From the start of the process until all issuers are ready.
    pub(super) all_ready: Duration,
    /// Resident memory at most, bytes.
    pub(super) memory: u64,
    /// User and system time of the controller for each of many certificates.
    pub(super) cpu_per_certificate: Duration,
    /// User and system time while idle, as a part of the time.
    pub(super) idle_cpu: f64,
    /// Requests to Vault a minute while idle: those that renew or replace tokens, and all others.
    pub(super) idle_vault: (f64, f64),
    /// Requests to the API server a minute while idle, without the Lease and the watches.
    pub(super) idle_api: f64,
}

/// Starts a controller, leaves it idle, has it sign `requests` certificates, and stops it.
pub(super) async fn measure(
    population: &Population<'_>,
    point: Point,
    requests: usize,
    idle: Duration,
) -> anyhow::Result<Figures> {
    let env = population.test.env;
    population.approve("first", 1, Batch::Many).await?;
    let mut signed = signatures(env)?;
    let launch = {
        let local = env.local_servers().await?;
        local.launch(local.cluster.port)?
    };
    let (begun, begun_at) = (Instant::now(), Timestamp::now());
    let mut controller = launch.spawn("vault-issuer", &[])?;
    until(LIMIT, async || {
        controller.process().check()?;
        Ok(signed.read()? > 0)
    })
    .await
    .context("nothing was signed")?;
    let first_signature = Duration::try_from(signed_at(signed.first.as_deref())?.duration_since(begun_at))?;
    until(LIMIT, async || {
        let metrics = Metrics::of(&controller).await?;
        let ready = metrics.sum("vault_issuer_issuer_ready", "");
        Ok(ready >= to_f64(point.issuers) && metrics.sum("vault_issuer_pending_requests", "") <= to_f64(point.waiting))
    })
    .await
    .context("not all issuers are ready")?;
    let all_ready = begun.elapsed();

    let mut api = api_requests(env, is_idle_request).await?;
    let before = (cpu(controller.process().id())?, vault_requests(&controller).await?);
    tokio::time::sleep(idle).await;
    let after = (cpu(controller.process().id())?, vault_requests(&controller).await?);
    let minutes = idle.as_secs_f64() / 60.0;
    let idle_api = to_f64(api.read()?) / minutes;

    let cpu_per_certificate = sign(population, &mut controller, requests).await?;
    let memory = peak_memory(controller.process().id())?;
    controller.process().stop()?;
    population.delete("first").await?;
    population.delete("burst").await?;
    Ok(Figures {
        point,
        first_signature,
        all_ready,
        memory,
        cpu_per_certificate,
        idle_cpu: (after.0 - before.0).as_secs_f64() / idle.as_secs_f64(),
        idle_vault: ((after.1.0 - before.1.0) / minutes, (after.1.1 - before.1.1) / minutes),
        idle_api,
    })
}

/// Has so many requests signed; returns the controller's CPU time for each.
async fn sign(population: &Population<'_>, controller: &mut Controller, requests: usize) -> anyhow::Result<Duration> {
    let env = population.test.env;
    let (mut signed, mut saved) = (signatures(env)?, api_requests(env, is_status_write).await?);
    let before = cpu(controller.process().id())?;
    population.approve("burst", requests, Batch::One).await?;
    until(LIMIT, async || {
        controller.process().check()?;
        Ok(signed.read()? >= requests && saved.read()? >= requests)
    })
    .await
    .context("not all are signed")?;
    // Events follow the last certificate.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = cpu(controller.process().id())?;
    ensure!(
        signed.read()? == requests,
        "{} signatures of {requests} requests",
        signed.total
    );
    Ok((after - before) / u32::try_from(requests)?)
}

/// Waits until something is so, asking often.
pub(super) async fn until(limit: Duration, mut is_so: impl AsyncFnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !is_so().await? {
        ensure!(begun.elapsed() < limit, "not within {} s", limit.as_secs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Returns the time of a line of Vault's audit log.
fn signed_at(line: Option<&str>) -> anyhow::Result<Timestamp> {
    let line: Value = serde_json::from_str(line.context("nothing was signed")?)?;
    Ok(line["time"].as_str().context("a line without time")?.parse()?)
}

/// Returns `true` for a request that the controller could do without: not of the Lease, and no watch that is opened again.
fn is_idle_request(line: &str) -> bool {
    !line.contains(r#""resource":"leases""#) && !line.contains(r#""verb":"watch""#)
}

/// Returns the requests to Vault so far: those that renew or replace tokens, and all others.
async fn vault_requests(controller: &Controller) -> anyhow::Result<(f64, f64)> {
    let metrics = Metrics::of(controller).await?;
    let of = |label: &str| metrics.sum("vault_issuer_vault_requests_total", label);
    let tokens = ["login", "renew", "lookup", "revoke"].map(|operation| of(&format!("operation=\"{operation}\"")));
    let tokens: f64 = tokens.iter().sum();
    Ok((tokens, of("") - tokens))
}
