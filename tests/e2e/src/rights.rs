//! Whether the controller has used every right that its roles grant, by the API server's audit log.

use std::collections::BTreeSet;

use anyhow::ensure;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::Api;

use crate::servers::cluster::AuditEvent;
use crate::servers::controller::NAMESPACE;
use crate::servers::env::Env;

/// The service account of the controller.
const USER: &str = "system:serviceaccount:vault-issuer:vault-issuer";

/// Rights that only `vault-issuer check` uses, when it is run in the controller's pod.
const BY_HAND: [(&str, &str); 2] = [("vaultissuers", "get"), ("vaultclusterissuers", "get")];

/// Checks, after all cases, that no right has been left unused.
pub(crate) async fn all_used(env: &Env) -> anyhow::Result<()> {
    let mut rules = Vec::new();
    let cluster_roles: Api<ClusterRole> = Api::all(env.client.clone());
    for name in ["vault-issuer-controller", "vault-issuer-credentials"] {
        rules.extend(cluster_roles.get(name).await?.rules.unwrap_or_default());
    }
    let roles: Api<Role> = Api::namespaced(env.client.clone(), NAMESPACE);
    rules.extend(
        roles
            .get("vault-issuer-leader-election")
            .await?
            .rules
            .unwrap_or_default(),
    );

    let used = used(&env.local_servers().await?.cluster.audit()?);
    let mut unused = granted(&rules);
    unused.retain(|right| !used.contains(right));
    for (resource, verb) in BY_HAND {
        unused.remove(&(resource.to_owned(), verb.to_owned()));
    }
    ensure!(unused.is_empty(), "granted and never used: {unused:?}");
    Ok(())
}

/// Returns each resource and verb of the rules.
fn granted(rules: &[PolicyRule]) -> BTreeSet<(String, String)> {
    let of = |rule: &PolicyRule| {
        let resources = rule.resources.clone().unwrap_or_default().into_iter();
        let verbs = rule.verbs.clone();
        let pairs = resources.map(move |resource| verbs.clone().into_iter().map(move |verb| (resource.clone(), verb)));
        pairs.flatten().collect::<Vec<_>>()
    };
    rules.iter().flat_map(of).collect()
}

/// Returns each resource and verb that the controller has asked for.
fn used(events: &[AuditEvent]) -> BTreeSet<(String, String)> {
    let ours = events.iter().filter(|event| event.user() == USER);
    ours.map(|event| (event.resource(), event.verb.clone())).collect()
}
