//! Monitors, alerts and the dashboard.

use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use xtask::process::read;

use crate::helm::Helm;
use crate::objects::Objects;
use crate::tool::Tool;

/// Without the service discovery of every cloud, of which it uses none here.
const PROMTOOL: Tool = Tool {
    name: "promtool",
    package: "github.com/prometheus/prometheus/cmd/promtool@v0.316.0",
    tags: "remove_all_sd",
    version: "--version",
};

/// A user's label or property replaces the chart's, also by a value that is false or empty.
pub(super) fn monitors(helm: &Helm) -> anyhow::Result<()> {
    let monitor = json!({
        "enabled": true,
        "endpointAdditionalProperties": { "honorLabels": false, "scheme": "http" },
        "labels": { "prometheus": "own" },
        "namespace": "monitoring",
    });
    let service = json!({ "app": { "metrics": { "service": { "servicemonitor": monitor } } } });
    let pod = json!({ "app": { "metrics": { "podmonitor": monitor } } });
    for (values, kind, endpoints) in [
        (service, "ServiceMonitor", "endpoints"),
        (pod, "PodMonitor", "podMetricsEndpoints"),
    ] {
        let objects = helm.template(&values)?;
        let monitor = objects.get(kind, "vault-issuer")?;
        ensure!(monitor["metadata"]["namespace"] == "monitoring", "{monitor}");
        ensure!(monitor["metadata"]["labels"]["prometheus"] == "own", "{monitor}");
        ensure!(
            monitor["spec"]["namespaceSelector"]["matchNames"] == json!(["vault-issuer"]),
            "{monitor}"
        );
        let endpoint = &monitor["spec"][endpoints][0];
        ensure!(
            endpoint["honorLabels"] == false && endpoint["scheme"] == "http",
            "{endpoint}"
        );
    }
    let plain = json!({ "enabled": true, "prometheusInstance": "" });
    let objects = helm.template(&json!({ "app": { "metrics": { "podmonitor": plain } } }))?;
    let monitor = objects.get("PodMonitor", "vault-issuer")?;
    ensure!(monitor["metadata"]["labels"]["prometheus"].is_null(), "{monitor}");
    ensure!(
        monitor["spec"]["podMetricsEndpoints"][0]["honorLabels"] == true,
        "{monitor}"
    );
    Ok(())
}

/// The rule has the alerts of `deploy/alerts`, without those that are disabled and with those that are added.
pub(super) fn alerts(helm: &Helm) -> anyhow::Result<()> {
    let manifest = Objects::read("deploy/alerts/prometheus-rule.yaml")?;
    let expected = &manifest.get("PrometheusRule", "vault-issuer")?["spec"];
    let objects = helm.template(&json!({ "prometheusRule": { "enabled": true } }))?;
    let found = &objects.get("PrometheusRule", "vault-issuer")?["spec"];
    ensure!(found == expected, "{found}");

    let objects = helm.template(&json!({ "prometheusRule": {
        "enabled": true,
        "additionalRules": [{ "alert": "Own", "expr": "1" }],
        "disabledAlerts": ["VaultIssuerAbsent"],
        "labels": { "release": "prometheus" },
    } }))?;
    let rule = objects.get("PrometheusRule", "vault-issuer")?;
    ensure!(rule["metadata"]["labels"]["release"] == "prometheus", "{rule}");
    let rules = rule["spec"]["groups"][0]["rules"].as_array().context("no rules")?;
    let names: Vec<&str> = rules.iter().filter_map(|rule| rule["alert"].as_str()).collect();
    ensure!(
        !names.contains(&"VaultIssuerAbsent") && names.last() == Some(&"Own"),
        "{names:?}"
    );
    Ok(())
}

/// Each alert fires when it should and is silent otherwise: the tests beside the rule, run by promtool.
pub(super) fn alerts_fire(helm: &Helm) -> anyhow::Result<()> {
    let promtool = PROMTOOL.find()?.context("there is neither promtool nor go")?;
    let objects = helm.template(&json!({ "prometheusRule": { "enabled": true } }))?;
    let rules = &objects.get("PrometheusRule", "vault-issuer")?["spec"];
    let directory = "target/chart";
    fs::create_dir_all(directory)?;
    fs::write(format!("{directory}/rules.yaml"), rules.to_string())?;
    fs::copy("deploy/alerts/tests.yaml", format!("{directory}/tests.yaml"))?;
    for (verb, file) in [("check", "rules.yaml"), ("test", "tests.yaml")] {
        let mut command = Command::new(&promtool);
        read(command.current_dir(directory).args([verb, "rules", file]))?;
    }
    Ok(())
}

/// The ConfigMap holds the dashboard of `deploy/dashboards`.
pub(super) fn dashboard(helm: &Helm) -> anyhow::Result<()> {
    let objects = helm.template(&json!({ "dashboard": { "enabled": true, "namespace": "grafana" } }))?;
    let map = objects.get("ConfigMap", "vault-issuer-dashboard")?;
    ensure!(map["metadata"]["namespace"] == "grafana", "{map}");
    ensure!(map["metadata"]["labels"]["grafana_dashboard"] == "1", "{map}");
    let text = map["data"]["vault-issuer.json"].as_str().context("no dashboard")?;
    let found: Value = serde_json::from_str(text)?;
    let expected: Value = serde_json::from_str(&fs::read_to_string("deploy/dashboards/vault-issuer.json")?)?;
    ensure!(found == expected, "the dashboard differs");
    Ok(())
}
