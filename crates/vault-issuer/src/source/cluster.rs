//! Reads issuers and their Secrets from a cluster.

use std::sync::Arc;

use anyhow::{Context, bail};
use issuer_core::Secret;
use issuer_core::access::{ReadError, SecretData};
use issuer_core::reference::{ConfigMapRef, IssuerKey, SecretRef, TokenSpec};
use issuer_core::target::ServiceAccount;
use issuer_kube::ApiServer;
use kube::api::GetParams;
use kube::core::Request;
use kube::{Client, Error};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::{Right, built_in, ready};
use crate::args::{ClusterArgs, IssuerName};
use crate::manifest::{Issuer, issuer};

/// Reads what issuers refer to, with the rights of the kubeconfig's user.
pub(crate) struct Reader {
    runtime: Runtime,
    client: Client,
    api: ApiServer,
}

impl Reader {
    /// Connects to the cluster of the arguments.
    pub(super) fn connect(args: &ClusterArgs) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = issuer_kube::client(args.kubeconfig.clone(), args.context.clone(), Arc::default());
        let client = runtime.block_on(client)?;
        let api = ApiServer::new(client.clone(), "vault-issuer-cli".to_owned());
        Ok(Self { runtime, client, api })
    }

    /// Reads an issuer.
    pub(super) fn issuer(&self, name: &IssuerName, namespace: Option<&str>) -> anyhow::Result<Issuer> {
        self.runtime.block_on(read(self.client.clone(), name, namespace))
    }

    /// Looks for other controllers that answer requests of an issuer.
    pub(super) fn built_in_traces(&self, issuer: &IssuerKey) -> Vec<anyhow::Result<String>> {
        self.runtime.block_on(built_in::traces(self.client.clone(), issuer))
    }

    /// Compares the condition Ready of an issuer with the result of a check.
    pub(super) fn different_condition(&self, issuer: &IssuerKey, can_sign: bool) -> Option<String> {
        let object = self.runtime.block_on(object(&self.client, issuer)).ok()?;
        ready::difference(object, can_sign)
    }

    /// Returns those of these rights that a service account lacks.
    pub(super) fn lacking(&self, account: &ServiceAccount, rights: &[Right]) -> Vec<Right> {
        let is_denied = |right: &&Right| {
            let answer = right.is_denied(self.client.clone(), account);
            self.runtime.block_on(answer)
        };
        rights.iter().filter(is_denied).cloned().collect()
    }

    /// Reads a Secret.
    pub(super) fn secret(&self, reference: &SecretRef) -> Result<SecretData, ReadError> {
        self.runtime.block_on(self.api.read_secret(reference))
    }

    /// Reads a ConfigMap.
    pub(super) fn config_map(&self, reference: &ConfigMapRef) -> Result<SecretData, ReadError> {
        self.runtime.block_on(self.api.read_config_map(reference))
    }

    /// Requests a service account's token.
    pub(super) fn token(&self, spec: &TokenSpec) -> Result<Secret, ReadError> {
        self.runtime.block_on(self.api.mint_token(spec))
    }
}

async fn read(client: Client, name: &IssuerName, namespace: Option<&str>) -> anyhow::Result<Issuer> {
    let kind = name.kind;
    let namespace = namespace.unwrap_or_else(|| client.default_namespace());
    let key = IssuerKey::new(kind, namespace, &name.name);
    let issuer = issuer(object(&client, &key).await?, kind, &key.namespace)?;
    issuer.with_context(|| format!("{key} does not sign with Vault"))
}

/// Reads the object of an issuer.
async fn object(client: &Client, key: &IssuerKey) -> anyhow::Result<Value> {
    let (version, plural) = (key.kind.api_version(), key.kind.plural());
    let url = if key.kind.is_cluster() {
        format!("/apis/{version}/{plural}")
    } else {
        format!("/apis/{version}/namespaces/{}/{plural}", key.namespace)
    };
    let request = Request::new(url).get(&key.name, &GetParams::default())?;
    match client.request(request).await {
        Err(Error::Api(status)) if status.code == 404 && status.reason == "NotFound" => {
            bail!("{key} does not exist")
        }
        Err(Error::Api(status)) => bail!("{key} cannot be read: {}", status.message),
        other => other.with_context(|| format!("{key} cannot be read")),
    }
}
