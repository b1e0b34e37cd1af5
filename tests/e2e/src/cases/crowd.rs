//! Drop-in mode beside a crowd of requests that are none of the controller's business.

use std::time::Duration;

use anyhow::ensure;
use issuer_api::CertificateRequest;

use super::drop_in::{FLAGS, end, issuers, request, request_of};
use crate::bench::measure::{cpu, peak_memory};
use crate::servers::etcd::Batch;
use crate::servers::process::eventually;
use crate::servers::say;
use crate::test_namespace::{SOON, TestNamespace};

/// The requests of issuers of other types.
const OTHERS: usize = 10_000;

/// Requests of issuers of other types cost the controller a look at each, and no memory.
pub(super) async fn requests(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    issuers(test).await?;
    // Nobody else watches the many requests.
    let mut local = test.env.local_servers().await?;
    local.cert_manager.stop()?;
    let etcd = local.cluster.etcd();
    drop(local);
    let (cpu_alone, memory_alone) = cost(test, "alone").await?;

    request_of(test, "acme", "acme").await?;
    let folder = format!("cert-manager.io/certificaterequests/{}", test.namespace);
    let acme = etcd.read(&folder, "acme").await?;
    let names: Vec<_> = (0..OTHERS).map(|number| format!("acme-{number}")).collect();
    etcd.copy(&folder, &acme, &names, Batch::Many).await?;
    let (cpu, memory) = cost(test, "among-others").await?;
    etcd.delete(&folder, "acme").await?;

    let (cpu, memory) = (cpu.saturating_sub(cpu_alone), memory.saturating_sub(memory_alone));
    say(&format!(
        "{OTHERS} requests of other issuers: {cpu:?} of CPU, {} KiB",
        memory >> 10
    ));
    ensure!(cpu < Duration::from_secs(2), "they cost {cpu:?}");
    ensure!(memory < 4 << 20, "they take {memory} bytes");
    end(test).await
}

/// Starts our controller, has it sign a request, and returns its CPU time and its memory at most when it is idle.
async fn cost(test: &TestNamespace<'_>, name: &str) -> anyhow::Result<(Duration, u64)> {
    test.env.local_servers().await?.restart_controller_with(&FLAGS).await?;
    request(test, name).await?;
    eventually(SOON, async || {
        let request = test.api::<CertificateRequest>().get(name).await?;
        ensure!(request.is("Ready"), "{name} is not issued");
        Ok(())
    })
    .await?;
    let pid = test.env.local_servers().await?.controller()?.process().id();
    // It checks the issuers of other cases too, before the request or after it.
    eventually(SOON, async || {
        let before = cpu(pid)?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let busy = cpu(pid)?.saturating_sub(before);
        ensure!(busy < Duration::from_millis(100), "busy for {busy:?} of a second");
        Ok(())
    })
    .await?;
    Ok((cpu(pid)?, peak_memory(pid)?))
}
