//! A release of our chart: its pods, and the one that leads.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt as _};
use serde_json::{Value, json};

use super::{Cluster, Shape, aside, parts};
use crate::servers::cluster;
use crate::servers::controller::NAMESPACE;
use crate::servers::offline;
use crate::servers::process::eventually;

/// The name of every release, which its Deployment, its service account and its Lease have too.
pub(crate) const RELEASE: &str = "vault-issuer";

const CHART: &str = "deploy/charts/vault-issuer";

/// How long a change of pods or of the leader may take.
const LIMIT: Duration = Duration::from_secs(150);

/// A release of the chart in a namespace of its own.
pub(crate) struct Release<'c> {
    /// The cluster.
    pub(crate) cluster: &'c Cluster,
    /// The namespace.
    pub(crate) namespace: String,
    /// The values that stay the same when it is upgraded.
    values: Value,
}

impl Cluster {
    /// Returns the release that serves the whole cluster.
    pub(crate) fn release(&self) -> anyhow::Result<Release<'_>> {
        let values = json!({
            "credentials": { "allNamespaces": true },
            "rbac": { "readNamespaces": true },
        });
        self.release_in(NAMESPACE.into(), values)
    }

    /// Returns the release that installs what the whole cluster has once, and runs no controller.
    pub(super) fn base(&self) -> anyhow::Result<Release<'_>> {
        self.release_in(
            NAMESPACE.into(),
            json!({ "namespaces": [NAMESPACE], "replicaCount": 0 }),
        )
    }

    /// Returns the release of a case, which serves the namespace of the case and no other.
    pub(crate) fn release_of(&self, case: &str, namespace: &str) -> anyhow::Result<Release<'_>> {
        let apart = json!({
            "key": "kubernetes.io/hostname",
            "operator": "NotIn",
            "values": [self.nodes.last_worker()],
        });
        let values = json!({
            "namespaces": [namespace],
            "credentials": { "namespaces": [namespace] },
            "crds": { "enabled": false },
            "approval": { "enabled": false },
            // On two nodes; a case may stop the third.
            "tolerations": [{ "key": "node-role.kubernetes.io/control-plane", "operator": "Exists" }],
            "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{ "matchExpressions": [apart] }],
            } } },
        });
        self.release_in(own_namespace(case), values)
    }

    fn release_in(&self, namespace: String, mut values: Value) -> anyhow::Result<Release<'_>> {
        let (repository, tag) = offline::CONTROLLER.split_once(':').context("the image has no tag")?;
        values["app"] = json!({ "logLevel": "debug" });
        values["image"] = json!({ "repository": repository, "tag": tag });
        Ok(Release {
            cluster: self,
            namespace,
            values,
        })
    }

    /// Returns the log of the controller that serves a case.
    pub(crate) async fn controller_log(&self, case: &str) -> anyhow::Result<String> {
        let namespace = self.namespace_for(case);
        let selector = "app.kubernetes.io/name=vault-issuer";
        let logs = [
            "logs",
            "--prefix",
            "--tail=-1",
            "--selector",
            selector,
            "--namespace",
            &namespace,
        ];
        aside(self.kubectl(&logs)).await
    }

    /// Returns the namespace of the controller that serves a case.
    pub(crate) fn namespace_for(&self, case: &str) -> String {
        match self.nodes.shape() {
            Shape::ThreeNodes => own_namespace(case),
            Shape::OneNode | Shape::Ipv6 => NAMESPACE.into(),
        }
    }

    /// Deletes what a failed case has left of the release that serves the whole cluster, and installs it again.
    pub(crate) async fn restore(&self) -> anyhow::Result<()> {
        let delete = [
            "delete",
            "deployment",
            RELEASE,
            "--namespace",
            NAMESPACE,
            "--ignore-not-found",
        ];
        aside(self.kubectl(&delete)).await?;
        self.release()?
            .deploy_within("3m", &json!({}), &["--take-ownership", "--force-conflicts"])
            .await
    }

    /// Stops all processes of a node, which then looks lost to the others.
    pub(crate) async fn freeze(&self, node: &str) -> anyhow::Result<()> {
        self.nodes.freeze(node).await
    }

    /// Lets a frozen node go on.
    pub(crate) async fn thaw(&self, node: &str) -> anyhow::Result<()> {
        self.nodes.thaw(node).await
    }

    /// Returns the name of the worker that releases of cases do not run on unless they say so.
    pub(crate) fn last_worker(&self) -> String {
        self.nodes.last_worker()
    }
}

/// Returns the namespace of a case's release.
fn own_namespace(case: &str) -> String {
    format!("vault-issuer-{case}")
}

impl Release<'_> {
    /// Returns the same release with other lasting values beside those that it has.
    pub(crate) fn with(mut self, key: &str, value: Value) -> Self {
        self.values[key] = value;
        self
    }

    /// Creates the namespace, installs the chart and waits until it runs.
    pub(crate) async fn install(&self) -> anyhow::Result<()> {
        cluster::apply_object(self.cluster.client(), parts::restricted_namespace(&self.namespace)).await?;
        self.deploy(&json!({})).await
    }

    /// Installs the chart, or upgrades the release, with the lasting values and these, and waits until it runs.
    pub(crate) async fn deploy(&self, values: &Value) -> anyhow::Result<()> {
        self.deploy_within("3m", values, &[]).await
    }

    /// Does the same with a limit of time, such as `3m`, and further arguments.
    pub(crate) async fn deploy_within(&self, limit: &str, values: &Value, flags: &[&str]) -> anyhow::Result<()> {
        let file = |name: &str| self.cluster.file(&format!("{}-{name}.json", self.namespace));
        let (first, second) = (file("lasting"), file("values"));
        fs::write(&first, self.values.to_string())?;
        fs::write(&second, values.to_string())?;
        let mut helm = self.helm(&["upgrade", "--install", "--reset-values", "--wait", RELEASE]);
        helm.arg(xtask::root().join(CHART))
            .args(["--timeout", limit])
            .args(flags);
        helm.arg("--values").arg(first);
        helm.arg("--values").arg(second);
        aside(helm).await.map(drop)
    }

    /// Returns the command `helm` with these arguments, in the release's namespace.
    pub(crate) fn helm(&self, arguments: &[&str]) -> Command {
        let mut helm = Command::new("helm");
        helm.args(arguments)
            .args(["--namespace", &self.namespace, "--kubeconfig"]);
        helm.arg(self.cluster.kubeconfig());
        helm
    }

    /// Restarts all pods of the Deployment, and waits until the new ones run.
    pub(crate) async fn roll(&self) -> anyhow::Result<()> {
        self.api::<Deployment>().restart(RELEASE).await?;
        let deployment = format!("deployment/{RELEASE}");
        let status = [
            "rollout",
            "status",
            &deployment,
            "--timeout=120s",
            "--namespace",
            &self.namespace,
        ];
        aside(self.cluster.kubectl(&status)).await.map(drop)
    }

    /// Uninstalls the release, and waits until its pods are gone.
    pub(crate) async fn uninstall(&self) -> anyhow::Result<()> {
        aside(self.helm(&["uninstall", RELEASE, "--wait", "--timeout", "2m"])).await?;
        self.complete(0).await
    }

    /// Returns the objects of a kind in the release's namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.cluster.client().clone(), &self.namespace)
    }

    /// Returns the controller's pods.
    pub(crate) async fn pods(&self) -> anyhow::Result<Vec<Pod>> {
        let own = ListParams::default().labels("app.kubernetes.io/name=vault-issuer");
        Ok(self.api::<Pod>().list(&own).await?.items)
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
        let leases = self.api::<Lease>();
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
            let pod = self.api::<Pod>().get(name).await?;
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
        self.cluster.nodes.signal(node(pod)?, id, signal).await
    }

    /// Waits until the controller of a pod has been restarted since `pod` was read.
    pub(crate) async fn restarted(&self, pod: &Pod) -> anyhow::Result<()> {
        let (name, before) = (pod.name_any(), restarts(pod));
        eventually(LIMIT, async || {
            let now = restarts(&self.api::<Pod>().get(&name).await?);
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
