use std::path::PathBuf;

use clap::Parser;

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
    /// The namespace in which VaultClusterIssuers have their Secrets and service accounts
    #[arg(
        long,
        env = "VAULT_ISSUER_CLUSTER_RESOURCE_NAMESPACE",
        default_value = "vault-issuer"
    )]
    pub cluster_resource_namespace: String,
    /// The namespace in which cert-manager's ClusterIssuers have theirs
    #[arg(
        long,
        env = "VAULT_ISSUER_DROP_IN_CLUSTER_RESOURCE_NAMESPACE",
        default_value = "cert-manager"
    )]
    pub drop_in_cluster_resource_namespace: String,
    /// The context of the kubeconfig [default: the current one]
    #[arg(long)]
    pub context: Option<String>,
    /// The kubeconfig file [default: KUBECONFIG, the pod's service account, or ~/.kube/config]
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
}
