//! Conformance of `fake-kube` with a real API server.

use std::pin::pin;

use anyhow::ensure;
use fake_kube::CONTROLLER;
use fake_kube::conformance::{Answer, ApiReply, Call, NAME, OTHER, Subject, Suite, expected};
use futures::TryStreamExt as _;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions, WatchEvent,
    WatchParams,
};
use kube::core::GroupVersionKind;
use kube::{Api, Error, ResourceExt as _};
use serde_json::{Value, json};

use crate::servers::cluster::apply_object;
use crate::servers::process::eventually;
use crate::test_namespace::{SOON, TestNamespace};

/// `fake-kube` answers every operation of the tables like the real API server.
pub(super) async fn conformance(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let definition = define_issuers(test).await?;
    let mut differing = Vec::new();
    for subject in Subject::ALL {
        differing.extend(differences(test, subject).await?);
    }
    definitions(test).delete(&definition, &DeleteParams::default()).await?;
    ensure!(differing.is_empty(), "fake-kube differs:\n  {}", differing.join("\n  "));
    Ok(())
}

/// Returns the answers of the API server that are not those of the model.
async fn differences(test: &TestNamespace<'_>, subject: Subject) -> anyhow::Result<Vec<String>> {
    let objects = objects(test, subject);
    let mut suite = Suite::new(subject, &test.namespace);
    while let Some(call) = suite.next_call() {
        let reply: ApiReply = match ask(&objects, call).await {
            Ok(answer) => Ok(answer),
            Err(Error::Api(status)) => Err(status.code),
            Err(error) => return Err(error.into()),
        };
        suite.record(&reply);
    }
    let (real, fake) = (suite.answers(), expected(subject));
    ensure!(
        real.len() == fake.len(),
        "{} answers of the API server, {} of fake-kube",
        real.len(),
        fake.len()
    );
    let differ = real.iter().zip(&fake).filter(|(real, fake)| real != fake);
    let describe = |((name, real), (_, fake)): (&(&str, Answer), &(&str, Answer))| {
        format!("{}, {name}\n    real: {real}\n    fake: {fake}", subject.kind())
    };
    Ok(differ.map(describe).collect())
}

fn objects(test: &TestNamespace<'_>, subject: Subject) -> Api<DynamicObject> {
    let (group, version) = subject.api_version().split_once('/').unwrap_or_default();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, subject.kind()));
    let client = test.env.client.clone();
    if subject.is_namespaced() {
        Api::namespaced_with(client, &test.namespace, &resource)
    } else {
        Api::all_with(client, &resource)
    }
}

fn definitions(test: &TestNamespace<'_>) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    Api::all_with(test.env.client.clone(), &ApiResource::from_gvk(&kind))
}

/// Defines a kind like cert-manager's Issuer that no controller serves; returns the name of the definition.
async fn define_issuers(test: &TestNamespace<'_>) -> anyhow::Result<String> {
    let (group, _) = Subject::Issuer.api_version().split_once('/').unwrap_or_default();
    let mut spec = definitions(test).get("issuers.cert-manager.io").await?.data["spec"].take();
    spec["group"] = json!(group);
    spec["names"] = json!({ "kind": "Issuer", "listKind": "IssuerList", "plural": "issuers", "singular": "issuer" });
    let name = format!("issuers.{group}");
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": name },
        "spec": spec,
    });
    apply_object(&test.env.client, definition).await?;
    eventually(SOON, async || {
        objects(test, Subject::Issuer).list(&ListParams::default()).await?;
        Ok(())
    })
    .await?;
    Ok(name)
}

async fn ask(objects: &Api<DynamicObject>, call: Call) -> kube::Result<Value> {
    let by = |manager: &str| PatchParams {
        field_manager: Some(manager.to_owned()),
        ..PatchParams::default()
    };
    let params = by("e2e");
    match call {
        Call::Apply(body, force) => {
            let params = PatchParams {
                force,
                ..by(CONTROLLER)
            };
            let applied = objects.patch_status(NAME, &params, &Patch::Apply(body)).await;
            applied.map(|object| json!(object))
        }
        Call::Create(object) => create(objects, object).await.map(|object| json!(object)),
        Call::Delete(uid) => {
            let params = DeleteParams {
                preconditions: uid.map(|uid| Preconditions {
                    uid: Some(uid),
                    resource_version: None,
                }),
                ..DeleteParams::default()
            };
            objects.delete(NAME, &params).await.map(|_| Value::Null)
        }
        Call::Get => objects.get(NAME).await.map(|object| json!(object)),
        Call::List => {
            let only = ListParams::default().fields(&format!("metadata.name={NAME}"));
            objects.list(&only).await.map(|list| json!(list))
        }
        Call::Patch(body) => {
            let patched = objects.patch(NAME, &params, &Patch::Merge(body)).await;
            patched.map(|object| json!(object))
        }
        Call::PatchApproval(body) => {
            let patch = Patch::Merge(body);
            let patched = objects.patch_subresource("approval", NAME, &params, &patch).await;
            patched.map(|object| json!(object))
        }
        Call::PatchStatus(body) => {
            let patched = objects.patch_status(NAME, &params, &Patch::Merge(body)).await;
            patched.map(|object| json!(object))
        }
        Call::PatchStatusAsOther(body) => {
            let patched = objects.patch_status(NAME, &by(OTHER), &Patch::Merge(body)).await;
            patched.map(|object| json!(object))
        }
        Call::ReplaceStatus(body) => {
            let object: DynamicObject = serde_json::from_value(body).map_err(Error::SerdeError)?;
            let replaced = objects.replace_status(NAME, &PostParams::default(), &object).await;
            replaced.map(|object| json!(object))
        }
        // Revision 1 is older than the definition of the kind.
        Call::Watch(since) => watch(objects, &since.unwrap_or_else(|| "1".to_owned())).await,
    }
}

async fn create(objects: &Api<DynamicObject>, object: Value) -> kube::Result<DynamicObject> {
    let object = serde_json::from_value(object).map_err(Error::SerdeError)?;
    objects.create(&PostParams::default(), &object).await
}

/// Returns the watch events up to now. An object that is created first marks the end of them.
async fn watch(objects: &Api<DynamicObject>, since: &str) -> kube::Result<Value> {
    let mark = json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "CertificateRequest",
        "metadata": { "generateName": "mark-" },
        "spec": { "request": "Q1NS", "issuerRef": { "name": "nobody" } },
    });
    let mark = create(objects, mark).await?.name_any();
    let mut stream = pin!(
        objects
            .watch(&WatchParams::default().disable_bookmarks(), since)
            .await?
    );
    let mut events = Vec::new();
    while let Some(event) = stream.try_next().await? {
        let (change, object) = match event {
            WatchEvent::Added(object) if object.name_any() == mark => break,
            WatchEvent::Added(object) => ("ADDED", object),
            WatchEvent::Modified(object) => ("MODIFIED", object),
            WatchEvent::Deleted(object) => ("DELETED", object),
            WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(status) => return Err(Error::Api(status)),
        };
        if object.name_any() == NAME {
            events.push(json!({ "type": change, "object": object }));
        }
    }
    Ok(Value::Array(events))
}
