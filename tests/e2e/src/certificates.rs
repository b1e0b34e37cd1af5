//! cert-manager's Certificates in a case's namespace.

use anyhow::Context;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use serde_json::json;

use crate::issued::Issued;
use crate::pki::public_key;
use crate::servers::process::eventually;
use crate::test_namespace::{SOON, TestNamespace};

impl TestNamespace<'_> {
    /// Applies a Certificate that is stored in a Secret of its name.
    pub(crate) async fn certificate(&self, name: &str, kind: &str, issuer: &str) -> anyhow::Result<()> {
        let spec = json!({
            "secretName": name,
            "dnsNames": ["www.example.com"],
            "privateKey": { "algorithm": "ECDSA", "rotationPolicy": "Always" },
            "issuerRef": { "group": "vault-issuer.io", "kind": kind, "name": issuer },
        });
        let metadata = json!({ "name": name });
        self.apply(json!({
            "apiVersion": "cert-manager.io/v1",
            "kind": "Certificate",
            "metadata": metadata,
            "spec": spec,
        }))
        .await
    }

    /// Waits for the Secret that cert-manager stores, and checks its certificate against its key.
    pub(crate) async fn stored(&self, name: &str) -> anyhow::Result<Issued> {
        let secrets = self.api::<Secret>();
        eventually(SOON, async || {
            let data = secrets.get(name).await?.data.context("no data")?;
            let file = |file: &str| {
                data.get(file)
                    .map(|bytes| bytes.0.as_slice())
                    .context("a file is missing")
            };
            let key = std::str::from_utf8(file("tls.key")?)?;
            let issued = Issued::parse(file("tls.crt")?, file("ca.crt")?)?;
            issued.verify(&public_key(key)?)?;
            Ok(issued)
        })
        .await
        .context("the Secret has no certificate for its key")
    }

    /// Returns the Certificates of the namespace.
    pub(crate) fn certificates(&self) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("cert-manager.io", "v1", "Certificate"));
        Api::namespaced_with(self.env.client.clone(), &self.namespace, &resource)
    }
}
