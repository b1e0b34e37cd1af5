//! Requests as a kubelet creates them, an approver decides and the cases expect them.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use issuer_api::{Base64, CertificateSigningRequest};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{GetParams, ListParams, PostParams};
use kube::core::Request;
use serde_json::{Value, json};

use super::GROUP;
use crate::issued::Issued;
use crate::pki::Csr;
use crate::servers::process::eventually;
use crate::test_namespace::{LATER, SOON, TestNamespace};

const PATH: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// The requester of the cases: a kubelet, as far as its name and groups say.
pub(super) const REQUESTER: &str = "system:node:e2e";

/// Returns the name of a request, which has no namespace.
pub(super) fn object_name(test: &TestNamespace<'_>, name: &str) -> String {
    format!("{}.{name}", test.case)
}

/// Creates a request as the requester, with the usages of a kubelet's client certificate. The annotations of `spec` are those of
/// the object.
pub(super) async fn create(test: &TestNamespace<'_>, name: &str, csr: &Csr, mut spec: Value) -> anyhow::Result<()> {
    let annotations = spec.as_object_mut().and_then(|spec| spec.remove("annotations"));
    spec["request"] = json!(Base64::encode(&csr.pem));
    spec["usages"] = json!(["key encipherment", "digital signature", "client auth"]);
    let object = json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": { "name": object_name(test, name), "annotations": annotations },
        "spec": spec,
    });
    let body = object.to_string().into_bytes();
    // The role that allows to create requests counts a moment after it is bound.
    eventually(SOON, async || {
        let mut request = Request::new(PATH).create(&PostParams::default(), body.clone())?;
        let headers = request.headers_mut();
        headers.insert("Impersonate-User", REQUESTER.parse()?);
        headers.append("Impersonate-Group", GROUP.parse()?);
        headers.append("Impersonate-Group", "system:authenticated".parse()?);
        Ok(test.env.client.request_text(request).await.map(drop)?)
    })
    .await
}

/// Approves or denies a request, as `kubectl certificate` does.
pub(super) async fn decide(test: &TestNamespace<'_>, name: &str, decision: &str) -> anyhow::Result<()> {
    let name = object_name(test, name);
    let get = Request::new(PATH).get(&name, &GetParams::default())?;
    let mut object: Value = test.env.client.request(get).await?;
    object["status"]["conditions"] = json!([{
        "type": decision,
        "status": "True",
        "reason": "E2E",
        "message": "decided by a test",
    }]);
    let body = object.to_string().into_bytes();
    let request = Request::new(PATH).replace_subresource("approval", &name, &PostParams::default(), body)?;
    test.env.client.request_text(request).await.map(drop)?;
    Ok(())
}

pub(super) async fn read(test: &TestNamespace<'_>, name: &str) -> anyhow::Result<CertificateSigningRequest> {
    let get = Request::new(PATH).get(&object_name(test, name), &GetParams::default())?;
    Ok(test.env.client.request(get).await?)
}

/// Waits until a request is issued, and checks its certificate against its CSR.
pub(super) async fn issued(test: &TestNamespace<'_>, name: &str, csr: &Csr) -> anyhow::Result<Issued> {
    let certificate = eventually(LATER, async || {
        let status = read(test, name).await?.status.unwrap_or_default();
        let certificate = status.certificate.as_ref().and_then(Base64::decode);
        certificate.with_context(|| format!("{name} has no certificate: {:?}", status.conditions))
    })
    .await?;
    let issued = Issued::parse(&certificate, test.env.vault.root.as_bytes())?;
    issued.verify(&csr.spki)?;
    Ok(issued)
}

/// Waits until a request has failed for this reason; returns the message.
pub(super) async fn failed(test: &TestNamespace<'_>, name: &str, reason: &str) -> anyhow::Result<String> {
    eventually(SOON, async || {
        let status = read(test, name).await?.status.unwrap_or_default();
        let failed = status.conditions.iter().find(|condition| condition.kind == "Failed");
        let Some(failed) = failed else {
            bail!("{name} has not failed: {status:?}");
        };
        ensure!(failed.reason.as_deref() == Some(reason), "{failed:?}");
        ensure!(status.certificate.is_none(), "a certificate in a failed request");
        Ok(failed.message.clone().unwrap_or_default())
    })
    .await
}

/// Waits for an event about a request.
pub(super) async fn event(test: &TestNamespace<'_>, name: &str, reason: &str) -> anyhow::Result<()> {
    let object = object_name(test, name);
    let events: Api<Event> = Api::namespaced(test.env.client.clone(), "default");
    eventually(Duration::from_secs(60), async || {
        let list = events.list(&ListParams::default()).await?;
        let is_about = |event: &&Event| {
            let regarding = event.regarding.as_ref().and_then(|regarding| regarding.name.as_deref());
            regarding == Some(&*object)
        };
        let reasons: Vec<_> = list
            .items
            .iter()
            .filter(is_about)
            .map(|event| event.reason.as_deref())
            .collect();
        ensure!(reasons.contains(&Some(reason)), "{name} has the events {reasons:?}");
        Ok(())
    })
    .await
}
