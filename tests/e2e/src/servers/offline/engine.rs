//! Debian's Docker engine, in the namespaces of this process.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use super::{images, leftovers};
use crate::servers::process::{Process, eventually};
use crate::servers::say;
use xtask::process::{read, run};

/// The engine; its process is stopped on drop.
pub(crate) struct Engine {
    dir: PathBuf,
    docker: Process,
}

impl Engine {
    /// The name of the node image.
    pub(crate) const NODE_IMAGE: &str = "localhost/node:e2e";

    /// Starts the engine with its data in `dir`, and loads the node image.
    pub(crate) async fn start(dir: &Path) -> anyhow::Result<Self> {
        say("starting the Docker engine");
        let own = xtask::root().join("tests/components/node/image/runc.sh");
        let mut dockerd = Command::new("dockerd");
        dockerd
            .arg("--data-root")
            .arg(dir.join("docker"))
            .args(["--storage-driver", "overlay2", "--default-runtime", "node"])
            .args(["--exec-opt", "native.cgroupdriver=cgroupfs"])
            .arg(format!("--cgroup-parent=/{}", leftovers::group(dir)))
            .arg(format!("--add-runtime=node={}", own.display()));
        let docker = Process::start(dir, "dockerd", &mut dockerd)?;
        let mut engine = Self {
            dir: dir.to_owned(),
            docker,
        };
        eventually(Duration::from_secs(60), async || {
            engine.docker.check()?;
            read(Command::new("docker").args(["version", "--format", "{{.Server.Version}}"]))
        })
        .await
        .context("the Docker engine does not start")?;
        run(Command::new("docker")
            .args(["import", "--change", "ENV container=docker", "--change"])
            .arg("ENTRYPOINT [\"/usr/local/bin/node-entrypoint\", \"/sbin/init\"]")
            .arg(dir.join("node.tar"))
            .arg(Self::NODE_IMAGE)
            .stdout(Stdio::null()))?;
        Ok(engine)
    }

    /// Returns the archive of our controller's image.
    pub(crate) fn controller(&self) -> PathBuf {
        images::controller(&self.dir)
    }

    /// Returns the command that opens a shell in the namespaces of the engine.
    pub(crate) fn shell(&self) -> String {
        // The folder of the run is named after the process that waits outside of them for the one that made them.
        let outside = self.dir.file_name().unwrap_or_default().display();
        format!("nsenter --target \"$(pgrep --parent \"$(pgrep --parent {outside})\")\" --net --mount --pid")
    }

    /// Returns the folder with cert-manager's CRDs.
    pub(crate) fn cert_manager_crds(&self) -> PathBuf {
        self.dir.join("crds")
    }
}
