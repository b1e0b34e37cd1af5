//! The arguments of `migrate`.

use std::path::PathBuf;

use clap::Parser;

use super::cluster::{ClusterArgs, ResourceNamespaceArgs};

/// The arguments of `migrate`.
#[derive(Clone, Debug, Parser)]
pub struct MigrateArgs {
    /// A YAML file with cert-manager's issuers, and the Certificates, Ingresses, Gateways and ListenerSets that name
    /// them; - is the standard input [default: the cluster]
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The namespace of objects in files that name none
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// The name of the installation, with which the names of its roles begin
    #[arg(long, default_value = "vault-issuer")]
    pub controller_name: String,
    /// The namespace of the controller
    #[arg(long, default_value = "vault-issuer")]
    pub controller_namespace: String,
    /// The service account of the controller [default: the name of the installation]
    #[arg(long)]
    pub controller_service_account: Option<String>,
    /// Where cluster issuers have their Secrets.
    #[command(flatten)]
    pub namespaces: ResourceNamespaceArgs,
    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

impl MigrateArgs {
    /// Returns the name of the controller's service account.
    pub(crate) fn service_account(&self) -> &str {
        self.controller_service_account
            .as_deref()
            .unwrap_or(&self.controller_name)
    }
}
