//! The node image, kind and Helm, built once into the cache.
//!
//! The Go programs are pinned by `tests/components/{node,coredns,kind,kube-router}`; `tests/components/node/image/build.sh`
//! puts them into a minimal Debian, and with them the images of cert-manager and OpenBao.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::images;
use crate::servers::cached::{self, go};
use crate::servers::components::Components;
use xtask::process::{read, run};
use xtask::tool::HELM;

/// The folders of the wrapper modules below `tests/components/`.
const WRAPPERS: [&str; 4] = ["node", "coredns", "kind", "kube-router"];

/// The programs: wrapper module, package, name.
const PROGRAMS: [(&str, &str, &str); 7] = [
    ("kind", "sigs.k8s.io/kind", "kind"),
    ("coredns", ".", "coredns"),
    ("node", "k8s.io/kubernetes/cmd/kubelet", "kubelet"),
    ("node", "k8s.io/kubernetes/cmd/kubeadm", "kubeadm"),
    ("node", "k8s.io/kubernetes/cmd/kube-scheduler", "kube-scheduler"),
    ("node", "k8s.io/kubernetes/cmd/kube-proxy", "kube-proxy"),
    (
        "kube-router",
        "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router",
        "kube-router",
    ),
];

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
        let key = key(&wrappers, components)?;
        let folder = cached::folder("node", &key, |folder| build_into(&wrappers, components, folder))?;
        let helm = HELM.find()?.context("neither Helm nor Go is installed")?;
        Ok(Self { folder, helm })
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
    let version = cached::version(&node, "k8s.io/kubernetes")?;
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
    let images = work.join("images");
    fs::create_dir(&images)?;
    images::write_servers(&images, components)?;
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

/// Returns the key of the folder: it depends on the folders of other components too, which their own keys name.
fn key(wrappers: &Path, components: &Components) -> anyhow::Result<String> {
    let others = [
        components.etcd(),
        components.kubectl(),
        components.cert_manager(),
        components.vault(),
    ];
    let others = others.map(|path| path.display().to_string());
    let program = concat!(include_str!("node.rs"), include_str!("images.rs"));
    let sources = WRAPPERS.map(|name| wrappers.join(name));
    cached::key(&format!("{program}{others:?}"), &sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_of_node_is_that_of_servers() {
        let wrappers = xtask::root().join("tests/components");
        let of = |name: &str| cached::version(&wrappers.join(name), "k8s.io/kubernetes").unwrap();
        assert_eq!(of("node"), of("kubernetes"));
    }
}
