//! Reads the objects of a migration from a cluster.

use std::sync::Arc;

use anyhow::{Context, bail};
use kube::api::ListParams;
use kube::core::Request;
use kube::{Client, Error};
use serde_json::{Value, json};

use crate::args::MigrateArgs;

/// The lists that are read of a cluster: the path, and version and kind of the items, which a list leaves out.
const LISTS: [(&str, &str, &str); 5] = [
    ("/apis/cert-manager.io/v1/issuers", "cert-manager.io/v1", "Issuer"),
    (
        "/apis/cert-manager.io/v1/clusterissuers",
        "cert-manager.io/v1",
        "ClusterIssuer",
    ),
    (
        "/apis/cert-manager.io/v1/certificates",
        "cert-manager.io/v1",
        "Certificate",
    ),
    (
        "/apis/networking.k8s.io/v1/ingresses",
        "networking.k8s.io/v1",
        "Ingress",
    ),
    (
        "/apis/gateway.networking.k8s.io/v1/gateways",
        "gateway.networking.k8s.io/v1",
        "Gateway",
    ),
];

/// Objects of a page.
const PAGE: u32 = 500;

/// Reads the objects of every kind that the cluster has, with the rights of the kubeconfig's user.
pub(super) fn read(args: &MigrateArgs, take: &mut dyn FnMut(Value) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = issuer_kube::client(
            args.cluster.kubeconfig.clone(),
            args.cluster.context.clone(),
            Arc::default(),
        )
        .await?;
        for (path, version, kind) in LISTS {
            list(&client, path, &mut |mut object: Value| {
                if let Some(fields) = object.as_object_mut() {
                    fields.insert("apiVersion".to_owned(), json!(version));
                    fields.insert("kind".to_owned(), json!(kind));
                }
                take(object)
            })
            .await?;
        }
        Ok(())
    })
}

async fn list(client: &Client, path: &str, take: &mut dyn FnMut(Value) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut next = None;
    loop {
        let params = ListParams {
            continue_token: next.take(),
            limit: Some(PAGE),
            ..ListParams::default()
        };
        let mut page: Value = match client.request(Request::new(path).list(&params)?).await {
            // The cluster has no such kind.
            Err(Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(Error::Api(status)) => bail!("{path} cannot be listed: {}", status.message),
            other => other.with_context(|| format!("{path} cannot be listed"))?,
        };
        let items = page.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take);
        for item in items.unwrap_or_default() {
            take(item)?;
        }
        let token = page.pointer("/metadata/continue").and_then(Value::as_str);
        match token.filter(|token| !token.is_empty()) {
            Some(token) => next = Some(token.to_owned()),
            None => return Ok(()),
        }
    }
}
