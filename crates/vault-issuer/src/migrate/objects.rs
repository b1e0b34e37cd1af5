//! The objects of a migration: issuers, and the Certificates, Ingresses and Gateways that name them.

use issuer_api::IssuerRef;
use issuer_core::reference::IssuerKey;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

#[cfg(feature = "cluster")]
use super::cluster;
use crate::args::MigrateArgs;
use crate::manifest::{self, Issuer};

/// The objects that a migration is about.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// cert-manager's issuers that sign with Vault.
    pub(super) issuers: Vec<Issuer>,
    pub(super) certificates: Vec<Certificate>,
    pub(super) annotated: Vec<Annotated>,
}

/// A Certificate that somebody has written: those of Ingresses and Gateways follow from their annotations.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) issuer: IssuerKey,
    pub(super) is_ca: bool,
}

/// An Ingress or a Gateway whose annotations name an issuer.
#[derive(Debug)]
pub(super) struct Annotated {
    pub(super) kind: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) issuer: IssuerKey,
}

/// The kinds whose annotations may name an issuer.
const ANNOTATED: [&str; 2] = ["Gateway", "Ingress"];

impl Objects {
    /// Reads the files, or the cluster where none is given.
    pub(super) fn read(args: &MigrateArgs) -> anyhow::Result<Self> {
        let mut objects = Self::default();
        let mut take = |document: Value| objects.take(document, &args.namespace);
        #[cfg(feature = "cluster")]
        if args.files.is_empty() {
            cluster::read(args, &mut take)?;
            return Ok(objects.sorted());
        }
        manifest::documents(&args.files, &mut take)?;
        Ok(objects.sorted())
    }

    fn sorted(mut self) -> Self {
        self.issuers.sort_by(|one, other| one.key.cmp(&other.key));
        self.certificates
            .sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
        self.annotated.sort_by(|one, other| {
            (&one.namespace, one.kind, &one.name).cmp(&(&other.namespace, other.kind, &other.name))
        });
        self
    }

    /// Takes an object, if it is of a kind that matters.
    pub(super) fn take(&mut self, mut document: Value, namespace: &str) -> anyhow::Result<()> {
        let (version, kind) = manifest::version_and_kind(&document);
        if let Some(kind) = manifest::issuer_kind(&version, &kind).filter(|kind| kind.is_drop_in()) {
            self.issuers.extend(manifest::issuer(document, kind, namespace)?);
            return Ok(());
        }
        let annotated = ANNOTATED.into_iter().find(|annotated| *annotated == kind);
        match (kind.as_str(), annotated) {
            ("List", _) => {
                for item in manifest::take_items(&mut document) {
                    self.take(item, namespace)?;
                }
            }
            ("Certificate", _) if version.starts_with("cert-manager.io/") => {
                self.certificates.extend(certificate(document, namespace)?);
            }
            (_, Some(kind)) => self.annotated.extend(annotated_by(document, kind, namespace)?),
            _ => {}
        }
        Ok(())
    }
}

fn certificate(document: Value, namespace: &str) -> anyhow::Result<Option<Certificate>> {
    #[derive(Deserialize)]
    struct Object {
        metadata: ObjectMeta,
        spec: Spec,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Spec {
        issuer_ref: IssuerRef,
        #[serde(default, rename = "isCA")]
        is_ca: bool,
    }
    let Object { metadata, spec } = serde_json::from_value(document)?;
    let mut owners = metadata.owner_references.iter().flatten();
    if owners.any(|owner| ANNOTATED.contains(&&*owner.kind)) {
        return Ok(None);
    }
    let namespace = metadata.namespace.unwrap_or_else(|| namespace.to_owned());
    let issuer = IssuerKey::of(&spec.issuer_ref, &namespace).filter(|issuer| issuer.kind.is_drop_in());
    Ok(issuer.map(|issuer| Certificate {
        namespace,
        name: metadata.name.unwrap_or_default(),
        issuer,
        is_ca: spec.is_ca,
    }))
}

/// Reads the annotations of an Ingress or a Gateway (<https://cert-manager.io/docs/reference/annotations/>).
fn annotated_by(document: Value, kind: &'static str, namespace: &str) -> anyhow::Result<Option<Annotated>> {
    #[derive(Deserialize)]
    struct Object {
        metadata: ObjectMeta,
    }
    let Object { metadata } = serde_json::from_value(document)?;
    let annotations = metadata.annotations.unwrap_or_default();
    let annotation = |name: &str| annotations.get(&format!("cert-manager.io/{name}")).cloned();
    let namespace = metadata.namespace.unwrap_or_else(|| namespace.to_owned());
    let reference = match (annotation("issuer"), annotation("cluster-issuer")) {
        (Some(name), _) => IssuerRef {
            name,
            kind: annotation("issuer-kind"),
            group: annotation("issuer-group"),
        },
        (None, Some(name)) => IssuerRef {
            name,
            kind: Some("ClusterIssuer".to_owned()),
            group: None,
        },
        (None, None) => return Ok(None),
    };
    let issuer = IssuerKey::of(&reference, &namespace).filter(|issuer| issuer.kind.is_drop_in());
    Ok(issuer.map(|issuer| Annotated {
        kind,
        namespace,
        name: metadata.name.unwrap_or_default(),
        issuer,
    }))
}
