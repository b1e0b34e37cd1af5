//! Which values are accepted, and what becomes of them.

use anyhow::ensure;
use serde_json::{Value, json};

use crate::helm::Helm;

/// Values that a user may give are rendered.
pub(super) fn accepted(helm: &Helm) -> anyhow::Result<()> {
    for values in [
        json!({}),
        json!({ "enabled": true, "global": { "anything": 1 } }),
        json!({ "app": { "leaderElection": { "leaseDuration": "1m30s", "renewDeadline": "1m", "retryPeriod": "1.5s" } } }),
        json!({ "app": { "issuerCheckInterval": "+1h0.5m", "logLevel": "info,issuer_core=debug" } }),
        json!({ "app": { "maxConcurrentReconciles": 65535, "metrics": { "enabled": false } } }),
        json!({ "image": { "digest": format!("sha256:{}", "0".repeat(64)) } }),
        json!({ "podDisruptionBudget": { "minAvailable": "50%" } }),
        json!({ "namespaces": ["team-a"], "dropIn": { "enabled": true } }),
        json!({ "rbac": { "create": false }, "serviceAccount": { "create": false, "name": "own" } }),
    ] {
        helm.template(&values)?;
    }
    Ok(())
}

/// Values of a wrong type or form are refused, with the value's name.
pub(super) fn malformed(helm: &Helm) -> anyhow::Result<()> {
    refused(
        helm,
        [
            (json!({ "unknown": 1 }), "unknown"),
            (json!({ "app": { "unknown": 1 } }), "unknown"),
            (json!({ "replicaCount": -1 }), "replicaCount"),
            (json!({ "image": { "digest": "latest" } }), "digest"),
            (json!({ "image": { "pullPolicy": "Sometimes" } }), "pullPolicy"),
            (json!({ "serviceAccount": { "name": "Bad_Name" } }), "serviceAccount"),
            (json!({ "app": { "logFormat": "xml" } }), "logFormat"),
            (json!({ "app": { "logLevel": "loud" } }), "logLevel"),
            (
                json!({ "app": { "maxConcurrentReconciles": 65536 } }),
                "maxConcurrentReconciles",
            ),
            (
                json!({ "app": { "issuerCheckInterval": "abc" } }),
                "issuerCheckInterval",
            ),
            (election(json!({ "leaseDuration": "15" })), "leaseDuration"),
            (metrics(json!({ "service": { "type": "Foo" } })), "type"),
            (json!({ "namespaces": ["Team A"] }), "namespaces"),
            (
                json!({ "credentials": { "serviceAccounts": [{ "name": "login" }] } }),
                "serviceAccounts",
            ),
            (json!({ "credentials": { "secrets": ["approle"] } }), "secrets"),
        ],
    )
}

/// Values with which the controller would not start, or would not work, are refused with the reason.
pub(super) fn unusable(helm: &Helm) -> anyhow::Result<()> {
    refused(
        helm,
        [
            (
                json!({ "app": { "issuerCheckInterval": "0s" } }),
                "app.issuerCheckInterval must be at least 1s",
            ),
            (
                json!({ "app": { "signTimeout": "0.5s" } }),
                "app.signTimeout must be at least 1s",
            ),
            (
                election(json!({ "renewDeadline": "15s" })),
                "app.leaderElection.leaseDuration must be greater",
            ),
            (
                election(json!({ "leaseDuration": "15.9s", "renewDeadline": "15.5s" })),
                "must be greater",
            ),
            (
                election(json!({ "retryPeriod": "9s" })),
                "app.leaderElection.renewDeadline must be greater",
            ),
            (
                election(json!({ "enabled": false })),
                "more than one replica needs app.leaderElection.enabled",
            ),
            (
                json!({ "app": { "leaderElection": { "enabled": false } }, "replicaCount": 1, "strategy": { "type": "RollingUpdate" } }),
                "strategy.type RollingUpdate needs app.leaderElection.enabled",
            ),
            (
                json!({ "strategy": { "type": "Recreate", "rollingUpdate": { "maxSurge": 1 } } }),
                "strategy.rollingUpdate and strategy.type Recreate",
            ),
            (
                json!({ "app": { "extraArgs": ["--leader-elect=false"] } }),
                "set app.leaderElection.enabled",
            ),
            (
                json!({ "https_proxy": "http://proxy", "app": { "extraEnv": [{ "name": "HTTPS_PROXY", "value": "" }] } }),
                "HTTPS_PROXY is given twice",
            ),
            (
                json!({ "app": { "traces": { "endpoint": "http://a" }, "extraEnv": [{ "name": "OTEL_EXPORTER_OTLP_ENDPOINT" }] } }),
                "OTEL_EXPORTER_OTLP_ENDPOINT is given twice",
            ),
            (
                json!({ "app": { "extraEnv": [{ "name": "A" }, { "name": "A" }] } }),
                "A is given twice",
            ),
            (
                json!({ "podDisruptionBudget": { "minAvailable": 1, "maxUnavailable": 0 } }),
                "give one of",
            ),
        ],
    )
}

/// Values that need or exclude one another are refused with the reason.
pub(super) fn contradictory(helm: &Helm) -> anyhow::Result<()> {
    let monitor = json!({ "enabled": true });
    refused(
        helm,
        [
            (
                json!({ "prometheusRule": { "disabledAlerts": ["VaultIssuerNoSuchAlert"] } }),
                "there is no alert VaultIssuerNoSuchAlert",
            ),
            (
                metrics(json!({ "podmonitor": { "enabled": true, "interval": "30s", "scrapeTimeout": "31s" } })),
                "app.metrics.podmonitor.scrapeTimeout must not be longer",
            ),
            (metrics(json!({ "port": 8081 })), "must differ"),
            (
                metrics(json!({ "enabled": false, "service": { "servicemonitor": monitor } })),
                "app.metrics.service.servicemonitor needs app.metrics.enabled",
            ),
            (
                metrics(json!({ "enabled": false, "podmonitor": monitor })),
                "app.metrics.podmonitor needs app.metrics.enabled",
            ),
            (
                metrics(json!({ "service": { "enabled": false, "servicemonitor": monitor } })),
                "needs app.metrics.service.enabled",
            ),
            (
                metrics(json!({ "service": { "servicemonitor": monitor }, "podmonitor": monitor })),
                "both would scrape the same pods",
            ),
            (
                json!({ "namespaces": ["team-a"], "credentials": { "allNamespaces": true } }),
                "list credentials.namespaces",
            ),
            (
                json!({ "namespaces": ["team-a"], "kubernetesCsrs": { "enabled": true } }),
                "CertificateSigningRequests are in no namespace",
            ),
            (
                json!({ "namespaces": ["team-a"], "rbac": { "readNamespaces": true } }),
                "VaultClusterIssuers are not served",
            ),
        ],
    )
}

fn election(changes: Value) -> Value {
    json!({ "app": { "leaderElection": changes } })
}

fn metrics(changes: Value) -> Value {
    json!({ "app": { "metrics": changes } })
}

/// Checks that each of the values is refused with its message.
fn refused<const N: usize>(helm: &Helm, table: [(Value, &str); N]) -> anyhow::Result<()> {
    for (values, message) in table {
        let refusal = helm.refusal(&values)?;
        ensure!(refusal.contains(message), "{values}: {message} is not in: {refusal}");
    }
    Ok(())
}

/// Values become the flags that they stand for, and flags of one's own come last, where they win.
pub(super) fn as_arguments(helm: &Helm) -> anyhow::Result<()> {
    let objects = helm.template(&json!({
        "clusterResourceNamespace": "platform",
        "dropIn": { "enabled": true, "issuerStatus": "own", "clusterResourceNamespace": "certs" },
        "kubernetesCsrs": { "enabled": true },
        "app": {
            "allowAudiences": ["https://vault.example.com", "vault"],
            "allowHttp": true,
            "allowHttpServers": ["vault.lab", "*.test"],
            "allowedServers": ["vault.example.com", "10.0.0.0/8"],
            "ambientCredentials": { "issuers": true, "clusterIssuers": false },
            "claimRequests": true,
            "eventRate": 0,
            "extraArgs": ["--log-level=debug"],
            "leaderElection": { "namespace": "shared" },
            "maxCertificateChainLength": 2_000_000,
            "maxCertificateSize": 1_000_000,
            "maxLostAnswers": 5,
            "maxConcurrentReconciles": 3,
            "metrics": { "enabled": false },
        },
    }))?;
    let arguments = objects.arguments()?;
    for flag in [
        "--cluster-resource-namespace=platform",
        "--allow-audiences=https://vault.example.com,vault",
        "--allow-http",
        "--allow-http-servers=vault.lab,*.test",
        "--allowed-servers=vault.example.com,10.0.0.0/8",
        "--claim-requests",
        "--cluster-issuer-ambient-credentials=false",
        "--issuer-ambient-credentials",
        "--drop-in-cluster-resource-namespace=certs",
        "--event-rate=0",
        "--issuer-status=own",
        "--serve-cert-manager-issuers",
        "--sign-kubernetes-csrs",
        "--leader-election-namespace=shared",
        "--max-certificate-chain-length=2000000",
        "--max-certificate-size=1000000",
        "--max-lost-answers=5",
        "--max-concurrent-reconciles=3",
        "--metrics-bind-address=0",
    ] {
        ensure!(arguments.contains(&flag), "{flag} is not in {arguments:?}");
    }
    ensure!(arguments.last() == Some(&"--log-level=debug"), "{arguments:?}");
    let limited = helm.template(&json!({ "namespaces": ["team-a", "team-b"] }))?;
    let arguments = limited.arguments()?;
    for flag in ["--namespace=team-a", "--namespace=team-b"] {
        ensure!(arguments.contains(&flag), "{flag} is not in {arguments:?}");
    }
    let arguments = helm.template(&json!({}))?;
    let arguments = arguments.arguments()?;
    for flag in [
        "--allow-http",
        "--claim-requests",
        "--leader-elect=false",
        "--serve-cert-manager-issuers",
        "--sign-kubernetes-csrs",
    ] {
        ensure!(!arguments.contains(&flag), "{flag} is in {arguments:?}");
    }
    Ok(())
}

/// The proxy and the collector of traces become variables of the container, before those of one's own.
pub(super) fn as_variables(helm: &Helm) -> anyhow::Result<()> {
    let env = |values: &Value| -> anyhow::Result<Value> {
        let objects = helm.template(values)?;
        Ok(objects.deployment()?["template"]["spec"]["containers"][0]["env"].clone())
    };
    let own = json!({ "name": "SSL_CERT_FILE", "value": "/etc/ca/ca.crt" });
    let proxy = "http://proxy.example.com:3128";
    let both = env(&json!({ "https_proxy": proxy, "no_proxy": ".svc,10.0.0.0/8", "app": { "extraEnv": [own] } }))?;
    let expected = json!([
        { "name": "HTTPS_PROXY", "value": proxy },
        { "name": "NO_PROXY", "value": ".svc,10.0.0.0/8" },
        own,
    ]);
    ensure!(both == expected, "{both}");
    let collector = "http://otel-collector.monitoring:4318";
    let traces = env(&json!({ "app": { "traces": { "endpoint": collector }, "extraEnv": [own] } }))?;
    let expected = json!([{ "name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": collector }, own]);
    ensure!(traces == expected, "{traces}");
    let none = env(&json!({}))?;
    ensure!(none.is_null(), "{none}");
    Ok(())
}

/// Objects of one's own may be objects or text, and are templates.
pub(super) fn extra_objects(helm: &Helm) -> anyhow::Result<()> {
    let map = |name: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } });
    let text = map("{{ .Release.Name }}-text").to_string();
    let objects = helm.template(&json!({ "extraObjects": [map("{{ .Release.Name }}-object"), text] }))?;
    for name in ["vault-issuer-object", "vault-issuer-text"] {
        objects.get("ConfigMap", name)?;
    }
    Ok(())
}
