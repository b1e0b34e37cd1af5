//! Differences between this controller and cert-manager that affect an issuer.

use issuer_api::VaultSpec;
use issuer_core::reference::IssuerKey;
use issuer_core::target::{
    AllowedAudiences, AllowedServers, AmbientAws, AwsEnvironment, AwsIdentity, IssuerPolicy, Method, ServiceAccount,
    SpecError, Target,
};

/// Returns the parsed spec of an issuer under its new name, and what the controller does not do with it as cert-manager
/// does. There is no target where the spec cannot be used at all.
pub(super) fn of(
    spec: &VaultSpec,
    key: &IssuerKey,
    namespace: &str,
    controller: ServiceAccount,
) -> (Result<Target, SpecError>, Vec<String>) {
    let mut policy = IssuerPolicy {
        // As with cert-manager, cluster issuers may use it by default.
        ambient_aws: AmbientAws {
            issuers: false,
            ..some_identity()
        },
        own_account: Some(controller),
        ..IssuerPolicy::default()
    };
    let mut warnings = Vec::new();
    loop {
        let error = match Target::parse(spec, key, namespace, &policy) {
            Ok(target) => {
                warnings.extend(region(spec, &target));
                warnings.extend(ambient(&target));
                return (Ok(target), warnings);
            }
            Err(error) => error,
        };
        warnings.push(error.to_string());
        // The operator may permit these, and what is behind them is still to be found.
        match error {
            SpecError::AmbientAws(_) => policy.ambient_aws.issuers = true,
            SpecError::PlainHttp => policy.allow_http = true,
            SpecError::ServerNotAllowed => policy.allowed_servers = AllowedServers::All,
            SpecError::Audience(..) => policy.allowed_audiences = AllowedAudiences::All,
            error => return (Err(error), warnings),
        }
    }
}

/// Returns a warning where the region is that of a pod, which is another one now.
fn region(spec: &VaultSpec, target: &Target) -> Option<String> {
    let aws = spec.auth.aws.as_ref()?;
    let is_named = aws.region.as_deref().is_some_and(|region| !region.is_empty());
    let has_keys = matches!(
        &target.method,
        Method::Aws {
            identity: AwsIdentity::Keys(_),
            ..
        }
    );
    (!is_named && !has_keys).then(|| {
        "spec.auth.aws.region is missing: it is the AWS_REGION of the controller's pod, no longer of cert-manager's, or \
         us-east-1"
            .to_owned()
    })
}

/// Returns a warning where the identity is that of a pod, which is another one now.
fn ambient(target: &Target) -> Option<String> {
    let is_ambient = matches!(
        &target.method,
        Method::Aws {
            identity: AwsIdentity::Ambient(_),
            ..
        }
    );
    is_ambient.then(|| {
        "spec.auth.aws: the AWS identity is that of the controller's pod, no longer of cert-manager's; give it to the service \
         account of the controller"
            .to_owned()
    })
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
