//! Our controller, as a process with the rights that `deploy/` gives it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use super::process::{Process, eventually, free_port};
use crate::process;

/// The namespace that the controller lives in: its service account, its lease, the Secrets of cluster issuers.
pub(crate) const NAMESPACE: &str = "vault-issuer";

/// How the controller is built.
#[derive(Clone, Copy)]
pub(crate) enum Profile {
    /// Quick to build.
    Dev,
    /// As it is shipped.
    Release,
}

/// Our binary, and how much of what it does is logged.
#[derive(Clone)]
pub(crate) struct Binary {
    /// Where it lies.
    pub(crate) path: PathBuf,
    log_level: &'static str,
}

/// What it takes to start our controller.
pub(crate) struct Launch {
    /// Where logs lie.
    pub(crate) dir: PathBuf,
    /// The binary.
    pub(crate) binary: Binary,
    /// The kubeconfig.
    pub(crate) kubeconfig: PathBuf,
}

/// A running `vault-issuer controller`.
pub(crate) struct Controller {
    process: Process,
    metrics: u16,
}

impl Launch {
    /// Starts a controller, which logs to `<name>.log`, and waits until it is ready.
    pub(crate) async fn start(&self, name: &str, flags: &[&str]) -> anyhow::Result<Controller> {
        let (metrics, probes) = (free_port()?, free_port()?);
        let mut command = Command::new(&self.binary.path);
        command
            .arg("controller")
            .args(["--cluster-resource-namespace", NAMESPACE])
            .args(["--metrics-bind-address", &format!("127.0.0.1:{metrics}")])
            .args(["--health-probe-bind-address", &format!("127.0.0.1:{probes}")])
            .args(["--leader-elect", "--leader-election-namespace", NAMESPACE])
            .args(["--issuer-check-interval", "60s"])
            // The servers here have loopback addresses.
            .args(["--allowed-servers", "0.0.0.0/0,::/0"])
            .args(["--log-level", self.binary.log_level, "--log-format", "json"])
            .args(flags)
            .env("KUBECONFIG", &self.kubeconfig);
        let mut process = Process::start(&self.dir, name, &mut command)?;
        eventually(Duration::from_secs(60), async || {
            process.check()?;
            page(probes, "/readyz").await
        })
        .await
        .context("the controller is not ready")?;
        Ok(Controller { process, metrics })
    }
}

impl Controller {
    /// Returns the process.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Gives the process away.
    pub(crate) fn into_process(self) -> Process {
        self.process
    }

    /// Returns the metrics page.
    pub(crate) async fn metrics(&self) -> anyhow::Result<String> {
        page(self.metrics, "/metrics").await
    }
}

/// Builds the binary.
pub(crate) fn build(profile: Profile) -> anyhow::Result<Binary> {
    let mut cargo = process::cargo(["build", "--quiet", "--package", "vault-issuer"]);
    let (folder, log_level) = match profile {
        Profile::Dev => ("debug", "debug"),
        Profile::Release => ("release", "info"),
    };
    if folder == "release" {
        cargo.arg("--release");
    }
    process::run(&mut cargo)?;
    let here = std::env::current_exe()?;
    let target = here
        .ancestors()
        .nth(2)
        .context("this program lies in no target folder")?;
    Ok(Binary {
        path: target.join(folder).join("vault-issuer"),
        log_level,
    })
}

/// Returns a page of a loopback port.
async fn page(port: u16, path: &str) -> anyhow::Result<String> {
    let url = format!("http://127.0.0.1:{port}{path}");
    tokio::task::spawn_blocking(move || Ok(ureq::get(&url).call()?.body_mut().read_to_string()?)).await?
}
