//! Our controller, as a process with the permissions of `deploy/`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::memory_limit::MemoryLimit;
use super::process::{Process, eventually, free_port};
use xtask::process;

/// The namespace of the controller: its service account, its Lease, the Secrets of cluster issuers.
pub(crate) const NAMESPACE: &str = "vault-issuer";

/// The controller's binary.
pub(crate) enum Profile {
    /// Built with the profile that is fast to build.
    Dev,
    /// That of the image.
    Release,
    /// A given one.
    Given(PathBuf),
}

/// Our binary and its log level.
#[derive(Clone)]
pub(crate) struct Binary {
    /// The path.
    pub(crate) path: PathBuf,
    log_level: &'static str,
}

/// The parameters of a controller process.
pub(crate) struct Launch {
    /// The folder of the logs.
    pub(crate) dir: PathBuf,
    /// The binary.
    pub(crate) binary: Binary,
    /// The kubeconfig.
    pub(crate) kubeconfig: PathBuf,
    /// The limit of its memory, if there is one.
    pub(crate) memory: Option<Arc<MemoryLimit>>,
    /// The servers that issuers may name; `None` for the controller's default.
    pub(crate) allowed_servers: Option<&'static str>,
    /// Further variables of its environment, as a pod has them.
    pub(crate) variables: Vec<(&'static str, String)>,
}

/// Every server. The servers here have loopback addresses, which issuers may not name by default.
pub(crate) const ALL_SERVERS: &str = "0.0.0.0/0,::/0";

/// A running `vault-issuer controller`.
pub(crate) struct Controller {
    process: Process,
    metrics: u16,
    probes: u16,
}

impl Launch {
    /// Starts a controller, which logs to `<name>.log`, and waits until it is ready.
    pub(crate) async fn start(&self, name: &str, flags: &[&str]) -> anyhow::Result<Controller> {
        let mut controller = self.spawn(name, flags)?;
        eventually(Duration::from_secs(60), async || {
            controller.process.check()?;
            page(controller.probes, "/readyz").await
        })
        .await
        .context("the controller is not ready")?;
        Ok(controller)
    }

    /// Starts a controller, which logs to `<name>.log`.
    pub(crate) fn spawn(&self, name: &str, flags: &[&str]) -> anyhow::Result<Controller> {
        let (metrics, probes) = (free_port()?, free_port()?);
        let mut command = match &self.memory {
            Some(limit) => limit.command(&self.binary.path),
            None => Command::new(&self.binary.path),
        };
        command
            .arg("controller")
            .args(["--cluster-resource-namespace", NAMESPACE])
            .args(["--metrics-bind-address", &format!("127.0.0.1:{metrics}")])
            .args(["--health-probe-bind-address", &format!("127.0.0.1:{probes}")])
            .args(["--leader-elect", "--leader-election-namespace", NAMESPACE])
            .args(["--issuer-check-interval", "60s"])
            .args(["--log-level", self.binary.log_level, "--log-format", "json"])
            .args(flags)
            .envs(self.variables.iter().map(|(name, value)| (*name, value)))
            .env("KUBECONFIG", &self.kubeconfig);
        if let Some(servers) = self.allowed_servers {
            command.args(["--allowed-servers", servers]);
        }
        Ok(Controller {
            process: Process::start(&self.dir, name, &mut command)?,
            metrics,
            probes,
        })
    }
}

impl Controller {
    /// Returns the process.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Converts into the process.
    pub(crate) fn into_process(self) -> Process {
        self.process
    }

    /// Returns the metrics page.
    pub(crate) async fn metrics(&self) -> anyhow::Result<String> {
        page(self.metrics, "/metrics").await
    }

    /// Returns the checks of the readiness probe, whether they pass or not.
    pub(crate) async fn readiness(&self) -> anyhow::Result<String> {
        let url = format!("http://127.0.0.1:{}/readyz?verbose", self.probes);
        tokio::task::spawn_blocking(move || {
            let config = ureq::Agent::config_builder().http_status_as_error(false).build();
            let agent = ureq::Agent::new_with_config(config);
            Ok(agent.get(&url).call()?.body_mut().read_to_string()?)
        })
        .await?
    }

    /// Asks the liveness probe; returns the time until the answer.
    pub(crate) async fn liveness(&self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        page(self.probes, "/healthz").await?;
        Ok(begun.elapsed())
    }
}

/// Builds the binary, unless it is given.
pub(crate) fn build(profile: Profile) -> anyhow::Result<Binary> {
    let (path, log_level) = match profile {
        Profile::Dev => {
            process::run(&mut process::cargo(["build", "--quiet", "--package", "vault-issuer"]))?;
            let here = std::env::current_exe()?;
            let target = here.ancestors().nth(2);
            let target = target.context("this program lies in no target folder")?;
            (target.join("debug/vault-issuer"), "debug")
        }
        Profile::Release => {
            let files = xtask::root().join("target/bench/image");
            let mut image = process::cargo(["run", "--quiet", "--package", "image", "--", "--files"]);
            process::run(image.arg(&files))?;
            (files.join("usr/local/bin/vault-issuer"), "info")
        }
        Profile::Given(path) => {
            let path = path.canonicalize().with_context(|| format!("no {}", path.display()))?;
            (path, "info")
        }
    };
    Ok(Binary { path, log_level })
}

/// Returns a page of a loopback port.
async fn page(port: u16, path: &str) -> anyhow::Result<String> {
    let url = format!("http://127.0.0.1:{port}{path}");
    tokio::task::spawn_blocking(move || Ok(ureq::get(&url).call()?.body_mut().read_to_string()?)).await?
}
