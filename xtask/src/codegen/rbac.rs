//! What the controller may do: the one source of its rights, for the plain manifests and for the chart.
//!
//! Architecture invariant: no right on Secrets or service account tokens holds in all namespaces. Those of
//! [`credentials`] count in the namespaces in which somebody has bound them.

use std::collections::BTreeMap;

use issuer_api::GROUP;
use k8s_openapi::Resource;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{CHART, File, HEADER, literal, yaml};

pub(super) const DIRECTORY: &str = "deploy/rbac";

/// The name of the controller: its service account, its Lease, its namespace.
const NAME: &str = "vault-issuer";

/// In all namespaces: reads requests and issuers, writes their status, and Events.
fn controller() -> Vec<PolicyRule> {
    vec![
        rule("cert-manager.io", &["certificaterequests"], &["get", "list", "watch"]),
        rule("cert-manager.io", &["certificaterequests/status"], &["patch"]),
        rule(
            GROUP,
            &["vaultissuers", "vaultclusterissuers"],
            &["get", "list", "watch"],
        ),
        rule(
            GROUP,
            &["vaultissuers/status", "vaultclusterissuers/status"],
            &["patch"],
        ),
        rule("events.k8s.io", &["events"], &["create", "patch"]),
    ]
}

/// In a namespace with issuers: what an issuer logs in with.
fn credentials() -> Vec<PolicyRule> {
    vec![
        rule("", &["secrets"], &["get"]),
        rule("", &["serviceaccounts/token"], &["create"]),
    ]
}

/// In the controller's namespace: its Lease. Creation cannot be limited to a name.
fn leader_election() -> Vec<PolicyRule> {
    vec![
        rule("coordination.k8s.io", &["leases"], &["create"]),
        PolicyRule {
            resource_names: Some(vec![NAME.into()]),
            ..rule("coordination.k8s.io", &["leases"], &["get", "update", "patch"])
        },
    ]
}

/// For whoever approves requests: cert-manager asks for this right before it lets anybody approve.
///
/// <https://cert-manager.io/docs/usage/certificaterequest/#rbac-syntax>
fn approval() -> Vec<PolicyRule> {
    let signers = ["vaultissuers", "vaultclusterissuers"].map(|plural| format!("{plural}.{GROUP}/*"));
    vec![PolicyRule {
        resource_names: Some(signers.into()),
        ..rule("cert-manager.io", &["signers"], &["approve"])
    }]
}

/// For people. Only reading is aggregated: who may create an issuer can have a Secret sent to a server of their choice,
/// so no default role grants that.
fn view() -> Vec<PolicyRule> {
    vec![rule(
        GROUP,
        &["vaultissuers", "vaultclusterissuers"],
        &["get", "list", "watch"],
    )]
}

pub(super) fn files() -> anyhow::Result<Vec<File>> {
    let controller_name = format!("{NAME}-controller");
    let credentials_name = format!("{NAME}-credentials");
    let leases_name = format!("{NAME}-leader-election");
    let approval_name = format!("cert-manager-controller-approve:{}", GROUP.replace('.', "-"));
    let view_labels = [("rbac.authorization.k8s.io/aggregate-to-view", "true")];
    Ok(vec![
        file(
            "controller",
            &[
                yaml(&ServiceAccount {
                    metadata: metadata(NAME, Some(NAME), &[]),
                    automount_service_account_token: Some(false),
                    ..ServiceAccount::default()
                })?,
                yaml(&cluster_role(&controller_name, &[], controller()))?,
                yaml(&cluster_role_binding(&controller_name, service_account(NAME, NAME)))?,
            ],
        ),
        file(
            "credentials",
            &[
                yaml(&cluster_role(&credentials_name, &[], credentials()))?,
                yaml(&role_binding(&credentials_name, ClusterRole::KIND))?,
            ],
        ),
        file(
            "leader-election",
            &[
                yaml(&Role {
                    metadata: metadata(&leases_name, Some(NAME), &[]),
                    rules: Some(leader_election()),
                })?,
                yaml(&role_binding(&leases_name, Role::KIND))?,
            ],
        ),
        file(
            "approval",
            &[
                yaml(&cluster_role(&approval_name, &[], approval()))?,
                yaml(&cluster_role_binding(
                    &approval_name,
                    service_account("cert-manager", "cert-manager"),
                ))?,
            ],
        ),
        file(
            "view",
            &[yaml(&cluster_role(&format!("{NAME}-view"), &view_labels, view()))?],
        ),
        chart_rules()?,
    ])
}

/// The rules as named templates; the chart's own `rbac.yaml` wraps roles and bindings around them.
fn chart_rules() -> anyhow::Result<File> {
    let all = [
        ("approval", approval()),
        ("controller", controller()),
        ("credentials", credentials()),
        ("leader-election", leader_election()),
        ("view", view()),
    ];
    let mut text = format!("{{{{- /* {} */}}}}\n", HEADER.trim_start_matches('#').trim());
    for (name, rules) in all {
        let rules = literal(yaml(&rules)?)?;
        text += &format!("\n{{{{- define \"vault-issuer.rules.{name}\" -}}}}\n{rules}{{{{- end }}}}\n");
    }
    Ok(File {
        path: format!("{CHART}/templates/_rules.tpl"),
        text,
    })
}

fn file(name: &str, documents: &[String]) -> File {
    File {
        path: format!("{DIRECTORY}/{name}.yaml"),
        text: format!("{HEADER}{}", documents.join("---\n")),
    }
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let strings = |words: &[&str]| words.iter().map(|&word| word.into()).collect();
    PolicyRule {
        api_groups: Some(vec![group.into()]),
        resources: Some(strings(resources)),
        verbs: strings(verbs),
        ..PolicyRule::default()
    }
}

fn cluster_role(name: &str, labels: &[(&str, &str)], rules: Vec<PolicyRule>) -> ClusterRole {
    ClusterRole {
        metadata: metadata(name, None, labels),
        rules: Some(rules),
        ..ClusterRole::default()
    }
}

fn cluster_role_binding(name: &str, subject: Subject) -> ClusterRoleBinding {
    ClusterRoleBinding {
        metadata: metadata(name, None, &[]),
        role_ref: role_ref(ClusterRole::KIND, name),
        subjects: Some(vec![subject]),
    }
}

/// Binds a role to the controller in the controller's own namespace.
fn role_binding(name: &str, kind: &str) -> RoleBinding {
    RoleBinding {
        metadata: metadata(name, Some(NAME), &[]),
        role_ref: role_ref(kind, name),
        subjects: Some(vec![service_account(NAME, NAME)]),
    }
}

fn role_ref(kind: &str, name: &str) -> RoleRef {
    RoleRef {
        api_group: ClusterRole::GROUP.into(),
        kind: kind.into(),
        name: name.into(),
    }
}

fn service_account(namespace: &str, name: &str) -> Subject {
    Subject {
        kind: "ServiceAccount".into(),
        name: name.into(),
        namespace: Some(namespace.into()),
        ..Subject::default()
    }
}

fn metadata(name: &str, namespace: Option<&str>, labels: &[(&str, &str)]) -> ObjectMeta {
    let own = [("app.kubernetes.io/name", NAME)];
    let labels = own.iter().chain(labels).map(|&(key, value)| (key.into(), value.into()));
    ObjectMeta {
        name: Some(name.into()),
        namespace: namespace.map(Into::into),
        labels: Some(labels.collect::<BTreeMap<_, _>>()),
        ..ObjectMeta::default()
    }
}
