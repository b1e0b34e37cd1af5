//! The nodes of a kind cluster: containers of a Docker engine.

use std::fs;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::aside;
use crate::servers::offline::Engine;
use crate::servers::process::eventually;
use xtask::process::run;

/// The size of a cluster and the family of its addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One node, with IPv4 addresses.
    OneNode,
    /// A control plane and two workers, with IPv4 addresses.
    ThreeNodes,
    /// One node; pods and Services have IPv6 addresses only.
    Ipv6,
}

impl Shape {
    /// All of them, the one with the most work first.
    pub(crate) const ALL: [Self; 3] = [Self::ThreeNodes, Self::OneNode, Self::Ipv6];

    /// Returns the cluster's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OneNode => "vault-issuer-e2e",
            Self::ThreeNodes => "vault-issuer-e2e-nodes",
            Self::Ipv6 => "vault-issuer-e2e-ipv6",
        }
    }

    /// Returns the configuration for `kind create cluster`; `own_image` is the node image of [`Engine`].
    fn configuration(self, own_image: bool) -> Value {
        let (family, workers) = match self {
            Self::OneNode => ("ipv4", 0),
            Self::ThreeNodes => ("ipv4", 2),
            Self::Ipv6 => ("ipv6", 0),
        };
        let roles = iter::once("control-plane").chain(iter::repeat_n("worker", workers));
        let mut configuration = json!({
            "kind": "Cluster",
            "apiVersion": "kind.x-k8s.io/v1alpha4",
            "networking": { "ipFamily": family },
            "nodes": roles.map(|role| json!({ "role": role })).collect::<Vec<_>>(),
        });
        if own_image {
            // By default this kubelet refuses to run on cgroup v1.
            configuration["kubeadmConfigPatches"] = json!(["kind: KubeletConfiguration\nfailCgroupV1: false\n"]);
        }
        configuration
    }
}

/// How long it may take to stop the processes of a node.
const FREEZING: Duration = Duration::from_secs(30);

/// The nodes of one cluster, deleted on drop unless they end with the engine of this program.
pub(crate) struct Nodes {
    shape: Shape,
    kubeconfig: PathBuf,
    kept: bool,
    /// The engine below the nodes, if this program runs it; stopped after they are deleted.
    engine: Option<Arc<Engine>>,
}

impl Nodes {
    /// Creates the nodes, on `engine` if one is given, with files in `dir`.
    pub(super) async fn create(dir: &Path, shape: Shape, engine: Option<Arc<Engine>>) -> anyhow::Result<Self> {
        let name = shape.name();
        let configuration = dir.join(format!("{name}.json"));
        fs::write(&configuration, shape.configuration(engine.is_some()).to_string())?;
        // From here on the nodes are deleted on every return.
        let nodes = Self {
            shape,
            kubeconfig: dir.join(format!("{name}.kubeconfig")),
            kept: false,
            engine,
        };
        let mut kind = nodes.kind(&["create", "cluster", "--wait", "300s"]);
        kind.arg("--config").arg(configuration);
        kind.arg("--kubeconfig").arg(&nodes.kubeconfig);
        if nodes.engine.is_some() {
            kind.args(["--image", Engine::NODE_IMAGE]);
        }
        aside(kind).await?;
        Ok(nodes)
    }

    /// Returns the path of the kubeconfig.
    pub(super) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Returns the engine below the nodes, if this program runs it.
    pub(super) fn engine(&self) -> Option<&Arc<Engine>> {
        self.engine.as_ref()
    }

    /// Leaves the nodes running; returns the command that deletes them.
    pub(super) fn keep(&mut self) -> String {
        self.kept = true;
        format!("kind delete cluster --name {}", self.shape.name())
    }

    /// Returns the command `kind` with these arguments and the cluster's name.
    pub(super) fn kind(&self, arguments: &[&str]) -> Command {
        let mut kind = Command::new("kind");
        kind.args(arguments).args(["--name", self.shape.name()]);
        kind
    }

    /// Returns the name of the node with the control plane.
    pub(super) fn control_plane(&self) -> String {
        format!("{}-control-plane", self.shape.name())
    }

    /// Returns the name of the last worker.
    pub(super) fn last_worker(&self) -> String {
        format!("{}-worker2", self.shape.name())
    }

    /// Returns the size and the family of addresses.
    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Runs a program on the node with the control plane.
    pub(super) async fn on_control_plane(&self, program: &[&str]) -> anyhow::Result<()> {
        let node = self.control_plane();
        let arguments: Vec<&str> = ["exec", &node].into_iter().chain(program.iter().copied()).collect();
        docker(&arguments).await
    }

    /// Deletes the nodes; those that are dropped on an engine of this program end with it.
    pub(super) async fn delete(&mut self) -> anyhow::Result<()> {
        self.kept = true;
        aside(self.kind(&["delete", "cluster"])).await.map(drop)
    }

    /// Sends a signal to the first process of a container on a node.
    pub(super) async fn signal(&self, node: &str, container: &str, signal: &str) -> anyhow::Result<()> {
        let script = r#"kill -s "$0" "$(ctr --namespace k8s.io task list | awk -v id="$1" '$1 == id { print $2 }')""#;
        docker(&["exec", node, "sh", "-c", script, signal, container]).await
    }

    /// Stops all processes of a node, which then looks lost to the others.
    pub(super) async fn freeze(&self, node: &str) -> anyhow::Result<()> {
        // On a busy machine runc gives up when processes start faster than a control group of version 1 freezes.
        eventually(FREEZING, async || docker(&["pause", node]).await).await
    }

    /// Lets a frozen node go on.
    pub(super) async fn thaw(&self, node: &str) -> anyhow::Result<()> {
        docker(&["unpause", node]).await
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if !self.kept && self.engine.is_none() {
            let _ = run(&mut self.kind(&["delete", "cluster"]));
        }
    }
}

async fn docker(arguments: &[&str]) -> anyhow::Result<()> {
    let mut docker = Command::new("docker");
    docker.args(arguments);
    aside(docker).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_differ_in_nodes_and_family() {
        let of = |shape: Shape| {
            let configuration = shape.configuration(true);
            let nodes = configuration["nodes"].as_array().unwrap().len();
            (nodes, configuration["networking"]["ipFamily"].clone())
        };
        assert_eq!(of(Shape::OneNode), (1, json!("ipv4")));
        assert_eq!(of(Shape::ThreeNodes), (3, json!("ipv4")));
        assert_eq!(of(Shape::Ipv6), (1, json!("ipv6")));
        let official = Shape::ThreeNodes.configuration(false);
        assert!(official["kubeadmConfigPatches"].is_null(), "{official}");
    }
}
