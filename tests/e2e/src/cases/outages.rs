//! Outages of Vault, of the controller and of the network between them, while requests wait. These cases run alone.

use std::time::Duration;

use anyhow::{Context, ensure};
use issuer_api::CertificateRequest;
use kube::api::ListParams;
use serde_json::json;

use crate::pki::{Csr, Names};
use crate::servers::audit::Answered;
use crate::servers::process::{Signal, eventually};
use crate::servers::proxy::Proxy;
use crate::test_namespace::{Ask, LATER, SOON, TestNamespace};

/// The number of waiting requests.
const MANY: usize = 10;

/// Vault is sealed while requests wait: none fails, and all are signed after it is unsealed. A second time is counted in
/// the event of the first.
pub(super) async fn sealed(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.signer(json!({})).await?;
    let admin = test.env.vault.admin.clone();
    admin.write("sys/seal", json!({})).await?;
    let waiting = many(test).await?;
    test.unready("vault", "VaultSealed", LATER).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    none_final(test).await?;
    let keys = test.env.local_servers().await?.vault.keys().clone();
    admin.unseal(&keys).await?;
    all_issued(test, &waiting, &path).await?;

    admin.write("sys/seal", json!({})).await?;
    test.unready("vault", "VaultSealed", LATER).await?;
    let counted = eventually(SOON, async || {
        let event = test.event("vault", "VaultSealed").await?;
        let count = event.series.and_then(|series| series.count);
        ensure!(count == Some(2), "the event VaultSealed has the count {count:?}");
        Ok(())
    });
    let counted = counted.await;
    admin.unseal(&keys).await?;
    test.ready("vault", LATER).await?;
    counted
}

/// Vault restarts while requests wait.
pub(super) async fn restarted(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.signer(json!({})).await?;
    let mut local = test.env.local_servers().await?;
    local.vault.process().stop()?;
    let waiting = many(test).await?;
    test.unready("vault", "VaultUnreachable", LATER).await?;
    none_final(test).await?;
    local.vault.restart(&test.env.vault.admin).await?;
    drop(local);
    all_issued(test, &waiting, &path).await
}

/// Our controller is killed after Vault has signed and before the certificate is saved.
///
/// It talks to the API server through a proxy. Once Vault's log shows the signature, which a held reply keeps from
/// the controller, nothing more gets through to the API server; then the reply comes, and the write is held.
pub(super) async fn killed(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let mut local = test.env.local_servers().await?;
    let to_cluster = Proxy::start(local.cluster.port).await?;
    let to_vault = Proxy::start(test.env.vault.port()?).await?;
    local.stop_controller()?;
    local.start_controller_at(to_cluster.port()).await?;

    let path = test.signer_at(&to_vault.url(), json!({})).await?;

    let csr = Csr::new(&Names::common("saved.example.com"))?;
    to_vault.hold_replies(true);
    test.request("saved", &csr.pem, Ask::default()).await?;
    signatures(test, &path, 1).await?;
    to_cluster.hold_requests(true);
    to_vault.hold_replies(false);
    // Long enough for the answer to be verified and the write to be sent.
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(to_cluster.held() > 0, "the controller has not tried to save");
    let mut controller = local.controller.take().context("no controller")?;
    controller.process().signal(Signal::KILL)?;
    drop(controller);
    to_cluster.cut();
    let request = test.api::<CertificateRequest>().get("saved").await?;
    ensure!(
        request.status.unwrap_or_default().certificate.is_none(),
        "it was saved before the kill"
    );

    local.start_controller().await?;
    drop(local);
    test.issued("saved", &csr, LATER).await?;
    let signatures = test.signatures(&path)?;
    ensure!(signatures <= 2, "{signatures} signatures");
    Ok(())
}

/// A reply of Vault is lost: the request is signed again, once, and does not fail.
pub(super) async fn lost_answer(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let to_vault = Proxy::start(test.env.vault.port()?).await?;
    let path = test.signer_at(&to_vault.url(), json!({})).await?;
    let csr = Csr::new(&Names::common("lost.example.com"))?;
    to_vault.hold_replies(true);
    test.request("lost", &csr.pem, Ask::default()).await?;
    signatures(test, &path, 1).await?;
    to_vault.cut();
    to_vault.hold_replies(false);
    test.issued("lost", &csr, LATER).await?;
    let signatures = test.signatures(&path)?;
    ensure!(signatures == 2, "{signatures} signatures");
    Ok(())
}

/// The controller receives SIGTERM: it exits with status 0 and revokes its tokens.
pub(super) async fn graceful(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let mount = test.approle_mount().await?;
    let auth = test.approle(&mount, &test.policy(&[&path]).await?, json!({})).await?;
    test.issuer("vault", test.spec(&path, auth)).await?;
    test.ready("vault", SOON).await?;
    let mut local = test.env.local_servers().await?;
    let status = local.stop_controller()?;
    ensure!(status.success(), "it ended with {status}");
    let answers = test.env.vault.audit.answered()?;
    let revoked =
        |answer: &&Answered| answer.path == "auth/token/revoke-self" && answer.role == test.case && answer.done;
    ensure!(answers.iter().filter(revoked).count() == 1, "its token is not revoked");
    local.start_controller().await?;
    drop(local);
    let csr = Csr::new(&Names::common("after.example.com"))?;
    test.request("after", &csr.pem, Ask::default()).await?;
    test.issued("after", &csr, LATER).await?;
    Ok(())
}

/// Creates many requests.
async fn many(test: &TestNamespace<'_>) -> anyhow::Result<Vec<(String, Csr)>> {
    let mut waiting = Vec::new();
    for number in 0..MANY {
        let name = format!("waiting-{number}");
        let csr = Csr::new(&Names::common(&format!("{name}.example.com")))?;
        test.request(&name, &csr.pem, Ask::default()).await?;
        waiting.push((name, csr));
    }
    Ok(waiting)
}

async fn none_final(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    for request in test
        .api::<CertificateRequest>()
        .list(&ListParams::default())
        .await?
        .items
    {
        let ready = request.condition("Ready").cloned();
        let reason = ready.and_then(|ready| ready.reason).unwrap_or_default();
        ensure!(["", "Pending"].contains(&reason.as_str()), "a request is {reason}");
    }
    Ok(())
}

/// Waits for all requests, and checks that each was signed once.
async fn all_issued(test: &TestNamespace<'_>, waiting: &[(String, Csr)], path: &str) -> anyhow::Result<()> {
    for (name, csr) in waiting {
        test.issued(name, csr, LATER).await?;
    }
    let signatures = test.signatures(path)?;
    ensure!(
        signatures == waiting.len(),
        "{signatures} signatures for {} requests",
        waiting.len()
    );
    Ok(())
}

async fn signatures(test: &TestNamespace<'_>, path: &str, wanted: usize) -> anyhow::Result<()> {
    eventually(SOON, async || {
        let signatures = test.signatures(path)?;
        ensure!(signatures == wanted, "{signatures} signatures");
        Ok(())
    })
    .await
}
