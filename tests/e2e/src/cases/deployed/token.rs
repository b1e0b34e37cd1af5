//! The service account's token, which a kubelet replaces in the file before it expires.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::load::under_load;
use crate::servers::cluster::{apply_object, token_of};
use crate::servers::kind::{RELEASE, Release, restarts};
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
    let release = test.release().await?;
    let path = test.signer(json!({})).await?;
    write_token(test, &release, "first").await?;
    let mount = json!({ "name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount" });
    let volume = json!({ "name": "token", "secret": { "secretName": TOKEN } });
    release
        .deploy(&json!({ "volumes": [volume], "volumeMounts": [mount] }))
        .await?;
    release.complete(2).await?;
    let (identity, _) = release.leader().await?;
    write_token(test, &release, "second").await?;
    sync(&release).await?;
    tokio::time::sleep(READ_AGAIN).await;
    let load = under_load(test, &path, "rotation", async {
        let secrets = release.api::<Secret>();
        secrets.delete("first", &DeleteParams::default()).await?;
        tokio::time::sleep(CACHED).await;
        Ok(())
    });
    let load = load.await?;
    load.ensure_signed_once()?;
    load.ensure_within(SOON)?;
    let (now, _) = release.leader().await?;
    ensure!(now == identity, "{now} leads, after {identity}");
    let restarted: i32 = release.pods().await?.iter().map(restarts).sum();
    ensure!(restarted == 0, "{restarted} restarts");
    Ok(())
}

/// Writes a token that is valid as long as the Secret `bound`, which is created first, exists.
async fn write_token(test: &TestNamespace<'_>, release: &Release<'_>, bound: &str) -> anyhow::Result<()> {
    let client = &test.env.client;
    test.secret_in(&release.namespace, bound, &[]).await?;
    let secrets = release.api::<Secret>();
    let spec = TokenRequestSpec {
        bound_object_ref: Some(BoundObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Secret".into()),
            name: Some(bound.into()),
            uid: secrets.get(bound).await?.uid(),
        }),
        ..TokenRequestSpec::default()
    };
    let token = token_of(client, &release.namespace, RELEASE, spec).await?;
    test.env.canary(&token);
    let data = release
        .api::<ConfigMap>()
        .get("kube-root-ca.crt")
        .await?
        .data
        .context("no CA")?;
    let ca = data.get("ca.crt").context("no CA")?;
    apply_object(
        client,
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": TOKEN, "namespace": release.namespace },
            "stringData": { "token": token, "ca.crt": ca, "namespace": release.namespace },
        }),
    )
    .await
}

/// Has the kubelets write the Secret to the volumes now: a change of a pod makes them look at it.
async fn sync(release: &Release<'_>) -> anyhow::Result<()> {
    let annotation = json!({ "metadata": { "annotations": { "e2e": "sync" } } });
    for pod in release.pods().await? {
        let patch = Patch::Merge(&annotation);
        release
            .api::<Pod>()
            .patch(&pod.name_any(), &PatchParams::default(), &patch)
            .await?;
    }
    Ok(())
}
