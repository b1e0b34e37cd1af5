//! The chart's NetworkPolicy, in a cluster that enforces it.

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::pki::{Csr, Names};
use crate::servers::kind::{Release, aside};
use crate::servers::process::eventually;
use crate::test_namespace::{Ask, SOON, TestNamespace};

/// The policy admits probes, the scraper that it names, the API server, DNS and Vault on its usual port; it refuses
/// another namespace's scraper and another port of Vault, until its values say otherwise.
pub(crate) async fn enforced(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    // Scrapes come from the pod with Vault, the one pod here that has a client.
    let narrow = policy("vault", json!([]));
    let release = test
        .env
        .cluster()?
        .release_of(test.case, &test.namespace)?
        .with("networkPolicy", narrow);
    release.install().await?;
    test.signer(json!({})).await?;
    let csr = Csr::new(&Names::common("policy.example.com"))?;
    test.request("narrow", &csr.pem, Ask::default()).await?;
    test.issued("narrow", &csr, SOON).await?;
    scrape(&release).await?;
    let other_port = other_port(test).await?;
    test.issuer("closed", other_port.clone()).await?;
    test.unready("closed", "VaultUnreachable", SOON).await?;

    let wide = policy("default", json!([{ "ports": [{ "port": 8300, "protocol": "TCP" }] }]));
    release.deploy(&json!({ "networkPolicy": wide })).await?;
    eventually(SOON, async || {
        ensure!(scrape(&release).await.is_err(), "metrics are served to every namespace");
        Ok(())
    })
    .await?;
    test.issuer("open", other_port).await?;
    test.ready("open", SOON).await
}

/// Returns the values of a policy that lets the namespace `scraper` read metrics, with the chart's own rules for what the
/// pods may reach and these.
fn policy(scraper: &str, more: Value) -> Value {
    let peer = json!({ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": scraper } } });
    let mut policy = json!({ "enabled": true, "metricsFrom": [peer] });
    if let Some(more) = more.as_array().filter(|more| !more.is_empty()) {
        let usual = json!([
            { "ports": [{ "port": 53, "protocol": "UDP" }, { "port": 53, "protocol": "TCP" }] },
            { "ports": [{ "port": 443, "protocol": "TCP" }, { "port": 6443, "protocol": "TCP" }] },
            { "ports": [{ "port": 8200, "protocol": "TCP" }] },
        ]);
        let all = usual.as_array().into_iter().flatten().chain(more).cloned();
        policy["egress"] = Value::Array(all.collect());
    }
    policy
}

/// Reads the metrics of each pod.
async fn scrape(release: &Release<'_>) -> anyhow::Result<()> {
    for pod in release.pods().await? {
        // A server may drop a request whose sender has finished, so nc's input stays open for a while.
        let get = format!(
            r"(printf 'GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'; sleep 1) | nc -w 3 {} 9402",
            address(&pod)?
        );
        let exec = ["exec", "vault", "--namespace", "vault", "--", "sh", "-c", &get];
        let text = aside(release.cluster.kubectl(&exec)).await?;
        ensure!(text.contains("process_start_time_seconds"), "no metrics but {text}");
    }
    Ok(())
}

fn address(pod: &Pod) -> anyhow::Result<&str> {
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
    address.context("the pod has no address")
}

/// Returns the spec of an issuer that uses Vault's second listener, which wants a client certificate.
async fn other_port(test: &TestNamespace<'_>) -> anyhow::Result<Value> {
    let vault = &test.env.vault;
    let pair = vault.clients.client(test.case)?;
    test.secret("client", &[("tls.crt", &pair.certificate), ("tls.key", &pair.key)])
        .await?;
    let path = test.role(json!({})).await?;
    let auth = test
        .approle("approle", &test.policy(&[&path]).await?, json!({}))
        .await?;
    Ok(json!({
        "server": vault.mutual,
        "caBundle": STANDARD.encode(&vault.ca),
        "clientCertSecretRef": { "name": "client" },
        "clientKeySecretRef": { "name": "client" },
        "path": path,
        "auth": auth,
    }))
}
