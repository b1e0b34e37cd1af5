//! The real servers, built from the Go modules that `tests/components/` pins, once, into a cache outside the tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::Context;
use aws_lc_rs::digest;

use super::say;
use crate::{cache, process};

/// The folders with the built servers.
pub(crate) struct Components {
    etcd: PathBuf,
    kubernetes: PathBuf,
    cert_manager: PathBuf,
    vault: PathBuf,
}

impl Components {
    /// Builds what the cache does not hold. Needs `go`.
    pub(crate) fn build(root: &Path) -> anyhow::Result<Self> {
        let folder = |recipe: &Recipe| recipe.build(&root.join("tests/components").join(recipe.name));
        Ok(Self {
            etcd: folder(&ETCD)?,
            kubernetes: folder(&KUBERNETES)?,
            cert_manager: folder(&CERT_MANAGER)?,
            vault: folder(&VAULT)?,
        })
    }

    /// Returns etcd's binary.
    pub(crate) fn etcd(&self) -> PathBuf {
        self.etcd.join("etcd")
    }

    /// Returns kube-apiserver's binary.
    pub(crate) fn apiserver(&self) -> PathBuf {
        self.kubernetes.join("kube-apiserver")
    }

    /// Returns kube-controller-manager's binary.
    pub(crate) fn controller_manager(&self) -> PathBuf {
        self.kubernetes.join("kube-controller-manager")
    }

    /// Returns kubectl's binary.
    pub(crate) fn kubectl(&self) -> PathBuf {
        self.kubernetes.join("kubectl")
    }

    /// Returns the binary with cert-manager's controllers.
    pub(crate) fn cert_manager(&self) -> PathBuf {
        self.cert_manager.join("cert-manager")
    }

    /// Returns the folder with cert-manager's CRDs.
    pub(crate) fn cert_manager_crds(&self) -> PathBuf {
        self.cert_manager.join("crds")
    }

    /// Returns Vault's binary.
    pub(crate) fn vault(&self) -> PathBuf {
        self.vault.join("vault")
    }
}

/// How one component is built from its wrapper module.
struct Recipe {
    name: &'static str,
    /// The module whose version the binaries carry.
    module: &'static str,
    /// The packages and the names of their binaries.
    binaries: &'static [(&'static str, &'static str)],
    /// Linker flags; `{version}` is the module's version without its `v`.
    ldflags: &'static str,
    /// A folder of the module that belongs to it, and where it goes.
    folder: Option<(&'static str, &'static str)>,
}

const ETCD: Recipe = Recipe {
    name: "etcd",
    module: "go.etcd.io/etcd/server/v3",
    binaries: &[("go.etcd.io/etcd/server/v3", "etcd")],
    ldflags: "-s -w",
    folder: None,
};

const KUBERNETES: Recipe = Recipe {
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
    ldflags: "-s -w -X k8s.io/component-base/version.gitVersion=v{version} \
              -X k8s.io/component-base/version.gitMajor={major} -X k8s.io/component-base/version.gitMinor={minor}",
    folder: None,
};

const CERT_MANAGER: Recipe = Recipe {
    name: "cert-manager",
    module: "github.com/cert-manager/cert-manager",
    binaries: &[(".", "cert-manager")],
    ldflags: "-s -w -X github.com/cert-manager/cert-manager/pkg/util.AppVersion=v{version}",
    folder: Some(("deploy/crds", "crds")),
};

const VAULT: Recipe = Recipe {
    name: "vault",
    module: "github.com/hashicorp/vault",
    binaries: &[("github.com/hashicorp/vault", "vault")],
    ldflags: "-s -w -X github.com/hashicorp/vault/version.fullVersion={version}",
    folder: None,
};

impl Recipe {
    /// Returns the folder with the binaries, building them first if need be.
    fn build(&self, wrapper: &Path) -> anyhow::Result<PathBuf> {
        let cache = cache::dir()?.join("components");
        fs::create_dir_all(&cache)?;
        let done = cache.join(format!("{}-{}", self.name, key(wrapper)?));
        if done.is_dir() {
            return Ok(done);
        }
        say(&format!("building {} (once; minutes)", self.name));
        let begun = Instant::now();
        // Built beside its place and renamed, so that a folder that exists is complete.
        let partial = cache.join(format!(".{}-{}", self.name, std::process::id()));
        let built = self.build_into(wrapper, &partial);
        if built.is_ok() && !done.is_dir() {
            fs::rename(&partial, &done)?;
        } else {
            let _ = fs::remove_dir_all(&partial);
        }
        built.with_context(|| format!("cannot build {}", self.name))?;
        say(&format!("built {} in {} s", self.name, begun.elapsed().as_secs()));
        Ok(done)
    }

    fn build_into(&self, wrapper: &Path, target: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(target)?;
        let version = version(&fs::read_to_string(wrapper.join("go.mod"))?, self.module)?;
        let mut parts = version.split('.');
        let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let ldflags = self
            .ldflags
            .replace("{version}", &version)
            .replace("{major}", major)
            .replace("{minor}", minor);
        for (package, output) in self.binaries {
            let mut go = go(wrapper);
            go.args(["build", "-mod=mod", "-trimpath", "-ldflags", &ldflags, "-o"]);
            process::run(go.arg(target.join(output)).arg(package))?;
        }
        if let Some((from, to)) = self.folder {
            let mut go = go(wrapper);
            let module = process::read(go.args(["list", "-mod=mod", "-m", "-f", "{{.Dir}}", self.module]))?;
            copy(&Path::new(module.trim()).join(from), &target.join(to))?;
        }
        Ok(())
    }
}

/// Tells whether a Go toolchain is there.
pub(crate) fn go_found() -> bool {
    Command::new("go")
        .arg("version")
        .output()
        .is_ok_and(|output| output.status.success())
}

fn go(wrapper: &Path) -> Command {
    let mut command = Command::new("go");
    command
        .current_dir(wrapper)
        .env("GOTOOLCHAIN", "local")
        .env("CGO_ENABLED", "0");
    command
}

/// Returns what a wrapper's build depends on, as 16 hex digits: the names and contents of its files.
fn key(wrapper: &Path) -> anyhow::Result<String> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(wrapper).with_context(|| format!("cannot read {}", wrapper.display()))? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    let mut hash = digest::Context::new(&digest::SHA256);
    for file in files {
        hash.update(file.file_name().unwrap_or_default().as_encoded_bytes());
        hash.update(&[0]);
        hash.update(&fs::read(&file)?);
        hash.update(&[0]);
    }
    Ok(hash
        .finish()
        .as_ref()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Returns the version of `module` that a `go.mod` requires, without its `v`.
fn version(go_mod: &str, module: &str) -> anyhow::Result<String> {
    go_mod
        .lines()
        .filter_map(|line| line.trim().trim_start_matches("require ").strip_prefix(module))
        .find_map(|rest| rest.strip_prefix(" v")?.split_whitespace().next())
        .map(str::to_owned)
        .with_context(|| format!("go.mod requires no {module}"))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if path.is_file() {
            // Written anew: files of the module cache are read-only.
            fs::write(to.join(path.file_name().unwrap_or_default()), fs::read(&path)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_module_and_not_of_a_longer_name() {
        let go_mod = "module x\n\nrequire (\n\texample.com/a/sdk v0.3.0\n\texample.com/a v1.2.3 // indirect\n)\n";
        assert_eq!(version(go_mod, "example.com/a").unwrap(), "1.2.3");
        assert_eq!(
            version("require example.com/a v1.36.3", "example.com/a").unwrap(),
            "1.36.3"
        );
        version(go_mod, "example.com/b").unwrap_err();
    }
}
