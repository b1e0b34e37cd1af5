//! Fields that the controller's writes must leave alone.

use anyhow::{Context, ensure};
use issuer_api::CertificateRequest;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::pki::{Csr, Names};
use crate::test_namespace::{Ask, SOON, TestNamespace};

/// To sign a request changes nothing but its status: neither what others have set, nor that it is theirs.
pub(super) async fn others_fields(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    test.signer(json!({})).await?;
    let csr = Csr::new(&Names::common("kept.example.com"))?;
    test.unapproved("web", &csr.pem, Ask::default()).await?;
    let resource = ApiResource::erase::<CertificateRequest>(&());
    let requests: Api<DynamicObject> = Api::namespaced_with(test.env.client.clone(), &test.namespace, &resource);
    let by_another = PatchParams {
        field_manager: Some("e2e-other".to_owned()),
        ..PatchParams::default()
    };
    let metadata = json!({
        "labels": { "example.com/label": "kept" },
        "annotations": { "example.com/note": "kept" },
        "finalizers": ["e2e.example.com/kept"],
    });
    let more = json!({ "metadata": metadata, "status": { "conditions": [] } });
    let before = requests.patch("web", &by_another, &Patch::Merge(more)).await?;
    test.decide("web", "Approved").await?;
    test.issued("web", &csr, SOON).await?;

    let after = requests.get("web").await?;
    let done = json!({ "metadata": { "finalizers": null } });
    requests.patch("web", &by_another, &Patch::Merge(done)).await?;
    let (before, after) = (json!(before), json!(after));
    ensure!(after["spec"] == before["spec"], "the spec is {}", after["spec"]);
    for (field, value) in metadata.as_object().into_iter().flatten() {
        ensure!(
            after["metadata"][field] == *value,
            "{field} is {}",
            after["metadata"][field]
        );
    }
    let (owners, now) = (owners(&before), owners(&after));
    for owner in &owners {
        ensure!(now.contains(owner), "{owner:?} is not among {now:?}");
    }
    let ours = now.iter().find(|(manager, _)| manager == "vault-issuer");
    let (_, fields) = ours.context("the controller owns nothing")?;
    let kinds: Vec<&String> = fields
        .as_object()
        .into_iter()
        .flatten()
        .map(|(field, _)| field)
        .collect();
    ensure!(kinds == ["f:status"], "the controller owns {kinds:?}");
    let approver = now.iter().find(|(manager, _)| manager == "e2e-approver");
    let (_, fields) = approver.context("the approver owns nothing")?;
    let condition = &fields["f:status"]["f:conditions"]["k:{\"type\":\"Approved\"}"];
    ensure!(condition.is_object(), "the approver owns {fields}");
    Ok(())
}

/// Returns the managers of an object, each with its fields.
fn owners(object: &Value) -> Vec<(String, Value)> {
    let entries = object["metadata"]["managedFields"].as_array();
    let of = |entry: &Value| {
        let manager = entry["manager"].as_str().unwrap_or_default();
        (manager.to_owned(), entry["fieldsV1"].clone())
    };
    entries.into_iter().flatten().map(of).collect()
}
