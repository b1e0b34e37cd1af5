//! The node image, kind and Helm, built once into the cache.
//!
//! The Go programs are pinned by `tests/components/{node,coredns,kind}`; `tests/components/node/image/build.sh` puts
//! them into a minimal Debian.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use aws_lc_rs::digest;
use xtask::cache;

use crate::process::{read, run};
use crate::servers::components::Components;
use crate::servers::say;

/// The programs: wrapper module, package, name.
const PROGRAMS: [(&str, &str, &str); 6] = [
    ("kind", "sigs.k8s.io/kind", "kind"),
    ("coredns", ".", "coredns"),
    ("node", "k8s.io/kubernetes/cmd/kubelet", "kubelet"),
    ("node", "k8s.io/kubernetes/cmd/kubeadm", "kubeadm"),
    ("node", "k8s.io/kubernetes/cmd/kube-scheduler", "kube-scheduler"),
    ("node", "k8s.io/kubernetes/cmd/kube-proxy", "kube-proxy"),
];

/// As in the tests of the chart, which share the cache's program.
const HELM: &str = "helm.sh/helm/v4/cmd/helm@v4.3.1";

/// The node image and the programs that make a cluster of it.
pub(super) struct Node {
    /// The folder with `node.tar` and `kind`.
    folder: PathBuf,
    helm: PathBuf,
}

impl Node {
    /// Builds what is not in the cache.
    pub(super) fn build(root: &Path, components: &Components) -> anyhow::Result<Self> {
        let wrappers = root.join("tests/components");
        let cache = cache::dir()?;
        let done = cache
            .join("components")
            .join(format!("node-{}", key(&wrappers, components)?));
        if !done.is_dir() {
            say("building the node image (once; takes minutes)");
            // Built beside its final place and renamed, so a folder that exists is complete.
            let partial = done.with_file_name(format!(".node-{}", std::process::id()));
            let built = build_into(&wrappers, components, &partial);
            if built.is_ok() && !done.is_dir() {
                fs::rename(&partial, &done)?;
            } else {
                let _ = fs::remove_dir_all(&partial);
            }
            built.context("cannot build the node image")?;
        }
        let helm = cache.join("tools/bin/helm");
        if !helm.is_file() {
            say("building Helm (once; takes minutes)");
            let mut go = Command::new("go");
            go.args(["install", "-trimpath", "-ldflags=-s -w", HELM]);
            run(go.env("CGO_ENABLED", "0").env("GOBIN", cache.join("tools/bin")))?;
        }
        Ok(Self { folder: done, helm })
    }

    /// Returns the archive of the node's root.
    pub(super) fn root(&self) -> PathBuf {
        self.folder.join("node.tar")
    }

    /// Returns the program `helm`.
    pub(super) fn helm(&self) -> PathBuf {
        self.helm.clone()
    }

    /// Returns the program `kind`.
    pub(super) fn kind(&self) -> PathBuf {
        self.folder.join("kind")
    }
}

fn build_into(wrappers: &Path, components: &Components, target: &Path) -> anyhow::Result<()> {
    let work = target.join("work");
    let bin = work.join("bin");
    fs::create_dir_all(&bin)?;
    let node = wrappers.join("node");
    let version = version(&fs::read_to_string(node.join("go.mod"))?)?;
    let ldflags = format!(
        "-s -w -X k8s.io/component-base/version.gitVersion=v{version} \
         -X k8s.io/component-base/version.gitMajor={} -X k8s.io/component-base/version.gitMinor={}",
        version.split('.').next().unwrap_or_default(),
        version.split('.').nth(1).unwrap_or_default(),
    );
    for (wrapper, package, name) in PROGRAMS {
        let ldflags = if wrapper == "node" { ldflags.as_str() } else { "-s -w" };
        let mut go = go(&wrappers.join(wrapper));
        go.args(["build", "-trimpath", "-ldflags", ldflags, "-o"]);
        run(go.arg(bin.join(name)).arg(package))?;
    }
    for program in [
        components.etcd(),
        components.apiserver(),
        components.controller_manager(),
        components.kubectl(),
    ] {
        fs::copy(&program, bin.join(program.file_name().unwrap_or_default()))?;
    }
    fs::rename(bin.join("kind"), target.join("kind"))?;
    let mut list = go(&wrappers.join("kind"));
    let module = read(list.args(["list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kind"]))?;
    let files = Path::new(module.trim()).join("images/base/files");
    run(Command::new("cp")
        .args(["--recursive", "--no-preserve=mode,ownership"])
        .arg(files)
        .arg(work.join("kind")))?;
    let mut script = Command::new(node.join("image/build.sh"));
    run(script.arg(&work).arg(target.join("node.tar")))?;
    Ok(fs::remove_dir_all(work)?)
}

/// Returns the `go` command, run in `wrapper` and by the installed toolchain alone.
fn go(wrapper: &Path) -> Command {
    let mut command = Command::new("go");
    command
        .current_dir(wrapper)
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "-mod=readonly")
        .env("CGO_ENABLED", "0");
    command
}

/// Returns the version of Kubernetes that a `go.mod` requires, without its `v`.
fn version(go_mod: &str) -> anyhow::Result<String> {
    let line = go_mod
        .lines()
        .find_map(|line| line.strip_prefix("require k8s.io/kubernetes v"));
    Ok(line
        .context("go.mod does not require k8s.io/kubernetes")?
        .trim()
        .to_owned())
}

/// Returns a digest, as 16 hex digits, of all that decides the content of the folder.
fn key(wrappers: &Path, components: &Components) -> anyhow::Result<String> {
    let mut hash = digest::Context::new(&digest::SHA256);
    // Each part is preceded by its length, so that no two lists of parts hash alike.
    let mut part = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(include_bytes!("node.rs"));
    part(read(Command::new("go").env("GOTOOLCHAIN", "local").arg("version"))?.as_bytes());
    // The folders of components are named by their own keys.
    for program in [components.etcd(), components.kubectl()] {
        part(program.as_os_str().as_encoded_bytes());
    }
    for folder in ["node", "node/image", "coredns", "kind"] {
        let mut files = Vec::new();
        for entry in fs::read_dir(wrappers.join(folder))? {
            files.push(entry?.path());
        }
        files.retain(|path| path.is_file());
        ensure!(!files.is_empty(), "no files in {folder}");
        files.sort();
        for file in files {
            part(file.file_name().unwrap_or_default().as_encoded_bytes());
            part(&fs::read(&file)?);
        }
    }
    let digest = hash.finish();
    Ok(digest
        .as_ref()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_of_node_is_that_of_servers() {
        let wrappers = xtask::root().join("tests/components");
        let of = |name: &str| version(&fs::read_to_string(wrappers.join(name).join("go.mod")).unwrap()).unwrap();
        assert_eq!(of("node"), of("kubernetes"));
        version("module x").unwrap_err();
    }

    #[test]
    fn helm_is_that_of_chart_tests() {
        let chart = fs::read_to_string(xtask::root().join("tests/chart/src/helm.rs")).unwrap();
        assert!(chart.contains(&format!("\"{HELM}\"")));
    }
}
