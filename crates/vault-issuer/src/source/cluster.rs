use anyhow::{Context, bail};
use issuer_api::{VaultClusterIssuer, VaultIssuer};
use issuer_core::Secret;
use issuer_core::access::{ReadError, SecretData};
use issuer_core::reference::{IssuerKey, IssuerKind, SecretRef, TokenSpec};
use issuer_kube::ApiServer;
use kube::{Api, Client, Error};
use tokio::runtime::Runtime;

use crate::args::{IssuerArgs, IssuerName};
use crate::manifest::Issuer;

/// Reads what issuers refer to, with the rights of the kubeconfig's user.
pub(crate) struct Reader {
    runtime: Runtime,
    api: ApiServer,
}

impl Reader {
    /// Reads a Secret.
    pub(super) fn secret(&self, reference: &SecretRef) -> Result<SecretData, ReadError> {
        self.runtime.block_on(self.api.read_secret(reference))
    }

    /// Requests a service account's token.
    pub(super) fn token(&self, spec: &TokenSpec) -> Result<Secret, ReadError> {
        self.runtime.block_on(self.api.mint_token(spec))
    }
}

/// Reads the issuer `name`.
pub(super) fn find(args: &IssuerArgs, name: &IssuerName) -> anyhow::Result<(Issuer, Reader)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (client, issuer) = runtime.block_on(async {
        let client = issuer_kube::client(args.kubeconfig.clone(), args.context.clone()).await?;
        let issuer = read(client.clone(), name, args.namespace.as_deref()).await?;
        anyhow::Ok((client, issuer))
    })?;
    let api = ApiServer::new(client, "vault-issuer-cli".to_owned());
    Ok((issuer, Reader { runtime, api }))
}

async fn read(client: Client, name: &IssuerName, namespace: Option<&str>) -> anyhow::Result<Issuer> {
    let IssuerName { kind, name } = name.clone();
    let namespace = match kind {
        IssuerKind::Cluster => String::new(),
        IssuerKind::Namespaced => namespace.unwrap_or_else(|| client.default_namespace()).to_owned(),
    };
    let key = IssuerKey { kind, namespace, name };
    let spec = match kind {
        IssuerKind::Cluster => {
            let api: Api<VaultClusterIssuer> = Api::all(client);
            api.get_opt(&key.name)
                .await
                .map(|found| found.map(|issuer| issuer.spec))
        }
        IssuerKind::Namespaced => {
            let api: Api<VaultIssuer> = Api::namespaced(client, &key.namespace);
            api.get_opt(&key.name)
                .await
                .map(|found| found.map(|issuer| issuer.spec))
        }
    };
    let spec = match spec {
        Err(Error::Api(status)) => bail!("{key} cannot be read: {}", status.message),
        other => other.with_context(|| format!("{key} cannot be read"))?,
    };
    let spec = spec.with_context(|| format!("{key} does not exist"))?;
    Ok(Issuer { key, spec })
}
