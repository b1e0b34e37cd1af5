//! How each component is built from its wrapper module.
//!
//! The text of this file is part of the cache's key: whatever changes here builds every component anew, so a folder
//! that an older recipe filled is never taken for one that this recipe would fill.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use aws_lc_rs::digest;

use super::say;
use crate::process;

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
    /// Returns the folder below `cache` with the component, built first unless the cache holds it.
    pub(super) fn build(&self, wrappers: &Path, cache: &Path) -> anyhow::Result<PathBuf> {
        let wrapper = wrappers.join(self.name);
        fs::create_dir_all(cache)?;
        let done = cache.join(format!(
            "{}-{}",
            self.name,
            key(&wrapper, include_str!("recipe.rs"), &toolchain()?)?
        ));
        if done.is_dir() {
            return Ok(done);
        }
        say(&format!("building {} (once; takes minutes)", self.name));
        let begun = std::time::Instant::now();
        // Built beside its final place and renamed, so a folder that exists is complete.
        let partial = cache.join(format!(".{}-{}", self.name, std::process::id()));
        let built = self.build_into(&wrapper, &partial);
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

/// Returns the version and target of the Go toolchain, or an error if there is none.
fn toolchain() -> anyhow::Result<String> {
    process::read(Command::new("go").env("GOTOOLCHAIN", "local").arg("version"))
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

/// Returns a digest, as 16 hex digits, of all that decides the content of a component's folder: the wrapper module's
/// files, the recipe and the toolchain.
fn key(wrapper: &Path, recipe: &str, toolchain: &str) -> anyhow::Result<String> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(wrapper).with_context(|| format!("cannot read {}", wrapper.display()))? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    let mut hash = digest::Context::new(&digest::SHA256);
    // Each part is preceded by its length, so that no two lists of parts hash alike.
    let mut part = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(recipe.as_bytes());
    part(toolchain.as_bytes());
    for file in files {
        part(file.file_name().unwrap_or_default().as_encoded_bytes());
        part(&fs::read(&file)?);
    }
    let digest = hash.finish();
    Ok(digest
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
        .with_context(|| format!("go.mod does not require {module}"))
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
    fn version_matches_whole_module_name() {
        let go_mod = "module x\n\nrequire (\n\texample.com/a/sdk v0.3.0\n\texample.com/a v1.2.3 // indirect\n)\n";
        assert_eq!(version(go_mod, "example.com/a").unwrap(), "1.2.3");
        assert_eq!(
            version("require example.com/a v1.36.3", "example.com/a").unwrap(),
            "1.36.3"
        );
        version(go_mod, "example.com/b").unwrap_err();
    }

    #[test]
    fn key_covers_wrapper_recipe_and_toolchain() {
        let wrapper = folder("key");
        fs::write(wrapper.join("go.mod"), "module x").unwrap();
        let key = |recipe, toolchain| key(&wrapper, recipe, toolchain).unwrap();
        let first = key("recipe", "go1");
        assert_eq!(key("recipe", "go1"), first);
        assert_ne!(key("recipe, changed", "go1"), first);
        assert_ne!(key("recipe", "go2"), first);
        assert_ne!(key("recip", "ego1"), first, "parts must not run into each other");
        fs::write(wrapper.join("main.go"), "package main").unwrap();
        let second = key("recipe", "go1");
        assert_ne!(second, first);
        fs::write(wrapper.join("main.go"), "package main // changed").unwrap();
        assert_ne!(key("recipe", "go1"), second);
        fs::remove_dir_all(&wrapper).unwrap();
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
