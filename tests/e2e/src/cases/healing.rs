//! Misconfigured issuers: the request waits, the issuer's condition has the cause, and both recover once it is fixed.

use std::time::Duration;

use anyhow::ensure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use issuer_api::VaultIssuer;
use kube::api::DeleteParams;
use serde_json::json;

use crate::pki::{Authority, Csr, Names};
use crate::servers::audit::Answered;
use crate::servers::process::eventually;
use crate::test_namespace::{Ask, LATER, SOON, TestNamespace};

/// A path without a mount.
pub(super) async fn wrong_path(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let wrong = "nowhere/sign/web";
    let auth = test
        .approle("approle", &test.policy(&[&path, wrong]).await?, json!({}))
        .await?;
    test.issuer("vault", test.spec(wrong, auth.clone())).await?;
    test.unready("vault", "PathNotFound", SOON).await?;
    let csr = waiting(test).await?;
    test.issuer("vault", test.spec(&path, auth)).await?;
    heals(test, &csr, &path).await
}

/// A path that the policy does not allow; fixed in Vault, of which the controller is not notified.
pub(super) async fn wrong_policy(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let auth = test
        .approle("approle", &test.policy(&["pki/sign/another"]).await?, json!({}))
        .await?;
    test.issuer("vault", test.spec(&path, auth)).await?;
    test.unready("vault", "PermissionDenied", SOON).await?;
    let csr = waiting(test).await?;
    test.policy(&[&path]).await?;
    heals(test, &csr, &path).await
}

/// A role that is created later.
pub(super) async fn wrong_role(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = format!("pki/sign/{}", test.case);
    let auth = test
        .approle("approle", &test.policy(&[&path]).await?, json!({}))
        .await?;
    test.issuer("vault", test.spec(&path, auth)).await?;
    test.unready("vault", "RoleNotFound", SOON).await?;
    let csr = waiting(test).await?;
    test.role(json!({})).await?;
    heals(test, &csr, &path).await
}

/// A secret ID that Vault does not know; replaced in the Secret.
pub(super) async fn wrong_secret(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let auth = test
        .approle("approle", &test.policy(&[&path]).await?, json!({}))
        .await?;
    test.secret("approle", &[("secretId", "11111111-2222-3333-4444-555555555555")])
        .await?;
    test.issuer("vault", test.spec(&path, auth)).await?;
    test.unready("vault", "LoginDenied", SOON).await?;
    let csr = waiting(test).await?;
    test.secret("approle", &[("secretId", &test.secret_id("approle").await?)])
        .await?;
    heals(test, &csr, &path).await
}

/// A secret ID that stays wrong for two minutes. Vault locks an AppRole at the fifth refusal, and would refuse the right one
/// too.
pub(super) async fn user_lockout(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let mount = test.approle_mount().await?;
    let auth = test.approle(&mount, &test.policy(&[&path]).await?, json!({})).await?;
    test.secret("approle", &[("secretId", "11111111-2222-3333-4444-555555555555")])
        .await?;
    test.issuer("vault", test.spec(&path, auth)).await?;
    test.unready("vault", "LoginDenied", SOON).await?;
    let csr = waiting(test).await?;
    tokio::time::sleep(Duration::from_secs(120)).await;
    let login = format!("auth/{mount}/login");
    let answered = test.env.vault.audit.answered()?;
    let refused = answered
        .iter()
        .filter(|answer| answer.path == login && !answer.done)
        .count();
    ensure!(refused == 2, "{refused} refused logins");
    test.secret("approle", &[("secretId", &test.secret_id(&mount).await?)])
        .await?;
    heals(test, &csr, &path).await
}

/// A Secret that is created later.
pub(super) async fn missing_secret(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let auth = test
        .approle("approle", &test.policy(&[&path]).await?, json!({}))
        .await?;
    test.delete_secret("approle").await?;
    test.issuer("vault", test.spec(&path, auth)).await?;
    test.unready("vault", "SecretNotFound", SOON).await?;
    let csr = waiting(test).await?;
    test.secret("approle", &[("secretId", &test.secret_id("approle").await?)])
        .await?;
    heals(test, &csr, &path).await
}

/// A rotated secret ID is used as soon as the old one and its token are gone.
pub(super) async fn rotated_secret(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let mount = test.approle_mount().await?;
    let auth = test.approle(&mount, &test.policy(&[&path]).await?, json!({})).await?;
    let old = test.secret_id(&mount).await?;
    test.secret("approle", &[("secretId", &old)]).await?;
    test.issuer("vault", test.spec(&path, auth)).await?;
    test.ready("vault", SOON).await?;
    test.secret("approle", &[("secretId", &test.secret_id(&mount).await?)])
        .await?;
    let admin = &test.env.vault.admin;
    let role = format!("auth/{mount}/role/{}", test.case);
    admin
        .write(&format!("{role}/secret-id/destroy"), json!({ "secret_id": old }))
        .await?;
    admin
        .write(&format!("sys/leases/revoke-prefix/auth/{mount}/login"), json!({}))
        .await?;
    let csr = Csr::new(&Names::common("rotated.example.com"))?;
    test.request("waiting", &csr.pem, Ask::default()).await?;
    heals(test, &csr, &path).await
}

/// A token that an administrator revokes: the next request logs in again.
pub(super) async fn revoked_token(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let mount = test.approle_mount().await?;
    let auth = test.approle(&mount, &test.policy(&[&path]).await?, json!({})).await?;
    test.issuer("vault", test.spec(&path, auth)).await?;
    test.ready("vault", SOON).await?;
    let revoke = format!("sys/leases/revoke-prefix/auth/{mount}/login");
    test.env.vault.admin.write(&revoke, json!({})).await?;
    let csr = Csr::new(&Names::common("revoked.example.com"))?;
    test.request("waiting", &csr.pem, Ask::default()).await?;
    heals(test, &csr, &path).await?;
    let logins = test.env.vault.audit.signatures(&format!("auth/{mount}/login"))?;
    ensure!(logins == 2, "{logins} logins");
    Ok(())
}

/// A CA bundle that does not match, then the right one.
pub(super) async fn wrong_bundle(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let auth = test
        .approle("approle", &test.policy(&[&path]).await?, json!({}))
        .await?;
    let mut spec = test.spec(&path, auth);
    spec["caBundle"] = json!(STANDARD.encode(Authority::new("e2e stranger")?.pem));
    test.issuer("vault", spec.clone()).await?;
    test.unready("vault", "TlsFailed", SOON).await?;
    let csr = waiting(test).await?;
    spec["caBundle"] = json!(STANDARD.encode(&test.env.vault.ca));
    test.issuer("vault", spec).await?;
    heals(test, &csr, &path).await
}

/// A port on which no server listens.
pub(super) async fn unreachable(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let auth = test
        .approle("approle", &test.policy(&[&path]).await?, json!({}))
        .await?;
    let mut spec = test.spec(&path, auth);
    spec["server"] = json!("https://127.0.0.1:1");
    test.issuer("vault", spec.clone()).await?;
    test.unready("vault", "VaultUnreachable", SOON).await?;
    let csr = waiting(test).await?;
    spec["server"] = json!(test.env.vault.server);
    test.issuer("vault", spec).await?;
    heals(test, &csr, &path).await
}

/// An issuer that is created after its request, deleted and created again.
pub(super) async fn remade_issuer(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let mount = test.approle_mount().await?;
    let auth = test.approle(&mount, &test.policy(&[&path]).await?, json!({})).await?;
    let first = waiting(test).await?;
    test.issuer("vault", test.spec(&path, auth.clone())).await?;
    heals(test, &first, &path).await?;
    test.api::<VaultIssuer>()
        .delete("vault", &DeleteParams::default())
        .await?;
    // Its token is revoked with it.
    eventually(SOON, async || {
        let answers = test.env.vault.audit.answered()?;
        let ours = |a: &&Answered| a.path == "auth/token/revoke-self" && a.role == test.case;
        ensure!(answers.iter().filter(ours).count() == 1, "its token is not revoked");
        Ok(())
    })
    .await?;
    let second = Csr::new(&Names::common("second.example.com"))?;
    test.request("second", &second.pem, Ask::default()).await?;
    test.pending("second").await?;
    test.issuer("vault", test.spec(&path, auth)).await?;
    test.issued("second", &second, SOON).await?;
    ensure!(test.signatures(&path)? == 2, "{} signatures", test.signatures(&path)?);
    Ok(())
}

/// Creates a request and waits until it is pending.
async fn waiting(test: &TestNamespace<'_>) -> anyhow::Result<Csr> {
    let csr = Csr::new(&Names::common("waiting.example.com"))?;
    test.request("waiting", &csr.pem, Ask::default()).await?;
    let message = test.pending("waiting").await?;
    ensure!(message.contains("vault"), "the request says {message:?}");
    Ok(csr)
}

/// Waits until the request is signed, once, and the issuer is ready.
async fn heals(test: &TestNamespace<'_>, csr: &Csr, path: &str) -> anyhow::Result<()> {
    test.issued("waiting", csr, LATER).await?;
    test.ready("vault", SOON).await?;
    let signatures = test.signatures(path)?;
    ensure!(signatures == 1, "{signatures} signatures for one request");
    Ok(())
}
