//! Writes the objects and commands of a migration, in the order in which they are applied.

use std::collections::BTreeMap;

use issuer_core::reference::IssuerKey;
use serde_json::json;

use super::moves::Move;
use super::objects::{Certificate, Objects, Owner};
use super::rights::Rights;
use super::section::Section;
use crate::args::MigrateArgs;

const HEADER: &str = "\
# Review, then apply: kubectl apply --server-side --force-conflicts --field-manager=vault-issuer-migrate -f FILE
# BEFORE marks commands to run first, EDIT those to complete before, AFTER those to run once the issuers are ready.
# What is held back is a comment as a whole, below the reason.
#
# What names an issuer elsewhere is not looked for: volumes of csi-driver, istio-csr, policies of approver-policy, signer names of
# Kubernetes CSRs.
#
# For all issuers: redirects of Vault are not followed, and a certificate that is not what was requested (names, key,
# lifetime, SHA-1, a CA or not) fails its request. A changed issuerRef makes cert-manager request a new certificate.
";

/// The objects and commands of a migration, in the order in which they are applied.
pub(super) struct Plan<'a> {
    args: &'a MigrateArgs,
    objects: &'a Objects,
    moves: BTreeMap<&'a IssuerKey, Move<'a>>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(args: &'a MigrateArgs, objects: &'a Objects) -> Self {
        let issuers = objects.issuers.iter();
        Self {
            args,
            objects,
            moves: issuers
                .map(|issuer| {
                    let unknown = objects.unknown.get(&issuer.key).map_or(&[][..], Vec::as_slice);
                    (&issuer.key, Move::new(args, issuer, unknown))
                })
                .collect(),
        }
    }

    /// Returns the plan as YAML.
    pub(super) fn text(&self) -> anyhow::Result<String> {
        let mut text = HEADER.to_owned();
        for section in self.sections()? {
            text += &section.text()?;
        }
        Ok(text)
    }

    fn sections(&self) -> anyhow::Result<Vec<Section>> {
        let mut rights = Rights::default();
        for step in self.moves.values() {
            rights.add(step, &self.args.namespaces.drop_in_cluster_resource_namespace);
        }
        // The rights come first, so that an issuer is ready at once.
        let mut sections = rights.sections(self.args);
        for step in self.moves.values() {
            sections.push(self.issuer(step)?);
        }
        sections.extend(self.certificates());
        sections.extend(self.annotations());
        Ok(sections)
    }

    fn issuer(&self, step: &Move<'_>) -> anyhow::Result<Section> {
        let Move { issuer, new, .. } = step;
        let mut comments = vec![format!("{} becomes {new}", issuer.key)];
        comments.extend(step.warnings.iter().map(|warning| format!("WARNING: {warning}")));
        let mut metadata = json!({ "name": &*new.name });
        if new.kind.is_cluster() {
            let from = &self.args.namespaces.drop_in_cluster_resource_namespace;
            comments.extend(step.credentials(from, self.moves.values()));
        } else if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("namespace".to_owned(), json!(&*new.namespace));
        }
        let object = json!({
            "apiVersion": new.kind.api_version(),
            "kind": new.kind.as_str(),
            "metadata": metadata,
            "spec": serde_json::to_value(&issuer.spec)?,
        });
        Ok(Section::new(comments, object).held_if(step.target.is_err()))
    }

    fn certificates(&self) -> Vec<Section> {
        let section = |certificate: &Certificate| {
            let step = self.moves.get(&certificate.issuer)?;
            match &certificate.owner {
                Some(owner) => self.owned(certificate, owner, &step.new),
                None => Some(certificate_section(certificate, step)),
            }
        };
        self.objects.certificates.iter().filter_map(section).collect()
    }

    /// Names a Certificate that another object determines, unless the annotations of that object change.
    fn owned(&self, certificate: &Certificate, owner: &Owner, new: &IssuerKey) -> Option<Section> {
        let Certificate { namespace, name, .. } = certificate;
        let Owner { kind, name: of } = owner;
        let changes =
            self.objects.annotated.iter().any(|annotated| {
                (annotated.kind, &annotated.namespace, &annotated.name) == (kind.as_str(), namespace, of)
            });
        let comment = if changes {
            return None;
        } else if owner.is_annotated() {
            format!(
                "WARNING: Certificate {namespace}/{name} stays: its {kind} {of} names no issuer of these, and has it from \
                 cert-manager's --default-issuer-name or from its Gateway"
            )
        } else {
            format!("WARNING: Certificate {namespace}/{name} stays: {kind} {of} controls it, and has to name {new}")
        };
        Some(Section::of_comments(vec![comment]))
    }

    /// Returns the commands for annotations: a patch cannot take one away.
    fn annotations(&self) -> Option<Section> {
        let mut comments = vec!["Annotations, to be changed by commands:".to_owned()];
        for annotated in &self.objects.annotated {
            let Some(step) = self.moves.get(&annotated.issuer) else {
                continue;
            };
            let new = &step.new;
            let object = format!("{} {}/{}", annotated.kind, annotated.namespace, annotated.name);
            let contradiction = annotated.contradicts_itself.then(|| {
                "cert-manager refuses its annotations, since cluster-issuer excludes issuer, issuer-kind and issuer-group"
                    .to_owned()
            });
            if let Some(obstacle) = contradiction.or_else(|| step.obstacle()) {
                comments.push(format!("WARNING: {object} stays: {obstacle}"));
                continue;
            }
            let removed = if new.kind.is_cluster() {
                " cert-manager.io/cluster-issuer-"
            } else {
                ""
            };
            comments.extend(annotated.deployed_by.map(|program| undoes(&object, program)));
            comments.push(format!(
                "AFTER: kubectl annotate {} {} --namespace {} --overwrite cert-manager.io/issuer={} cert-manager.io/issuer-kind={} cert-manager.io/issuer-group={}{removed}",
                annotated.resource,
                annotated.name,
                annotated.namespace,
                new.name,
                new.kind.as_str(),
                issuer_api::GROUP,
            ));
        }
        // An object whose annotations contradict each other may name two issuers that move.
        comments.dedup();
        (comments.len() > 1).then(|| Section::of_comments(comments))
    }
}

/// Returns a warning that a program undoes the change of an object, such as `Ingress team-a/shop`.
fn undoes(object: &str, program: &str) -> String {
    format!(
        "WARNING: {program} writes {object} again: change its source too, or certificates are issued back and forth"
    )
}

/// Returns the change of a Certificate, held back if the new issuer would not sign it.
fn certificate_section(certificate: &Certificate, step: &Move<'_>) -> Section {
    let Certificate {
        namespace, name, is_ca, ..
    } = certificate;
    let new = &step.new;
    let obstacle = match &step.target {
        Ok(target) => target.path.takes(*is_ca).err().map(|mismatch| mismatch.to_string()),
        Err(_) => step.obstacle(),
    };
    let comment = match &obstacle {
        None => format!("Certificate {namespace}/{name} changes to {new}"),
        Some(obstacle) => format!("WARNING: Certificate {namespace}/{name} is held back: {obstacle}"),
    };
    let object = json!({
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "issuerRef": {
                "group": issuer_api::GROUP,
                "kind": new.kind.as_str(),
                "name": &*new.name,
            },
        },
    });
    let mut comments = vec![comment];
    if obstacle.is_none() {
        let object = format!("Certificate {namespace}/{name}");
        comments.extend(certificate.deployed_by.map(|program| undoes(&object, program)));
    }
    Section::new(comments, object).held_if(obstacle.is_some())
}
