//! The controller's rights: their one source, for the plain manifests and for the chart.
//!
//! Architecture invariant: no right on Secrets or service account tokens holds in all namespaces. Those of
//! [`credentials`] hold in the namespaces in which somebody has bound them. Those of [`secrets`] and [`tokens`] are bound
//! nowhere: the chart and the examples grant those of named Secrets and service accounts.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{CHART, File, GROUP, HEADER, literal, yaml};

pub(super) const DIRECTORY: &str = "deploy/rbac";

/// The name of the controller: its service account, its Lease, its namespace.
const NAME: &str = "vault-issuer";

const API_GROUP: &str = "rbac.authorization.k8s.io";

/// Verbs that are granted on resources of one API group.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct PolicyRule {
    api_groups: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resource_names: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
}

/// In all namespaces: reads requests and issuers, writes their status, and Events. Only `vault-issuer check`, run in the
/// controller's pod, gets a single issuer.
fn controller() -> Vec<PolicyRule> {
    vec![
        rule("cert-manager.io", &["certificaterequests"], &["get", "list", "watch"]),
        rule("cert-manager.io", &["certificaterequests/status"], &["update"]),
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

/// In all namespaces, where cert-manager's own issuers are served: reads them, and writes their status where nobody else
/// does. Nothing else grants this.
fn drop_in() -> Vec<PolicyRule> {
    vec![
        rule(
            "cert-manager.io",
            &["issuers", "clusterissuers"],
            &["get", "list", "watch"],
        ),
        rule(
            "cert-manager.io",
            &["issuers/status", "clusterissuers/status"],
            &["patch"],
        ),
    ]
}

/// The same rights for a controller that is limited to namespaces, in each of them: it does not serve cluster issuers.
fn namespaced(mut rules: Vec<PolicyRule>) -> Vec<PolicyRule> {
    for rule in &mut rules {
        rule.resources.retain(|resource| !resource.contains("clusterissuers"));
    }
    rules
}

/// In all namespaces, where a cluster issuer selects namespaces by their labels.
fn namespaces() -> Vec<PolicyRule> {
    vec![rule("", &["namespaces"], &["get"])]
}

/// In all namespaces, where Kubernetes' CertificateSigningRequests are signed: reads those of all signers, asks whether the
/// requester may reference the issuer, and signs for our signer names
/// (<https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#authorization>).
fn kubernetes_csrs() -> Vec<PolicyRule> {
    vec![
        rule(
            "certificates.k8s.io",
            &["certificatesigningrequests"],
            &["get", "list", "watch"],
        ),
        rule(
            "certificates.k8s.io",
            &["certificatesigningrequests/status"],
            &["patch"],
        ),
        signs(GROUP, ["vaultissuers", "vaultclusterissuers"]),
        rule("authorization.k8s.io", &["subjectaccessreviews"], &["create"]),
    ]
}

/// Besides both of these: signs for cert-manager's signer names.
fn drop_in_csrs() -> Vec<PolicyRule> {
    vec![signs("cert-manager.io", ["issuers", "clusterissuers"])]
}

/// The right to sign CertificateSigningRequests for the issuers of these kinds.
fn signs(group: &str, plurals: [&str; 2]) -> PolicyRule {
    PolicyRule {
        resource_names: plurals.map(|plural| format!("{plural}.{group}/*")).into(),
        ..rule("certificates.k8s.io", &["signers"], &["sign"])
    }
}

/// In a namespace with issuers: their Secrets, and the ConfigMaps of their CA bundles, by name only.
fn credentials() -> Vec<PolicyRule> {
    vec![rule("", &["configmaps"], &["get"]), rule("", &["secrets"], &["get"])]
}

/// In a namespace with issuers: Secrets that are named, which may be watched too. Without a name this would permit a watch
/// of all.
fn secrets() -> Vec<PolicyRule> {
    vec![rule("", &["secrets"], &["get", "watch"])]
}

/// In a namespace with issuers that log in with service accounts.
fn tokens() -> Vec<PolicyRule> {
    vec![rule("", &["serviceaccounts/token"], &["create"])]
}

/// In the controller's namespace: its Lease. Creation cannot be limited to a name.
fn leader_election() -> Vec<PolicyRule> {
    vec![
        rule("coordination.k8s.io", &["leases"], &["create"]),
        PolicyRule {
            resource_names: vec![NAME.into()],
            ..rule("coordination.k8s.io", &["leases"], &["get", "update"])
        },
    ]
}

/// For approvers: cert-manager requires this permission of users who approve requests.
///
/// <https://cert-manager.io/docs/usage/certificaterequest/#rbac-syntax>
fn approval() -> Vec<PolicyRule> {
    let signers = ["vaultissuers", "vaultclusterissuers"].map(|plural| format!("{plural}.{GROUP}/*"));
    vec![PolicyRule {
        resource_names: signers.into(),
        ..rule("cert-manager.io", &["signers"], &["approve"])
    }]
}

/// For users.
fn view() -> Vec<PolicyRule> {
    vec![rule(
        GROUP,
        &["vaultissuers", "vaultclusterissuers"],
        &["get", "list", "watch"],
    )]
}

/// For authors of issuers in a namespace. Never aggregated: the author of an issuer can have the Secrets and tokens that
/// the controller may read sent to any server, so no default role may grant this.
fn edit() -> Vec<PolicyRule> {
    let verbs = [
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch",
    ];
    vec![rule(GROUP, &["vaultissuers"], &verbs)]
}

pub(super) fn files() -> anyhow::Result<Vec<File>> {
    let controller_name = format!("{NAME}-controller");
    let credentials_name = format!("{NAME}-credentials");
    let leases_name = format!("{NAME}-leader-election");
    let approval_name = format!("cert-manager-controller-approve:{}", GROUP.replace('.', "-"));
    let view_labels = [
        ("rbac.authorization.k8s.io/aggregate-to-cluster-reader", "true"),
        ("rbac.authorization.k8s.io/aggregate-to-view", "true"),
    ];
    Ok(vec![
        file(
            "controller",
            &[
                yaml(&json!({
                    "apiVersion": "v1",
                    "kind": "ServiceAccount",
                    "metadata": metadata(NAME, Some(NAME), &[]),
                    "automountServiceAccountToken": false,
                }))?,
                yaml(&cluster_role(&controller_name, &[], &controller()))?,
                yaml(&cluster_role_binding(&controller_name, service_account(NAME, NAME)))?,
            ],
        ),
        file(
            "credentials",
            &[
                yaml(&cluster_role(&credentials_name, &[], &credentials()))?,
                yaml(&role_binding(&credentials_name, "ClusterRole"))?,
            ],
        ),
        on_demand("drop-in", &drop_in())?,
        on_demand("drop-in-csrs", &drop_in_csrs())?,
        on_demand("kubernetes-csrs", &kubernetes_csrs())?,
        on_demand("namespaces", &namespaces())?,
        file(
            "leader-election",
            &[
                yaml(&role(
                    "Role",
                    metadata(&leases_name, Some(NAME), &[]),
                    &leader_election(),
                ))?,
                yaml(&role_binding(&leases_name, "Role"))?,
            ],
        ),
        file(
            "approval",
            &[
                yaml(&cluster_role(&approval_name, &[], &approval()))?,
                yaml(&cluster_role_binding(
                    &approval_name,
                    service_account("cert-manager", "cert-manager"),
                ))?,
            ],
        ),
        file(
            "tokens",
            &[yaml(&cluster_role(&format!("{NAME}-tokens"), &[], &tokens()))?],
        ),
        file(
            "view",
            &[yaml(&cluster_role(&format!("{NAME}-view"), &view_labels, &view()))?],
        ),
        file("edit", &[yaml(&cluster_role(&format!("{NAME}-edit"), &[], &edit()))?]),
        chart_rules()?,
    ])
}

/// The rules as named templates; the chart's own `rbac.yaml` wraps roles and bindings around them.
fn chart_rules() -> anyhow::Result<File> {
    let all = [
        ("approval", approval()),
        ("controller", controller()),
        ("controller-namespaced", namespaced(controller())),
        ("credentials", credentials()),
        ("drop-in", drop_in()),
        ("drop-in-csrs", drop_in_csrs()),
        ("drop-in-namespaced", namespaced(drop_in())),
        ("edit", edit()),
        ("kubernetes-csrs", kubernetes_csrs()),
        ("leader-election", leader_election()),
        ("namespaces", namespaces()),
        ("secrets", secrets()),
        ("tokens", tokens()),
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

/// Returns the file of a role that is bound only where a mode of the controller needs it.
fn on_demand(mode: &str, rules: &[PolicyRule]) -> anyhow::Result<File> {
    let name = format!("{NAME}-{mode}");
    let role = yaml(&cluster_role(&name, &[], rules))?;
    let binding = yaml(&cluster_role_binding(&name, service_account(NAME, NAME)))?;
    Ok(file(mode, &[role, binding]))
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let strings = |words: &[&str]| words.iter().map(|&word| word.into()).collect();
    PolicyRule {
        api_groups: vec![group.into()],
        resources: strings(resources),
        verbs: strings(verbs),
        ..PolicyRule::default()
    }
}

fn cluster_role(name: &str, labels: &[(&str, &str)], rules: &[PolicyRule]) -> Value {
    role("ClusterRole", metadata(name, None, labels), rules)
}

fn role(kind: &str, metadata: Value, rules: &[PolicyRule]) -> Value {
    json!({ "apiVersion": format!("{API_GROUP}/v1"), "kind": kind, "metadata": metadata, "rules": rules })
}

fn cluster_role_binding(name: &str, subject: Value) -> Value {
    binding(
        "ClusterRoleBinding",
        metadata(name, None, &[]),
        "ClusterRole",
        name,
        subject,
    )
}

/// Binds a role to the controller in the controller's own namespace.
fn role_binding(name: &str, role_kind: &str) -> Value {
    let subject = service_account(NAME, NAME);
    binding("RoleBinding", metadata(name, Some(NAME), &[]), role_kind, name, subject)
}

fn binding(kind: &str, metadata: Value, role_kind: &str, role: &str, subject: Value) -> Value {
    json!({
        "apiVersion": format!("{API_GROUP}/v1"),
        "kind": kind,
        "metadata": metadata,
        "roleRef": { "apiGroup": API_GROUP, "kind": role_kind, "name": role },
        "subjects": [subject],
    })
}

fn service_account(namespace: &str, name: &str) -> Value {
    json!({ "kind": "ServiceAccount", "name": name, "namespace": namespace })
}

fn metadata(name: &str, namespace: Option<&str>, labels: &[(&str, &str)]) -> Value {
    let mut all = Map::from_iter([("app.kubernetes.io/name".to_owned(), json!(NAME))]);
    all.extend(labels.iter().map(|&(key, value)| (key.to_owned(), json!(value))));
    match namespace {
        Some(namespace) => json!({ "name": name, "labels": all, "namespace": namespace }),
        None => json!({ "name": name, "labels": all }),
    }
}
