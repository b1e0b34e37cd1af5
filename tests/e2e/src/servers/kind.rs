//! A kind cluster with cert-manager and our chart, by Helm, and OpenBao in a pod; needs Docker.
//!
//! Cases that stop servers, approve requests themselves, or create requests that cert-manager's webhook rejects run on
//! loopback only.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::Client;
use serde_json::{Value, json};

use super::audit::Audit;
use super::process::{Process, eventually, free_port};
use super::vault::{Admin, Listeners, SERVER_NAME, Vault, configuration};
use super::{cluster, say};
use crate::pki::Authority;
use crate::process::{read, run};

const NAME: &str = "vault-issuer-e2e";
const IMAGE: &str = "vault-issuer";
const CERT_MANAGER: &str = "v1.21.2";
const OPENBAO: &str = "openbao/openbao:2.6.2";
const AUDIT: &str = "/tmp/audit.log";

/// A kind cluster, deleted on drop.
pub(crate) struct Cluster {
    kubeconfig: PathBuf,
    forward: Option<Process>,
    kept: bool,
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

    /// Leaves the cluster running, and returns the command that deletes it.
    pub(crate) fn keep(&mut self) -> String {
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

/// Creates the cluster, with files in `dir`, and installs everything.
pub(crate) async fn start(dir: &Path) -> anyhow::Result<(Client, Vault, Cluster)> {
    let kubeconfig = dir.join("admin.kubeconfig");
    say("creating a kind cluster");
    let mut kind = Command::new("kind");
    run(kind
        .args(["create", "cluster", "--name", NAME, "--wait", "180s", "--kubeconfig"])
        .arg(&kubeconfig))?;
    // From here on the cluster is deleted on every return.
    let mut cluster = Cluster {
        forward: None,
        kubeconfig,
        kept: false,
    };
    install(&cluster)?;
    let client = cluster::client(&cluster.kubeconfig).await?;
    let (servers, clients) = (
        Authority::new("e2e Vault servers")?,
        Authority::new("e2e Vault clients")?,
    );
    for object in vault_objects(&servers, &clients)? {
        cluster::apply_object(&client, object).await?;
    }
    let ready = [
        "--namespace",
        "vault",
        "wait",
        "pod/vault",
        "--for=jsonpath={.status.phase}=Running",
        "--timeout=300s",
    ];
    run(&mut cluster.kubectl(&ready))?;
    let port = free_port()?;
    let ports = format!("{port}:8200");
    let mut forward = cluster.kubectl(&["--namespace", "vault", "port-forward", "pod/vault", &ports]);
    cluster.forward = Some(Process::start(dir, "port-forward", &mut forward)?);
    let admin = Admin::new(&format!("https://127.0.0.1:{port}"), &servers.pem, "")?;
    eventually(Duration::from_secs(60), async || admin.answers().await).await?;
    let keys = admin.initialise().await?;
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

/// Builds our image, and installs cert-manager and our chart.
fn install(cluster: &Cluster) -> anyhow::Result<()> {
    say("building the image");
    let image = format!("{IMAGE}:e2e");
    run(Command::new("docker").args(["build", "--file", "deploy/Dockerfile", "--tag", &image, "."]))?;
    run(Command::new("kind").args(["load", "docker-image", "--name", NAME, &image]))?;
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
    helm(cluster, "cert-manager", &chart)?;
    say("installing vault-issuer");
    let repository = format!("image.repository={IMAGE}");
    let settings = [
        "image.tag=e2e",
        &repository,
        "app.logLevel=debug",
        "credentials.allNamespaces=true",
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

/// Returns a pod with OpenBao, its Service, service account and files.
fn vault_objects(servers: &Authority, clients: &Authority) -> anyhow::Result<Vec<Value>> {
    let pair = servers.server("vault", &["127.0.0.1", "vault.vault.svc", SERVER_NAME])?;
    let listeners = Listeners {
        host: "0.0.0.0",
        port: 8200,
        mutual: 8300,
        files: PathBuf::from("/vault/files"),
    };
    let mut config = configuration(&listeners, json!({ "inmem": {} }));
    config["api_addr"] = json!("https://vault.vault.svc:8200");
    // By default OpenBao takes audit devices from its configuration only.
    config["unsafe_allow_api_audit_creation"] = json!(true);
    let data = json!({
        "vault.json": STANDARD.encode(config.to_string()),
        "vault.crt": STANDARD.encode(pair.certificate),
        "vault.key": STANDARD.encode(pair.key),
        "vault-clients.crt": STANDARD.encode(&clients.pem),
    });
    let metadata = json!({ "name": "vault", "namespace": "vault", "labels": { "app": "vault" } });
    let container = json!({
        "name": "vault",
        "image": OPENBAO,
        "command": ["bao", "server", "-config=/vault/files/vault.json"],
        "env": [{ "name": "SKIP_SETCAP", "value": "true" }],
        "volumeMounts": [{ "name": "files", "mountPath": "/vault/files", "readOnly": true }],
    });
    let ports = [8200, 8300].map(|port| json!({ "name": format!("port-{port}"), "port": port }));
    let files = json!([{ "name": "files", "secret": { "secretName": "vault" } }]);
    let pod = json!({ "serviceAccountName": "vault", "containers": [container], "volumes": files });
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
