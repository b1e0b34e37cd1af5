//! Writes the objects and commands of a migration, in the order in which they are applied.

use std::collections::{BTreeMap, BTreeSet};

use issuer_core::reference::{IssuerKey, IssuerKind};
use issuer_core::target::{AwsIdentity, Method, Target};
use serde_json::{Value, json};

use super::objects::Objects;
use super::warnings;
use crate::args::MigrateArgs;

/// The name of the controller's service account, and of the ClusterRole for Secrets in its manifests and chart.
const NAME: &str = "vault-issuer";

const RBAC: &str = "rbac.authorization.k8s.io";

const HEADER: &str = "\
# Review, then apply: kubectl apply --server-side --force-conflicts --field-manager=vault-issuer-migrate -f FILE
# Lines that begin with `# $` are commands to run first.
#
# For all issuers: redirects of Vault are not followed, and a certificate that is not what was requested (names, key,
# lifetime, SHA-1, a CA or not) fails its request. A changed issuerRef makes cert-manager request a new certificate.
";

/// The objects and commands of a migration, in the order in which they are applied.
pub(super) struct Plan<'a> {
    args: &'a MigrateArgs,
    objects: &'a Objects,
    /// The namespaces whose Secrets the controller reads.
    namespaces: BTreeSet<String>,
    /// The service accounts whose tokens it requests, by namespace.
    accounts: BTreeMap<String, BTreeSet<String>>,
}

/// A document: lines of comment, and an object or none.
struct Section {
    comments: Vec<String>,
    object: Option<Value>,
}

/// Returns the issuer that takes the place of one of cert-manager's. It keeps the name, which is part of the audience of
/// service account tokens.
fn successor(issuer: &IssuerKey) -> IssuerKey {
    let kind = if issuer.kind.is_cluster() {
        IssuerKind::Cluster
    } else {
        IssuerKind::Namespaced
    };
    IssuerKey { kind, ..issuer.clone() }
}

impl<'a> Plan<'a> {
    pub(super) fn new(args: &'a MigrateArgs, objects: &'a Objects) -> Self {
        Self {
            args,
            objects,
            namespaces: BTreeSet::new(),
            accounts: BTreeMap::new(),
        }
    }

    /// Returns the plan as YAML.
    pub(super) fn text(mut self) -> anyhow::Result<String> {
        let mut text = HEADER.to_owned();
        for section in self.sections()? {
            text += "---\n";
            for comment in section.comments {
                text += &format!("# {comment}\n");
            }
            if let Some(object) = section.object {
                text += &serde_saphyr::to_string(&object)?;
            }
        }
        Ok(text)
    }

    fn sections(&mut self) -> anyhow::Result<Vec<Section>> {
        let mut issuers = Vec::new();
        for issuer in &self.objects.issuers {
            issuers.push(self.issuer(issuer)?);
        }
        // The rights come first, so that an issuer is ready at once.
        let mut sections = self.rights();
        sections.extend(issuers);
        sections.extend(self.certificates());
        sections.extend(self.annotations());
        Ok(sections)
    }

    fn issuer(&mut self, issuer: &crate::manifest::Issuer) -> anyhow::Result<Section> {
        let new = successor(&issuer.key);
        let namespace = if new.kind.is_cluster() {
            self.args.namespaces.cluster_resource_namespace.clone()
        } else {
            new.namespace.clone()
        };
        let mut comments = vec![format!("{} becomes {new}", issuer.key)];
        let (target, warnings) = warnings::of(&issuer.spec, &new, &namespace);
        comments.extend(warnings.into_iter().map(|warning| format!("WARNING: {warning}")));
        if let Some(target) = target {
            comments.extend(self.credentials(&target, &new, &namespace));
        }
        let mut metadata = json!({ "name": new.name });
        if !new.kind.is_cluster()
            && let Some(metadata) = metadata.as_object_mut()
        {
            metadata.insert("namespace".to_owned(), json!(new.namespace));
        }
        let object = json!({
            "apiVersion": new.kind.api_version(),
            "kind": new.kind.as_str(),
            "metadata": metadata,
            "spec": serde_json::to_value(&issuer.spec)?,
        });
        Ok(Section {
            comments,
            object: Some(object),
        })
    }

    /// Notes the rights that an issuer needs; returns the commands for the Secrets and the service account that are
    /// elsewhere for a cluster issuer.
    fn credentials(&mut self, target: &Target, new: &IssuerKey, namespace: &str) -> Vec<String> {
        let from = &self.args.namespaces.drop_in_cluster_resource_namespace;
        let moves = new.kind.is_cluster() && from != namespace;
        let secrets = target.secrets();
        let mut commands = Vec::new();
        if !secrets.is_empty() {
            self.namespaces.insert(namespace.to_owned());
        }
        for secret in secrets.iter().filter(|_| moves) {
            commands.push(format!(
                "$ kubectl get secret {secret} --namespace {from} --output json | jq '{{apiVersion, kind, type, data, metadata: {{name: .metadata.name}}}}' | kubectl apply --namespace {namespace} -f -"
            ));
        }
        let (name, change) = match &target.method {
            Method::ServiceAccount { mount, role, name, .. } => {
                let change = format!("bound_service_account_namespaces={from},{namespace}");
                (name, format!("$ vault write auth/{mount}/role/{role} {change}"))
            }
            Method::Aws {
                identity: AwsIdentity::WebIdentity { arn, name, .. },
                ..
            } => {
                let subject = format!("system:serviceaccount:{namespace}:{name}");
                (name, format!("The trust policy of {arn} must allow {subject}"))
            }
            _ => return commands,
        };
        let accounts = self.accounts.entry(namespace.to_owned()).or_default();
        accounts.insert(name.clone());
        if moves {
            commands.push(format!(
                "$ kubectl create serviceaccount {name} --namespace {namespace}"
            ));
            commands.push(change);
        }
        commands
    }

    fn rights(&self) -> Vec<Section> {
        let mut sections = Vec::new();
        for namespace in &self.namespaces {
            let name = format!("{NAME}-credentials");
            sections.push(Section {
                comments: vec![format!(
                    "The controller reads the Secrets that issuers name in {namespace}"
                )],
                object: Some(self.binding(&name, namespace, "ClusterRole")),
            });
        }
        for (namespace, accounts) in &self.accounts {
            let name = format!("{NAME}-tokens");
            let role = json!({
                "apiVersion": format!("{RBAC}/v1"),
                "kind": "Role",
                "metadata": { "name": name, "namespace": namespace },
                "rules": [{
                    "apiGroups": [""],
                    "resourceNames": accounts,
                    "resources": ["serviceaccounts/token"],
                    "verbs": ["create"],
                }],
            });
            sections.push(Section {
                comments: vec![format!(
                    "The controller requests tokens of service accounts in {namespace}"
                )],
                object: Some(role),
            });
            sections.push(Section {
                comments: Vec::new(),
                object: Some(self.binding(&name, namespace, "Role")),
            });
        }
        sections
    }

    /// Binds a role to the controller.
    fn binding(&self, name: &str, namespace: &str, role: &str) -> Value {
        json!({
            "apiVersion": format!("{RBAC}/v1"),
            "kind": "RoleBinding",
            "metadata": { "name": name, "namespace": namespace },
            "roleRef": { "apiGroup": RBAC, "kind": role, "name": name },
            "subjects": [{
                "kind": "ServiceAccount",
                "name": NAME,
                "namespace": self.args.controller_namespace,
            }],
        })
    }

    fn spec_of(&self, issuer: &IssuerKey) -> Option<&issuer_api::VaultSpec> {
        let found = self.objects.issuers.iter().find(|known| known.key == *issuer);
        found.map(|issuer| &issuer.spec)
    }

    fn certificates(&self) -> Vec<Section> {
        let mut sections = Vec::new();
        for certificate in &self.objects.certificates {
            let Some(spec) = self.spec_of(&certificate.issuer) else {
                continue;
            };
            let new = successor(&certificate.issuer);
            let mut comments = vec![format!(
                "Certificate {}/{} changes to {new}",
                certificate.namespace, certificate.name
            )];
            if certificate.is_ca && !spec.path.contains("sign-intermediate") {
                let warning =
                    "WARNING: isCA is set, and the issuer's path signs no CA certificates: the request will fail";
                comments.push(warning.to_owned());
            }
            let object = json!({
                "apiVersion": "cert-manager.io/v1",
                "kind": "Certificate",
                "metadata": { "name": certificate.name, "namespace": certificate.namespace },
                "spec": {
                    "issuerRef": {
                        "group": issuer_api::GROUP,
                        "kind": new.kind.as_str(),
                        "name": new.name,
                    },
                },
            });
            sections.push(Section {
                comments,
                object: Some(object),
            });
        }
        sections
    }

    /// Returns the commands for annotations: a patch cannot take one away.
    fn annotations(&self) -> Vec<Section> {
        let mut commands = vec!["Run these after the issuers are ready:".to_owned()];
        for annotated in &self.objects.annotated {
            if self.spec_of(&annotated.issuer).is_none() {
                continue;
            }
            let new = successor(&annotated.issuer);
            let removed = if new.kind.is_cluster() {
                " cert-manager.io/cluster-issuer-"
            } else {
                ""
            };
            commands.push(format!(
                "$ kubectl annotate {} {} --namespace {} --overwrite cert-manager.io/issuer={} cert-manager.io/issuer-kind={} cert-manager.io/issuer-group={}{removed}",
                annotated.kind.to_lowercase(),
                annotated.name,
                annotated.namespace,
                new.name,
                new.kind.as_str(),
                issuer_api::GROUP,
            ));
        }
        if commands.len() == 1 {
            return Vec::new();
        }
        vec![Section {
            comments: commands,
            object: None,
        }]
    }
}
