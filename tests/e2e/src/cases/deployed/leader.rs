//! Failures of the leader while certificates are requested: all are issued, and none is signed twice but what was
//! under way in a process that died.

use std::time::Duration;

use anyhow::ensure;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::load::{Load, under_load};
use crate::servers::controller::NAMESPACE;
use crate::servers::kind::{Cluster, RELEASE, aside, node};
use crate::test_namespace::TestNamespace;

/// The longest wait of a request where the leader gives the Lease up.
const HANDED_OVER: Duration = Duration::from_secs(15);

/// The longest wait where the Lease has to expire, which takes 15 seconds.
const EXPIRED: Duration = Duration::from_secs(35);

/// How many signatures may be under way when a process dies, at this pace.
const UNDER_WAY: usize = 2;

/// `kubectl rollout restart`.
pub(crate) async fn rollout(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.signer(json!({})).await?;
    let cluster = test.env.cluster()?;
    let load = under_load(test, &path, "rollout", roll(cluster)).await?;
    load.ensure_signed_once()?;
    load.ensure_within(HANDED_OVER)?;
    cluster.complete(2).await
}

/// Restarts all pods of the Deployment, and waits until another one leads.
pub(super) async fn roll(cluster: &Cluster) -> anyhow::Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(cluster.client().clone(), NAMESPACE);
    deployments.restart(RELEASE).await?;
    let deployment = format!("deployment/{RELEASE}");
    let status = [
        "rollout",
        "status",
        &deployment,
        "--timeout=120s",
        "--namespace",
        NAMESPACE,
    ];
    aside(cluster.kubectl(&status)).await.map(drop)
}

/// The leader's pod is deleted, then that of its successor by force.
pub(crate) async fn deleted(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.signer(json!({})).await?;
    let cluster = test.env.cluster()?;
    for (name, params) in [
        ("deleted", DeleteParams::default()),
        ("deleted-by-force", DeleteParams::default().grace_period(0)),
    ] {
        let load = under_load(test, &path, name, async {
            let (identity, pod) = cluster.leader().await?;
            cluster.pod_api().delete(&pod.name_any(), &params).await?;
            cluster.leader_after(&identity).await.map(drop)
        });
        let load = load.await?;
        load.ensure_signed_once()?;
        load.ensure_within(HANDED_OVER)?;
        cluster.complete(2).await?;
    }
    Ok(())
}

/// The leader dies of SIGKILL.
pub(crate) async fn killed(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.signer(json!({})).await?;
    let cluster = test.env.cluster()?;
    let load = under_load(test, &path, "killed", async {
        let (identity, pod) = cluster.leader().await?;
        cluster.signal(&pod, "KILL").await?;
        cluster.leader_after(&identity).await.map(drop)
    });
    expired(&load.await?)?;
    cluster.complete(2).await
}

/// The leader hangs until another one leads, then goes on: it signs nothing and is restarted.
pub(crate) async fn stopped(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.signer(json!({})).await?;
    let cluster = test.env.cluster()?;
    let (identity, pod) = cluster.leader().await?;
    let load = under_load(test, &path, "stopped", async {
        cluster.signal(&pod, "STOP").await?;
        let next = cluster.leader_after(&identity).await;
        cluster.signal(&pod, "CONT").await?;
        next?;
        cluster.restarted(&pod).await
    });
    expired(&load.await?)?;
    cluster.complete(2).await
}

/// The leader's node stands still until a controller on another node leads, then goes on.
pub(crate) async fn node_frozen(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.signer(json!({})).await?;
    let cluster = test.env.cluster()?;
    let (identity, pod) = leader_apart(cluster).await?;
    let load = under_load(test, &path, "node-frozen", async {
        cluster.freeze(node(&pod)?).await?;
        let next = cluster.leader_after(&identity).await;
        cluster.thaw(node(&pod)?).await?;
        next?;
        cluster.restarted(&pod).await
    });
    expired(&load.await?)?;
    cluster.complete(2).await
}

/// Returns the leader's identity and pod after the other pod was moved to another node, unless it was there already.
async fn leader_apart(cluster: &Cluster) -> anyhow::Result<(String, Pod)> {
    let (identity, leader) = cluster.leader().await?;
    let nodes: Api<Node> = Api::all(cluster.client().clone());
    nodes.cordon(node(&leader)?).await?;
    for pod in cluster.pods().await? {
        if pod.name_any() != leader.name_any() && node(&pod)? == node(&leader)? {
            cluster
                .pod_api()
                .delete(&pod.name_any(), &DeleteParams::default())
                .await?;
        }
    }
    let complete = cluster.complete(2).await;
    nodes.uncordon(node(&leader)?).await?;
    complete?;
    let pods = cluster.pods().await?;
    let apart = pods.iter().map(node).collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(
        apart.windows(2).all(|pair| pair[0] != pair[1]),
        "both pods are on {apart:?}"
    );
    Ok((identity, leader))
}

fn expired(load: &Load) -> anyhow::Result<()> {
    load.ensure_signed_again(UNDER_WAY)?;
    load.ensure_within(EXPIRED)
}
