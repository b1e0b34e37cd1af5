//! The limit: signs each approved request with a ready token, writes its status once, and does nothing else.

use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::try_join_all;
use issuer_api::CertificateRequest;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, PostParams};
use serde_json::{Value, json};

use crate::servers::cluster::{self, CERT_MANAGER};
use crate::servers::vault::{Admin, text};
use crate::test_namespace::TestNamespace;

/// The number of requests that are signed at a time, as many as by our controller.
const LANES: usize = 10;

/// A ready token and open connections.
pub(super) struct Loader {
    /// One client each, since the pool of one client keeps few connections.
    lanes: Vec<Admin>,
    path: String,
    requests: Api<DynamicObject>,
}

impl Loader {
    /// Creates a token that may sign, and nothing else.
    pub(super) async fn start(test: &TestNamespace<'_>) -> anyhow::Result<Self> {
        let path = test.role(json!({ "no_store": true })).await?;
        let policy = test.policy(&[&path]).await?;
        let vault = &test.env.vault;
        let body = json!({ "policies": [policy], "no_parent": true, "ttl": "1h" });
        let token = text(&vault.admin.write("auth/token/create", body).await?["auth"]["client_token"])?;
        let lanes = (0..LANES).map(|_| Admin::new(&vault.server, &vault.ca, &token));
        let kubeconfig = test.env.local_servers().await?.cluster.kubeconfig(CERT_MANAGER);
        let resource = ApiResource::erase::<CertificateRequest>(&());
        Ok(Self {
            lanes: lanes.collect::<anyhow::Result<_>>()?,
            path,
            requests: Api::namespaced_with(cluster::client(&kubeconfig).await?, &test.namespace, &resource),
        })
    }

    /// Signs and saves all of them.
    pub(super) async fn sign_all(&self, requests: Vec<DynamicObject>) -> anyhow::Result<()> {
        let queue = Mutex::new(requests);
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let work = self.lanes.iter().map(async |lane| {
            while let Some(request) = next() {
                self.sign_on(lane, request).await?;
            }
            anyhow::Ok(())
        });
        try_join_all(work).await.map(drop)
    }

    /// Signs and saves one.
    pub(super) async fn sign(&self, request: DynamicObject) -> anyhow::Result<()> {
        self.sign_on(self.lanes.first().context("no lane")?, request).await
    }

    async fn sign_on(&self, lane: &Admin, mut request: DynamicObject) -> anyhow::Result<()> {
        let csr = STANDARD.decode(text(&request.data["spec"]["request"])?)?;
        let body = json!({ "csr": std::str::from_utf8(&csr)? });
        let answer = lane.write(&self.path, body).await?;
        let encode = |field: &str| anyhow::Ok(json!(STANDARD.encode(text(&answer["data"][field])?)));
        let status = &mut request.data["status"];
        status["certificate"] = encode("certificate")?;
        status["ca"] = encode("issuing_ca")?;
        let conditions = status["conditions"].as_array_mut().context("not approved")?;
        conditions.push(ready());
        let name = request.metadata.name.clone().context("no name")?;
        self.requests
            .replace_status(&name, &PostParams::default(), &request)
            .await?;
        Ok(())
    }
}

fn ready() -> Value {
    json!({
        "type": "Ready",
        "status": "True",
        "reason": "Issued",
        "message": "signed by the loader",
        "lastTransitionTime": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    })
}
