//! The Deployment and its pods.

use anyhow::ensure;
use serde_json::json;

use crate::helm::Helm;

/// Two controllers never run at once without election, and the strategy is always written out: a server-side apply
/// can then switch from one type to the other.
pub(super) fn strategy(helm: &Helm) -> anyhow::Result<()> {
    let rolling = |surge: i64, unavailable: i64| {
        let update = json!({ "maxSurge": surge, "maxUnavailable": unavailable });
        json!({ "type": "RollingUpdate", "rollingUpdate": update })
    };
    let recreate = json!({ "type": "Recreate" });
    for (values, expected) in [
        (json!({}), rolling(1, 0)),
        (json!({ "strategy": rolling(0, 1) }), rolling(0, 1)),
        (json!({ "strategy": recreate }), recreate.clone()),
        (
            json!({ "app": { "leaderElection": { "enabled": false } }, "replicaCount": 1 }),
            recreate,
        ),
    ] {
        let objects = helm.template(&values)?;
        let strategy = &objects.deployment()?["strategy"];
        ensure!(*strategy == expected, "{values}: {strategy}");
    }
    Ok(())
}

/// Labels of one's own replace none that selects the pods; and the pods have none that changes with the chart.
pub(super) fn labels(helm: &Helm) -> anyhow::Result<()> {
    let key = "app.kubernetes.io/name";
    let objects = helm.template(&json!({
        "commonLabels": { "team": "common", key: "other" },
        "podLabels": { "team": "pods", key: "other" },
    }))?;
    let deployment = objects.get("Deployment", "vault-issuer")?;
    ensure!(deployment["metadata"]["labels"]["team"] == "common", "{deployment}");
    let pods = &deployment["spec"]["template"]["metadata"]["labels"];
    ensure!(pods["team"] == "pods", "{pods}");
    ensure!(
        pods["helm.sh/chart"].is_null() && pods["app.kubernetes.io/version"].is_null(),
        "{pods}"
    );
    for object in objects.iter() {
        let labels = &object["metadata"]["labels"];
        ensure!(labels[key] == "vault-issuer", "{labels}");
    }
    let selector = &deployment["spec"]["selector"]["matchLabels"];
    let labels = selector.as_object().into_iter().flatten();
    for (name, value) in labels {
        ensure!(pods[name] == *value, "{name} of the pods is {}", pods[name]);
    }
    Ok(())
}

/// A digest wins over a tag, and a registry is put before the repository.
pub(super) fn image(helm: &Helm) -> anyhow::Result<()> {
    let digest = format!("sha256:{}", "0".repeat(64));
    for (values, expected) in [
        (
            json!({ "image": { "repository": "a/b", "tag": "c" } }),
            "a/b:c".to_owned(),
        ),
        (
            json!({ "image": { "registry": "r.example.com", "repository": "b", "digest": digest, "tag": "c" } }),
            format!("r.example.com/b@{digest}"),
        ),
        (
            json!({ "global": { "imageRegistry": "g.example.com" }, "image": { "repository": "b", "tag": "c" } }),
            "g.example.com/b:c".to_owned(),
        ),
    ] {
        let objects = helm.template(&values)?;
        let image = &objects.deployment()?["template"]["spec"]["containers"][0]["image"];
        ensure!(*image == expected, "{values}: {image}");
    }
    let objects = helm.template(&json!({
        "global": { "imagePullSecrets": [{ "name": "a" }] },
        "imagePullSecrets": [{ "name": "b" }],
    }))?;
    let secrets = &objects.deployment()?["template"]["spec"]["imagePullSecrets"];
    ensure!(*secrets == json!([{ "name": "b" }, { "name": "a" }]), "{secrets}");
    Ok(())
}

/// Probes and metrics listen on all addresses of either family, where a cluster has one of them only.
pub(super) fn addresses(helm: &Helm) -> anyhow::Result<()> {
    let objects = helm.template(&json!({}))?;
    let arguments = objects.arguments()?;
    for flag in ["--health-probe-bind-address=:8081", "--metrics-bind-address=:9402"] {
        ensure!(arguments.contains(&flag), "{flag} is not in {arguments:?}");
    }
    Ok(())
}

/// The pods satisfy the restricted Pod Security Standard, and have time to stop.
///
/// <https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted>
pub(super) fn restricted(helm: &Helm) -> anyhow::Result<()> {
    let objects = helm.template(&json!({}))?;
    let pod = &objects.deployment()?["template"]["spec"];
    ensure!(pod["securityContext"]["runAsNonRoot"] == true, "{pod}");
    ensure!(
        pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault",
        "{pod}"
    );
    ensure!(pod["terminationGracePeriodSeconds"] == 60, "{pod}");
    let container = &pod["containers"][0]["securityContext"];
    let expected = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
        "readOnlyRootFilesystem": true,
    });
    ensure!(*container == expected, "{container}");
    Ok(())
}
