//! Another controller signs for cert-manager's issuers: ours stops, and says so. These cases run alone: they switch controllers of
//! cert-manager on and off.

use anyhow::{Context, ensure};
use issuer_api::CertificateRequest;
use jiff::Timestamp;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::drop_in::{BUILT_IN, FLAGS, begin, end, issuers, ready, request, unapproved, written_by};
use super::tools;
use crate::servers::process::{Signal, eventually};
use crate::test_namespace::{LATER, SOON, TestNamespace};

/// The field manager of the built-in's successor.
const SUCCESSOR: &str = "vault.cert-manager.io";

/// A Lease that our controller keeps while it stands still.
const LONG_LEASE: [&str; 2] = [
    "--leader-election-lease-duration=2m",
    "--leader-election-renew-deadline=90s",
];

/// The built-in controller still runs.
pub(super) async fn built_in(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    issuers(test).await?;
    ready(test, "True").await?;
    let mut local = test.env.local_servers().await?;
    local.restart_controller_with(&[FLAGS, LONG_LEASE].concat()).await?;
    drop(local);
    let mut number = 0;
    eventually(LATER, async || {
        number += 1;
        let name = format!("beside-{number}");
        without_ours(test, async {
            request(test, &name).await?;
            signed_by_built_in(test, &name).await
        })
        .await?;
        has_stopped(test).await
    })
    .await?;
    stop_is_reported(test).await?;
    request(test, "after").await?;
    signed_by_built_in(test, "after").await?;
    ensure!(
        !written_by(test, "after", "vault-issuer").await?,
        "ours has written too"
    );
    end(test).await
}

/// Waits until the built-in controller has answered a request.
async fn signed_by_built_in(test: &TestNamespace<'_>, name: &str) -> anyhow::Result<()> {
    eventually(SOON, async || {
        let built_in = "cert-manager-certificaterequests-issuer-vault";
        let signed = written_by(test, name, built_in).await?;
        ensure!(signed, "the built-in has not signed {name}");
        Ok(())
    })
    .await
}

/// Lets another controller do something first, which ours notices: ours is faster, and stands still meanwhile.
pub(super) async fn without_ours(
    test: &TestNamespace<'_>,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let signal = async |signal| test.env.local_servers().await?.controller()?.process().signal(signal);
    signal(Signal::STOP).await?;
    let done = work.await;
    signal(Signal::CONT).await?;
    done
}

/// The built-in's successor appears, as whose controller a request is first taken up or is issued: ours stops, and `check` finds
/// it. Nothing is approved here, so each answer is that of the test.
pub(super) async fn successor(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = begin(test, &[]).await?;
    let begun = |at: &str| {
        json!({ "conditions": [{
            "type": "Ready",
            "status": "Unknown",
            "reason": "Initializing",
            "message": format!("{SUCCESSOR} has started reconciling this CertificateRequest"),
            "lastTransitionTime": at,
        }] })
    };
    let issued = |at: &str| {
        json!({ "certificate": "c2lnbmVk", "conditions": [{
            "type": "Ready",
            "status": "True",
            "reason": "Issued",
            "message": "Succeeded signing the CertificateRequest",
            "lastTransitionTime": at,
        }] })
    };
    for (name, answer) in [("begun", &begun as &dyn Fn(&str) -> Value), ("issued", &issued)] {
        let mut local = test.env.local_servers().await?;
        local.restart_controller_with(&FLAGS).await?;
        drop(local);
        let mut number = 0;
        // What is written within the difference of clocks means nothing.
        eventually(SOON, async || {
            number += 1;
            let request = format!("{name}-{number}");
            unapproved(test, &request, "vault").await?;
            let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            write_status(test, &request, SUCCESSOR, answer(&now)).await?;
            has_stopped(test).await
        })
        .await
        .context(name)?;
        stop_is_reported(test).await?;
    }
    ensure!(test.signatures(&path)? == 0, "a request was signed");
    let (good, output) = tools::run(test, &["check", "issuer/vault"]).await?;
    let warning = format!("warning built-in: {SUCCESSOR} worked on CertificateRequest");
    ensure!(good && output.contains(&warning), "check says {output}");
    end(test).await
}

/// Writes the status of a request by server-side apply.
async fn write_status(test: &TestNamespace<'_>, name: &str, manager: &str, status: Value) -> anyhow::Result<()> {
    let resource = ApiResource::erase::<CertificateRequest>(&());
    let requests: Api<DynamicObject> = Api::namespaced_with(test.env.client.clone(), &test.namespace, &resource);
    let status = json!({ "apiVersion": "cert-manager.io/v1", "kind": "CertificateRequest", "status": status });
    let params = PatchParams::apply(manager).force();
    requests.patch_status(name, &params, &Patch::Apply(status)).await?;
    Ok(())
}

/// Fails unless our controller has stopped serving Issuers.
pub(super) async fn has_stopped(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let metrics = test.env.local_servers().await?.controller()?.metrics().await?;
    let stopped = r#"vault_issuer_drop_in_stopped{kind="Issuer"} 1"#;
    ensure!(metrics.contains(stopped), "it serves Issuers beside another controller");
    Ok(())
}

/// Checks that an event of the Issuer and the log say why it is not served.
pub(super) async fn stop_is_reported(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    test.event("vault", "BuiltInActive").await?;
    let log = test.env.local_servers().await?.controller_log()?;
    let says = |line: &str| line.contains("BuiltInActive") && line.contains(&test.namespace);
    ensure!(log.lines().any(says), "the log does not say so");
    Ok(())
}

/// Begins drop-in mode while cert-manager's controller of Kubernetes CSRs still runs.
pub(super) async fn begin_with_csrs(test: &TestNamespace<'_>, flags: &[&str]) -> anyhow::Result<()> {
    let mut local = test.env.local_servers().await?;
    local.cert_manager.restart_without(&[BUILT_IN])?;
    local
        .restart_controller_with(&[&FLAGS, &LONG_LEASE, flags].concat())
        .await
}
