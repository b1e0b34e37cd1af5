//! Certificate objects from end to end: cert-manager makes the key, the request and the Secret, we sign.

use std::time::Duration;

use anyhow::{Context, ensure};
use issuer_api::CertificateRequest;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::servers::controller::NAMESPACE;
use crate::servers::process::eventually;
use crate::test_namespace::{SOON, Stage};

/// A VaultIssuer that logs in by AppRole, to a Secret that cert-manager has stored.
pub(super) async fn namespaced(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage.signer(json!({})).await?;
    stage.approve_all().await?;
    stage.certificate("web", "VaultIssuer", "vault").await?;
    let issued = stage.stored("web").await?;
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
    stage.certificate("web", "VaultClusterIssuer", stage.case).await?;
    stage.stored("web").await?.rooted_in(&stage.env.vault.root)
}

/// cert-manager renews a certificate when two thirds of its life are over, and when asked to.
pub(super) async fn renewal(stage: &Stage<'_>) -> anyhow::Result<()> {
    stage
        .signer(json!({ "ttl": "40s", "max_ttl": "40s", "not_before_duration": "1s" }))
        .await?;
    stage.approve_all().await?;
    stage.certificate("web", "VaultIssuer", "vault").await?;
    let first = stage.stored("web").await?;
    let second = eventually(Duration::from_secs(60), async || {
        let now = stage.stored("web").await?;
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
    stage
        .certificates()
        .patch_status("web", &PatchParams::default(), &Patch::Merge(trigger))
        .await?;
    eventually(SOON, async || {
        ensure!(
            stage.stored("web").await?.chain != second.chain,
            "still the second certificate"
        );
        Ok(())
    })
    .await
}

/// A request that an approver denies fails its Certificate, and nothing is signed.
pub(super) async fn denied(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = stage.signer(json!({})).await?;
    stage.certificate("web", "VaultIssuer", "vault").await?;
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
        let certificate = stage.certificates().get("web").await?;
        let attempts = &certificate.data["status"]["failedIssuanceAttempts"];
        ensure!(attempts == 1, "failedIssuanceAttempts is {attempts}");
        Ok(())
    })
    .await?;
    ensure!(stage.signatures(&path)? == 0, "a denied request was signed");
    Ok(())
}
