//! Our controller in the cluster: its release, its pods, and the one that leads.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::{Cluster, aside};
use crate::servers::controller::NAMESPACE;
use crate::servers::offline;
use crate::servers::process::eventually;

/// The release, which has the name of its Deployment and its Lease.
pub(crate) const RELEASE: &str = "vault-issuer";

const CHART: &str = "deploy/charts/vault-issuer";

/// How long a change of pods or of the leader may take.
const LIMIT: Duration = Duration::from_secs(150);

impl Cluster {
    /// Installs the chart, or upgrades the release, with the values of all runs and these, and waits until it runs.
    pub(crate) async fn deploy(&self, values: &Value) -> anyhow::Result<()> {
        self.deploy_within("3m", values, &[]).await
    }

    /// Does the same with a limit of time, such as `3m`, and further arguments.
    pub(crate) async fn deploy_within(&self, limit: &str, values: &Value, flags: &[&str]) -> anyhow::Result<()> {
        let (repository, tag) = offline::CONTROLLER.split_once(':').context("the image has no tag")?;
        let common = json!({
            "app": { "logLevel": "debug" },
            "credentials": { "allNamespaces": true },
            "rbac": { "readNamespaces": true },
            "image": { "repository": repository, "tag": tag },
        });
        let (first, second) = (self.file("common.json"), self.file("values.json"));
        fs::write(&first, common.to_string())?;
        fs::write(&second, values.to_string())?;
        let mut helm = self.helm(&["upgrade", "--install", "--reset-values", "--wait", RELEASE]);
        helm.arg(xtask::root().join(CHART))
            .args(["--timeout", limit])
            .args(flags);
        helm.arg("--values").arg(first);
        helm.arg("--values").arg(second);
        aside(helm).await.map(drop)
    }

    /// Returns the command `helm` with these arguments, in the controller's namespace.
    pub(crate) fn helm(&self, arguments: &[&str]) -> Command {
        let mut helm = Command::new("helm");
        helm.args(arguments).args(["--namespace", NAMESPACE, "--kubeconfig"]);
        helm.arg(self.kubeconfig());
        helm
    }

    /// Deletes what a failed case has left, and installs the chart again.
    pub(crate) async fn restore(&self) -> anyhow::Result<()> {
        for pod in self.pods().await? {
            let node = pod.spec.and_then(|spec| spec.node_name).unwrap_or_default();
            // It fails for all nodes that are not frozen.
            let _ = self.thaw(&node).await;
        }
        let delete = [
            "delete",
            "deployment",
            RELEASE,
            "--namespace",
            NAMESPACE,
            "--ignore-not-found",
        ];
        aside(self.kubectl(&delete)).await?;
        self.deploy_within("3m", &json!({}), &["--take-ownership", "--force-conflicts"])
            .await
    }

    /// Returns the controller's pods.
    pub(crate) async fn pods(&self) -> anyhow::Result<Vec<Pod>> {
        let own = ListParams::default().labels("app.kubernetes.io/name=vault-issuer");
        Ok(self.pod_api().list(&own).await?.items)
    }

    /// Returns the API of the pods in the controller's namespace.
    pub(crate) fn pod_api(&self) -> Api<Pod> {
        Api::namespaced(self.client().clone(), NAMESPACE)
    }

    /// Waits until there are exactly so many pods, and all of them are ready.
    pub(crate) async fn complete(&self, count: usize) -> anyhow::Result<()> {
        eventually(LIMIT, async || {
            let pods = self.pods().await?;
            let states: Vec<String> = pods.iter().map(state).collect();
            let ready = pods.iter().all(is_ready);
            ensure!(ready && pods.len() == count, "{states:?}");
            Ok(())
        })
        .await
        .with_context(|| format!("there are not exactly {count} pods, all ready"))
    }

    /// Waits until a controller holds the Lease that is not `former`, and returns its identity.
    pub(crate) async fn leader_after(&self, former: &str) -> anyhow::Result<String> {
        let leases: Api<Lease> = Api::namespaced(self.client().clone(), NAMESPACE);
        eventually(LIMIT, async || {
            let lease = leases.get(RELEASE).await?.spec.unwrap_or_default();
            let holder = lease.holder_identity.unwrap_or_default();
            ensure!(!holder.is_empty() && holder != former, "{holder:?} leads");
            Ok(holder)
        })
        .await
    }

    /// Waits until the controller of a pod that exists leads, and returns its identity and the pod.
    pub(crate) async fn leader(&self) -> anyhow::Result<(String, Pod)> {
        eventually(LIMIT, async || {
            let identity = self.leader_after("").await?;
            // <pod>_<process id>_<time of start>
            let name = identity.split('_').next().unwrap_or_default();
            let pod = self.pod_api().get(name).await?;
            Ok((identity, pod))
        })
        .await
    }

    /// Sends a signal to the controller of a pod.
    pub(crate) async fn signal(&self, pod: &Pod, signal: &str) -> anyhow::Result<()> {
        let status = pod
            .status
            .as_ref()
            .and_then(|status| status.container_statuses.as_ref());
        let container = status.and_then(|all| all.first()?.container_id.as_deref());
        let id = container
            .and_then(|id| id.strip_prefix("containerd://"))
            .context("the pod has no container")?;
        self.nodes.signal(node(pod)?, id, signal).await
    }

    /// Stops all processes of a node, which then looks lost to the others.
    pub(crate) async fn freeze(&self, node: &str) -> anyhow::Result<()> {
        self.nodes.freeze(node).await
    }

    /// Lets a frozen node go on.
    pub(crate) async fn thaw(&self, node: &str) -> anyhow::Result<()> {
        self.nodes.thaw(node).await
    }

    /// Waits until the controller of a pod has been restarted since `pod` was read.
    pub(crate) async fn restarted(&self, pod: &Pod) -> anyhow::Result<()> {
        let (name, before) = (pod.name_any(), restarts(pod));
        eventually(LIMIT, async || {
            let now = restarts(&self.pod_api().get(&name).await?);
            ensure!(now > before, "{now} restarts");
            Ok(())
        })
        .await
        .with_context(|| format!("pod {name} is not restarted"))
    }
}

/// Returns the name of a pod's node.
pub(crate) fn node(pod: &Pod) -> anyhow::Result<&str> {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    node.context("the pod is on no node")
}

/// Returns how often a pod's containers have been restarted.
pub(crate) fn restarts(pod: &Pod) -> i32 {
    let containers = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    containers.map(|container| container.restart_count).sum()
}

fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

fn state(pod: &Pod) -> String {
    let phase = pod.status.as_ref().and_then(|status| status.phase.clone());
    format!(
        "{} {} ready: {} deleted: {}",
        pod.name_any(),
        phase.unwrap_or_default(),
        is_ready(pod),
        pod.metadata.deletion_timestamp.is_some()
    )
}
