//! The real servers, built once from the Go modules that `tests/components/` pins, into a cache outside the tree.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::openbao;
use super::recipe::{CERT_MANAGER, ETCD, KUBERNETES, Recipe, VAULT};
use super::vault::Product;
use xtask::process::succeeds;

/// The servers to run
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct Choice {
    /// The versions of the servers
    #[arg(long, value_enum, default_value_t)]
    components: Versions,
    /// The Vault to run; by default one is built
    #[arg(long, value_name = "PATH")]
    vault_binary: Option<PathBuf>,
    /// Runs the current OpenBao in place of Vault
    #[arg(long, conflicts_with = "vault_binary")]
    openbao: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Versions {
    /// Those that are supported best.
    #[default]
    Current,
    /// The oldest ones that are supported; etcd's is the current one.
    Oldest,
}

impl Choice {
    /// Returns the same versions with the Vault that is built.
    pub(crate) fn with_built_vault(&self) -> Self {
        Self {
            vault_binary: None,
            openbao: false,
            ..*self
        }
    }

    /// Returns the same versions with OpenBao in place of Vault, unless another binary was given.
    pub(crate) fn with_other_vault(&self) -> Self {
        Self {
            openbao: self.vault_binary.is_none(),
            ..self.clone()
        }
    }

    /// Returns `true` if OpenBao is run in place of Vault.
    pub(crate) fn has_openbao(&self) -> bool {
        let given = self.vault_binary.as_deref().map(Product::of);
        self.openbao || given.is_some_and(|product| product.is_ok_and(|product| product == Product::OpenBao))
    }

    /// Returns what keeps these servers from being built here, if anything does.
    pub(crate) fn missing(&self) -> Option<&'static str> {
        if !go_found() {
            return Some("Go 1.26 (https://go.dev/dl), which builds the servers, is not found");
        }
        self.openbao.then(openbao::missing).flatten()
    }
}

/// The folders with the built servers, and Vault's binary.
pub(crate) struct Components {
    etcd: PathBuf,
    kubernetes: PathBuf,
    cert_manager: PathBuf,
    vault: PathBuf,
}

impl Components {
    /// Builds the components that are not in the cache; needs Go. A Vault that was given takes the place of the built one.
    pub(crate) fn build(root: &Path, choice: &Choice) -> anyhow::Result<Self> {
        let current = root.join("tests/components");
        let wrappers = match choice.components {
            Versions::Current => current.clone(),
            Versions::Oldest => current.join("oldest"),
        };
        let folder = |recipe: &Recipe| recipe.build(&wrappers);
        Ok(Self {
            etcd: ETCD.build(&current)?,
            kubernetes: folder(&KUBERNETES)?,
            cert_manager: folder(&CERT_MANAGER)?,
            vault: match &choice.vault_binary {
                Some(binary) => given(binary)?,
                None if choice.openbao => openbao::build(&current)?,
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

    /// Returns the binary of Vault, or of OpenBao.
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
fn go_found() -> bool {
    succeeds(Command::new("go").arg("version"))
}
