#[cfg(feature = "cluster")]
mod built_in;
#[cfg(feature = "cluster")]
mod cluster;

use anyhow::ensure;
use issuer_core::Secret;
use issuer_core::access::{AccessError, ReadError, SecretData};
use issuer_core::reference::{ConfigMapRef, IssuerKey, SecretRef, TokenSpec};

use crate::args::{IssuerArgs, IssuerName};
use crate::manifest::{Issuer, Manifests};

/// Where an issuer, its Secrets and its service accounts come from.
pub(crate) enum Source {
    /// The cluster, as the user of the kubeconfig may see it.
    #[cfg(feature = "cluster")]
    Cluster(cluster::Reader),
    /// Files.
    Files(Manifests),
}

impl Source {
    /// Finds the issuers that the arguments name, at least one.
    pub(crate) fn find(args: &IssuerArgs) -> anyhow::Result<(Vec<Issuer>, Self)> {
        match &args.issuer {
            #[cfg(feature = "cluster")]
            Some(name) if args.files.is_empty() => {
                let (issuer, reader) = cluster::find(args, name)?;
                Ok((vec![issuer], Self::Cluster(reader)))
            }
            name => in_files(args, name.as_ref()),
        }
    }

    /// Reads a Secret.
    pub(crate) fn secret(&self, reference: &SecretRef) -> Result<SecretData, ReadError> {
        match self {
            #[cfg(feature = "cluster")]
            Self::Cluster(reader) => reader.secret(reference),
            Self::Files(manifests) => manifests.secret(reference),
        }
    }

    /// Reads a ConfigMap.
    pub(crate) fn config_map(&self, reference: &ConfigMapRef) -> Result<SecretData, ReadError> {
        match self {
            #[cfg(feature = "cluster")]
            Self::Cluster(reader) => reader.config_map(reference),
            Self::Files(manifests) => manifests.config_map(reference),
        }
    }

    /// Requests a service account's token; `None` where there is no cluster to ask.
    #[cfg_attr(
        not(feature = "cluster"),
        expect(unused_variables, reason = "only a cluster issues tokens")
    )]
    pub(crate) fn token(&self, spec: &TokenSpec) -> Option<Result<Secret, ReadError>> {
        match self {
            #[cfg(feature = "cluster")]
            Self::Cluster(reader) => Some(reader.token(spec)),
            Self::Files(_) => None,
        }
    }

    /// Returns a sentence about another controller that answers requests of one of cert-manager's issuers, if there is one.
    #[cfg_attr(
        not(feature = "cluster"),
        expect(unused_variables, reason = "only a cluster has requests")
    )]
    pub(crate) fn built_in_trace(&self, issuer: &IssuerKey) -> anyhow::Result<Option<String>> {
        match self {
            #[cfg(feature = "cluster")]
            Self::Cluster(reader) if issuer.kind.is_drop_in() => reader.built_in_trace(issuer),
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => Ok(None),
            Self::Files(_) => Ok(None),
        }
    }

    /// Returns a hint where the controller might see something else.
    pub(crate) fn hint(&self, error: &AccessError) -> &'static str {
        match (self, error.reason()) {
            #[cfg(feature = "cluster")]
            (Self::Cluster(_), "ConfigMapForbidden" | "SecretForbidden" | "TokenForbidden") => {
                "; it was asked for with your own rights, which need not be the controller's"
            }
            (Self::Files(_), "ConfigMapNotFound" | "SecretNotFound") => "; give a file that holds it with another -f",
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
    ensure!(!issuers.is_empty(), "the files hold no issuer that signs with Vault");
    Ok((issuers, Source::Files(manifests)))
}
