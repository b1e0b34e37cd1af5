//! The Roles and RoleBindings that the controller needs for the new issuers, and the service accounts that are missing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::moves::Move;
use super::section::Section;
use crate::args::MigrateArgs;

const RBAC: &str = "rbac.authorization.k8s.io";

/// The rights that the controller needs for issuers.
#[derive(Default)]
pub(super) struct Rights {
    /// The namespaces whose Secrets it reads.
    namespaces: BTreeSet<String>,
    /// The service accounts whose tokens it requests, by namespace and name, and whether they were in another namespace.
    accounts: BTreeMap<(String, String), bool>,
}

impl Rights {
    /// Adds what an issuer needs. What cluster issuers needed was in the namespace `from`.
    pub(super) fn add(&mut self, step: &Move<'_>, from: &str) {
        if let Ok(target) = &step.target
            && !target.secrets().is_empty()
        {
            self.namespaces.insert(step.namespace.clone());
        }
        if let Some(account) = step.account() {
            let moves = step.new.kind.is_cluster() && step.namespace != from;
            *self
                .accounts
                .entry((step.namespace.clone(), account.to_owned()))
                .or_default() |= moves;
        }
    }

    /// Returns the Roles and RoleBindings.
    pub(super) fn sections(&self, args: &MigrateArgs) -> Vec<Section> {
        let mut sections = Vec::new();
        for namespace in &self.namespaces {
            let name = format!("{}-credentials", args.controller_name);
            let comment = format!("The controller reads the Secrets that issuers name in {namespace}");
            let binding = binding(args, &name, namespace, "ClusterRole");
            sections.push(Section::new(vec![comment], binding));
        }
        for ((namespace, account), moves) in &self.accounts {
            if *moves {
                let comment = format!("Cluster issuers had the service account {account} in another namespace");
                let object = json!({
                    "apiVersion": "v1",
                    "kind": "ServiceAccount",
                    "metadata": { "name": account, "namespace": namespace },
                });
                sections.push(Section::new(vec![comment], object));
            }
            // One Role for each account: an apply replaces the rules of a Role, and so the accounts of other issuers.
            let name = format!("{}-tokens-{account}", args.controller_name);
            let role = json!({
                "apiVersion": format!("{RBAC}/v1"),
                "kind": "Role",
                "metadata": { "name": name, "namespace": namespace },
                "rules": [{
                    "apiGroups": [""],
                    "resourceNames": [account],
                    "resources": ["serviceaccounts/token"],
                    "verbs": ["create"],
                }],
            });
            let comment = format!("The controller requests tokens of the service account {namespace}/{account}");
            sections.push(Section::new(vec![comment], role));
            sections.push(Section::new(Vec::new(), binding(args, &name, namespace, "Role")));
        }
        sections
    }
}

/// Binds a role to the controller.
fn binding(args: &MigrateArgs, name: &str, namespace: &str, role: &str) -> Value {
    json!({
        "apiVersion": format!("{RBAC}/v1"),
        "kind": "RoleBinding",
        "metadata": { "name": name, "namespace": namespace },
        "roleRef": { "apiGroup": RBAC, "kind": role, "name": name },
        "subjects": [{
            "kind": "ServiceAccount",
            "name": args.service_account(),
            "namespace": args.controller_namespace,
        }],
    })
}
