//! Flags for Kubernetes' CertificateSigningRequests.

use clap::{ArgAction, Parser};

/// Whether Kubernetes' own requests are served.
#[derive(Clone, Debug, Parser)]
pub struct CsrArgs {
    /// Whether Kubernetes' CertificateSigningRequests are signed too, if the requester may reference the issuer
    #[arg(
        long,
        env = "VAULT_ISSUER_SIGN_KUBERNETES_CSRS",
        default_value_t = false,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        action = ArgAction::Set,
    )]
    pub sign_kubernetes_csrs: bool,
}
