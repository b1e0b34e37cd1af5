//! Once all is said and done, nothing is said or done.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use crate::pki::{Csr, Names};
use crate::servers::cluster::AuditEvent;
use crate::test_namespace::{Ask, SOON, Stage};

/// After requests are signed there are no writes, and no requests to Vault but the periodic check.
pub(super) async fn quiet(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = stage.role(json!({})).await?;
    let mount = stage.approle_mount().await?;
    let auth = stage.approle(&mount, &stage.policy(&[&path]).await?, json!({})).await?;
    stage.issuer("vault", stage.spec(&path, auth)).await?;
    stage.ready("vault", SOON).await?;
    for number in 0..5 {
        let name = format!("quiet-{number}");
        let csr = Csr::new(&Names::common("quiet.example.com"))?;
        stage.request(&name, &csr.pem, Ask::default()).await?;
        stage.issued(&name, &csr, SOON).await?;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = (writes(stage).await?, requests(stage, &path)?);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let after = (writes(stage).await?, requests(stage, &path)?);
    ensure!(
        after.0 == before.0,
        "{} writes to the API server in 30 s",
        after.0 - before.0
    );
    // One check a minute asks the signing endpoint once.
    ensure!(
        after.1 - before.1 <= 1,
        "{} requests to Vault in 30 s",
        after.1 - before.1
    );
    let logins = stage.signatures(&format!("auth/{mount}/login"))?;
    ensure!(logins == 1, "{logins} logins for 5 requests");
    Ok(())
}

/// Counts what our controller has written in the namespace.
async fn writes(stage: &Stage<'_>) -> anyhow::Result<usize> {
    let events = stage.env.local_servers().await?.cluster.audit()?;
    let ours = |event: &&AuditEvent| {
        event.is_write() && event.user().ends_with(":vault-issuer") && event.namespace() == stage.namespace
    };
    Ok(events.iter().filter(ours).count())
}

/// Counts what Vault was asked with the case's tokens or on its path.
fn requests(stage: &Stage<'_>, path: &str) -> anyhow::Result<usize> {
    let answers = stage.env.vault.audit.answered()?;
    Ok(answers
        .iter()
        .filter(|answer| answer.role == stage.case || answer.path == path)
        .count())
}
