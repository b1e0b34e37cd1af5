//! The environment of the cases: a Kubernetes API with cert-manager and our controller, and Vault.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kube::Client;

use super::controller::NAMESPACE;
use super::kind::Cluster;
use super::local::Local;
use super::provider::Provider;
use super::say;
use super::vault::Vault;

/// The servers, as cases see them.
pub(crate) struct Env {
    /// A client with all permissions.
    pub(crate) client: Client,
    /// Vault.
    pub(crate) vault: Vault,
    /// The processes of this program, or the cluster, that run the servers.
    pub(crate) provider: Provider,
    /// How many requests wait at once in a case.
    pub(crate) crowd: u32,
    canaries: Mutex<Vec<String>>,
}

impl Env {
    /// Puts running servers together.
    pub(crate) fn new(client: Client, vault: Vault, provider: Provider) -> Self {
        Self {
            client,
            vault,
            provider,
            crowd: 0,
            canaries: Mutex::new(Vec::new()),
        }
    }

    /// Sets how many requests wait at once in a case.
    pub(crate) fn with_crowd(self, crowd: u32) -> Self {
        Self { crowd, ..self }
    }

    /// Returns how long something may take with the crowd that takes `time` at most with 2 000 requests.
    pub(crate) fn time_for_crowd(&self, time: Duration) -> Duration {
        time.max(time * self.crowd / 2000)
    }

    /// Returns the servers on loopback; fails in a kind cluster.
    pub(crate) async fn local_servers(&self) -> anyhow::Result<tokio::sync::MutexGuard<'_, Local>> {
        match &self.provider {
            Provider::Local(local) => Ok(local.lock().await),
            Provider::Kind(_) => anyhow::bail!("the servers are not processes of this program"),
        }
    }

    /// Returns the kind cluster; fails on loopback.
    pub(crate) fn cluster(&self) -> anyhow::Result<&Cluster> {
        match &self.provider {
            Provider::Kind(cluster) => Ok(cluster),
            Provider::Local(_) => anyhow::bail!("the servers are not in a kind cluster"),
        }
    }

    /// Returns the logs of the controllers that serve a case.
    pub(crate) async fn controller_log(&self, case: &str) -> anyhow::Result<String> {
        match &self.provider {
            Provider::Local(local) => local.lock().await.controller_log(),
            Provider::Kind(cluster) => cluster.controller_log(case).await,
        }
    }

    /// Restores what a failed case has left dead, stopped, sealed, behind a proxy or uninstalled.
    pub(crate) async fn restore(&self) -> anyhow::Result<()> {
        match &self.provider {
            Provider::Local(local) => local.lock().await.restore(&self.vault.admin).await,
            Provider::Kind(cluster) => cluster.restore().await,
        }
    }

    /// Leaves the servers running; prints where they are and how to stop them.
    pub(crate) fn keep(&mut self) -> anyhow::Result<()> {
        let (kubeconfig, stop) = match &mut self.provider {
            Provider::Kind(cluster) => (cluster.kubeconfig().to_owned(), cluster.keep()),
            Provider::Local(local) => local.get_mut().keep()?,
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

    /// Returns the namespace of the controller that serves a case.
    pub(crate) fn controller_namespace(&self, case: &str) -> String {
        match &self.provider {
            Provider::Local(_) => NAMESPACE.into(),
            Provider::Kind(cluster) => cluster.namespace_for(case),
        }
    }

    /// Adds a secret that must not appear in a log, nor in an object that is not a Secret.
    pub(crate) fn canary(&self, secret: &str) {
        self.canaries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(secret.to_owned());
    }

    /// Returns the secrets that must not appear.
    pub(crate) fn canaries(&self) -> Vec<String> {
        self.canaries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
