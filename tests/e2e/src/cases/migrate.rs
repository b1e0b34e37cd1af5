//! `vault-issuer migrate`, from cert-manager's built-in controller to our kinds.

use std::process::Command;

use anyhow::ensure;
use issuer_api::{CertificateRequest, VaultIssuer};

use super::drop_in;
use super::tools::run;
use crate::servers::cluster::ADMIN;
use crate::servers::process::eventually;
use crate::test_namespace::{LATER, SOON, TestNamespace};

/// The written objects are applied as they are: the Certificate is issued anew by the VaultIssuer.
pub(super) async fn migrate(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    drop_in::issuers(test).await?;
    test.approve_all().await?;
    drop_in::certificate(test, "web", "Issuer", "vault").await?;
    let before = test.stored("web").await?;

    let (good, check) = run(test, &["check", "issuer/vault"]).await?;
    let warning = "warning built-in: cert-manager-certificaterequests-issuer-vault wrote CertificateRequest";
    ensure!(
        good && check.contains("can sign") && check.contains(warning),
        "check says {check}"
    );
    let (good, plan) = run(test, &["migrate", "--drop-in-cluster-resource-namespace=vault-issuer"]).await?;
    ensure!(good, "migrate says {plan}");
    let cluster = format!("# ClusterIssuer {0} becomes VaultClusterIssuer {0}", test.case);
    // The servers of these tests are at loopback addresses.
    let warnings = (
        plan.matches("WARNING").count(),
        plan.matches("--allowed-servers").count(),
    );
    ensure!(plan.contains(&cluster) && warnings == (2, 2), "migrate says {plan}");

    let local = test.env.local_servers().await?;
    let file = local.dir.join("migration.yaml");
    std::fs::write(&file, &plan)?;
    let mut kubectl = Command::new(&local.kubectl);
    kubectl
        .arg("--kubeconfig")
        .arg(local.cluster.kubeconfig(ADMIN))
        .args(["apply", "--server-side", "--force-conflicts"])
        .arg("--field-manager=vault-issuer-migrate")
        .arg("--filename")
        .arg(file);
    drop(local);
    let output = tokio::task::spawn_blocking(move || kubectl.output()).await??;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "kubectl says {text}");

    test.ready("vault", SOON).await?;
    ensure!(
        test.api::<VaultIssuer>().get("vault").await?.status.is_some(),
        "no status"
    );
    eventually(LATER, async || {
        let now = test.stored("web").await?;
        ensure!(now.chain != before.chain, "still the certificate of the built-in");
        Ok(())
    })
    .await?;
    let request = test.api::<CertificateRequest>().get("web-2").await?;
    ensure!(
        request.spec.issuer_ref.group.as_deref() == Some(issuer_api::GROUP),
        "it names {:?}",
        request.spec.issuer_ref
    );
    Ok(())
}
