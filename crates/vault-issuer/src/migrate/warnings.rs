//! Differences between this controller and cert-manager that affect an issuer.

use issuer_api::VaultSpec;
use issuer_core::reference::IssuerKey;
use issuer_core::target::{
    AllowedAudiences, AllowedServers, AmbientAws, AwsEnvironment, IssuerPolicy, SpecError, Target,
};

/// Returns the parsed spec of an issuer under its new name, and what the controller does not do with it as cert-manager
/// does. There is no target where the spec cannot be used at all.
pub(super) fn of(spec: &VaultSpec, key: &IssuerKey, namespace: &str) -> (Option<Target>, Vec<String>) {
    let mut policy = IssuerPolicy::default();
    let mut warnings = Vec::new();
    loop {
        let error = match Target::parse(spec, key, namespace, &policy) {
            Ok(target) => return (Some(target), warnings),
            Err(error) => error,
        };
        warnings.push(error.to_string());
        // The operator may permit these, and what is behind them is still to be found.
        match error {
            SpecError::AmbientAws(_) => policy.ambient_aws = some_identity(),
            SpecError::PlainHttp => policy.allow_http = true,
            SpecError::ServerNotAllowed => policy.allowed_servers = AllowedServers::All,
            SpecError::Audience(..) => policy.allowed_audiences = AllowedAudiences::All,
            _ => return (None, warnings),
        }
    }
}

/// Permits all issuers to log in as the controller's pod, whose identity is not known here.
fn some_identity() -> AmbientAws {
    let is_set = |name: &str| matches!(name, "AWS_ROLE_ARN" | "AWS_WEB_IDENTITY_TOKEN_FILE");
    AmbientAws {
        issuers: true,
        cluster_issuers: true,
        environment: AwsEnvironment::read(|name| is_set(name).then(|| name.to_owned())),
    }
}
