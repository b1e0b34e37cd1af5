//! Conformance of `fake-kube` with a real API server.

use std::pin::pin;

use anyhow::ensure;
use fake_kube::conformance::{ApiReply, Call, NAME, Suite, expected};
use futures::TryStreamExt as _;
use issuer_api::CertificateRequest;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions, WatchEvent,
    WatchParams,
};
use kube::{Api, Error, ResourceExt as _};
use serde_json::{Value, json};

use crate::test_namespace::TestNamespace;

/// `fake-kube` answers every operation of the table like the real API server.
pub(super) async fn conformance(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let resource = ApiResource::erase::<CertificateRequest>(&());
    let requests: Api<DynamicObject> = Api::namespaced_with(test.env.client.clone(), &test.namespace, &resource);
    let mut suite = Suite::new(&test.namespace);
    while let Some(call) = suite.next_call() {
        let reply: ApiReply = match ask(&requests, call).await {
            Ok(answer) => Ok(answer),
            Err(Error::Api(status)) => Err(status.code),
            Err(error) => return Err(error.into()),
        };
        suite.record(&reply);
    }
    let (real, fake) = (suite.answers(), expected());
    ensure!(
        real.len() == fake.len(),
        "{} answers of the API server, {} of fake-kube",
        real.len(),
        fake.len()
    );
    let differ = real.iter().zip(&fake).filter(|(real, fake)| real != fake);
    let differing: Vec<String> = differ
        .map(|((name, real), (_, fake))| format!("{name}\n    real: {real}\n    fake: {fake}"))
        .collect();
    ensure!(differing.is_empty(), "fake-kube differs:\n  {}", differing.join("\n  "));
    Ok(())
}

async fn ask(requests: &Api<DynamicObject>, call: Call) -> kube::Result<Value> {
    let params = PatchParams {
        field_manager: Some("e2e".to_owned()),
        ..PatchParams::default()
    };
    match call {
        Call::Create(object) => create(requests, object).await.map(|object| json!(object)),
        Call::Delete(uid) => {
            let params = DeleteParams {
                preconditions: uid.map(|uid| Preconditions {
                    uid: Some(uid),
                    resource_version: None,
                }),
                ..DeleteParams::default()
            };
            requests.delete(NAME, &params).await.map(|_| Value::Null)
        }
        Call::Get => requests.get(NAME).await.map(|object| json!(object)),
        Call::List => {
            let only = ListParams::default().fields(&format!("metadata.name={NAME}"));
            requests.list(&only).await.map(|list| json!(list))
        }
        Call::Patch(body) => {
            let patched = requests.patch(NAME, &params, &Patch::Merge(body)).await;
            patched.map(|object| json!(object))
        }
        Call::PatchStatus(body) => {
            let patched = requests.patch_status(NAME, &params, &Patch::Merge(body)).await;
            patched.map(|object| json!(object))
        }
        Call::ReplaceStatus(body) => {
            let object: DynamicObject = serde_json::from_value(body).map_err(Error::SerdeError)?;
            let replaced = requests.replace_status(NAME, &PostParams::default(), &object).await;
            replaced.map(|object| json!(object))
        }
        // Revision 1 is older than the definition of the kind.
        Call::Watch(since) => watch(requests, &since.unwrap_or_else(|| "1".to_owned())).await,
    }
}

async fn create(requests: &Api<DynamicObject>, object: Value) -> kube::Result<DynamicObject> {
    let object = serde_json::from_value(object).map_err(Error::SerdeError)?;
    requests.create(&PostParams::default(), &object).await
}

/// Returns the watch events up to now. An object that is created first marks the end of them.
async fn watch(requests: &Api<DynamicObject>, since: &str) -> kube::Result<Value> {
    let mark = json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "CertificateRequest",
        "metadata": { "generateName": "mark-" },
        "spec": { "request": "Q1NS", "issuerRef": { "name": "nobody" } },
    });
    let mark = create(requests, mark).await?.name_any();
    let mut stream = pin!(
        requests
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
