//! Mistakes in an issuer: the request waits, the issuer says why, and both heal without a hand on the request.

use anyhow::ensure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use issuer_api::VaultIssuer;
use kube::api::DeleteParams;
use serde_json::json;

use crate::pki::{Authority, Csr, Names};
use crate::servers::audit::Answered;
use crate::servers::process::eventually;
use crate::test_namespace::{Ask, LATER, SOON, Stage};

/// A path where nothing is mounted.
pub(super) async fn wrong_path(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = stage.role(json!({})).await?;
    let wrong = "nowhere/sign/web";
    let auth = stage
        .approle("approle", &stage.policy(&[&path, wrong]).await?, json!({}))
        .await?;
    stage.issuer("vault", stage.spec(wrong, auth.clone())).await?;
    stage.unready("vault", "PathNotFound", SOON).await?;
    let csr = waiting(stage).await?;
    stage.issuer("vault", stage.spec(&path, auth)).await?;
    heals(stage, &csr, &path).await
}

/// A path that the policy does not allow, mended in Vault, where nobody tells us.
pub(super) async fn wrong_policy(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = stage.role(json!({})).await?;
    let auth = stage
        .approle("approle", &stage.policy(&["pki/sign/another"]).await?, json!({}))
        .await?;
    stage.issuer("vault", stage.spec(&path, auth)).await?;
    stage.unready("vault", "PermissionDenied", SOON).await?;
    let csr = waiting(stage).await?;
    stage.policy(&[&path]).await?;
    heals(stage, &csr, &path).await
}

/// A role that is not there, made later.
pub(super) async fn wrong_role(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = format!("pki/sign/{}", stage.case);
    let auth = stage
        .approle("approle", &stage.policy(&[&path]).await?, json!({}))
        .await?;
    stage.issuer("vault", stage.spec(&path, auth)).await?;
    stage.unready("vault", "RoleNotFound", SOON).await?;
    let csr = waiting(stage).await?;
    stage.role(json!({})).await?;
    heals(stage, &csr, &path).await
}

/// A secret ID that Vault does not know, replaced in the Secret.
pub(super) async fn wrong_secret(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = stage.role(json!({})).await?;
    let auth = stage
        .approle("approle", &stage.policy(&[&path]).await?, json!({}))
        .await?;
    stage
        .secret("approle", &[("secretId", "11111111-2222-3333-4444-555555555555")])
        .await?;
    stage.issuer("vault", stage.spec(&path, auth)).await?;
    stage.unready("vault", "LoginDenied", SOON).await?;
    let csr = waiting(stage).await?;
    stage
        .secret("approle", &[("secretId", &stage.secret_id("approle").await?)])
        .await?;
    heals(stage, &csr, &path).await
}

/// A Secret that is missing and comes later.
pub(super) async fn missing_secret(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = stage.role(json!({})).await?;
    let auth = stage
        .approle("approle", &stage.policy(&[&path]).await?, json!({}))
        .await?;
    stage.delete_secret("approle").await?;
    stage.issuer("vault", stage.spec(&path, auth)).await?;
    stage.unready("vault", "SecretNotFound", SOON).await?;
    let csr = waiting(stage).await?;
    stage
        .secret("approle", &[("secretId", &stage.secret_id("approle").await?)])
        .await?;
    heals(stage, &csr, &path).await
}

/// A secret ID that is rotated in its Secret: it is used as soon as the old one and its token are gone.
pub(super) async fn rotated_secret(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = stage.role(json!({})).await?;
    let mount = stage.approle_mount().await?;
    let auth = stage.approle(&mount, &stage.policy(&[&path]).await?, json!({})).await?;
    let old = stage.secret_id(&mount).await?;
    stage.secret("approle", &[("secretId", &old)]).await?;
    stage.issuer("vault", stage.spec(&path, auth)).await?;
    stage.ready("vault", SOON).await?;
    stage
        .secret("approle", &[("secretId", &stage.secret_id(&mount).await?)])
        .await?;
    let admin = &stage.env.vault.admin;
    let role = format!("auth/{mount}/role/{}", stage.case);
    admin
        .write(&format!("{role}/secret-id/destroy"), json!({ "secret_id": old }))
        .await?;
    admin
        .write(&format!("sys/leases/revoke-prefix/auth/{mount}/login"), json!({}))
        .await?;
    let csr = Csr::new(&Names::common("rotated.example.com"))?;
    stage.request("waiting", &csr.pem, Ask::default()).await?;
    heals(stage, &csr, &path).await
}

/// A token that was revoked behind our back: the next request logs in again.
pub(super) async fn revoked_token(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = stage.role(json!({})).await?;
    let mount = stage.approle_mount().await?;
    let auth = stage.approle(&mount, &stage.policy(&[&path]).await?, json!({})).await?;
    stage.issuer("vault", stage.spec(&path, auth)).await?;
    stage.ready("vault", SOON).await?;
    let revoke = format!("sys/leases/revoke-prefix/auth/{mount}/login");
    stage.env.vault.admin.write(&revoke, json!({})).await?;
    let csr = Csr::new(&Names::common("revoked.example.com"))?;
    stage.request("waiting", &csr.pem, Ask::default()).await?;
    heals(stage, &csr, &path).await?;
    let logins = stage.env.vault.audit.signatures(&format!("auth/{mount}/login"))?;
    ensure!(logins == 2, "{logins} logins");
    Ok(())
}

/// A CA bundle that does not match, then the right one.
pub(super) async fn wrong_bundle(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = stage.role(json!({})).await?;
    let auth = stage
        .approle("approle", &stage.policy(&[&path]).await?, json!({}))
        .await?;
    let mut spec = stage.spec(&path, auth);
    spec["caBundle"] = json!(STANDARD.encode(Authority::new("e2e stranger")?.pem));
    stage.issuer("vault", spec.clone()).await?;
    stage.unready("vault", "TlsFailed", SOON).await?;
    let csr = waiting(stage).await?;
    spec["caBundle"] = json!(STANDARD.encode(&stage.env.vault.ca));
    stage.issuer("vault", spec).await?;
    heals(stage, &csr, &path).await
}

/// A port where nobody listens.
pub(super) async fn unreachable(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = stage.role(json!({})).await?;
    let auth = stage
        .approle("approle", &stage.policy(&[&path]).await?, json!({}))
        .await?;
    let mut spec = stage.spec(&path, auth);
    spec["server"] = json!("https://127.0.0.1:1");
    stage.issuer("vault", spec.clone()).await?;
    stage.unready("vault", "VaultUnreachable", SOON).await?;
    let csr = waiting(stage).await?;
    spec["server"] = json!(stage.env.vault.server);
    stage.issuer("vault", spec).await?;
    heals(stage, &csr, &path).await
}

/// An issuer that is missing, made, deleted and made again.
pub(super) async fn remade_issuer(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = stage.role(json!({})).await?;
    let mount = stage.approle_mount().await?;
    let auth = stage.approle(&mount, &stage.policy(&[&path]).await?, json!({})).await?;
    let first = waiting(stage).await?;
    stage.issuer("vault", stage.spec(&path, auth.clone())).await?;
    heals(stage, &first, &path).await?;
    stage
        .api::<VaultIssuer>()
        .delete("vault", &DeleteParams::default())
        .await?;
    // The token that we made for it ends with it.
    eventually(SOON, async || {
        let answers = stage.env.vault.audit.answered()?;
        let ours = |a: &&Answered| a.path == "auth/token/revoke-self" && a.role == stage.case;
        ensure!(answers.iter().filter(ours).count() == 1, "its token is not revoked");
        Ok(())
    })
    .await?;
    let second = Csr::new(&Names::common("second.example.com"))?;
    stage.request("second", &second.pem, Ask::default()).await?;
    stage.pending("second").await?;
    stage.issuer("vault", stage.spec(&path, auth)).await?;
    stage.issued("second", &second, SOON).await?;
    ensure!(stage.signatures(&path)? == 2, "{} signatures", stage.signatures(&path)?);
    Ok(())
}

/// Makes a request and waits until it waits.
async fn waiting(stage: &Stage<'_>) -> anyhow::Result<Csr> {
    let csr = Csr::new(&Names::common("waiting.example.com"))?;
    stage.request("waiting", &csr.pem, Ask::default()).await?;
    let message = stage.pending("waiting").await?;
    ensure!(message.contains("vault"), "the request says {message:?}");
    Ok(csr)
}

/// Waits until the request is signed, once, and the issuer says that it is well.
async fn heals(stage: &Stage<'_>, csr: &Csr, path: &str) -> anyhow::Result<()> {
    stage.issued("waiting", csr, LATER).await?;
    stage.ready("vault", SOON).await?;
    let signatures = stage.signatures(path)?;
    ensure!(signatures == 1, "{signatures} signatures for one request");
    Ok(())
}
