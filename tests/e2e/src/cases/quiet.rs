//! After convergence: no status writes, and only periodic checks reach Vault.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use crate::pki::{Csr, Names};
use crate::servers::cluster::AuditEvent;
use crate::test_namespace::{Ask, SOON, TestNamespace};

/// After all requests are signed, nothing is written and only the periodic check reaches Vault.
pub(super) async fn quiet(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    let mount = test.approle_mount().await?;
    let auth = test.approle(&mount, &test.policy(&[&path]).await?, json!({})).await?;
    test.issuer("vault", test.spec(&path, auth)).await?;
    test.ready("vault", SOON).await?;
    for number in 0..5 {
        let name = format!("quiet-{number}");
        let csr = Csr::new(&Names::common("quiet.example.com"))?;
        test.request(&name, &csr.pem, Ask::default()).await?;
        test.issued(&name, &csr, SOON).await?;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = (writes(test).await?, requests(test, &path)?);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let after = (writes(test).await?, requests(test, &path)?);
    ensure!(
        after.0 == before.0,
        "{} writes to the API server in 30 s",
        after.0 - before.0
    );
    // Checks ask for the health of the server, and the signing endpoint only after a change.
    ensure!(
        after.1 == before.1,
        "{} requests to the signing endpoint in 30 s",
        after.1 - before.1
    );
    let logins = test.signatures(&format!("auth/{mount}/login"))?;
    ensure!(logins == 1, "{logins} logins for 5 requests");
    Ok(())
}

/// Counts the controller's writes in the namespace.
async fn writes(test: &TestNamespace<'_>) -> anyhow::Result<usize> {
    let events = test.env.local_servers().await?.cluster.audit()?;
    let ours = |event: &&AuditEvent| {
        event.is_write() && event.user().ends_with(":vault-issuer") && event.namespace() == test.namespace
    };
    Ok(events.iter().filter(ours).count())
}

/// Counts the requests to Vault with the case's tokens or on its path.
fn requests(test: &TestNamespace<'_>, path: &str) -> anyhow::Result<usize> {
    let answers = test.env.vault.audit.answered()?;
    Ok(answers
        .iter()
        .filter(|answer| answer.role == test.case || answer.path == path)
        .count())
}
