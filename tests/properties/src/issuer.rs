//! The issuer of all inputs.

use issuer_api::VaultSpec;
use issuer_core::reference::{IssuerKey, IssuerKind};
use issuer_core::target::IssuerPolicy;

/// Returns a policy that allows plain http.
pub(crate) fn permissive() -> IssuerPolicy {
    IssuerPolicy {
        allow_http: true,
        ..IssuerPolicy::default()
    }
}

/// Returns the issuer of every spec.
pub(crate) fn key() -> IssuerKey {
    IssuerKey {
        kind: IssuerKind::Namespaced,
        namespace: "team".into(),
        name: "vault".into(),
    }
}

/// Returns a spec without an auth method.
pub(crate) fn issuer() -> VaultSpec {
    VaultSpec {
        server: "https://vault.example:8200".to_owned(),
        path: "pki/sign/web".to_owned(),
        ..VaultSpec::default()
    }
}
