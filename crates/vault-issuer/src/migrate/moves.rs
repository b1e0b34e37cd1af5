//! The move of an issuer, and the commands that it takes.

use issuer_core::reference::{IssuerKey, IssuerKind};
use issuer_core::target::{AwsIdentity, Method, Mount, ServiceAccount, SpecError, Target};

use super::warnings;
use crate::args::MigrateArgs;
use crate::manifest::Issuer;

/// Prints the data of a Secret as a new Secret, in YAML, which allows the last comma. With `{` at the beginning, older
/// versions of kubectl take it for JSON.
const TEMPLATE: &str = "apiVersion: v1{{\"\\n\"}}kind: Secret{{\"\\n\"}}metadata: {name: {{.metadata.name}}}{{\"\\n\"}}data: { {{range $key, $value := .data}}\"{{$key}}\": \"{{$value}}\", {{end}}}";

/// The move of one of cert-manager's issuers.
pub(super) struct Move<'a> {
    pub(super) issuer: &'a Issuer,
    /// The issuer that takes its place. It keeps the name, which is part of the audience of service account tokens.
    pub(super) new: IssuerKey,
    /// The namespace of the Secrets and service accounts of the new issuer.
    pub(super) namespace: String,
    /// The new issuer's spec, parsed; without one, nothing moves to it.
    pub(super) target: Result<Target, SpecError>,
    /// The differences to expect.
    pub(super) warnings: Vec<String>,
}

impl<'a> Move<'a> {
    /// Returns the move of an issuer with fields that are not known here.
    pub(super) fn new(args: &MigrateArgs, issuer: &'a Issuer, unknown: &[String]) -> Self {
        let kind = if issuer.key.kind.is_cluster() {
            IssuerKind::Cluster
        } else {
            IssuerKind::Namespaced
        };
        let new = IssuerKey {
            kind,
            ..issuer.key.clone()
        };
        let namespace = if kind.is_cluster() {
            args.namespaces.cluster_resource_namespace.clone()
        } else {
            new.namespace.to_string()
        };
        let controller = ServiceAccount {
            namespace: args.controller_namespace.clone(),
            name: args.service_account().to_owned(),
        };
        let (target, mut warnings) = warnings::of(&issuer.spec, &new, &namespace, controller);
        warnings.extend(
            unknown
                .iter()
                .map(|field| format!("{field} is not known here, and is left out")),
        );
        Self {
            issuer,
            new,
            namespace,
            target,
            warnings,
        }
    }

    /// Returns why nothing can move to the new issuer.
    pub(super) fn obstacle(&self) -> Option<String> {
        let error = self.target.as_ref().err()?;
        Some(format!("{} is held back: {error}", self.new))
    }

    /// Returns the service account whose tokens the controller requests for the issuer.
    pub(super) fn account(&self) -> Option<&str> {
        self.target.as_ref().ok()?.method.service_account()
    }

    /// Returns the lines about what is in another namespace for the new issuer: the Secrets of a cluster issuer, which were in
    /// `from`, and the role of its service account. `others` are the other issuers that move.
    pub(super) fn credentials<'b>(&self, from: &str, others: impl Iterator<Item = &'b Move<'b>>) -> Vec<String> {
        let Some(target) = self.target.as_ref().ok().filter(|_| self.namespace != from) else {
            return Vec::new();
        };
        let namespace = &self.namespace;
        let mut lines = Vec::new();
        for secret in target.secrets() {
            // Without the type: that of a service account's token needs the account. A Secret of that name that somebody else
            // has made is a conflict.
            lines.push(format!(
                "BEFORE: kubectl get secret {secret} --namespace {from} --output go-template='{TEMPLATE}' | kubectl apply --server-side --field-manager=vault-issuer-migrate --namespace {namespace} -f -"
            ));
        }
        if !lines.is_empty() {
            lines.push(format!(
                "WARNING: a copy does not follow its Secret when that is renewed; nothing is copied with {from} as the \
                 cluster resource namespace (--cluster-resource-namespace, here and of the controller)"
            ));
        }
        match &target.method {
            Method::ServiceAccount { mount, role, name, .. } => {
                let sharers = others.filter(|other| other.issuer.key != self.issuer.key && other.logs_in_as(target));
                lines.extend(sharers.map(|other| {
                    let other = &other.issuer.key;
                    format!("WARNING: {other} logs in with the role {role} at auth/{mount} too, and needs what the role allows now")
                }));
                lines.extend(role_change(target, mount, role, &format!("{namespace}:{name}")));
            }
            Method::Aws {
                identity: AwsIdentity::WebIdentity { arn, name, .. },
                ..
            } => lines.push(format!(
                "EDIT: the trust policy of {arn} must allow system:serviceaccount:{namespace}:{name}"
            )),
            _ => {}
        }
        lines
    }

    /// Returns `true` if the issuer logs in with the same role of Vault.
    fn logs_in_as(&self, other: &Target) -> bool {
        let Ok(target) = &self.target else {
            return false;
        };
        let same_mount = (&target.origin, &target.login_namespace) == (&other.origin, &other.login_namespace);
        same_mount && login_role(target).is_some_and(|role| Some(role) == login_role(other))
    }
}

/// Returns the mount and the name of the role that service accounts log in with.
fn login_role(target: &Target) -> Option<(&Mount, &str)> {
    match &target.method {
        Method::Jwt { mount, role, .. } | Method::ServiceAccount { mount, role, .. } => Some((mount, role)),
        _ => None,
    }
}

/// Returns the lines about the role that a service account in another namespace logs in with. Nothing can be left out of a
/// write: it replaces lists, clears the selector of a `kubernetes` role, and makes a `jwt` role one for OIDC.
fn role_change(target: &Target, mount: &Mount, role: &str, account: &str) -> [String; 3] {
    let namespace = account.split(':').next().unwrap_or_default();
    let flag = target.login_namespace.as_ref().and_then(|name| name.to_str().ok());
    let flag = flag.map(|name| format!(" -namespace={name}")).unwrap_or_default();
    let path = format!("auth/{mount}/role/{role}");
    [
        format!("BEFORE: vault read{flag} {path}"),
        format!(
            "EDIT: vault write{flag} {path} bound_service_account_namespaces=PRESENT,{namespace} bound_service_account_namespace_selector=PRESENT"
        ),
        format!(
            "PRESENT is what the role has now. A role at a mount of the type jwt is written whole, with a bound_subject or \
             bound_claims that allow system:serviceaccount:{account}"
        ),
    ]
}
