//! The servers as processes of this program, on loopback.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use anyhow::{Context, ensure};
use kube::Client;
use serde_json::json;

use super::certmanager::CertManager;
use super::cluster::{self, ADMIN, Cluster};
use super::components::Components;
use super::controller::{ALL_SERVERS, Binary, Controller, Launch, NAMESPACE};
use super::process::Process;
use super::say;
use super::vault::{self, Admin, Vault};

/// The servers on loopback, in the order in which they are stopped.
pub(crate) struct Local {
    /// Our controller, unless a case has stopped it.
    pub(crate) controller: Option<Controller>,
    /// cert-manager.
    pub(crate) cert_manager: CertManager,
    /// Vault.
    pub(crate) vault: vault::Server,
    /// The Kubernetes API.
    pub(crate) cluster: Cluster,
    /// The folder of logs and configuration.
    pub(crate) dir: PathBuf,
    /// Our binary.
    pub(crate) binary: Binary,
    /// The binary with cert-manager's controllers.
    pub(crate) cert_manager_binary: PathBuf,
    /// kubectl, in the API server's version.
    pub(crate) kubectl: PathBuf,
    token: String,
}

impl Local {
    /// Starts all servers.
    pub(crate) async fn start(
        dir: PathBuf,
        components: &Components,
        binary: Binary,
    ) -> anyhow::Result<(Client, Vault, Self)> {
        say("starting etcd, kube-apiserver, kube-controller-manager");
        let cluster = Cluster::start(&dir, components).await?;
        let client = cluster::client(&cluster.kubeconfig(ADMIN)).await?;
        let reviewer = prepare(&client).await?;
        say("starting Vault");
        let kubernetes = json!({
            "kubernetes_host": format!("https://127.0.0.1:{}", cluster.port),
            "kubernetes_ca_cert": cluster.ca,
            "token_reviewer_jwt": reviewer,
            "disable_local_ca_jwt": true,
        });
        let (server, vault) = vault::launch(&dir, components.vault())
            .await?
            .set_up(kubernetes)
            .await?;
        say("starting cert-manager");
        let cert_manager = CertManager::start(&dir, components, &cluster, &client).await?;
        say("starting vault-issuer");
        let token = cluster::service_account_token(&client, NAMESPACE, "vault-issuer").await?;
        let mut local = Self {
            controller: None,
            cert_manager,
            vault: server,
            cluster,
            dir,
            binary,
            cert_manager_binary: components.cert_manager(),
            kubectl: components.kubectl(),
            token,
        };
        local.start_controller().await?;
        Ok((client, vault, local))
    }

    /// Returns the secrets of the servers themselves.
    pub(crate) fn canaries(&self) -> impl Iterator<Item = &str> {
        [self.token.as_str()].into_iter()
    }

    /// Returns the logs of our controllers.
    pub(crate) fn controller_log(&self) -> anyhow::Result<String> {
        controller_logs(&self.dir)
    }

    /// Restores servers that a failed case has left dead, stopped, sealed or behind a proxy.
    pub(crate) async fn restore(&mut self, admin: &Admin) -> anyhow::Result<()> {
        if self.controller.is_some() {
            self.stop_controller()?;
        }
        self.cluster.restore().await?;
        self.cert_manager.restore()?;
        self.vault.restart(admin).await?;
        self.start_controller().await
    }

    /// Leaves the servers running; returns the administrator's kubeconfig and the command that stops them.
    pub(crate) fn keep(&mut self) -> anyhow::Result<(PathBuf, String)> {
        let pids: Vec<String> = self
            .processes()
            .into_iter()
            .map(|process| process.keep().to_string())
            .collect();
        fs::write(self.dir.join("pids"), pids.join(" "))?;
        // On SIGTERM an API server waits for its etcd, which has ended by then.
        Ok((self.cluster.kubeconfig(ADMIN), format!("kill -9 {}", pids.join(" "))))
    }

    /// Starts our controller with its service account.
    pub(crate) async fn start_controller(&mut self) -> anyhow::Result<()> {
        self.start_controller_at(self.cluster.port).await
    }

    /// Starts our controller with its service account and the API server at `port`.
    pub(crate) async fn start_controller_at(&mut self, port: u16) -> anyhow::Result<()> {
        ensure!(self.controller.is_none(), "the controller runs already");
        self.controller = Some(self.launch(port)?.start("vault-issuer", &[]).await?);
        Ok(())
    }

    /// Restarts our controller with further flags.
    pub(crate) async fn restart_controller_with(&mut self, flags: &[&str]) -> anyhow::Result<()> {
        self.restart_controller_in(&[], flags).await
    }

    /// Restarts our controller in an environment with these variables.
    pub(crate) async fn restart_controller_in(
        &mut self,
        variables: &[(&'static str, String)],
        flags: &[&str],
    ) -> anyhow::Result<()> {
        if self.controller.is_some() {
            self.stop_controller()?;
        }
        let launch = Launch {
            variables: variables.to_vec(),
            ..self.launch(self.cluster.port)?
        };
        self.controller = Some(launch.start("vault-issuer", flags).await?);
        Ok(())
    }

    /// Returns the parameters of our controller with the API server at `port`.
    pub(crate) fn launch(&self, port: u16) -> anyhow::Result<Launch> {
        Ok(Launch {
            dir: self.dir.clone(),
            binary: self.binary.clone(),
            kubeconfig: self.cluster.write_kubeconfig("vault-issuer", port, &self.token)?,
            memory: None,
            allowed_servers: Some(ALL_SERVERS),
            variables: Vec::new(),
        })
    }

    /// Stops our controller with SIGTERM.
    pub(crate) fn stop_controller(&mut self) -> anyhow::Result<ExitStatus> {
        let status = self.controller()?.process().stop()?;
        self.controller = None;
        Ok(status)
    }

    /// Returns our controller's process.
    pub(crate) fn controller(&mut self) -> anyhow::Result<&mut Controller> {
        self.controller.as_mut().context("the controller does not run")
    }

    /// Returns all processes.
    pub(crate) fn processes(&mut self) -> Vec<&mut Process> {
        let mut all: Vec<&mut Process> = self.controller.iter_mut().map(Controller::process).collect();
        all.extend(self.cert_manager.processes());
        all.push(self.vault.process());
        all.extend(self.cluster.processes());
        all
    }
}

/// Applies our manifests, and creates a service account with which Vault reviews tokens; returns its token.
async fn prepare(client: &Client) -> anyhow::Result<String> {
    let namespace = |name: &str| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    for name in [NAMESPACE, "vault"] {
        cluster::apply_object(client, namespace(name)).await?;
    }
    for folder in ["deploy/crds", "deploy/rbac"] {
        apply_folder(client, Path::new(folder)).await?;
    }
    let account = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": "vault", "namespace": "vault" },
    });
    cluster::apply_object(client, account).await?;
    cluster::apply_object(client, cluster::token_reviewer_binding()).await?;
    cluster::service_account_token(client, "vault", "vault").await
}

/// Returns the logs of our controllers, concatenated.
fn controller_logs(dir: &Path) -> anyhow::Result<String> {
    let mut logs = fs::read_dir(dir)?
        .map(|entry| Ok(entry?.path()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("vault-issuer") && name.ends_with(".log")
    };
    logs.retain(is_ours);
    logs.sort();
    logs.iter().map(|path| Ok(fs::read_to_string(path)?)).collect()
}

async fn apply_folder(client: &Client, folder: &Path) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    files.sort();
    for file in files {
        let text = fs::read_to_string(&file)?;
        cluster::apply(client, &text)
            .await
            .with_context(|| format!("cannot apply {}", file.display()))?;
    }
    Ok(())
}
