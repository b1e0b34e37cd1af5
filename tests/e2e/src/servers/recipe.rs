//! How each component is built from its wrapper module.
//!
//! The text of this file is part of the cache's key: whatever changes here builds every component anew, so a folder
//! that an older recipe filled is never taken for one that this recipe would fill.

use std::fs;
use std::path::{Path, PathBuf};
use std::slice;

use anyhow::{Context, ensure};

use super::cached::{self, go};
use xtask::process;

/// The binaries and files that one wrapper module provides.
pub(super) struct Recipe {
    /// The name of the wrapper module's folder below `tests/components/`.
    name: &'static str,
    /// The module whose version the binaries report.
    module: &'static str,
    /// The packages to build, with the names of their binaries.
    binaries: &'static [(&'static str, &'static str)],
    /// Build tags, separated by commas.
    tags: &'static str,
    /// Linker flags; `{version}`, `{major}` and `{minor}` are those of `module`, without the `v`.
    ldflags: &'static str,
    /// A folder of YAML manifests in the module, with the name it gets beside the binaries.
    manifests: Option<(&'static str, &'static str)>,
}

pub(super) const ETCD: Recipe = Recipe {
    name: "etcd",
    module: "go.etcd.io/etcd/server/v3",
    binaries: &[("go.etcd.io/etcd/server/v3", "etcd")],
    tags: "",
    ldflags: "-s -w",
    manifests: None,
};

pub(super) const KUBERNETES: Recipe = Recipe {
    name: "kubernetes",
    module: "k8s.io/kubernetes",
    binaries: &[
        ("k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"),
        (
            "k8s.io/kubernetes/cmd/kube-controller-manager",
            "kube-controller-manager",
        ),
        ("k8s.io/kubernetes/cmd/kubectl", "kubectl"),
    ],
    tags: "",
    ldflags: "-s -w -X k8s.io/component-base/version.gitVersion=v{version} \
              -X k8s.io/component-base/version.gitMajor={major} -X k8s.io/component-base/version.gitMinor={minor}",
    manifests: None,
};

pub(super) const CERT_MANAGER: Recipe = Recipe {
    name: "cert-manager",
    module: "github.com/cert-manager/cert-manager",
    binaries: &[(".", "cert-manager")],
    tags: "",
    ldflags: "-s -w -X github.com/cert-manager/cert-manager/pkg/util.AppVersion=v{version}",
    manifests: Some(("deploy/crds", "crds")),
};

pub(super) const VAULT: Recipe = Recipe {
    name: "vault",
    module: "github.com/hashicorp/vault",
    binaries: &[(".", "vault")],
    tags: "minimal",
    ldflags: "-s -w -X github.com/hashicorp/vault/version.fullVersion={version}",
    manifests: None,
};

impl Recipe {
    /// Returns the cached folder with the component, built first unless it is there.
    pub(super) fn build(&self, wrappers: &Path) -> anyhow::Result<PathBuf> {
        let wrapper = wrappers.join(self.name);
        let key = cached::key(include_str!("recipe.rs"), slice::from_ref(&wrapper))?;
        cached::folder(self.name, &key, |folder| self.build_into(&wrapper, folder))
    }

    fn build_into(&self, wrapper: &Path, target: &Path) -> anyhow::Result<()> {
        let version = cached::version(wrapper, self.module)?;
        let mut parts = version.split('.');
        let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let ldflags = self
            .ldflags
            .replace("{version}", &version)
            .replace("{major}", major)
            .replace("{minor}", minor);
        for (package, output) in self.binaries {
            let mut go = go(wrapper);
            go.args(["build", "-trimpath", "-tags", self.tags, "-ldflags", &ldflags, "-o"]);
            process::run(go.arg(target.join(output)).arg(package))?;
        }
        if let Some((from, to)) = self.manifests {
            let mut go = go(wrapper);
            let module = process::read(go.args(["list", "-m", "-f", "{{.Dir}}", self.module]))?;
            copy_manifests(&Path::new(module.trim()).join(from), &target.join(to))?;
        }
        Ok(())
    }
}

/// Copies the YAML files of the folder `from`, and nothing else that lies beside them; fails if there are none.
fn copy_manifests(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    let mut copied = 0;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let path = entry?.path();
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml");
        if is_yaml && path.is_file() {
            // Written anew, not copied: files of the module cache are read-only.
            fs::write(to.join(path.file_name().unwrap_or_default()), fs::read(&path)?)?;
            copied += 1;
        }
    }
    ensure!(copied > 0, "no YAML files in {}", from.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a new empty folder for the test `name`.
    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("vault-issuer-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn only_yaml_is_copied() {
        let (from, to) = (folder("from"), folder("to"));
        copy_manifests(&from, &to).unwrap_err();
        fs::create_dir(from.join("kustomization.yaml")).unwrap();
        for name in ["README.md", "a.yaml", "b.yaml", "b.yaml.orig", "yaml"] {
            fs::write(from.join(name), name).unwrap();
        }
        copy_manifests(&from, &to).unwrap();
        let mut copied: Vec<_> = fs::read_dir(&to)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        copied.sort();
        assert_eq!(copied, ["a.yaml", "b.yaml"]);
        fs::remove_dir_all(&from).unwrap();
        fs::remove_dir_all(&to).unwrap();
    }
}
