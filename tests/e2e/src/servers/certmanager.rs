//! cert-manager: its CRDs, its controllers, and its approver as a separate process and user.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kube::Client;
use serde_json::json;

use super::cluster::{APPROVER, CERT_MANAGER, Cluster, apply, apply_object};
use super::components::Components;
use super::process::Process;

/// The processes of cert-manager.
pub(crate) struct CertManager {
    controllers: Process,
    approver: Process,
    /// The folder of the logs.
    dir: PathBuf,
    binary: PathBuf,
    kubeconfig: PathBuf,
    /// Whether the controllers are those that every case starts with.
    is_default: bool,
}

/// The controllers that every case starts with.
const CONTROLLERS: &str = "*,-certificaterequests-approver";

/// The ClusterRole that allows the approver to approve in the namespaces that bind it.
pub(crate) const APPROVE: &str = "e2e-approve";

impl CertManager {
    /// Applies the CRDs and starts the controllers.
    ///
    /// The approver is a separate user, which approves only in namespaces that bind it the ClusterRole `e2e-approve`;
    /// in the others the test case decides.
    pub(crate) async fn start(
        dir: &Path,
        components: &Components,
        cluster: &Cluster,
        client: &Client,
    ) -> anyhow::Result<Self> {
        for entry in fs::read_dir(components.cert_manager_crds())? {
            let manifest = fs::read_to_string(entry?.path())?;
            // Old ones belong to a chart, and have labels that Helm fills in.
            let lines = manifest.lines().filter(|line| !line.contains("{{"));
            apply(client, &lines.collect::<Vec<_>>().join("\n")).await?;
        }
        rights(client).await?;
        let binary = components.cert_manager();
        let start = |name: &str, user: &str, controllers: &str| {
            start(dir, &binary, name, &cluster.kubeconfig(user), controllers)
        };
        Ok(Self {
            controllers: start("cert-manager", CERT_MANAGER, CONTROLLERS)?,
            approver: start("cert-manager-approver", APPROVER, "certificaterequests-approver")?,
            dir: dir.to_owned(),
            kubeconfig: cluster.kubeconfig(CERT_MANAGER),
            is_default: true,
            binary,
        })
    }

    /// Restarts the controllers without these, such as `certificaterequests-issuer-vault`.
    pub(crate) fn restart_without(&mut self, controllers: &[&str]) -> anyhow::Result<()> {
        self.stop()?;
        let without = controllers.iter().map(|controller| format!(",-{controller}"));
        let enabled = CONTROLLERS.to_owned() + &without.collect::<String>();
        self.controllers = start(&self.dir, &self.binary, "cert-manager", &self.kubeconfig, &enabled)?;
        self.is_default = controllers.is_empty();
        Ok(())
    }

    /// Stops the controllers until they are restarted.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        self.is_default = false;
        if self.controllers.check().is_ok() {
            self.controllers.stop()?;
        }
        Ok(())
    }

    /// Starts the controllers that every case starts with, if a case has left others.
    pub(crate) fn restore(&mut self) -> anyhow::Result<()> {
        if self.is_default {
            return Ok(());
        }
        self.restart_without(&[])
    }

    /// Returns the processes.
    pub(crate) fn processes(&mut self) -> [&mut Process; 2] {
        [&mut self.controllers, &mut self.approver]
    }
}

fn start(dir: &Path, binary: &Path, name: &str, kubeconfig: &Path, controllers: &str) -> anyhow::Result<Process> {
    let mut command = Command::new(binary);
    command.arg("-kubeconfig").arg(kubeconfig);
    command.args([
        "-cluster-resource-namespace",
        "vault-issuer",
        "-controllers",
        controllers,
    ]);
    Process::start(dir, name, &mut command)
}

/// Allows the approver to read everywhere, and defines its ClusterRole for approval.
async fn rights(client: &Client) -> anyhow::Result<()> {
    let role = |name: &str, rules| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": { "name": name },
            "rules": rules,
        })
    };
    let read = json!([{ "apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"] }]);
    let approve = json!([{
        "apiGroups": ["cert-manager.io"],
        "resources": ["certificaterequests", "certificaterequests/status"],
        "verbs": ["update", "patch"],
    }]);
    apply_object(client, role("e2e-read", read)).await?;
    apply_object(client, role(APPROVE, approve)).await?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": { "name": "e2e-read" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "e2e-read" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": APPROVER }],
    });
    apply_object(client, binding).await
}
