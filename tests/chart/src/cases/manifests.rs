//! The plain manifests of `deploy/`, which install the same as the chart with its defaults.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::helm::Helm;
use crate::objects::Objects;

/// The pods, roles and bindings are the same.
pub(super) fn same_as_chart(helm: &Helm) -> anyhow::Result<()> {
    let chart = helm.template(&json!({}))?;
    let plain = Objects::read("deploy/controller.yaml")?;
    let (chart_spec, plain_spec) = (chart.deployment()?, plain.deployment()?);
    for field in ["replicas", "strategy"] {
        ensure!(chart_spec[field] == plain_spec[field], "{field}: {}", plain_spec[field]);
    }
    let (chart_pod, plain_pod) = (pod(chart_spec)?, pod(plain_spec)?);
    ensure!(chart_pod == plain_pod, "the chart has {chart_pod}, deploy/ {plain_pod}");

    // The directory has the rights of every mode, which the kustomization leaves out.
    let values = json!({
        "dropIn": { "enabled": true, "clusterResourceNamespace": "vault-issuer" },
        "kubernetesCsrs": { "enabled": true },
        "rbac": { "readNamespaces": true },
    });
    let chart = helm.template(&values)?;
    let plain = Objects::read_directory("deploy/rbac")?;
    for object in plain.iter() {
        let kind = object["kind"].as_str().context("an object has a kind")?;
        let name = object["metadata"]["name"].as_str().context("an object has a name")?;
        let other = chart.get(kind, name)?;
        for field in ["rules", "roleRef", "subjects"] {
            ensure!(
                other[field] == object[field],
                "{kind} {name}: {field}: {}",
                other[field]
            );
        }
    }
    for kind in ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"] {
        let (chart, plain) = (chart.of_kind(kind).count(), plain.of_kind(kind).count());
        ensure!(chart == plain, "the chart has {chart} {kind}s, deploy/ {plain}");
    }
    Ok(())
}

/// Returns the pod's spec without what follows from values and labels.
fn pod(deployment: &Value) -> anyhow::Result<Value> {
    let mut pod = deployment["template"]["spec"].clone();
    let container = pod.pointer_mut("/containers/0").and_then(Value::as_object_mut);
    container.context("a pod has a container")?.remove("args");
    let constraint = pod
        .pointer_mut("/topologySpreadConstraints/0")
        .and_then(Value::as_object_mut);
    constraint.context("a pod has a constraint")?.remove("labelSelector");
    Ok(pod)
}

/// The network policy is off by default, and the same as the manifest where it is on.
pub(super) fn network_policy(helm: &Helm) -> anyhow::Result<()> {
    let (kind, name) = ("NetworkPolicy", "vault-issuer");
    ensure!(!helm.template(&json!({}))?.has(kind, name), "it is on by default");
    let chart = helm.template(&json!({ "networkPolicy": { "enabled": true } }))?;
    let plain = Objects::read("deploy/network-policy.yaml")?;
    let ports = |objects: &Objects, direction: &str| -> anyhow::Result<Vec<String>> {
        let rules = objects.get(kind, name)?["spec"][direction]
            .as_array()
            .context("no rules")?;
        let ports = rules.iter().filter_map(|rule| rule["ports"].as_array()).flatten();
        let port = |port: &Value| format!("{} {}", port["port"], port["protocol"].as_str().unwrap_or("TCP"));
        Ok(ports.map(port).collect())
    };
    for direction in ["ingress", "egress"] {
        let (chart, plain) = (ports(&chart, direction)?, ports(&plain, direction)?);
        ensure!(chart == plain, "{direction}: {chart:?}, {plain:?}");
    }
    Ok(())
}
