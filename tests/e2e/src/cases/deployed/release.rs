//! Operations on the release: upgrade, rollback, uninstallation.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use issuer_api::VaultIssuer;
use serde_json::json;

use super::load::under_load;
use crate::pki::{Csr, Names};
use crate::servers::controller::NAMESPACE;
use crate::servers::kind::{RELEASE, Release, aside};
use crate::servers::offline;
use crate::test_namespace::{Ask, SOON, TestNamespace};

/// The longest wait of a request while one controller follows another.
const HANDED_OVER: Duration = Duration::from_secs(15);

/// The longest wait while none is installed, or none may run beside another.
const REPLACED: Duration = Duration::from_secs(45);

/// An upgrade, the way back, and an upgrade that cannot work, which leaves the old pods at work.
pub(crate) async fn upgrade(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let release = test.release().await?;
    let path = test.signer(json!({})).await?;
    let load = under_load(test, &path, "upgrade", async {
        release
            .deploy(&json!({ "replicaCount": 3, "app": { "logLevel": "info" } }))
            .await?;
        release.complete(3).await?;
        rollback(&release).await?;
        let broken = json!({ "image": { "tag": "missing" } });
        let upgrade = release.deploy_within("10s", &broken, &[]).await;
        ensure!(upgrade.is_err(), "an image that does not exist runs");
        rollback(&release).await
    });
    let load = load.await?;
    load.ensure_signed_once()?;
    load.ensure_within(HANDED_OVER)?;
    release.complete(2).await
}

async fn rollback(release: &Release<'_>) -> anyhow::Result<()> {
    aside(release.helm(&["rollback", RELEASE, "--wait", "--timeout", "3m"]))
        .await
        .map(drop)
}

/// The release is uninstalled, which keeps issuers and revokes tokens; once it is installed again, what was requested
/// meanwhile is signed.
pub(crate) async fn reinstall(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let release = test.release().await?;
    let path = test.signer(json!({})).await?;
    let revoked = || {
        let answers = test.env.vault.audit.answered()?;
        let own = answers.iter().filter(|answer| answer.done && answer.role == test.case);
        anyhow::Ok(own.filter(|answer| answer.path == "auth/token/revoke-self").count())
    };
    release.uninstall().await?;
    ensure!(revoked()? == 1, "{} of 1 tokens are revoked", revoked()?);
    test.api::<VaultIssuer>()
        .get("vault")
        .await
        .context("the issuer is gone")?;
    let csr = Csr::new(&Names::common("meanwhile.example.com"))?;
    test.request("meanwhile", &csr.pem, Ask::default()).await?;
    release.deploy(&json!({})).await?;
    test.issued("meanwhile", &csr, SOON).await?;
    let signatures = test.signatures(&path)?;
    ensure!(signatures == 1, "{signatures} signatures");
    release.complete(2).await
}

/// The plain manifests are applied, and later taken over by a release, as the page on upgrades describes.
pub(crate) async fn kustomization(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.signer(json!({})).await?;
    let cluster = test.env.cluster()?;
    let release = cluster.release()?;
    release.uninstall().await?;
    let folder = cluster.file("kustomization");
    fs::create_dir_all(&folder)?;
    let (name, tag) = offline::CONTROLLER.split_once(':').context("the image has no tag")?;
    // A base is named by a relative path; the folder of a cluster is target/e2e/<run>/<name>.
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../../../../../deploy"],
        "images": [{ "name": "ghcr.io/vault-issuer/vault-issuer", "newName": name, "newTag": tag }],
    });
    fs::write(folder.join("kustomization.yaml"), kustomization.to_string())?;
    let mut apply = cluster.kubectl(&["apply", "--kustomize"]);
    apply.arg(&folder);
    aside(apply).await?;
    release.complete(2).await?;
    let load = under_load(test, &path, "take-over", async {
        let delete = ["delete", "deployment", RELEASE, "--namespace", NAMESPACE];
        aside(cluster.kubectl(&delete)).await?;
        release
            .deploy_within("3m", &json!({}), &["--take-ownership", "--force-conflicts"])
            .await
    });
    let load = load.await?;
    load.ensure_signed_once()?;
    load.ensure_within(REPLACED)?;
    release.complete(2).await
}

/// Without election, a rollout never has two controllers beside each other.
pub(crate) async fn unelected(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let release = test.release().await?;
    let path = test.signer(json!({})).await?;
    let unelected = json!({ "replicaCount": 1, "app": { "leaderElection": { "enabled": false } } });
    let load = under_load(test, &path, "no-election", async {
        release.deploy(&unelected).await?;
        release.roll().await
    });
    let load = load.await?;
    load.ensure_signed_once()?;
    load.ensure_within(REPLACED)?;
    release.complete(1).await
}
