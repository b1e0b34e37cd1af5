//! Many requests that wait at once, under the chart's own limit of memory.

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use issuer_api::CertificateRequest;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::json;

use crate::pki::{Csr, Names};
use crate::servers::cluster::apply_object;
use crate::servers::kind::{Release, restarts};
use crate::servers::process::eventually;
use crate::servers::say;
use crate::test_namespace::{LATER, TestNamespace};

/// How many are created at once.
const AT_ONCE: usize = 16;

/// The metric of the approved requests that are not finished, and that of the memory in bytes.
const PENDING: &str = "vault_issuer_pending_requests";
const MEMORY: &str = "process_resident_memory_bytes";

/// Vault is away while the requests are made: the controller stays healthy within the limit, and signs each of them once
/// as soon as Vault is back.
pub(crate) async fn crowd(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let release = test.release().await?;
    let (crowd, limit) = (test.env.crowd, test.env.time_for_crowd(LATER));
    let path = test.role(json!({})).await?;
    let auth = test
        .approle("approle", &test.policy(&[&path]).await?, json!({}))
        .await?;
    // A Service of its own is away for this case alone.
    away(test, true).await?;
    let mut spec = test.spec(&path, auth);
    spec["server"] = json!(format!("https://{}.vault.svc:8200", test.case));
    spec["serverName"] = json!(test.env.vault.server_name);
    test.issuer("vault", spec).await?;
    test.unready("vault", "VaultUnreachable", LATER).await?;

    let csr = Csr::new(&Names::common("crowd.example.com"))?;
    futures::stream::iter(0..crowd)
        .map(|number| {
            let csr = &csr;
            async move { test.create_approved(&format!("crowd-{number}"), csr).await }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    eventually(limit, async || {
        let pending = metric(&leader_metrics(&release).await?, PENDING)?;
        ensure!(pending == crowd.to_string(), "{pending} requests wait");
        Ok(())
    })
    .await?;
    healthy(&release, &format!("while {crowd} requests wait")).await?;

    away(test, false).await?;
    eventually(limit, async || {
        let pending = metric(&leader_metrics(&release).await?, PENDING)?;
        ensure!(pending == "0", "{pending} requests wait");
        Ok(())
    })
    .await?;
    healthy(&release, &format!("after {crowd} requests were signed")).await?;
    let all = test.api::<CertificateRequest>().list(&ListParams::default()).await?;
    let issued = all
        .iter()
        .filter(|request| request.condition("Ready").and_then(|ready| ready.reason.as_deref()) == Some("Issued"));
    let (issued, signatures) = (issued.count(), test.signatures(&path)?);
    let wanted = usize::try_from(crowd)?;
    ensure!(
        issued == wanted && signatures == wanted,
        "{issued} of {crowd} requests are issued by {signatures} signatures"
    );
    Ok(())
}

/// Makes Vault unreachable, or reachable, by the case's own Service.
async fn away(test: &TestNamespace<'_>, away: bool) -> anyhow::Result<()> {
    let selected = if away { "nothing" } else { "vault" };
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": test.case, "namespace": "vault" },
        "spec": { "selector": { "app": selected }, "ports": [{ "port": 8200 }] },
    });
    apply_object(&test.env.client, service).await
}

/// Checks that all controllers are alive and that none was restarted.
async fn healthy(release: &Release<'_>, when: &str) -> anyhow::Result<()> {
    for pod in release.pods().await? {
        let health = get(release, &pod, 8081, "healthz").await?;
        ensure!(health.trim() == "ok", "{} answers {health}", pod.name_any());
        ensure!(restarts(&pod) == 0, "{} was restarted", pod.name_any());
        let bytes: f64 = metric(&get(release, &pod, 9402, "metrics").await?, MEMORY)?.parse()?;
        say(&format!(
            "{when}: {:.1} MiB in {}",
            bytes / f64::from(1 << 20),
            pod.name_any()
        ));
    }
    Ok(())
}

async fn leader_metrics(release: &Release<'_>) -> anyhow::Result<String> {
    let (_, pod) = release.leader().await?;
    get(release, &pod, 9402, "metrics").await
}

/// Reads a path of a pod, by way of the API server.
async fn get(release: &Release<'_>, pod: &Pod, port: u16, path: &str) -> anyhow::Result<String> {
    let pods = format!("/api/v1/namespaces/{}/pods", release.namespace);
    let request = http::Request::get(format!("{pods}/{}:{port}/proxy/{path}", pod.name_any()));
    Ok(release.cluster.client().request_text(request.body(Vec::new())?).await?)
}

/// Returns the value of a metric's only series.
fn metric(text: &str, name: &str) -> anyhow::Result<String> {
    let mut series = text.lines().filter(|line| line.split([' ', '{']).next() == Some(name));
    let line = series.next().with_context(|| format!("no metric {name}"))?;
    ensure!(series.next().is_none(), "more than one series of {name}");
    let value = line.rsplit(' ').next().context("a series without a value")?;
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_is_found_by_whole_name() {
        let text = "# TYPE up gauge\nup{a=\"b c\"} 1\nup_total 2\n";
        assert_eq!(metric(text, "up").unwrap(), "1");
        assert_eq!(metric(text, "up_total").unwrap(), "2");
        metric(text, "u").unwrap_err();
        metric("up{a=\"1\"} 1\nup{a=\"2\"} 1\n", "up").unwrap_err();
    }
}
