//! The sources of issuers for `check` and `sign`: files or a cluster.

#[cfg(feature = "cluster")]
mod built_in;
#[cfg(feature = "cluster")]
mod cluster;
#[cfg(feature = "cluster")]
mod ready;
mod right;

use std::path::Path;
#[cfg(feature = "cluster")]
use std::rc::Rc;

use anyhow::ensure;
use issuer_core::Secret;
use issuer_core::access::{AccessError, ReadError, SecretData};
use issuer_core::reference::{ConfigMapRef, IssuerKey, SecretRef, TokenSpec};
use issuer_core::target::ServiceAccount;

pub(crate) use self::right::Right;

use crate::args::{IssuerArgs, IssuerName};
use crate::manifest::{self, Issuer, Manifests};

/// Where an issuer, and what it refers to, comes from.
pub(crate) struct Source {
    objects: Objects,
    tokens: Tokens,
}

/// Where an issuer, its Secrets and its ConfigMaps come from.
enum Objects {
    /// The cluster, as the user of the kubeconfig may see it.
    #[cfg(feature = "cluster")]
    Cluster(Rc<cluster::Reader>),
    /// Files.
    Files(Manifests),
}

/// Where the tokens of service accounts come from.
enum Tokens {
    /// The cluster issues them.
    #[cfg(feature = "cluster")]
    Cluster(Rc<cluster::Reader>),
    /// A file.
    Given(Secret),
    /// Nowhere.
    None,
}

impl Source {
    /// Finds the issuers that the arguments name, at least one.
    pub(crate) fn find(args: &IssuerArgs) -> anyhow::Result<(Vec<Issuer>, Self)> {
        let given = args.service_account_token.as_deref().map(token).transpose()?;
        match &args.issuer {
            #[cfg(feature = "cluster")]
            Some(name) if args.files.is_empty() => {
                let reader = Rc::new(cluster::Reader::connect(&args.cluster)?);
                let issuer = reader.issuer(name, args.namespace.as_deref())?;
                let tokens = given.map_or_else(|| Tokens::Cluster(Rc::clone(&reader)), Tokens::Given);
                let objects = Objects::Cluster(reader);
                Ok((vec![issuer], Self { objects, tokens }))
            }
            name => {
                let (issuers, manifests) = in_files(args, name.as_ref())?;
                let tokens = match given {
                    Some(token) => Tokens::Given(token),
                    #[cfg(feature = "cluster")]
                    None if args.cluster.is_named() => {
                        Tokens::Cluster(Rc::new(cluster::Reader::connect(&args.cluster)?))
                    }
                    None => Tokens::None,
                };
                let objects = Objects::Files(manifests);
                Ok((issuers, Self { objects, tokens }))
            }
        }
    }

    /// Reads a Secret.
    pub(crate) fn secret(&self, reference: &SecretRef) -> Result<SecretData, ReadError> {
        match &self.objects {
            #[cfg(feature = "cluster")]
            Objects::Cluster(reader) => reader.secret(reference),
            Objects::Files(manifests) => manifests.secret(reference),
        }
    }

    /// Reads a ConfigMap.
    pub(crate) fn config_map(&self, reference: &ConfigMapRef) -> Result<SecretData, ReadError> {
        match &self.objects {
            #[cfg(feature = "cluster")]
            Objects::Cluster(reader) => reader.config_map(reference),
            Objects::Files(manifests) => manifests.config_map(reference),
        }
    }

    /// Returns a token of a service account, and its description; `None` if none is given and no cluster is named.
    #[cfg_attr(
        not(feature = "cluster"),
        expect(unused_variables, reason = "only a cluster issues tokens")
    )]
    pub(crate) fn token(&self, spec: &TokenSpec) -> Option<(Result<Secret, ReadError>, String)> {
        match &self.tokens {
            #[cfg(feature = "cluster")]
            Tokens::Cluster(reader) => Some((reader.token(spec), format!("token for {}", spec.audiences.join(", ")))),
            Tokens::Given(token) => Some((Ok(token.clone()), "the given token".to_owned())),
            Tokens::None => None,
        }
    }

    /// Returns a sentence about each other controller that answers requests of one of cert-manager's issuers, and an error
    /// where requests cannot be listed.
    #[cfg_attr(
        not(feature = "cluster"),
        expect(unused_variables, reason = "only a cluster has requests")
    )]
    pub(crate) fn built_in_traces(&self, issuer: &IssuerKey) -> Vec<anyhow::Result<String>> {
        match &self.objects {
            #[cfg(feature = "cluster")]
            Objects::Cluster(reader) if issuer.kind.is_drop_in() => reader.built_in_traces(issuer),
            #[cfg(feature = "cluster")]
            Objects::Cluster(_) => Vec::new(),
            Objects::Files(_) => Vec::new(),
        }
    }

    /// Returns a sentence where the condition Ready of one of cert-manager's issuers, by another controller, is not what a check
    /// has found.
    #[cfg_attr(
        not(feature = "cluster"),
        expect(unused_variables, reason = "only a cluster has conditions")
    )]
    pub(crate) fn different_condition(&self, issuer: &IssuerKey, can_sign: bool) -> Option<String> {
        match &self.objects {
            #[cfg(feature = "cluster")]
            Objects::Cluster(reader) if issuer.kind.is_drop_in() => reader.different_condition(issuer, can_sign),
            #[cfg(feature = "cluster")]
            Objects::Cluster(_) => None,
            Objects::Files(_) => None,
        }
    }

    /// Returns those of these rights that the controller lacks in the cluster. Those that the user may not ask about are not
    /// among them.
    #[cfg_attr(
        not(feature = "cluster"),
        expect(unused_variables, reason = "only a cluster grants rights")
    )]
    pub(crate) fn lacking(&self, controller: &ServiceAccount, rights: &[Right]) -> Vec<Right> {
        #[cfg(feature = "cluster")]
        if let (Objects::Cluster(reader), _) | (_, Tokens::Cluster(reader)) = (&self.objects, &self.tokens) {
            return reader.lacking(controller, rights);
        }
        Vec::new()
    }

    /// Returns a hint where the controller might see something else.
    pub(crate) fn hint(&self, error: &AccessError) -> &'static str {
        match (&self.objects, error.reason()) {
            #[cfg(feature = "cluster")]
            (_, "ConfigMapForbidden" | "SecretForbidden" | "TokenForbidden") => {
                "; it was asked for with your own rights, which need not be the controller's"
            }
            (Objects::Files(_), "ConfigMapNotFound" | "SecretNotFound") => {
                "; give a file that holds it with another -f"
            }
            _ => "",
        }
    }
}

fn in_files(args: &IssuerArgs, name: Option<&IssuerName>) -> anyhow::Result<(Vec<Issuer>, Manifests)> {
    let namespace = args.namespace.as_deref().unwrap_or("default");
    let mut manifests = Manifests::read(&args.files, namespace)?;
    let mut issuers = std::mem::take(&mut manifests.issuers);
    if let Some(IssuerName { kind, name }) = name {
        issuers.retain(|issuer| issuer.key.kind == *kind && *issuer.key.name == **name);
        ensure!(!issuers.is_empty(), "the files hold no {} {name}", kind.as_str());
    }
    ensure!(!issuers.is_empty(), "the files hold no issuer that signs with Vault");
    Ok((issuers, manifests))
}

/// Reads a token from a file.
fn token(file: &Path) -> anyhow::Result<Secret> {
    let bytes = manifest::bytes(file)?;
    let token = bytes.trim_ascii();
    ensure!(!token.is_empty(), "{} holds no token", file.display());
    Ok(Secret::from(token.to_vec()))
}
