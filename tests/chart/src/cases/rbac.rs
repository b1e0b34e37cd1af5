//! Roles and what they are bound to.

use std::collections::BTreeSet;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::helm::Helm;
use crate::objects::Objects;

const TOKENS: &str = "serviceaccounts/token";

/// Returns the rules of all roles that are bound, each with the namespace of its binding; null where it is bound in all.
fn bound(objects: &Objects) -> anyhow::Result<Vec<(&Value, &Value)>> {
    let mut bound = Vec::new();
    for binding in objects
        .of_kind("ClusterRoleBinding")
        .chain(objects.of_kind("RoleBinding"))
    {
        let role = &binding["roleRef"];
        let namespace = &binding["metadata"]["namespace"];
        let is_it = |object: &&Value| {
            let metadata = &object["metadata"];
            metadata["name"] == role["name"] && (role["kind"] == "ClusterRole" || metadata["namespace"] == *namespace)
        };
        let found = objects.of_kind(role["kind"].as_str().unwrap_or_default()).find(is_it);
        ensure!(found.is_some(), "{role} is bound and does not exist");
        let rules = found.and_then(|role| role["rules"].as_array()).into_iter().flatten();
        bound.extend(rules.map(|rule| (rule, namespace)));
    }
    Ok(bound)
}

/// Returns the namespaces in which `resource` is granted, and the names that the grant is limited to.
fn grants(objects: &Objects, resource: &str) -> anyhow::Result<BTreeSet<String>> {
    let has = |rule: &Value| {
        rule["resources"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one == resource))
    };
    let rules = bound(objects)?;
    let grants = rules.into_iter().filter(|(rule, _)| has(rule));
    Ok(grants
        .map(|(rule, namespace)| format!("{namespace} {} {}", rule["resourceNames"], rule["verbs"]))
        .collect())
}

/// Tokens are granted for the service accounts that are named, and for no others.
pub(super) fn tokens_by_name(helm: &Helm) -> anyhow::Result<()> {
    for values in [
        json!({}),
        json!({ "credentials": { "namespaces": ["team-a"] } }),
        json!({ "credentials": { "allNamespaces": true } }),
    ] {
        let granted = grants(&helm.template(&values)?, TOKENS)?;
        ensure!(granted.is_empty(), "{values}: {granted:?}");
    }
    let accounts = [("team-a", "a"), ("team-b", "b"), ("team-a", "c"), ("team-a", "a")];
    let accounts = accounts.map(|(namespace, name)| json!({ "namespace": namespace, "name": name }));
    let granted = grants(
        &helm.template(&json!({ "credentials": { "serviceAccounts": accounts } }))?,
        TOKENS,
    )?;
    let expected = [r#""team-a" ["a","c"] ["create"]"#, r#""team-b" ["b"] ["create"]"#];
    ensure!(granted.iter().eq(expected), "{granted:?}");
    Ok(())
}

/// Secrets are watched only by their names.
pub(super) fn secrets_by_name(helm: &Helm) -> anyhow::Result<()> {
    let secrets = [("team-a", "a"), ("vault-issuer", "b"), ("team-a", "c"), ("team-a", "a")];
    let secrets = secrets.map(|(namespace, name)| json!({ "namespace": namespace, "name": name }));
    let values = json!({ "credentials": { "secrets": secrets } });
    let granted = grants(&helm.template(&values)?, "secrets")?;
    let expected = [
        r#""team-a" ["a","c"] ["get","watch"]"#,
        r#""vault-issuer" ["b"] ["get","watch"]"#,
        r#""vault-issuer" null ["get"]"#,
    ];
    ensure!(granted.iter().eq(expected), "{granted:?}");
    Ok(())
}

/// cert-manager's own issuers are read and written only where they are served.
pub(super) fn drop_in_on_demand(helm: &Helm) -> anyhow::Result<()> {
    let resources = ["issuers", "clusterissuers", "issuers/status", "clusterissuers/status"];
    let off = helm.template(&json!({}))?;
    let on = helm.template(&json!({ "dropIn": { "enabled": true } }))?;
    for resource in resources {
        let granted = grants(&off, resource)?;
        ensure!(granted.is_empty(), "{resource}: {granted:?}");
        let verbs = if resource.ends_with("status") {
            r#"["patch"]"#
        } else {
            r#"["get","list","watch"]"#
        };
        let granted = grants(&on, resource)?;
        ensure!(
            granted.iter().eq([format!("null null {verbs}")].iter()),
            "{resource}: {granted:?}"
        );
    }
    Ok(())
}

/// A controller that is limited to namespaces has no right elsewhere, and several releases go together.
pub(super) fn namespaces(helm: &Helm) -> anyhow::Result<()> {
    let values = json!({
        "namespaces": ["team-a", "team-b"],
        "credentials": { "namespaces": ["team-a"], "serviceAccounts": [{ "namespace": "team-b", "name": "login" }] },
        "dropIn": { "enabled": true },
        "approval": { "enabled": false },
        "crds": { "enabled": false },
    });
    for release in ["vault-issuer", "second"] {
        let objects = helm.template_as(release, &values)?;
        for object in objects.iter() {
            // Helm puts the others into the namespace of the release.
            let name = &object["metadata"]["name"];
            let kind = object["kind"].as_str().unwrap_or_default();
            ensure!(!kind.starts_with("Cluster"), "{kind} {name} holds in the whole cluster");
        }
        let reads = r#"["get","list","watch"]"#;
        for (resource, expected) in [
            (
                "certificaterequests",
                vec![format!(r#""team-a" null {reads}"#), format!(r#""team-b" null {reads}"#)],
            ),
            (
                "vaultissuers",
                vec![format!(r#""team-a" null {reads}"#), format!(r#""team-b" null {reads}"#)],
            ),
            (
                "issuers",
                vec![format!(r#""team-a" null {reads}"#), format!(r#""team-b" null {reads}"#)],
            ),
            ("secrets", vec![r#""team-a" null ["get"]"#.to_owned()]),
            (TOKENS, vec![r#""team-b" ["login"] ["create"]"#.to_owned()]),
            ("vaultclusterissuers", vec![]),
            ("clusterissuers", vec![]),
            ("namespaces", vec![]),
        ] {
            let granted = grants(&objects, resource)?;
            ensure!(granted.iter().eq(expected.iter()), "{release}, {resource}: {granted:?}");
        }
    }
    Ok(())
}

/// Namespaces may be read, one by one, where that is asked for.
pub(super) fn namespace_labels(helm: &Helm) -> anyhow::Result<()> {
    let granted = grants(&helm.template(&json!({}))?, "namespaces")?;
    ensure!(granted.is_empty(), "{granted:?}");
    let granted = grants(
        &helm.template(&json!({ "rbac": { "readNamespaces": true } }))?,
        "namespaces",
    )?;
    ensure!(granted.iter().eq([r#"null null ["get"]"#]), "{granted:?}");
    Ok(())
}

/// CertificateSigningRequests are read and signed only where that is asked for, and for cert-manager's signer names only in
/// drop-in mode.
pub(super) fn kubernetes_csrs_on_demand(helm: &Helm) -> anyhow::Result<()> {
    let csrs = json!({ "enabled": true });
    let (ours, theirs) = (
        r#"null ["vaultissuers.vault-issuer.io/*","vaultclusterissuers.vault-issuer.io/*"] ["sign"]"#,
        r#"null ["issuers.cert-manager.io/*","clusterissuers.cert-manager.io/*"] ["sign"]"#,
    );
    for (values, signers) in [
        (json!({}), vec![]),
        (json!({ "dropIn": { "enabled": true } }), vec![]),
        (json!({ "kubernetesCsrs": csrs }), vec![ours]),
        (
            json!({ "kubernetesCsrs": csrs, "dropIn": { "enabled": true } }),
            vec![theirs, ours],
        ),
    ] {
        let objects = helm.template(&values)?;
        let mut granted = grants(&objects, "signers")?;
        granted.retain(|grant| grant.ends_with(r#"["sign"]"#));
        ensure!(granted.iter().eq(signers.iter()), "{values}: {granted:?}");
        for (resource, verbs) in [
            ("certificatesigningrequests", r#"["get","list","watch"]"#),
            ("certificatesigningrequests/status", r#"["patch"]"#),
            ("subjectaccessreviews", r#"["create"]"#),
        ] {
            let granted = grants(&objects, resource)?;
            let expected = (!signers.is_empty()).then(|| format!("null null {verbs}"));
            ensure!(granted.iter().eq(expected.iter()), "{values}, {resource}: {granted:?}");
        }
    }
    Ok(())
}

/// Secrets and ConfigMaps may be read, not listed, where it is granted and in the cluster resource namespace.
pub(super) fn secrets_by_namespace(helm: &Helm) -> anyhow::Result<()> {
    let read = |namespaces: &[&str]| -> BTreeSet<String> {
        namespaces
            .iter()
            .map(|namespace| format!(r#"{namespace} null ["get"]"#))
            .collect()
    };
    for (values, namespaces) in [
        (json!({}), vec![r#""vault-issuer""#]),
        (
            json!({ "credentials": { "namespaces": ["team-a"] } }),
            vec![r#""vault-issuer""#, r#""team-a""#],
        ),
        (json!({ "clusterResourceNamespace": "platform" }), vec![r#""platform""#]),
        (
            json!({ "dropIn": { "enabled": true } }),
            vec![r#""vault-issuer""#, r#""cert-manager""#],
        ),
        (json!({ "credentials": { "allNamespaces": true } }), vec!["null"]),
    ] {
        for resource in ["configmaps", "secrets"] {
            let granted = grants(&helm.template(&values)?, resource)?;
            ensure!(granted == read(&namespaces), "{values}, {resource}: {granted:?}");
        }
    }
    Ok(())
}

/// The role for the Lease is in the Lease's namespace, and there is none without election.
pub(super) fn lease_namespace(helm: &Helm) -> anyhow::Result<()> {
    let name = "vault-issuer-leader-election";
    let objects = helm.template(&json!({ "app": { "leaderElection": { "namespace": "shared" } } }))?;
    for kind in ["Role", "RoleBinding"] {
        let namespace = &objects.get(kind, name)?["metadata"]["namespace"];
        ensure!(namespace == "shared", "{kind} {namespace}");
    }
    let values = json!({ "app": { "leaderElection": { "enabled": false } }, "replicaCount": 1 });
    ensure!(!helm.template(&values)?.has("Role", name), "{name} exists");
    Ok(())
}

/// Releases that are limited to namespaces have a Lease each, or one would wait for the other for good. Those that are not
/// share one, so two of them never sign at once.
pub(super) fn lease_name(helm: &Helm) -> anyhow::Result<()> {
    for (release, namespaces, lease) in [
        ("vault-issuer", json!([]), "vault-issuer"),
        ("second", json!([]), "vault-issuer"),
        ("vault-issuer", json!(["team-a"]), "vault-issuer"),
        ("first", json!(["team-a"]), "first-vault-issuer"),
        ("second", json!(["team-b"]), "second-vault-issuer"),
    ] {
        let objects = helm.template_as(release, &json!({ "namespaces": namespaces }))?;
        let arguments = objects.arguments()?;
        let flag = "--leader-election-id=";
        let named: Vec<_> = arguments
            .iter()
            .filter_map(|argument| argument.strip_prefix(flag))
            .collect();
        // The flag's default is the name that all share.
        let used = named.first().copied().unwrap_or("vault-issuer");
        ensure!(used == lease && named.len() <= 1, "{release} {namespaces}: {named:?}");
        let granted = grants(&objects, "leases")?;
        let expected = [
            r#""vault-issuer" null ["create"]"#.to_owned(),
            format!(r#""vault-issuer" ["{lease}"] ["get","update"]"#),
        ];
        let expected = BTreeSet::from(expected);
        ensure!(granted == expected, "{release} {namespaces}: {granted:?}");
    }
    let values = json!({
        "namespaces": ["team-a"],
        "app": { "leaderElection": { "enabled": false } },
        "replicaCount": 1,
    });
    let objects = helm.template(&values)?;
    let arguments = objects.arguments()?;
    let is_named = arguments
        .iter()
        .any(|argument| argument.starts_with("--leader-election-id"));
    ensure!(!is_named, "a Lease without election: {arguments:?}");
    Ok(())
}

/// The approver may approve requests for both kinds; without subjects nothing is bound.
pub(super) fn approval(helm: &Helm) -> anyhow::Result<()> {
    let name = "cert-manager-controller-approve:vault-issuer-io";
    let objects = helm.template(&json!({}))?;
    let rules = &objects.get("ClusterRole", name)?["rules"];
    let signers = json!([
        "vaultissuers.vault-issuer.io/*",
        "vaultclusterissuers.vault-issuer.io/*"
    ]);
    ensure!(rules[0]["resourceNames"] == signers, "{rules}");
    let subjects = &objects.get("ClusterRoleBinding", name)?["subjects"];
    ensure!(subjects[0]["name"] == "cert-manager", "{subjects}");
    let objects = helm.template(&json!({ "approval": { "subjects": [] } }))?;
    ensure!(!objects.has("ClusterRoleBinding", name), "nobody is bound to {name}");
    Ok(())
}

/// Default roles get the right to read issuers, and never the right to write them.
pub(super) fn aggregation(helm: &Helm) -> anyhow::Result<()> {
    let prefix = "rbac.authorization.k8s.io/aggregate-to-";
    let aggregated = |objects: &Objects| -> Vec<String> {
        let roles = objects.of_kind("ClusterRole");
        roles
            .filter(|role| role["metadata"]["labels"].to_string().contains(prefix))
            .map(|role| role["metadata"]["name"].to_string())
            .collect()
    };
    let names = aggregated(&helm.template(&json!({}))?);
    ensure!(names == [r#""vault-issuer-view""#], "{names:?}");
    let names = aggregated(&helm.template(&json!({ "rbac": { "aggregateClusterRoles": false } }))?);
    ensure!(names.is_empty(), "{names:?}");
    Ok(())
}
