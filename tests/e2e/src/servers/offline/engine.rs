//! Debian's Docker engine, in the namespaces of this process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use super::images;
use crate::servers::process::{Process, eventually};
use crate::servers::say;
use xtask::process::{read, run};

/// The name of the node image.
const NODE: &str = "localhost/node:e2e";

/// The engine, stopped on drop.
pub(crate) struct Engine {
    dir: PathBuf,
    docker: Process,
}

impl Engine {
    /// Starts the engine with its data in `dir`, and loads the node image.
    pub(crate) async fn start(dir: &Path) -> anyhow::Result<Self> {
        say("starting the Docker engine");
        let own = xtask::root().join("tests/components/node/image/runc.sh");
        let mut dockerd = Command::new("dockerd");
        dockerd
            .arg("--data-root")
            .arg(dir.join("docker"))
            .args(["--storage-driver", "overlay2", "--default-runtime", "node"])
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
            .arg(NODE)
            .stdout(Stdio::null()))?;
        Ok(engine)
    }

    /// Returns the arguments with which `kind create cluster` makes a cluster of the node image.
    pub(crate) fn kind_arguments(&self) -> [String; 4] {
        let config = xtask::root().join("tests/components/node/image/kind.yaml");
        [
            "--image".into(),
            NODE.into(),
            "--config".into(),
            config.display().to_string(),
        ]
    }

    /// Loads the images of the pods into the cluster `name`.
    pub(crate) fn load_images(&self, name: &str) -> anyhow::Result<()> {
        for archive in images::archives(&self.dir) {
            let mut kind = Command::new("kind");
            run(kind.args(["load", "image-archive", "--name", name]).arg(archive))?;
        }
        Ok(())
    }

    /// Returns the command that opens a shell in the namespaces of the engine.
    pub(crate) fn shell(&self) -> String {
        // The folder of the run is named after the process that waits outside of them.
        let outside = self.dir.file_name().unwrap_or_default().display();
        format!("nsenter --target \"$(pgrep --parent {outside})\" --net --mount --pid")
    }

    /// Returns the folder with cert-manager's CRDs.
    pub(crate) fn cert_manager_crds(&self) -> PathBuf {
        self.dir.join("crds")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.docker.stop();
        // The files of containers, which nobody reads after the run, are the largest part of its folder.
        let _ = fs::remove_dir_all(self.dir.join("docker"));
        for archive in images::archives(&self.dir) {
            let _ = fs::remove_file(archive);
        }
    }
}
