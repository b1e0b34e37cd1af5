//! Flags that permit issuers to use the cloud identity of the controller's pod.

use clap::{ArgAction, Parser};

/// Which issuers may log in with the cloud identity of the controller's own pod.
#[derive(Clone, Debug, Parser)]
pub struct AmbientArgs {
    /// Whether VaultIssuers and Issuers may log in to Vault with the AWS identity of the controller's own pod: everybody who
    /// may create one can then use what Vault grants to the controller
    #[arg(
        long,
        env = "VAULT_ISSUER_ISSUER_AMBIENT_CREDENTIALS",
        default_value_t = false,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        action = ArgAction::Set,
    )]
    pub issuer_ambient_credentials: bool,
    /// Whether VaultClusterIssuers and ClusterIssuers may log in to Vault with the AWS identity of the controller's own pod, as
    /// with cert-manager
    #[arg(
        long,
        env = "VAULT_ISSUER_CLUSTER_ISSUER_AMBIENT_CREDENTIALS",
        default_value_t = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        action = ArgAction::Set,
    )]
    pub cluster_issuer_ambient_credentials: bool,
}
