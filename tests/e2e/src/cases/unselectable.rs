//! cert-manager before 1.20, whose CertificateRequests cannot be selected by their issuer.

use anyhow::{Context, ensure};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::pki::{Csr, Names};
use crate::servers::process::eventually;
use crate::test_namespace::{Ask, LATER, TestNamespace};

/// The controller's word for it.
const LOGGED: &str = "this cert-manager cannot select requests by issuer group";

/// Requests are signed while cert-manager is replaced by an old version, when the controller starts with that, and
/// after an upgrade.
pub(super) async fn requests(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.signer(json!({})).await?;
    sign(test, "selected").await?;
    let current = versions(test).await?;
    ensure!(
        current[0]["selectableFields"].is_array(),
        "requests cannot be selected from the start"
    );
    let mut old = current.clone();
    for version in old.as_array_mut().into_iter().flatten() {
        version["selectableFields"] = Value::Null;
    }
    replace(test, &old).await?;
    let outcome = with_old(test).await;
    replace(test, &current).await?;
    outcome?;
    sign(test, "upgraded").await?;
    ensure!(test.signatures(&path)? == 4, "{} signatures", test.signatures(&path)?);
    Ok(())
}

async fn with_old(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    eventually(LATER, async || {
        let log = test.env.controller_log(test.case).await?;
        ensure!(log.contains(LOGGED), "the watch goes on with a selector");
        Ok(())
    })
    .await?;
    sign(test, "downgraded").await?;
    test.env.local_servers().await?.restart_controller_with(&[]).await?;
    sign(test, "restarted").await
}

async fn sign(test: &TestNamespace<'_>, name: &str) -> anyhow::Result<()> {
    let csr = Csr::new(&Names::common(&format!("{name}.example.com")))?;
    test.request(name, &csr.pem, Ask::default()).await?;
    test.issued(name, &csr, LATER).await.context(name.to_owned())?;
    Ok(())
}

fn crds(test: &TestNamespace<'_>) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    Api::all_with(test.env.client.clone(), &ApiResource::from_gvk(&kind))
}

const CRD: &str = "certificaterequests.cert-manager.io";

/// Returns the versions of the CRD of CertificateRequests.
async fn versions(test: &TestNamespace<'_>) -> anyhow::Result<Value> {
    let crd = crds(test).get(CRD).await?;
    Ok(crd.data["spec"]["versions"].clone())
}

/// Replaces the versions of the CRD of CertificateRequests.
async fn replace(test: &TestNamespace<'_>, versions: &Value) -> anyhow::Result<()> {
    let patch = Patch::Merge(json!({ "spec": { "versions": versions } }));
    crds(test).patch(CRD, &PatchParams::default(), &patch).await?;
    Ok(())
}
