//! A Docker engine, a node image and all other images without a registry and without a machine that is set up for it.
//!
//! [`build`] builds everything. [`run`] starts this program again as the first process of new network, mount and process
//! namespaces; there [`Engine`] runs Debian's Docker engine beside it, and the provider `kind` works as it does
//! elsewhere. When this program ends, for any reason, the kernel ends all processes of the namespaces and drops their
//! mounts and networks; what else the engine has made is removed unless this program was killed.

mod engine;
mod images;
mod leftovers;
mod node;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::iter;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, ensure};

pub(crate) use engine::Engine;
pub(crate) use images::{CERT_MANAGER, CONTROLLER, OPENBAO};

use super::components::{Choice, Components};
use super::controller::{self, Profile};
use super::process::run_dir;
use super::say;
use leftovers::Leftovers;
use node::Node;

/// Makes the namespaces: when this command is killed, so is its child.
const NAMESPACES: [&str; 6] = [
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--mount-proc",
    "--kill-child=SIGKILL",
];

/// Prepares the namespaces for the engine: mounts that containers can share, a separate `/run`, a network.
const PREPARE: &str = "mount --make-rshared / && mount -t tmpfs tmpfs /run && ip link set lo up && \
                       echo 1 > /proc/sys/net/ipv4/ip_forward && exec \"$@\"";

/// The folder of programs that are first in the search path, in the folder of a run.
const BIN: &str = "bin";

/// How often the end of the run is looked for.
const PAUSE: Duration = Duration::from_millis(100);

/// Programs and the Debian packages that contain them, which `.ci/run` installs.
const PACKAGES: [(&str, &str); 8] = [
    ("dockerd", "docker.io"),
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("mmdebstrap", "mmdebstrap"),
    ("jq", "jq"),
    ("busybox", "busybox-static"),
];

/// Returns what keeps the engine from running here, if anything does.
pub(crate) fn missing() -> Option<String> {
    if let Some(missing) = servers().missing() {
        return Some(missing.into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let found = |program: &str| env::split_paths(&path).any(|folder| folder.join(program).is_file());
    let packages: Vec<&str> = PACKAGES
        .iter()
        .filter(|(program, _)| !found(program))
        .map(|(_, package)| *package)
        .collect();
    if !packages.is_empty() {
        return Some(format!("Debian packages are missing: {}", packages.join(" ")));
    }
    let output = Command::new("unshare").args(NAMESPACES).arg("true").output();
    match output {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!(
            "root with CAP_SYS_ADMIN, which makes namespaces, is needed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => Some(format!("unshare, of the Debian package util-linux: {error}")),
    }
}

/// Returns the servers: the current versions, with OpenBao.
fn servers() -> Choice {
    Choice::default().with_other_vault()
}

/// Builds everything, and puts it into the folder of a run.
pub(crate) fn build() -> anyhow::Result<PathBuf> {
    let root = xtask::root();
    let components = Components::build(&root, &servers())?;
    let node = Node::build(&root, &components)?;
    say("building vault-issuer");
    let controller = controller::build(Profile::Dev)?;
    let dir = run_dir(&root)?;
    images::write_controller(&dir, &controller.path)?;
    let bin = dir.join(BIN);
    fs::create_dir_all(&bin)?;
    for (program, name) in [
        (node.kind(), "kind"),
        (components.kubectl(), "kubectl"),
        (node.helm(), "helm"),
    ] {
        symlink(program, bin.join(name))?;
    }
    symlink(node.root(), dir.join("node.tar"))?;
    symlink(components.cert_manager_crds(), dir.join("crds"))?;
    Ok(dir)
}

/// Runs this program in new namespaces, with the same arguments and `--within`, and removes what it leaves outside.
pub(crate) async fn run(dir: &Path) -> anyhow::Result<()> {
    let _leftovers = Leftovers::of(dir);
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "unshare"])
        .args(NAMESPACES)
        .args(["sh", "-c", PREPARE, "sh"])
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .arg("--within")
        .arg(dir)
        .env("PATH", with_front(&dir.join(BIN))?)
        // Ctrl-C reaches this process alone, which then ends the other.
        .process_group(0);
    let mut within = Within(command.spawn().context("cannot run setpriv")?);
    loop {
        if let Some(status) = within.0.try_wait()? {
            ensure!(status.success(), "the run ended with {status}");
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The process whose child is the first one in the namespaces; killed on drop.
struct Within(Child);

impl Drop for Within {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the search path with `folder` before all others.
fn with_front(folder: &Path) -> anyhow::Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = iter::once(folder.to_owned()).chain(env::split_paths(&path)).collect();
    Ok(env::join_paths(folders)?)
}
