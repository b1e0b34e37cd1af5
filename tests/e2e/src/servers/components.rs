//! The real servers, built once from the Go modules that `tests/components/` pins, into a cache outside the tree.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::recipe::{CERT_MANAGER, ETCD, KUBERNETES, Recipe, VAULT};

/// The folders with the built servers, and Vault's binary.
pub(crate) struct Components {
    etcd: PathBuf,
    kubernetes: PathBuf,
    cert_manager: PathBuf,
    vault: PathBuf,
}

impl Components {
    /// Builds the components that are not in the cache; needs Go. A given `vault_binary` takes the place of Vault's.
    pub(crate) fn build(root: &Path, vault_binary: Option<&Path>) -> anyhow::Result<Self> {
        let wrappers = root.join("tests/components");
        let folder = |recipe: &Recipe| recipe.build(&wrappers);
        Ok(Self {
            etcd: folder(&ETCD)?,
            kubernetes: folder(&KUBERNETES)?,
            cert_manager: folder(&CERT_MANAGER)?,
            vault: match vault_binary {
                Some(binary) => given(binary)?,
                None => folder(&VAULT)?.join("vault"),
            },
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
        self.vault.clone()
    }
}

/// Returns the absolute path of a binary that was given by the user.
fn given(binary: &Path) -> anyhow::Result<PathBuf> {
    let found = binary.canonicalize().ok().filter(|path| path.is_file());
    found.with_context(|| format!("{}, given with --vault-binary, is no file", binary.display()))
}

/// Returns `true` if a Go toolchain is installed.
pub(crate) fn go_found() -> bool {
    Command::new("go")
        .arg("version")
        .output()
        .is_ok_and(|output| output.status.success())
}
