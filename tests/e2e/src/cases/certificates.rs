//! Certificates from end to end: cert-manager creates the key, the request and the Secret.

use std::time::Duration;

use anyhow::{Context, ensure};
use issuer_api::CertificateRequest;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use crate::servers::controller::NAMESPACE;
use crate::servers::process::eventually;
use crate::test_namespace::{SOON, TestNamespace};

/// A VaultIssuer with AppRole, up to the Secret that cert-manager stores.
pub(super) async fn namespaced(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    test.signer(json!({})).await?;
    test.approve_all().await?;
    test.certificate("web", "VaultIssuer", "vault").await?;
    let issued = test.stored("web").await?;
    issued.rooted_in(&test.env.vault.root)?;
    ensure!(issued.names()? == ["dns:www.example.com"], "{:?}", issued.names()?);
    test.event("web-1", "CertificateIssued").await?;
    Ok(())
}

/// A VaultClusterIssuer, whose Secret is in the controller's namespace.
pub(super) async fn cluster(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let mut auth = test
        .approle("approle", &test.policy(&[&path]).await?, json!({}))
        .await?;
    auth["appRole"]["secretRef"] = json!({ "name": test.case });
    test.secret_in(NAMESPACE, test.case, &[("secretId", &test.secret_id("approle").await?)])
        .await?;
    test.cluster_issuer(test.spec(&path, auth)).await?;
    test.cluster_ready().await?;
    test.approve_all().await?;
    test.certificate("web", "VaultClusterIssuer", test.case).await?;
    test.stored("web").await?.rooted_in(&test.env.vault.root)
}

/// cert-manager renews a certificate after two thirds of its lifetime, and on request.
pub(super) async fn renewal(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    test.signer(json!({ "ttl": "40s", "max_ttl": "40s", "not_before_duration": "1s" }))
        .await?;
    test.approve_all().await?;
    test.certificate("web", "VaultIssuer", "vault").await?;
    let first = test.stored("web").await?;
    let second = eventually(Duration::from_secs(60), async || {
        let now = test.stored("web").await?;
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
    test.certificates()
        .patch_status("web", &PatchParams::default(), &Patch::Merge(trigger))
        .await?;
    eventually(SOON, async || {
        ensure!(
            test.stored("web").await?.chain != second.chain,
            "still the second certificate"
        );
        Ok(())
    })
    .await
}

/// A request that an approver denies fails its Certificate, and nothing is signed.
pub(super) async fn denied(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.signer(json!({})).await?;
    test.certificate("web", "VaultIssuer", "vault").await?;
    let requests = test.api::<CertificateRequest>();
    let name = eventually(SOON, async || {
        let list = requests.list(&ListParams::default()).await?;
        list.items
            .first()
            .and_then(|request| request.metadata.name.clone())
            .context("no request yet")
    })
    .await?;
    test.decide(&name, "Denied").await?;
    test.failed(&name, "Denied").await?;
    eventually(SOON, async || {
        let certificate = test.certificates().get("web").await?;
        let attempts = &certificate.data["status"]["failedIssuanceAttempts"];
        ensure!(attempts == 1, "failedIssuanceAttempts is {attempts}");
        Ok(())
    })
    .await?;
    ensure!(test.signatures(&path)? == 0, "a denied request was signed");
    Ok(())
}
