//! What cases run on: a Kubernetes API with cert-manager and our controller, and a Vault.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, ensure};
use kube::Client;
use serde_json::json;

use super::certmanager::CertManager;
use super::cluster::{self, ADMIN, Cluster};
use super::components::Components;
use super::controller::{Binary, Controller, Launch, NAMESPACE};
use super::process::{Process, alive};
use super::vault::{self, Vault};
use super::{kind, say};

/// The servers, as cases see them.
pub(crate) struct Env {
    /// A client that may do everything.
    pub(crate) client: Client,
    /// Vault.
    pub(crate) vault: Vault,
    /// The servers as processes of this program, or the cluster they run in.
    pub(crate) provider: Provider,
    canaries: Mutex<Vec<String>>,
}

/// Who runs the servers.
pub(crate) enum Provider {
    /// This program, on loopback.
    Local(tokio::sync::Mutex<Local>),
    /// A kind cluster.
    Kind(kind::Cluster),
}

/// The servers on loopback, in the order in which they end.
pub(crate) struct Local {
    /// Our controller, unless a case has ended it.
    pub(crate) controller: Option<Controller>,
    /// cert-manager.
    pub(crate) cert_manager: CertManager,
    /// Vault.
    pub(crate) vault: vault::Server,
    /// The Kubernetes API.
    pub(crate) cluster: Cluster,
    /// Where logs and configuration lie.
    pub(crate) dir: PathBuf,
    /// Our binary.
    pub(crate) binary: Binary,
    /// The binary with cert-manager's controllers.
    pub(crate) cert_manager_binary: PathBuf,
    /// kubectl, of the API server's version.
    pub(crate) kubectl: PathBuf,
    token: String,
}

impl Env {
    /// Starts all servers on loopback.
    pub(crate) async fn local(dir: PathBuf, components: &Components, binary: Binary) -> anyhow::Result<Self> {
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
        let mut local = Local {
            controller: None,
            cert_manager,
            vault: server,
            cluster,
            dir,
            binary,
            cert_manager_binary: components.cert_manager(),
            kubectl: components.kubectl(),
            token: token.clone(),
        };
        local.start_controller().await?;
        let env = Self::new(client, vault, Provider::Local(tokio::sync::Mutex::new(local)));
        env.canary(&token);
        Ok(env)
    }

    /// Puts servers that run already together.
    pub(crate) fn new(client: Client, vault: Vault, provider: Provider) -> Self {
        Self {
            client,
            vault,
            provider,
            canaries: Mutex::new(Vec::new()),
        }
    }

    /// Returns the servers on loopback, to be stopped and started.
    pub(crate) async fn local_servers(&self) -> anyhow::Result<tokio::sync::MutexGuard<'_, Local>> {
        match &self.provider {
            Provider::Local(local) => Ok(local.lock().await),
            Provider::Kind(_) => anyhow::bail!("the servers are not processes of this program"),
        }
    }

    /// Returns all that our controllers have logged.
    pub(crate) async fn controller_log(&self) -> anyhow::Result<String> {
        match &self.provider {
            Provider::Local(local) => controller_logs(&local.lock().await.dir),
            Provider::Kind(cluster) => cluster.controller_log(),
        }
    }

    /// Brings back what a case may have left killed, stopped, sealed or dialled through a proxy.
    pub(crate) async fn restore(&self) -> anyhow::Result<()> {
        let Provider::Local(local) = &self.provider else {
            return Ok(());
        };
        let mut local = local.lock().await;
        if local.controller.is_some() {
            local.stop_controller()?;
        }
        local.cluster.restore().await?;
        local.vault.restart(&self.vault.admin).await?;
        local.start_controller().await
    }

    /// Leaves the servers running and says where they are and how to stop them.
    pub(crate) async fn keep(&mut self) -> anyhow::Result<()> {
        let (kubeconfig, stop) = match &mut self.provider {
            Provider::Kind(cluster) => (cluster.kubeconfig().to_owned(), cluster.keep()),
            Provider::Local(local) => {
                let local = local.get_mut();
                let pids: Vec<String> = local
                    .processes()
                    .into_iter()
                    .map(|process| process.keep().to_string())
                    .collect();
                fs::write(local.dir.join("pids"), pids.join(" "))?;
                // An API server that is asked to end waits for its etcd, which ends first.
                (local.cluster.kubeconfig(ADMIN), format!("kill -9 {}", pids.join(" ")))
            }
        };
        let vault = &self.vault;
        let ca = kubeconfig.with_file_name("vault-ca.crt");
        fs::write(&ca, &vault.ca)?;
        say(&format!(
            "the servers run on: export KUBECONFIG={}",
            kubeconfig.display()
        ));
        say(&format!(
            "Vault: export VAULT_ADDR={} VAULT_CACERT={}",
            vault.admin.base(),
            ca.display()
        ));
        say(&format!("       export VAULT_TOKEN={}", vault.admin.token()));
        say(&format!(
            "logs and configuration: {}",
            kubeconfig.with_file_name("").display()
        ));
        say(&format!("to stop them: {stop}"));
        Ok(())
    }

    /// Notes a secret down that must turn up in no log and no object but Secrets.
    pub(crate) fn canary(&self, secret: &str) {
        self.canaries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(secret.to_owned());
    }

    /// Returns the secrets noted down.
    pub(crate) fn canaries(&self) -> Vec<String> {
        self.canaries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Local {
    /// Starts our controller as its service account.
    pub(crate) async fn start_controller(&mut self) -> anyhow::Result<()> {
        self.start_controller_at(self.cluster.port).await
    }

    /// Starts our controller as its service account, which finds the API server at `port`.
    pub(crate) async fn start_controller_at(&mut self, port: u16) -> anyhow::Result<()> {
        ensure!(self.controller.is_none(), "the controller runs already");
        self.controller = Some(self.launch(port)?.start("vault-issuer", &[]).await?);
        Ok(())
    }

    /// Returns what it takes to start our controller as its service account, which finds the API server at `port`.
    pub(crate) fn launch(&self, port: u16) -> anyhow::Result<Launch> {
        Ok(Launch {
            dir: self.dir.clone(),
            binary: self.binary.clone(),
            kubeconfig: self.cluster.write_kubeconfig("vault-issuer", port, &self.token)?,
        })
    }

    /// Asks our controller to end and waits until it has.
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

/// Applies what users apply, and what Vault needs to review tokens; a token for Vault to do so.
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
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": { "name": "vault-reviews-tokens" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator" },
        "subjects": [{ "kind": "ServiceAccount", "name": "vault", "namespace": "vault" }],
    });
    cluster::apply_object(client, binding).await?;
    cluster::service_account_token(client, "vault", "vault").await
}

/// Returns the logs of our controllers, one after the other.
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

/// Makes a folder for one run below `target/e2e/`, and removes those of runs that have ended.
pub(crate) fn run_dir(root: &Path) -> anyhow::Result<PathBuf> {
    let runs = root.join("target/e2e");
    fs::create_dir_all(&runs)?;
    for entry in fs::read_dir(&runs)? {
        let path = entry?.path();
        let pids = fs::read_to_string(path.join("pids")).unwrap_or_default();
        if !pids.split_whitespace().filter_map(|pid| pid.parse().ok()).any(alive) {
            fs::remove_dir_all(&path)?;
        }
    }
    let own = std::process::id().to_string();
    let dir = runs.join(&own);
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("pids"), own)?;
    Ok(dir)
}
