//! Flags for drop-in mode.

use clap::{ArgAction, Parser, ValueEnum};

/// Whether and how cert-manager's own issuers are served.
#[derive(Clone, Debug, Parser)]
pub struct DropInArgs {
    /// Whether cert-manager's own Issuers and ClusterIssuers with spec.vault are served: only where cert-manager runs
    /// with --controllers=*,-certificaterequests-issuer-vault
    #[arg(
        long,
        env = "VAULT_ISSUER_SERVE_CERT_MANAGER_ISSUERS",
        default_value_t = false,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        action = ArgAction::Set,
    )]
    pub serve_cert_manager_issuers: bool,
    /// Who writes the condition Ready of cert-manager's issuers
    #[arg(long, env = "VAULT_ISSUER_ISSUER_STATUS", default_value = "auto")]
    pub issuer_status: IssuerStatusChoice,
    /// The namespace in which ClusterIssuers have their Secrets and service accounts: cert-manager's cluster resource
    /// namespace
    #[arg(
        long,
        env = "VAULT_ISSUER_DROP_IN_CLUSTER_RESOURCE_NAMESPACE",
        default_value = "cert-manager"
    )]
    pub drop_in_cluster_resource_namespace: String,
}

/// Who writes the condition Ready of cert-manager's issuers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IssuerStatusChoice {
    /// This controller, unless another has written it.
    Auto,
    /// Other controllers.
    Leave,
    /// This controller.
    Own,
}
