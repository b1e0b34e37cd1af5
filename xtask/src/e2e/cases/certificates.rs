//! Certificate objects from end to end: cert-manager makes the key, the request and the Secret, we sign.

use std::time::Duration;

use anyhow::{Context, ensure};
use issuer_api::CertificateRequest;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::json;

use crate::e2e::controller::NAMESPACE;
use crate::e2e::issued::Issued;
use crate::e2e::pki::public_key;
use crate::e2e::process::eventually;
use crate::e2e::stage::{SOON, Stage};

/// A VaultIssuer that logs in by AppRole, to a Secret that cert-manager has stored.
pub(super) async fn namespaced(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.signer(json!({})).await?;
    stage.approve_all().await?;
    certificate(stage, "web", "VaultIssuer", "vault").await?;
    let issued = stored(stage, "web").await?;
    issued.rooted_in(&stage.env.vault.root)?;
    ensure!(issued.names()? == ["dns:www.example.com"], "{:?}", issued.names()?);
    stage.event("web-1", "CertificateIssued").await?;
    Ok(())
}

/// A VaultClusterIssuer, whose Secret lies in the controller's namespace.
pub(super) async fn cluster(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = stage.role(json!({})).await?;
    let mut auth = stage
        .approle("approle", &stage.policy(&[&path]).await?, json!({}))
        .await?;
    auth["appRole"]["secretRef"] = json!({ "name": stage.case });
    stage
        .secret_in(
            NAMESPACE,
            stage.case,
            &[("secretId", &stage.secret_id("approle").await?)],
        )
        .await?;
    stage.cluster_issuer(stage.spec(&path, auth)).await?;
    stage.cluster_ready().await?;
    stage.approve_all().await?;
    certificate(stage, "web", "VaultClusterIssuer", stage.case).await?;
    stored(stage, "web").await?.rooted_in(&stage.env.vault.root)
}

/// cert-manager renews a certificate when two thirds of its life are over, and when asked to.
pub(super) async fn renewal(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage
        .signer(json!({ "ttl": "40s", "max_ttl": "40s", "not_before_duration": "1s" }))
        .await?;
    stage.approve_all().await?;
    certificate(stage, "web", "VaultIssuer", "vault").await?;
    let first = stored(stage, "web").await?;
    let second = eventually(Duration::from_secs(60), async || {
        let now = stored(stage, "web").await?;
        ensure!(now.chain != first.chain, "still the first certificate");
        Ok(now)
    })
    .await?;
    let trigger = json!({ "status": { "conditions": [{
        "type": "Issuing",
        "status": "True",
        "reason": "ManuallyTriggered",
        "message": "asked for by a test",
        "lastTransitionTime": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    }] } });
    certificates(stage)
        .patch_status("web", &PatchParams::default(), &Patch::Merge(trigger))
        .await?;
    eventually(SOON, async || {
        ensure!(
            stored(stage, "web").await?.chain != second.chain,
            "still the second certificate"
        );
        Ok(())
    })
    .await
}

/// A request that an approver denies fails its Certificate, and nothing is signed.
pub(super) async fn denied(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = stage.signer(json!({})).await?;
    certificate(stage, "web", "VaultIssuer", "vault").await?;
    let requests = stage.api::<CertificateRequest>();
    let name = eventually(SOON, async || {
        let list = requests.list(&ListParams::default()).await?;
        list.items
            .first()
            .and_then(|request| request.metadata.name.clone())
            .context("no request yet")
    })
    .await?;
    stage.decide(&name, "Denied").await?;
    stage.failed(&name, "Denied").await?;
    eventually(SOON, async || {
        let certificate = certificates(stage).get("web").await?;
        let attempts = &certificate.data["status"]["failedIssuanceAttempts"];
        ensure!(attempts == 1, "failedIssuanceAttempts is {attempts}");
        Ok(())
    })
    .await?;
    ensure!(stage.signatures(&path)? == 0, "a denied request was signed");
    Ok(())
}

/// Applies a Certificate that is stored in a Secret of its name.
pub(super) async fn certificate(stage: &Stage<'_>, name: &str, kind: &str, issuer: &str) -> anyhow::Result<()> {
    let spec = json!({
        "secretName": name,
        "dnsNames": ["www.example.com"],
        "privateKey": { "algorithm": "ECDSA", "rotationPolicy": "Always" },
        "issuerRef": { "group": "vault-issuer.io", "kind": kind, "name": issuer },
    });
    let metadata = json!({ "name": name });
    stage
        .apply(json!({
            "apiVersion": "cert-manager.io/v1",
            "kind": "Certificate",
            "metadata": metadata,
            "spec": spec,
        }))
        .await
}

/// Waits for the Secret that cert-manager stores, and checks its certificate against its key.
pub(super) async fn stored(stage: &Stage<'_>, name: &str) -> anyhow::Result<Issued> {
    let secrets = stage.api::<Secret>();
    eventually(SOON, async || {
        let data = secrets.get(name).await?.data.context("no data")?;
        let file = |file: &str| {
            data.get(file)
                .map(|bytes| bytes.0.as_slice())
                .context("a file is missing")
        };
        let key = std::str::from_utf8(file("tls.key")?)?;
        let issued = Issued::parse(file("tls.crt")?, file("ca.crt")?)?;
        issued.verify(&public_key(key)?)?;
        Ok(issued)
    })
    .await
    .context("the Secret has no certificate for its key")
}

fn certificates(stage: &Stage<'_>) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("cert-manager.io", "v1", "Certificate"));
    Api::namespaced_with(stage.env.client.clone(), &stage.namespace, &resource)
}
