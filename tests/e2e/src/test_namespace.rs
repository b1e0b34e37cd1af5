//! The namespace of one test case, and the objects in it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use issuer_api::{CertificateRequest, ConditionStatus, IssuerStatus, VaultClusterIssuer, VaultIssuer};
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::issued::Issued;
use crate::pki::Csr;
use crate::servers::cluster::{APPROVER, apply_object};
use crate::servers::controller::NAMESPACE;
use crate::servers::env::Env;
use crate::servers::kind::Release;
use crate::servers::process::eventually;
use crate::servers::provider::Provider;

/// The limit for something that happens at once, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The limit for something that waits for a periodic check or a backoff.
pub(crate) const LATER: Duration = Duration::from_secs(150);

/// One test case: the servers, its namespace, and its names in Vault.
pub(crate) struct TestNamespace<'e> {
    /// The servers.
    pub(crate) env: &'e Env,
    /// The case's name, with which its names in Vault begin.
    pub(crate) case: &'static str,
    /// The namespace.
    pub(crate) namespace: String,
}

/// The fields of a CertificateRequest besides the CSR.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ask<'a> {
    /// The issuer; `vault` if it is empty.
    pub(crate) issuer: &'a str,
    /// Whether the issuer is a VaultClusterIssuer.
    pub(crate) cluster: bool,
    /// The requested duration.
    pub(crate) duration: Option<&'a str>,
    /// Whether a CA certificate is requested.
    pub(crate) is_ca: bool,
}

impl<'e> TestNamespace<'e> {
    /// Creates the namespace and the controller's role binding in it, as the README describes.
    pub(crate) async fn open(env: &'e Env, case: &'static str) -> anyhow::Result<Self> {
        let test = Self {
            env,
            case,
            namespace: format!("e2e-{case}"),
        };
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": test.namespace } });
        apply_object(&env.client, namespace).await?;
        // A release of its own brings the binding.
        if env.controller_namespace(case) == NAMESPACE {
            let account = json!({ "kind": "ServiceAccount", "name": "vault-issuer", "namespace": NAMESPACE });
            test.bind("vault-issuer-credentials", account).await?;
        }
        Ok(test)
    }

    /// Installs a release that serves this namespace only.
    pub(crate) async fn release(&self) -> anyhow::Result<Release<'_>> {
        let release = self.env.cluster()?.release_of(self.case, &self.namespace)?;
        release.install().await?;
        Ok(release)
    }

    /// Deletes the namespace, and that of a release for it, without waiting.
    pub(crate) async fn close(&self) -> anyhow::Result<()> {
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.env.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::background()).await?;
        let controller = self.env.controller_namespace(self.case);
        if controller != NAMESPACE {
            namespaces.delete(&controller, &DeleteParams::background()).await?;
        }
        Ok(())
    }

    /// Has cert-manager's approver approve every request in the namespace.
    pub(crate) async fn approve_all(&self) -> anyhow::Result<()> {
        let user = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": APPROVER });
        self.bind(crate::servers::certmanager::APPROVE, user).await
    }

    /// Binds a ClusterRole in the namespace.
    pub(crate) async fn bind(&self, role: &str, subject: Value) -> anyhow::Result<()> {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": { "name": role, "namespace": self.namespace },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [subject],
        });
        apply_object(&self.env.client, binding).await
    }

    /// Has the controller permitted to watch a Secret, as the chart's `credentials.secrets` does.
    pub(crate) async fn permit_watch(&self, secret: &str) -> anyhow::Result<()> {
        let name = format!("watch-{secret}");
        let rule = json!({ "apiGroups": [""], "resources": ["secrets"], "resourceNames": [secret], "verbs": ["get", "watch"] });
        let version = "rbac.authorization.k8s.io/v1";
        let metadata = json!({ "name": name });
        self.apply(json!({ "apiVersion": version, "kind": "Role", "metadata": metadata, "rules": [rule] }))
            .await?;
        self.apply(json!({
            "apiVersion": version,
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
            "subjects": [{ "kind": "ServiceAccount", "name": "vault-issuer", "namespace": NAMESPACE }],
        }))
        .await
    }

    /// Returns the objects of a kind in the namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.env.client.clone(), &self.namespace)
    }

    /// Applies an object to the namespace.
    pub(crate) async fn apply(&self, mut object: Value) -> anyhow::Result<()> {
        object["metadata"]["namespace"] = json!(self.namespace);
        apply_object(&self.env.client, object).await
    }

    /// Applies a Secret; its values are canaries, unless they are certificates.
    pub(crate) async fn secret(&self, name: &str, data: &[(&str, &str)]) -> anyhow::Result<()> {
        self.secret_in(&self.namespace, name, data).await
    }

    /// Applies a Secret in another namespace.
    pub(crate) async fn secret_in(&self, namespace: &str, name: &str, data: &[(&str, &str)]) -> anyhow::Result<()> {
        for (_, value) in data.iter().filter(|(key, _)| !key.ends_with(".crt")) {
            self.env.canary(value);
        }
        let data: BTreeMap<_, _> = data.iter().copied().collect();
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": name, "namespace": namespace },
            "stringData": data,
        });
        apply_object(&self.env.client, secret).await
    }

    /// Deletes a Secret.
    pub(crate) async fn delete_secret(&self, name: &str) -> anyhow::Result<()> {
        self.api::<Secret>().delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Applies a VaultIssuer.
    pub(crate) async fn issuer(&self, name: &str, spec: Value) -> anyhow::Result<()> {
        self.apply(json!({
            "apiVersion": "vault-issuer.io/v1alpha1",
            "kind": "VaultIssuer",
            "metadata": { "name": name },
            "spec": spec,
        }))
        .await
    }

    /// Applies a VaultClusterIssuer named after the case.
    pub(crate) async fn cluster_issuer(&self, spec: Value) -> anyhow::Result<()> {
        let issuer = json!({
            "apiVersion": "vault-issuer.io/v1alpha1",
            "kind": "VaultClusterIssuer",
            "metadata": { "name": self.case },
            "spec": spec,
        });
        apply_object(&self.env.client, issuer).await
    }

    /// Waits until a VaultIssuer is ready.
    pub(crate) async fn ready(&self, name: &str, limit: Duration) -> anyhow::Result<()> {
        self.condition(name, READY, limit).await
    }

    /// Waits until a VaultIssuer is not ready for this reason.
    pub(crate) async fn unready(&self, name: &str, reason: &str, limit: Duration) -> anyhow::Result<()> {
        self.condition(name, (ConditionStatus::False, reason), limit).await
    }

    async fn condition(&self, name: &str, wanted: (ConditionStatus, &str), limit: Duration) -> anyhow::Result<()> {
        let issuers = self.api::<VaultIssuer>();
        wait_for(&issuers, |issuer| issuer.status.as_ref(), name, wanted, limit).await
    }

    /// Waits until the case's VaultClusterIssuer is ready.
    pub(crate) async fn cluster_ready(&self) -> anyhow::Result<()> {
        let issuers: Api<VaultClusterIssuer> = Api::all(self.env.client.clone());
        wait_for(&issuers, |issuer| issuer.status.as_ref(), self.case, READY, SOON).await
    }

    /// Creates an approved CertificateRequest.
    pub(crate) async fn request(&self, name: &str, csr: &str, ask: Ask<'_>) -> anyhow::Result<()> {
        self.unapproved(name, csr, ask).await?;
        self.decide(name, "Approved").await
    }

    /// Creates an approved CertificateRequest whose `spec.request` is exactly this text.
    pub(crate) async fn request_encoded(&self, name: &str, encoded: &str, ask: Ask<'_>) -> anyhow::Result<()> {
        self.create_request(name, encoded, ask).await?;
        self.decide(name, "Approved").await
    }

    /// Creates a CertificateRequest that is neither approved nor denied.
    pub(crate) async fn unapproved(&self, name: &str, csr: &str, ask: Ask<'_>) -> anyhow::Result<()> {
        self.create_request(name, &STANDARD.encode(csr), ask).await
    }

    /// Creates a CertificateRequest for the issuer `vault` and approves it, with every provider and in two calls.
    pub(crate) async fn create_approved(&self, name: &str, csr: &Csr) -> anyhow::Result<()> {
        let resource = ApiResource::erase::<CertificateRequest>(&());
        let requests: Api<DynamicObject> = Api::namespaced_with(self.env.client.clone(), &self.namespace, &resource);
        let request = serde_json::from_value(request(name, &STANDARD.encode(&csr.pem), Ask::default()))?;
        requests.create(&PostParams::default(), &request).await?;
        self.set_condition(name, "Approved").await
    }

    async fn create_request(&self, name: &str, encoded: &str, ask: Ask<'_>) -> anyhow::Result<()> {
        self.apply(request(name, encoded, ask)).await
    }

    /// Sets the condition `Approved` or `Denied` of a CertificateRequest; in a kind cluster cert-manager approves all.
    pub(crate) async fn decide(&self, name: &str, decision: &str) -> anyhow::Result<()> {
        if matches!(self.env.provider, Provider::Kind(_)) {
            return Ok(());
        }
        self.set_condition(name, decision).await
    }

    async fn set_condition(&self, name: &str, decision: &str) -> anyhow::Result<()> {
        let resource = ApiResource::erase::<CertificateRequest>(&());
        let requests: Api<DynamicObject> = Api::namespaced_with(self.env.client.clone(), &self.namespace, &resource);
        let status = json!({
            "apiVersion": "cert-manager.io/v1",
            "kind": "CertificateRequest",
            "status": { "conditions": [{
                "type": decision,
                "status": "True",
                "reason": "e2e",
                "message": "decided by a test",
                "lastTransitionTime": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            }] },
        });
        let params = PatchParams::apply("e2e-approver").force();
        requests.patch_status(name, &params, &Patch::Apply(status)).await?;
        Ok(())
    }

    /// Waits until a request is issued, and checks its certificate against its CSR.
    pub(crate) async fn issued(&self, name: &str, csr: &Csr, limit: Duration) -> anyhow::Result<Issued> {
        let request = self.settled(name, "Issued", limit).await?;
        let issued = Issued::of(&request)?;
        issued.verify(&csr.spki)?;
        Ok(issued)
    }

    /// Waits until a request has failed for good, and returns the message.
    pub(crate) async fn failed(&self, name: &str, reason: &str) -> anyhow::Result<String> {
        let request = self.settled(name, reason, SOON).await?;
        let status = request.status.clone().unwrap_or_default();
        ensure!(status.failure_time.is_some(), "no failureTime");
        ensure!(status.certificate.is_none(), "a certificate in a failed request");
        let ready = request.condition("Ready").context("no Ready condition")?;
        Ok(ready.message.clone().unwrap_or_default())
    }

    /// Waits until a request is `Pending`, and returns the message.
    pub(crate) async fn pending(&self, name: &str) -> anyhow::Result<String> {
        let request = self.settled(name, "Pending", SOON).await?;
        let ready = request.condition("Ready").context("no Ready condition")?;
        Ok(ready.message.clone().unwrap_or_default())
    }

    /// Waits for a reason of a request's Ready condition; fails at once on another final reason.
    async fn settled(&self, name: &str, reason: &str, limit: Duration) -> anyhow::Result<CertificateRequest> {
        let requests = self.api::<CertificateRequest>();
        let found = eventually(limit, async || {
            let request = requests.get(name).await?;
            let ready = request.condition("Ready").cloned().context("no Ready condition")?;
            let now = ready.reason.unwrap_or_default();
            let final_one = ["Issued", "Failed", "Denied"].contains(&now.as_str());
            if now == reason || final_one {
                return Ok((now, ready.message, request));
            }
            bail!("it is {now}: {}", ready.message.unwrap_or_default())
        });
        let (now, message, request) = found.await.with_context(|| format!("request {name} is not {reason}"))?;
        ensure!(
            now == reason,
            "request {name} is {now}, not {reason}: {}",
            message.unwrap_or_default()
        );
        Ok(request)
    }

    /// Waits for an event about an object.
    pub(crate) async fn event(&self, object: &str, reason: &str) -> anyhow::Result<Event> {
        let events = self.api::<Event>();
        eventually(SOON, async || {
            let list = events.list(&ListParams::default()).await?;
            let about = |event: &&Event| event.involved_object.name.as_deref() == Some(object);
            let seen: Vec<&Event> = list.items.iter().filter(about).collect();
            let found = seen.iter().find(|event| event.reason.as_deref() == Some(reason));
            found.map(|event| (*event).clone()).with_context(|| {
                let reasons: Vec<_> = seen.iter().filter_map(|event| event.reason.as_deref()).collect();
                format!("{object} has no event {reason}, only {reasons:?}")
            })
        })
        .await
    }
}

fn request(name: &str, encoded: &str, ask: Ask<'_>) -> Value {
    let issuer = if ask.issuer.is_empty() { "vault" } else { ask.issuer };
    let kind = if ask.cluster {
        "VaultClusterIssuer"
    } else {
        "VaultIssuer"
    };
    let mut spec = json!({
        "request": encoded,
        "issuerRef": { "group": "vault-issuer.io", "kind": kind, "name": issuer },
        "isCA": ask.is_ca,
    });
    if let Some(duration) = ask.duration {
        spec["duration"] = json!(duration);
    }
    json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "CertificateRequest",
        "metadata": { "name": name },
        "spec": spec,
    })
}

/// The Ready condition of an issuer that can sign.
const READY: (ConditionStatus, &str) = (ConditionStatus::True, "VaultVerified");

/// Waits for a status and reason of an issuer's Ready condition.
async fn wait_for<K>(
    issuers: &Api<K>,
    status: fn(&K) -> Option<&IssuerStatus>,
    name: &str,
    (wanted, reason): (ConditionStatus, &str),
    limit: Duration,
) -> anyhow::Result<()>
where
    K: Clone + Debug + DeserializeOwned + Resource,
{
    eventually(limit, async || {
        let issuer = issuers.get(name).await?;
        let ready = status(&issuer)
            .and_then(IssuerStatus::ready)
            .context("no Ready condition")?;
        ensure!(
            ready.status == wanted && ready.reason == reason,
            "it is {:?} {}: {}",
            ready.status,
            ready.reason,
            ready.message
        );
        ensure!(
            ready.observed_generation == issuer.meta().generation,
            "the condition is of another generation"
        );
        Ok(())
    })
    .await
    .with_context(|| format!("issuer {name} is not {wanted:?} with {reason}"))
}
