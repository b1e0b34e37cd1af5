//! The cases, by what they are about.

mod argo_cd;
mod deployment;
mod formats;
mod manifests;
mod monitoring;
mod names;
mod rbac;
mod values;

use crate::helm::Helm;

/// A case by its name.
type Case = (&'static str, fn(&Helm) -> anyhow::Result<()>);

/// Every case.
pub(crate) const CASES: [Case; 39] = [
    ("lint", Helm::lint),
    ("values-accepted", values::accepted),
    ("values-malformed", values::malformed),
    ("values-unusable", values::unusable),
    ("values-contradictory", values::contradictory),
    ("values-as-the-controller", formats::as_the_controller),
    ("values-as-the-api-server", formats::as_the_api_server),
    ("numeric-names", formats::numeric_names),
    ("values-as-arguments", values::as_arguments),
    ("values-as-variables", values::as_variables),
    ("extra-objects", values::extra_objects),
    ("deployment-strategy", deployment::strategy),
    ("deployment-labels", deployment::labels),
    ("deployment-image", deployment::image),
    ("deployment-addresses", deployment::addresses),
    ("deployment-restricted", deployment::restricted),
    ("names", names::unique),
    ("one-installation", names::one_installation),
    ("names-in-notes", names::notes),
    ("notes-without-approval", names::no_approval),
    ("rbac-tokens-by-name", rbac::tokens_by_name),
    ("rbac-drop-in-on-demand", rbac::drop_in_on_demand),
    ("rbac-namespaces", rbac::namespaces),
    ("rbac-namespace-labels", rbac::namespace_labels),
    ("rbac-kubernetes-csrs-on-demand", rbac::kubernetes_csrs_on_demand),
    ("rbac-secrets-by-name", rbac::secrets_by_name),
    ("rbac-secrets-by-namespace", rbac::secrets_by_namespace),
    ("rbac-lease-namespace", rbac::lease_namespace),
    ("rbac-lease-name", rbac::lease_name),
    ("rbac-approval", rbac::approval),
    ("rbac-aggregation", rbac::aggregation),
    ("monitors", monitoring::monitors),
    ("alerts", monitoring::alerts),
    ("alerts-fire", monitoring::alerts_fire),
    ("dashboard", monitoring::dashboard),
    ("dashboard-expressions", monitoring::dashboard_expressions),
    ("argo-cd-health", argo_cd::health),
    ("network-policy", manifests::network_policy),
    ("manifests", manifests::same_as_chart),
];
