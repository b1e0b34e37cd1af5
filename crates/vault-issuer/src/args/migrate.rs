//! The arguments of `migrate`.

use std::path::PathBuf;

use clap::Parser;

use super::cluster::{ClusterArgs, ResourceNamespaceArgs};

/// The arguments of `migrate`.
#[derive(Clone, Debug, Parser)]
pub struct MigrateArgs {
    /// A YAML file with cert-manager's issuers, and the Certificates, Ingresses and Gateways that name them; - is the
    /// standard input [default: the cluster]
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The namespace of objects in files that name none
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// The namespace of the controller, whose service account is vault-issuer
    #[arg(long, default_value = "vault-issuer")]
    pub controller_namespace: String,
    /// Where cluster issuers have their Secrets.
    #[command(flatten)]
    pub namespaces: ResourceNamespaceArgs,
    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}
