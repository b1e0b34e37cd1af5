//! The service account's token, which a kubelet replaces in the file before it expires.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::load::under_load;
use crate::servers::cluster::{apply_object, token_of};
use crate::servers::controller::NAMESPACE;
use crate::servers::kind::{Cluster, RELEASE, restarts};
use crate::test_namespace::{SOON, TestNamespace};

/// The Secret with the token, mounted in the place of the projected volume.
const TOKEN: &str = "controller-token";

/// How long a client may use a token that it has read: kube reads the file once a minute.
const READ_AGAIN: Duration = Duration::from_secs(65);

/// How long the API server may accept a token that is not valid any more: it caches answers for ten seconds.
const CACHED: Duration = Duration::from_secs(12);

/// The token is replaced, and the old one ceases to be valid: nobody notices.
///
/// A kubelet replaces projected tokens after eight minutes at the earliest; that of a Secret can be replaced at once.
pub(crate) async fn rotation(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.signer(json!({})).await?;
    let cluster = test.env.cluster()?;
    write_token(test, "first").await?;
    let mount = json!({ "name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount" });
    let volume = json!({ "name": "token", "secret": { "secretName": TOKEN } });
    cluster
        .deploy(&json!({ "volumes": [volume], "volumeMounts": [mount] }))
        .await?;
    cluster.complete(2).await?;
    let (identity, _) = cluster.leader().await?;
    write_token(test, "second").await?;
    sync(cluster).await?;
    tokio::time::sleep(READ_AGAIN).await;
    let load = under_load(test, &path, "rotation", async {
        let secrets: Api<Secret> = Api::namespaced(cluster.client().clone(), NAMESPACE);
        secrets.delete("first", &DeleteParams::default()).await?;
        tokio::time::sleep(CACHED).await;
        Ok(())
    });
    let load = load.await?;
    load.ensure_signed_once()?;
    load.ensure_within(SOON)?;
    let (now, _) = cluster.leader().await?;
    ensure!(now == identity, "{now} leads, after {identity}");
    let restarted: i32 = cluster.pods().await?.iter().map(restarts).sum();
    ensure!(restarted == 0, "{restarted} restarts");
    cluster.deploy(&json!({})).await?;
    cluster.complete(2).await
}

/// Writes a token that is valid as long as the Secret `bound`, which is created first, exists.
async fn write_token(test: &TestNamespace<'_>, bound: &str) -> anyhow::Result<()> {
    let client = &test.env.client;
    test.secret_in(NAMESPACE, bound, &[]).await?;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
    let spec = TokenRequestSpec {
        bound_object_ref: Some(BoundObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Secret".into()),
            name: Some(bound.into()),
            uid: secrets.get(bound).await?.uid(),
        }),
        ..TokenRequestSpec::default()
    };
    let token = token_of(client, NAMESPACE, RELEASE, spec).await?;
    test.env.canary(&token);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let data = maps.get("kube-root-ca.crt").await?.data.context("no CA")?;
    let ca = data.get("ca.crt").context("no CA")?;
    apply_object(
        client,
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": TOKEN, "namespace": NAMESPACE },
            "stringData": { "token": token, "ca.crt": ca, "namespace": NAMESPACE },
        }),
    )
    .await
}

/// Has the kubelets write the Secret to the volumes now: a change of a pod makes them look at it.
async fn sync(cluster: &Cluster) -> anyhow::Result<()> {
    let annotation = json!({ "metadata": { "annotations": { "e2e": "sync" } } });
    for pod in cluster.pods().await? {
        let patch = Patch::Merge(&annotation);
        cluster
            .pod_api()
            .patch(&pod.name_any(), &PatchParams::default(), &patch)
            .await?;
    }
    Ok(())
}
