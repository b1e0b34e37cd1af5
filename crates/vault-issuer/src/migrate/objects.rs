//! The objects of a migration: issuers, and the Certificates, Ingresses, Gateways and ListenerSets that name them.

use std::collections::BTreeMap;

use anyhow::Context;
use issuer_api::IssuerRef;
use issuer_core::reference::IssuerKey;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

#[cfg(feature = "cluster")]
use super::cluster;
use super::unknown;
use crate::args::MigrateArgs;
use crate::manifest::{self, Issuer};

/// The objects that a migration is about.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// cert-manager's issuers that sign with Vault.
    pub(super) issuers: Vec<Issuer>,
    /// The fields of each that are not known here.
    pub(super) unknown: BTreeMap<IssuerKey, Vec<String>>,
    pub(super) certificates: Vec<Certificate>,
    pub(super) annotated: Vec<Annotated>,
}

/// A Certificate that names an issuer.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) issuer: IssuerKey,
    pub(super) is_ca: bool,
    /// The object that determines the Certificate: a change of the Certificate itself would be undone.
    pub(super) owner: Option<Owner>,
    /// The program that writes the Certificate again from a source elsewhere.
    pub(super) deployed_by: Option<&'static str>,
}

/// The object, in the namespace of a Certificate, whose controller writes the Certificate.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) kind: String,
    pub(super) name: String,
}

impl Owner {
    /// Returns `true` if cert-manager writes the Certificate, by the annotations of the object.
    pub(super) fn is_annotated(&self) -> bool {
        ANNOTATED.iter().any(|(kind, _)| *kind == self.kind)
    }
}

/// An Ingress, a Gateway or a ListenerSet whose annotations name an issuer.
#[derive(Debug)]
pub(super) struct Annotated {
    pub(super) kind: &'static str,
    /// The kind as kubectl takes it.
    pub(super) resource: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) issuer: IssuerKey,
    /// The program that writes the object again from a source elsewhere.
    pub(super) deployed_by: Option<&'static str>,
    /// Whether cert-manager makes nothing of the annotations, since they contradict each other.
    pub(super) contradicts_itself: bool,
}

/// The most that is read from a file, in bytes: all Certificates of a large cluster, each with its managed fields.
const LIMIT: u64 = 256 << 20;

/// The kinds whose annotations may name an issuer, and their resources with the group: others have kinds of the same name.
const ANNOTATED: [(&str, &str); 3] = [
    ("Gateway", "gateways.gateway.networking.k8s.io"),
    ("Ingress", "ingresses.networking.k8s.io"),
    ("ListenerSet", "listenersets.gateway.networking.k8s.io"),
];

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
        manifest::documents(&args.files, LIMIT, &mut take)?;
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
            let given = document.pointer("/spec/vault").cloned().unwrap_or_default();
            if let Some(issuer) = manifest::issuer(document, kind, namespace)? {
                let known = serde_json::to_value(&issuer.spec)?;
                self.unknown
                    .insert(issuer.key.clone(), unknown::fields("spec.vault", &given, &known));
                self.issuers.push(issuer);
            }
            return Ok(());
        }
        if kind == "Certificate" && manifest::group(&version) == "cert-manager.io" {
            self.certificates.extend(certificate(document, namespace)?);
            return Ok(());
        }
        let is_of =
            |resource: &str| resource.split_once('.').map(|(_, group)| group) == Some(manifest::group(&version));
        let annotated = ANNOTATED
            .into_iter()
            .find(|(known, resource)| *known == kind && is_of(resource));
        if let Some(annotated) = annotated {
            self.annotated.extend(annotated_by(document, annotated, namespace)?);
            return Ok(());
        }
        for item in manifest::take_items(&mut document) {
            self.take(item, namespace)?;
        }
        Ok(())
    }
}

/// Labels and annotations of programs that write objects again from a source elsewhere, with their names. Flux uses Helm.
const DEPLOYERS: [(&str, &str); 5] = [
    ("argocd.argoproj.io/instance", "Argo CD"),
    ("argocd.argoproj.io/tracking-id", "Argo CD"),
    ("helm.toolkit.fluxcd.io/name", "Flux"),
    ("kustomize.toolkit.fluxcd.io/name", "Flux"),
    ("meta.helm.sh/release-name", "Helm"),
];

/// Returns the program that writes an object again.
fn deployer(metadata: &ObjectMeta) -> Option<&'static str> {
    let maps = [&metadata.annotations, &metadata.labels];
    let has = |name: &str| maps.into_iter().flatten().any(|map| map.contains_key(name));
    DEPLOYERS
        .into_iter()
        .find(|(name, _)| has(name))
        .map(|(_, program)| program)
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
    let deployed_by = deployer(&metadata);
    let name = metadata.name.context("the Certificate has no metadata.name")?;
    let owner = metadata
        .owner_references
        .into_iter()
        .flatten()
        .map(|owner| {
            (
                owner.controller == Some(true),
                Owner {
                    kind: owner.kind,
                    name: owner.name,
                },
            )
        })
        .find(|(controls, owner)| *controls || owner.is_annotated());
    let namespace = metadata.namespace.unwrap_or_else(|| namespace.to_owned());
    let issuer = IssuerKey::of(&spec.issuer_ref, &namespace).filter(|issuer| issuer.kind.is_drop_in());
    Ok(issuer.map(|issuer| Certificate {
        namespace,
        name,
        issuer,
        deployed_by,
        is_ca: spec.is_ca,
        owner: owner.map(|(_, owner)| owner),
    }))
}

/// Reads the annotations of an Ingress, a Gateway or a ListenerSet, which name two issuers if they contradict each other
/// (<https://cert-manager.io/docs/reference/annotations/>).
fn annotated_by(
    document: Value,
    (kind, resource): (&'static str, &'static str),
    namespace: &str,
) -> anyhow::Result<Vec<Annotated>> {
    #[derive(Deserialize)]
    struct Object {
        metadata: ObjectMeta,
    }
    let Object { metadata } = serde_json::from_value(document)?;
    let deployed_by = deployer(&metadata);
    let annotations = metadata.annotations.unwrap_or_default();
    let annotation = |name: &str| annotations.get(&format!("cert-manager.io/{name}")).cloned();
    let namespace = metadata.namespace.unwrap_or_else(|| namespace.to_owned());
    let of_namespace = annotation("issuer").map(|name| IssuerRef {
        name,
        kind: annotation("issuer-kind"),
        group: annotation("issuer-group"),
    });
    let of_cluster = annotation("cluster-issuer").map(|name| IssuerRef {
        name,
        kind: Some("ClusterIssuer".to_owned()),
        group: None,
    });
    let others = ["issuer", "issuer-kind", "issuer-group"];
    let contradicts_itself = of_cluster.is_some() && others.into_iter().any(|other| annotation(other).is_some());
    let issuers = of_namespace.iter().chain(&of_cluster);
    let issuers = issuers.filter_map(|reference| IssuerKey::of(reference, &namespace));
    let issuers = issuers.filter(|issuer| issuer.kind.is_drop_in()).collect::<Vec<_>>();
    if issuers.is_empty() {
        return Ok(Vec::new());
    }
    let name = metadata
        .name
        .with_context(|| format!("the {kind} has no metadata.name"))?;
    let annotated = |issuer| Annotated {
        kind,
        resource,
        deployed_by,
        contradicts_itself,
        namespace: namespace.clone(),
        name: name.clone(),
        issuer,
    };
    Ok(issuers.into_iter().map(annotated).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nameless_objects_are_errors() {
        for (kind, version) in [
            ("Certificate", "cert-manager.io/v1"),
            ("Ingress", "networking.k8s.io/v1"),
        ] {
            let object = format!(
                "{{apiVersion: {version}, kind: {kind}, spec: {{issuerRef: {{name: vault}}}}, \
                 metadata: {{generateName: a-, annotations: {{cert-manager.io/issuer: vault}}}}}}"
            );
            let mut objects = Objects::default();
            let error = manifest::parse(&object, &mut |document| objects.take(document, "team-a")).unwrap_err();
            let error = format!("{error:#}");
            assert_eq!(error, format!("document 1: the {kind} has no metadata.name"));
        }
    }

    #[test]
    fn programs_that_write_again_are_recognized() {
        let of = |metadata: &str| {
            let metadata: ObjectMeta = serde_saphyr::from_str(metadata).unwrap();
            deployer(&metadata)
        };
        for (metadata, expected) in [
            ("{name: a}", None),
            ("{labels: {app.kubernetes.io/managed-by: me}}", None),
            ("{annotations: {meta.helm.sh/release-name: web}}", Some("Helm")),
            (
                "{annotations: {meta.helm.sh/release-name: web}, labels: {helm.toolkit.fluxcd.io/name: web}}",
                Some("Flux"),
            ),
            ("{labels: {kustomize.toolkit.fluxcd.io/name: web}}", Some("Flux")),
            ("{annotations: {argocd.argoproj.io/tracking-id: web}}", Some("Argo CD")),
        ] {
            assert_eq!(of(metadata), expected, "{metadata}");
        }
    }
}
