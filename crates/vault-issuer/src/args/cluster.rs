//! Flags that select a cluster and its namespaces.

use std::path::PathBuf;

use clap::Parser;

/// The namespaces of what cluster issuers refer to.
#[derive(Clone, Debug, Parser)]
pub struct ResourceNamespaceArgs {
    /// The namespace in which VaultClusterIssuers have their Secrets and service accounts
    #[arg(
        long,
        env = "VAULT_ISSUER_CLUSTER_RESOURCE_NAMESPACE",
        default_value = "vault-issuer"
    )]
    pub cluster_resource_namespace: String,
    /// The namespace in which cert-manager's ClusterIssuers have their Secrets and service accounts
    #[arg(
        long,
        env = "VAULT_ISSUER_DROP_IN_CLUSTER_RESOURCE_NAMESPACE",
        default_value = "cert-manager"
    )]
    pub drop_in_cluster_resource_namespace: String,
}

/// The cluster, for commands that people run.
#[derive(Clone, Debug, Parser)]
pub struct ClusterArgs {
    /// The context of the kubeconfig [default: the current one]
    #[arg(long)]
    pub context: Option<String>,
    /// The kubeconfig file [default: KUBECONFIG, the pod's service account, or ~/.kube/config]
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
}

impl ClusterArgs {
    /// Returns `true` if the arguments name a cluster; otherwise they mean the default one.
    #[cfg(feature = "cluster")]
    pub(crate) fn is_named(&self) -> bool {
        self.context.is_some() || self.kubeconfig.is_some()
    }
}
