//! A kind cluster with cert-manager and our chart in a namespace that enforces restricted Pod Security.
//!
//! The server in the pod `vault` is OpenBao. With a registry, cert-manager is its own chart; without one, the images of
//! both are our own. They run beside the control plane, so that a worker can be lost without them.
//!
//! Cases that stop servers, approve requests themselves, or create requests that cert-manager's webhook rejects run on
//! loopback only.

mod nodes;
mod parts;
mod release;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Client;
use serde_json::json;

use super::audit::Audit;
use super::offline::{self, Engine};
use super::process::{Process, eventually, free_port};
use super::vault::{Admin, SERVER_NAME, Vault};
use super::{cluster, say};
use crate::pki::Authority;
use xtask::process::read;

use nodes::Nodes;
pub(crate) use nodes::Shape;
pub(crate) use release::{RELEASE, Release, node, restarts};

const AUDIT: &str = "/tmp/audit.log";

/// A kind cluster with everything in it, deleted on drop.
pub(crate) struct Cluster {
    client: Client,
    /// Forwards a port to Vault; stopped before the nodes are deleted.
    forward: Option<Process>,
    nodes: Nodes,
}

impl Cluster {
    /// Returns a client with all permissions.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the path of the kubeconfig.
    pub(crate) fn kubeconfig(&self) -> &Path {
        self.nodes.kubeconfig()
    }

    /// Returns the path of a file in the folder of the run.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.kubeconfig().with_file_name(name)
    }

    /// Returns the engine below the cluster, if this program runs it, and so ends the cluster too.
    pub(crate) fn engine(&self) -> Option<&Arc<Engine>> {
        self.nodes.engine()
    }

    /// Leaves the cluster running, unless it ends with this program; returns the command that deletes it.
    pub(crate) fn keep(&mut self) -> String {
        if self.engine().is_some() {
            return "interrupt this command".into();
        }
        let forward = self.forward.iter_mut().map(|forward| forward.keep().to_string());
        let forward: Vec<String> = forward.collect();
        format!("kill {}; {}", forward.join(" "), self.nodes.keep())
    }

    /// Deletes the cluster.
    pub(crate) async fn delete(mut self) -> anyhow::Result<()> {
        if let Some(mut forward) = self.forward.take() {
            tokio::task::spawn_blocking(move || forward.stop()).await??;
        }
        self.nodes.delete().await
    }

    /// Installs the controller that serves the whole cluster; in a cluster of three nodes, what the cases share.
    async fn install(&self, shape: Shape) -> anyhow::Result<()> {
        if shape != Shape::ThreeNodes {
            return self.release()?.install().await;
        }
        if self.engine().is_some() {
            // As kind's own network does.
            let apply = [
                "kubectl",
                "--kubeconfig",
                "/etc/kubernetes/admin.conf",
                "apply",
                "--filename",
            ];
            let apply: Vec<&str> = apply.into_iter().chain(["/kind/network-policies.yaml"]).collect();
            self.nodes.on_control_plane(&apply).await?;
        }
        self.base()?.install().await
    }

    /// Returns the command `kubectl` with these arguments.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut kubectl = Command::new("kubectl");
        kubectl.arg("--kubeconfig").arg(self.kubeconfig()).args(arguments);
        kubectl
    }
}

/// Runs a command beside the other work of this task, and returns its output.
pub(crate) async fn aside(mut command: Command) -> anyhow::Result<String> {
    tokio::task::spawn_blocking(move || read(&mut command)).await?
}

/// Returns what keeps this provider from running, if anything does.
pub(crate) fn missing() -> Option<String> {
    let tools: [(&str, &[&str]); 4] = [
        ("docker", &["info"]),
        ("kind", &["version"]),
        ("kubectl", &["version", "--client"]),
        ("helm", &["version"]),
    ];
    let works = |tool: &str, arguments: &[&str]| {
        Command::new(tool)
            .args(arguments)
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let broken = tools.iter().find(|(tool, arguments)| !works(tool, arguments));
    broken.map(|(tool, _)| format!("{tool} is not found or does not work; docker, kind, kubectl and helm are needed"))
}

/// Creates a cluster, on `engine` if one is given, with files in a folder below `runs`, and installs everything; a
/// cluster of three nodes gets no controller but those that its cases install.
pub(crate) async fn start(
    runs: &Path,
    shape: Shape,
    engine: Option<Arc<Engine>>,
) -> anyhow::Result<(Client, Vault, Cluster)> {
    let dir = &runs.join(shape.name());
    fs::create_dir_all(dir)?;
    let begun = Instant::now();
    // From here on the cluster is deleted on every return.
    let nodes = Nodes::create(dir, shape, engine).await?;
    let created = begun.elapsed();
    let client = cluster::client(nodes.kubeconfig()).await?;
    let mut cluster = Cluster {
        client: client.clone(),
        forward: None,
        nodes,
    };
    let issuers = async {
        tokio::try_join!(load_images(&cluster.nodes), install_cert_manager(&cluster))?;
        cluster.install(shape).await
    };
    let ((), (vault, forward)) = tokio::try_join!(issuers, start_vault(dir, &cluster, shape))?;
    cluster.forward = Some(forward);
    say(&format!(
        "{} is ready after {:.0} s, of which kind took {:.0} s",
        shape.name(),
        begun.elapsed().as_secs_f64(),
        created.as_secs_f64()
    ));
    Ok((client, vault, cluster))
}

async fn install_cert_manager(cluster: &Cluster) -> anyhow::Result<()> {
    match cluster.engine() {
        Some(engine) => parts::install_cert_manager(cluster, &engine.cert_manager_crds()).await,
        None => parts::install_cert_manager_chart(cluster).await,
    }
}

/// Loads the image that no registry has, ours, into all nodes.
async fn load_images(nodes: &Nodes) -> anyhow::Result<()> {
    let load = match nodes.engine() {
        Some(engine) => {
            let mut load = nodes.kind(&["load", "image-archive"]);
            load.arg(engine.controller());
            load
        }
        None => nodes.kind(&["load", "docker-image", offline::CONTROLLER]),
    };
    aside(load).await.map(drop)
}

/// Builds the image of our controller with the Docker engine of the machine.
pub(crate) async fn build_image() -> anyhow::Result<()> {
    say("building the image");
    let mut build = Command::new("docker");
    build.args([
        "build",
        "--file",
        "deploy/Dockerfile",
        "--tag",
        offline::CONTROLLER,
        ".",
    ]);
    aside(build).await.map(drop)
}

/// Starts the pod `vault` and prepares the server in it; returns the process that forwards a port to it too.
async fn start_vault(dir: &Path, cluster: &Cluster, shape: Shape) -> anyhow::Result<(Vault, Process)> {
    let (servers, clients) = (
        Authority::new("e2e Vault servers")?,
        Authority::new("e2e Vault clients")?,
    );
    let any = if shape == Shape::Ipv6 { "[::]" } else { "0.0.0.0" };
    for object in parts::vault(&servers, &clients, any, cluster.engine().is_some())? {
        cluster::apply_object(&cluster.client, object).await?;
    }
    let ready = [
        "wait",
        "pod/vault",
        "--for=condition=Ready",
        "--timeout=300s",
        "--namespace",
        "vault",
    ];
    aside(cluster.kubectl(&ready)).await?;
    let port = free_port()?;
    let ports = format!("{port}:8200");
    let mut forward = cluster.kubectl(&["port-forward", "pod/vault", &ports, "--namespace", "vault"]);
    let forward = Process::start(dir, "port-forward", &mut forward)?;
    let admin = Admin::new(&format!("https://127.0.0.1:{port}"), &servers.pem, "")?;
    eventually(Duration::from_secs(60), async || admin.answers().await).await?;
    let keys = admin.initialize().await?;
    let admin = admin.with_token(&keys.token);
    let vault = Vault {
        server: "https://vault.vault.svc:8200".into(),
        mutual: "https://vault.vault.svc:8300".into(),
        server_name: SERVER_NAME,
        ca: servers.pem,
        clients,
        root: admin
            .set_up(AUDIT, json!({ "kubernetes_host": "https://kubernetes.default.svc" }))
            .await?,
        admin,
        audit: Audit::Pod {
            kubeconfig: cluster.kubeconfig().to_owned(),
            path: AUDIT,
        },
    };
    Ok((vault, forward))
}
