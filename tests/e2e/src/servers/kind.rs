//! A kind cluster with cert-manager and our chart in a namespace that enforces restricted Pod Security.
//!
//! With a registry, cert-manager is its own chart and the server in the pod `vault` is OpenBao; without one, both are
//! the programs that the provider `local` runs, in images of our own.
//!
//! Cases that stop servers, approve requests themselves, or create requests that cert-manager's webhook rejects run on
//! loopback only.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::Client;
use serde_json::{Value, json};

use super::audit::Audit;
use super::offline::{self, Engine};
use super::process::{Process, eventually, free_port};
use super::vault::{Admin, Listeners, SERVER_NAME, Vault, configuration};
use super::{cluster, say};
use crate::pki::Authority;
use xtask::process::{read, run};

const NAME: &str = "vault-issuer-e2e";
const IMAGE: &str = offline::CONTROLLER;
const CERT_MANAGER: &str = "v1.21.2";
const OPENBAO: &str = "openbao/openbao:2.6.2";
const AUDIT: &str = "/tmp/audit.log";

/// A kind cluster, deleted on drop.
pub(crate) struct Cluster {
    kubeconfig: PathBuf,
    forward: Option<Process>,
    kept: bool,
    /// The engine below the cluster, if this program runs it; stopped after the cluster is deleted.
    engine: Option<Engine>,
}

impl Cluster {
    /// Returns the log of our controller.
    pub(crate) fn controller_log(&self) -> anyhow::Result<String> {
        let selector = "app.kubernetes.io/name=vault-issuer";
        read(
            self.kubectl(&[
                "--namespace",
                "vault-issuer",
                "logs",
                "--selector",
                selector,
                "--tail=-1",
            ])
            .arg("--prefix"),
        )
    }

    /// Returns the path of the kubeconfig.
    pub(crate) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Returns the engine below the cluster, if this program runs it, and so ends the cluster too.
    pub(crate) fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    /// Leaves the cluster running, unless it ends with this program; returns the command that deletes it.
    pub(crate) fn keep(&mut self) -> String {
        if self.engine.is_some() {
            return "interrupt this command".into();
        }
        self.kept = true;
        let pids: Vec<String> = self
            .forward
            .iter_mut()
            .map(|forward| forward.keep().to_string())
            .collect();
        format!("kill {}; kind delete cluster --name {NAME}", pids.join(" "))
    }

    fn kubectl(&self, arguments: &[&str]) -> Command {
        kubectl(&self.kubeconfig, arguments)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.kept {
            let _ = run(Command::new("kind").args(["delete", "cluster", "--name", NAME]));
        }
    }
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

/// Creates the cluster, on `engine` if one is given, with files in `dir`, and installs everything.
pub(crate) async fn start(dir: &Path, engine: Option<Engine>) -> anyhow::Result<(Client, Vault, Cluster)> {
    say("creating a kind cluster");
    // From here on the cluster is deleted on every return.
    let mut cluster = Cluster {
        forward: None,
        kubeconfig: dir.join("admin.kubeconfig"),
        kept: false,
        engine,
    };
    let mut kind = Command::new("kind");
    kind.args(["create", "cluster", "--name", NAME, "--wait", "300s", "--kubeconfig"]);
    run(kind
        .arg(&cluster.kubeconfig)
        .args(cluster.engine.iter().flat_map(Engine::kind_arguments)))?;
    let client = cluster::client(&cluster.kubeconfig).await?;
    if let Some(engine) = &cluster.engine {
        say("loading the images");
        engine.load_images(NAME)?;
        install_cert_manager(&cluster, &client, &engine.cert_manager_crds()).await?;
    } else {
        build_image()?;
        install_cert_manager_chart(&cluster)?;
    }
    install(&cluster, &client).await?;
    let (servers, clients) = (
        Authority::new("e2e Vault servers")?,
        Authority::new("e2e Vault clients")?,
    );
    for object in vault_objects(&servers, &clients, cluster.engine.is_some())? {
        cluster::apply_object(&client, object).await?;
    }
    let ready = [
        "--namespace",
        "vault",
        "wait",
        "pod/vault",
        "--for=condition=Ready",
        "--timeout=300s",
    ];
    run(&mut cluster.kubectl(&ready))?;
    let port = free_port()?;
    let ports = format!("{port}:8200");
    let mut forward = cluster.kubectl(&["--namespace", "vault", "port-forward", "pod/vault", &ports]);
    cluster.forward = Some(Process::start(dir, "port-forward", &mut forward)?);
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
            kubeconfig: cluster.kubeconfig.clone(),
            path: AUDIT,
        },
    };
    Ok((client, vault, cluster))
}

/// Builds our image and loads it into the cluster.
fn build_image() -> anyhow::Result<()> {
    say("building the image");
    run(Command::new("docker").args(["build", "--file", "deploy/Dockerfile", "--tag", IMAGE, "."]))?;
    run(Command::new("kind").args(["load", "docker-image", "--name", NAME, IMAGE]))
}

fn install_cert_manager_chart(cluster: &Cluster) -> anyhow::Result<()> {
    say("installing cert-manager");
    let repository = "https://charts.jetstack.io";
    let chart = [
        "cert-manager",
        "--repo",
        repository,
        "--version",
        CERT_MANAGER,
        "--set",
        "crds.enabled=true",
    ];
    helm(cluster, "cert-manager", &chart)
}

/// Runs the controllers of cert-manager with all permissions, and without its webhook.
async fn install_cert_manager(cluster: &Cluster, client: &Client, crds: &Path) -> anyhow::Result<()> {
    say("installing cert-manager");
    for entry in fs::read_dir(crds)? {
        cluster::apply(client, &fs::read_to_string(entry?.path())?).await?;
    }
    let metadata = json!({ "name": "cert-manager", "namespace": "cert-manager" });
    let labels = json!({ "app": "cert-manager" });
    let container = json!({
        "name": "controller",
        "image": offline::CERT_MANAGER,
        "args": ["-cluster-resource-namespace", "cert-manager"],
    });
    let objects = [
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "cert-manager" } }),
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": "cert-manager" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
            "subjects": [{ "kind": "ServiceAccount", "name": "cert-manager", "namespace": "cert-manager" }],
        }),
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "selector": { "matchLabels": labels },
                "template": {
                    "metadata": { "labels": labels },
                    "spec": { "serviceAccountName": "cert-manager", "containers": [container] },
                },
            },
        }),
    ];
    for object in objects {
        cluster::apply_object(client, object).await?;
    }
    let ready = [
        "--namespace",
        "cert-manager",
        "rollout",
        "status",
        "deployment/cert-manager",
        "--timeout=300s",
    ];
    run(&mut cluster.kubectl(&ready))
}

/// Installs our chart into a namespace that enforces restricted Pod Security.
async fn install(cluster: &Cluster, client: &Client) -> anyhow::Result<()> {
    say("installing vault-issuer");
    let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": "vault-issuer", "labels": labels },
    });
    cluster::apply_object(client, namespace).await?;
    let (repository, tag) = IMAGE.split_once(':').context("the image has no tag")?;
    let repository = format!("image.repository={repository}");
    let tag = format!("image.tag={tag}");
    let settings = [
        "app.logLevel=debug",
        "credentials.allNamespaces=true",
        "rbac.readNamespaces=true",
        &repository,
        &tag,
    ];
    let mut chart = vec!["deploy/charts/vault-issuer"];
    settings.iter().for_each(|setting| chart.extend(["--set", setting]));
    helm(cluster, "vault-issuer", &chart)
}

/// Installs a chart into a namespace of the same name, and waits until it runs.
fn helm(cluster: &Cluster, name: &str, chart: &[&str]) -> anyhow::Result<()> {
    let mut helm = Command::new("helm");
    helm.arg("--kubeconfig")
        .arg(&cluster.kubeconfig)
        .args(["install", name])
        .args(chart);
    run(helm.args(["--namespace", name, "--create-namespace", "--wait", "--timeout", "5m"]))
}

fn kubectl(kubeconfig: &Path, arguments: &[&str]) -> Command {
    let mut kubectl = Command::new("kubectl");
    kubectl.arg("--kubeconfig").arg(kubeconfig).args(arguments);
    kubectl
}

/// Returns a pod with OpenBao, or with Vault where there is no registry, its Service, service account and files.
fn vault_objects(servers: &Authority, clients: &Authority, offline: bool) -> anyhow::Result<Vec<Value>> {
    let pair = servers.server("vault", &["127.0.0.1", "vault.vault.svc", SERVER_NAME])?;
    let listeners = Listeners {
        host: "0.0.0.0",
        port: 8200,
        mutual: 8300,
        files: PathBuf::from("/vault/files"),
    };
    let mut config = configuration(&listeners, json!({ "file": { "path": "/vault/data" } }));
    config["api_addr"] = json!("https://vault.vault.svc:8200");
    let (image, program) = if offline {
        (offline::VAULT, "vault")
    } else {
        // By default OpenBao takes audit devices from its configuration only.
        config["unsafe_allow_api_audit_creation"] = json!(true);
        (OPENBAO, "bao")
    };
    let data = json!({
        "vault.json": STANDARD.encode(config.to_string()),
        "vault.crt": STANDARD.encode(pair.certificate),
        "vault.key": STANDARD.encode(pair.key),
        "vault-clients.crt": STANDARD.encode(&clients.pem),
    });
    let metadata = json!({ "name": "vault", "namespace": "vault", "labels": { "app": "vault" } });
    let container = json!({
        "name": "vault",
        "image": image,
        "command": [program, "server", "-config=/vault/files/vault.json"],
        "env": [{ "name": "SKIP_SETCAP", "value": "true" }],
        "volumeMounts": [
            { "name": "files", "mountPath": "/vault/files", "readOnly": true },
            { "name": "data", "mountPath": "/vault/data" },
        ],
        // A forwarded port ends with the first connection that is refused.
        "readinessProbe": { "tcpSocket": { "port": 8200 }, "periodSeconds": 1 },
    });
    let ports = [8200, 8300].map(|port| json!({ "name": format!("port-{port}"), "port": port }));
    let volumes = json!([{ "name": "files", "secret": { "secretName": "vault" } }, { "name": "data", "emptyDir": {} }]);
    let pod = json!({ "serviceAccountName": "vault", "containers": [container], "volumes": volumes });
    Ok(vec![
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "vault" } }),
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata }),
        cluster::token_reviewer_binding(),
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data }),
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod }),
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": { "selector": { "app": "vault" }, "ports": ports },
        }),
    ])
}
