//! Names of objects, and the notes that use them.

use std::collections::BTreeSet;

use anyhow::ensure;
use serde_json::json;

use crate::helm::Helm;

/// No two objects have one name, with everything switched on and with names as long as they may be.
pub(super) fn unique(helm: &Helm) -> anyhow::Result<()> {
    let values = json!({
        "app": { "metrics": { "service": { "servicemonitor": { "enabled": true } } } },
        "credentials": {
            "namespaces": ["team-a", "team-a", "vault-issuer"],
            "secrets": [{ "namespace": "team-a", "name": "a" }],
            "serviceAccounts": [{ "namespace": "team-a", "name": "a" }, { "namespace": "team-b", "name": "b" }],
        },
        "dashboard": { "enabled": true },
        "networkPolicy": { "enabled": true },
        "prometheusRule": { "enabled": true },
    });
    let long = "r".repeat(53);
    for release in ["vault-issuer", "second", long.as_str()] {
        let objects = helm.template_as(release, &values)?;
        let mut names = BTreeSet::new();
        for object in objects.iter() {
            let metadata = &object["metadata"];
            let name = metadata["name"].as_str().unwrap_or_default();
            ensure!((1..=63).contains(&name.len()), "{name} is too long");
            let key = format!("{} {} {name}", object["kind"], metadata["namespace"]);
            ensure!(names.insert(key.clone()), "{key} is there twice");
        }
    }
    Ok(())
}

/// Two releases in one cluster have an object in common whatever they leave out, so Helm refuses the second one: each
/// would sign every request.
pub(super) fn one_installation(helm: &Helm) -> anyhow::Result<()> {
    let values = json!({ "approval": { "enabled": false }, "crds": { "enabled": false } });
    let names = |release: &str| -> anyhow::Result<BTreeSet<String>> {
        let objects = helm.template_as(release, &values)?;
        let cluster_wide = objects
            .iter()
            .filter(|object| object["metadata"]["namespace"].is_null());
        Ok(cluster_wide
            .map(|object| format!("{} {}", object["kind"], object["metadata"]["name"]))
            .collect())
    };
    let (first, second) = (names("first")?, names("second")?);
    ensure!(
        first.intersection(&second).eq([
            r#""ClusterRole" "vault-issuer-controller""#,
            r#""ClusterRoleBinding" "vault-issuer-controller""#
        ]),
        "{:?}",
        first.intersection(&second)
    );
    Ok(())
}

/// The notes name the roles and the account that the release has.
pub(super) fn notes(helm: &Helm) -> anyhow::Result<()> {
    let notes = helm.notes("vi", &json!({}))?;
    let objects = helm.template_as("vi", &json!({}))?;
    objects.get("ClusterRole", "vi-vault-issuer-credentials")?;
    objects.get("ServiceAccount", "vi-vault-issuer")?;
    for words in [
        "--clusterrole=vi-vault-issuer-credentials",
        "--serviceaccount=vault-issuer:vi-vault-issuer",
        "-l app.kubernetes.io/instance=vi ",
    ] {
        ensure!(notes.contains(words), "{words} is not in {notes}");
    }
    ensure!(!notes.contains("WARNING"), "{notes}");
    Ok(())
}

/// The notes warn if nobody may approve requests.
pub(super) fn no_approval(helm: &Helm) -> anyhow::Result<()> {
    for approval in [json!({ "enabled": false }), json!({ "subjects": [] })] {
        let notes = helm.notes("vi", &json!({ "approval": approval }))?;
        ensure!(notes.contains("WARNING: approval"), "{notes}");
    }
    Ok(())
}
