//! Failures of the leader while certificates are requested: all are issued, and none is signed twice but what was
//! under way in a process that died.

use std::time::Duration;

use anyhow::ensure;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use serde_json::json;

use super::load::{Load, under_load};
use crate::servers::kind::{RELEASE, Release, node};
use crate::test_namespace::TestNamespace;

/// The longest wait of a request where the leader gives the Lease up.
const HANDED_OVER: Duration = Duration::from_secs(15);

/// The longest wait where the Lease has to expire, which takes 15 seconds.
const EXPIRED: Duration = Duration::from_secs(35);

/// How many signatures may be under way when a process dies: `--max-concurrent-reconciles`, if Vault is slow.
const UNDER_WAY: usize = 10;

/// `kubectl rollout restart`.
pub(crate) async fn rollout(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let release = test.release().await?;
    let path = test.signer(json!({})).await?;
    let load = under_load(test, &path, "rollout", release.roll()).await?;
    load.ensure_signed_once()?;
    load.ensure_within(HANDED_OVER)?;
    release.complete(2).await
}

/// The leader's pod is deleted, then that of its successor by force.
pub(crate) async fn deleted(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let release = test.release().await?;
    let path = test.signer(json!({})).await?;
    for (name, params, again) in [
        ("deleted", DeleteParams::default(), 0),
        // The kubelet waits for two seconds, which may not be enough.
        ("deleted-by-force", DeleteParams::default().grace_period(0), UNDER_WAY),
    ] {
        let load = under_load(test, &path, name, async {
            let (identity, pod) = release.leader().await?;
            release.api::<Pod>().delete(&pod.name_any(), &params).await?;
            release.leader_after(&identity).await.map(drop)
        });
        let load = load.await?;
        load.ensure_signed_again(again)?;
        load.ensure_within(HANDED_OVER)?;
        release.complete(2).await?;
    }
    Ok(())
}

/// The leader dies of SIGKILL.
pub(crate) async fn killed(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let release = test.release().await?;
    let path = test.signer(json!({})).await?;
    let load = under_load(test, &path, "killed", async {
        let (identity, pod) = release.leader().await?;
        release.signal(&pod, "KILL").await?;
        release.leader_after(&identity).await.map(drop)
    });
    expired(&load.await?)?;
    release.complete(2).await
}

/// The leader hangs until another one leads, then goes on: it signs nothing and is restarted.
pub(crate) async fn stopped(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let release = test.release().await?;
    let path = test.signer(json!({})).await?;
    let (identity, pod) = release.leader().await?;
    let load = under_load(test, &path, "stopped", async {
        release.signal(&pod, "STOP").await?;
        let next = release.leader_after(&identity).await;
        release.signal(&pod, "CONT").await?;
        next?;
        release.restarted(&pod).await
    });
    expired(&load.await?)?;
    release.complete(2).await
}

/// The leader's node stands still until a controller on another node leads, then goes on.
pub(crate) async fn node_frozen(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let cluster = test.env.cluster()?;
    let apart = json!({ "labelSelector": { "matchLabels": { "app.kubernetes.io/name": RELEASE } },
        "topologyKey": "kubernetes.io/hostname" });
    let release = cluster
        .release_of(test.case, &test.namespace)?
        .with("tolerations", json!([]))
        .with(
            "affinity",
            json!({ "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [apart] } }),
        )
        // With one pod on each of two workers, there is no node for a third.
        .with(
            "strategy",
            json!({ "rollingUpdate": { "maxSurge": 0, "maxUnavailable": 1 } }),
        );
    release.install().await?;
    let path = test.signer(json!({})).await?;
    let (identity, pod) = leader_on(&release, &cluster.last_worker()).await?;
    let load = under_load(test, &path, "node-frozen", async {
        cluster.freeze(node(&pod)?).await?;
        let next = release.leader_after(&identity).await;
        cluster.thaw(node(&pod)?).await?;
        next?;
        release.restarted(&pod).await
    });
    expired(&load.await?)?;
    release.complete(2).await
}

/// Returns the identity and the pod of the leader on a node, where the other pod is unless the leader is there.
async fn leader_on(release: &Release<'_>, wanted: &str) -> anyhow::Result<(String, Pod)> {
    let (identity, leader) = release.leader().await?;
    if node(&leader)? == wanted {
        return Ok((identity, leader));
    }
    release
        .api::<Pod>()
        .delete(&leader.name_any(), &DeleteParams::default())
        .await?;
    release.leader_after(&identity).await?;
    release.complete(2).await?;
    let (identity, leader) = release.leader().await?;
    ensure!(node(&leader)? == wanted, "the leader is on {}", node(&leader)?);
    Ok((identity, leader))
}

fn expired(load: &Load) -> anyhow::Result<()> {
    load.ensure_signed_again(UNDER_WAY)?;
    load.ensure_within(EXPIRED)
}
