use anyhow::{Context, bail, ensure};
use issuer_api::{VaultClusterIssuer, VaultIssuer};
use issuer_core::Secret;
use issuer_core::access::{AccessError, ReadError, SecretData};
use issuer_core::reference::{IssuerKey, IssuerKind, SecretRef, TokenSpec};
use issuer_kube::Cluster;
use kube::{Api, Client, Error};
use tokio::runtime::Runtime;

use crate::args::{IssuerArgs, IssuerName};
use crate::manifest::{Issuer, Manifests};

/// Where an issuer, its Secrets and its service accounts come from.
pub(crate) enum Source {
    /// The cluster, as the user of the kubeconfig may see it.
    Cluster { runtime: Runtime, cluster: Cluster },
    /// Files.
    Files(Manifests),
}

impl Source {
    /// Finds the issuers that the arguments name, at least one.
    pub(crate) fn find(args: &IssuerArgs) -> anyhow::Result<(Vec<Issuer>, Self)> {
        match &args.issuer {
            Some(name) if args.files.is_empty() => in_cluster(args, name),
            name => in_files(args, name.as_ref()),
        }
    }

    /// Reads a Secret.
    pub(crate) fn secret(&self, reference: &SecretRef) -> Result<SecretData, ReadError> {
        match self {
            Self::Cluster { runtime, cluster } => runtime.block_on(cluster.read_secret(reference)),
            Self::Files(manifests) => manifests.secret(reference),
        }
    }

    /// Requests a service account's token; `None` where there is no cluster to ask.
    pub(crate) fn token(&self, spec: &TokenSpec) -> Option<Result<Secret, ReadError>> {
        match self {
            Self::Cluster { runtime, cluster } => Some(runtime.block_on(cluster.mint_token(spec))),
            Self::Files(_) => None,
        }
    }

    /// Says what the controller would meet otherwise.
    pub(crate) fn hint(&self, error: &AccessError) -> &'static str {
        match (self, error.reason()) {
            (Self::Cluster { .. }, "SecretForbidden" | "TokenForbidden") => {
                "; it was asked for with your own rights, which need not be the controller's"
            }
            (Self::Files(_), "SecretNotFound") => "; give a file that holds it with another -f",
            _ => "",
        }
    }
}

fn in_files(args: &IssuerArgs, name: Option<&IssuerName>) -> anyhow::Result<(Vec<Issuer>, Source)> {
    let namespace = args.namespace.as_deref().unwrap_or("default");
    let mut manifests = Manifests::read(&args.files, namespace)?;
    let mut issuers = std::mem::take(&mut manifests.issuers);
    if let Some(IssuerName { kind, name }) = name {
        issuers.retain(|issuer| issuer.key.kind == *kind && issuer.key.name == *name);
        ensure!(!issuers.is_empty(), "the files hold no {} {name}", kind.as_str());
    }
    ensure!(
        !issuers.is_empty(),
        "the files hold no VaultIssuer or VaultClusterIssuer"
    );
    Ok((issuers, Source::Files(manifests)))
}

fn in_cluster(args: &IssuerArgs, name: &IssuerName) -> anyhow::Result<(Vec<Issuer>, Source)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (client, issuer) = runtime.block_on(async {
        let client = issuer_kube::client(args.kubeconfig.clone()).await?;
        let issuer = read(client.clone(), name, args.namespace.as_deref()).await?;
        anyhow::Ok((client, issuer))
    })?;
    let cluster = Cluster::new(client, "vault-issuer-cli".to_owned());
    Ok((vec![issuer], Source::Cluster { runtime, cluster }))
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
