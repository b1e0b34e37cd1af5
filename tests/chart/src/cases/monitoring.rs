//! Monitors, alerts and the dashboard.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use xtask::process::read;
use xtask::tool::Tool;

use crate::helm::Helm;
use crate::objects::Objects;

/// Without the service discovery of every cloud, of which it uses none here.
const PROMTOOL: Tool = Tool {
    name: "promtool",
    package: "github.com/prometheus/prometheus/cmd/promtool@v0.316.0",
    tags: "remove_all_sd",
    version: "--version",
};

/// Where promtool finds its files.
const DIRECTORY: &str = "target/chart";

/// A user's label or property replaces the chart's, also by a value that is empty.
pub(super) fn monitors(helm: &Helm) -> anyhow::Result<()> {
    let monitor = json!({
        "enabled": true,
        "endpointAdditionalProperties": { "honorLabels": true, "scheme": "http" },
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
            endpoint["honorLabels"] == true && endpoint["scheme"] == "http",
            "{endpoint}"
        );
    }
    let plain = json!({ "enabled": true, "prometheusInstance": "" });
    let objects = helm.template(&json!({ "app": { "metrics": { "podmonitor": plain } } }))?;
    let monitor = objects.get("PodMonitor", "vault-issuer")?;
    ensure!(monitor["metadata"]["labels"]["prometheus"].is_null(), "{monitor}");
    ensure!(
        monitor["spec"]["podMetricsEndpoints"][0]["honorLabels"] == false,
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
    let objects = helm.template(&json!({ "prometheusRule": { "enabled": true } }))?;
    let rules = &objects.get("PrometheusRule", "vault-issuer")?["spec"];
    fs::create_dir_all(DIRECTORY)?;
    fs::write(format!("{DIRECTORY}/rules.yaml"), rules.to_string())?;
    let tests = fs::read_to_string("deploy/alerts/tests.yaml")?;
    fs::write(format!("{DIRECTORY}/tests.yaml"), &tests)?;
    promtool(&["check", "rules", "rules.yaml"])?;
    promtool(&["test", "rules", "tests.yaml"])?;

    let (firing, silent) = tested(&serde_saphyr::from_str(&tests)?)?;
    let rules = rules["groups"][0]["rules"].as_array().context("no rules")?;
    for alert in rules.iter().filter_map(|rule| rule["alert"].as_str()) {
        ensure!(
            firing.iter().any(|test| test.contains(&format!("\"{alert}\""))),
            "no test expects {alert} to fire"
        );
        ensure!(silent.contains(alert), "no test expects {alert} to be silent");
    }
    Ok(())
}

/// Returns the expectations of tests that something fires, as text, and the alerts that are expected to be silent.
fn tested(tests: &Value) -> anyhow::Result<(Vec<String>, BTreeSet<String>)> {
    let (mut firing, mut silent) = (Vec::new(), BTreeSet::new());
    for test in tests["tests"].as_array().context("no tests")? {
        let of = |kind: &str| test[kind].as_array().into_iter().flatten();
        for rule in of("alert_rule_test") {
            let alert = rule["alertname"].as_str().context("a test without an alert")?;
            if rule["exp_alerts"].is_null() {
                silent.insert(alert.to_owned());
            } else {
                firing.push(format!("\"{alert}\""));
            }
        }
        let fires = |expression: &&Value| !expression["exp_samples"].is_null();
        firing.extend(of("promql_expr_test").filter(fires).filter_map(|expression| {
            let text = expression["expr"].as_str()?;
            Some(text.to_owned())
        }));
    }
    Ok((firing, silent))
}

/// Runs promtool on files of [`DIRECTORY`].
fn promtool(arguments: &[&str]) -> anyhow::Result<()> {
    let promtool = PROMTOOL.find()?.context("there is neither promtool nor go")?;
    read(Command::new(promtool).current_dir(DIRECTORY).args(arguments)).map(drop)
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

/// Prometheus can parse every expression of the dashboard.
pub(super) fn dashboard_expressions(_: &Helm) -> anyhow::Result<()> {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string("deploy/dashboards/vault-issuer.json")?)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array()).flatten();
    let mut rules = Vec::new();
    for target in targets {
        let expression = target["expr"].as_str().context("a target without an expression")?;
        // Grafana puts values into these places.
        let expression = expression.replace("$__rate_interval", "5m").replace("$__range", "1h");
        rules.push(json!({ "record": format!("dashboard:{}", rules.len()), "expr": expression }));
    }
    ensure!(rules.len() > 20, "{} expressions", rules.len());
    fs::create_dir_all(DIRECTORY)?;
    let group = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    fs::write(format!("{DIRECTORY}/dashboard.yaml"), group.to_string())?;
    promtool(&["check", "rules", "dashboard.yaml"])
}
