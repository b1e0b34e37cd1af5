//! The cases, in one table; each runs in a namespace named after it.

mod api;
mod auth;
mod aws;
mod beside;
mod certificates;
mod cluster;
mod contents;
mod crowd;
mod csr;
mod deployed;
mod drop_in;
mod healing;
mod hostile;
mod isolation;
mod migrate;
mod openbao;
mod outages;
mod permitted;
mod quiet;
mod requests;
mod roles;
mod scope;
mod secrets;
mod tools;
mod unselectable;
mod writes;

use futures::future::LocalBoxFuture;

use crate::chaos;
use crate::servers::kind::Shape;
use crate::test_namespace::TestNamespace;

/// One case.
pub(super) struct Case {
    /// The name.
    pub(super) name: &'static str,
    /// The test itself.
    pub(super) run: for<'s> fn(&'s TestNamespace<'s>) -> LocalBoxFuture<'s, anyhow::Result<()>>,
    /// Whether it disturbs other cases of the same servers and so runs alone, after them.
    pub(super) alone: bool,
    /// The provider that it needs.
    pub(super) on: On,
}

/// The servers that a case needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum On {
    /// The APIs of Kubernetes and Vault; it runs with every provider.
    Any,
    /// The servers as processes on loopback.
    Loopback,
    /// The servers as processes on loopback, with Vault.
    Vault,
    /// The APIs of Kubernetes and OpenBao.
    OpenBao,
    /// The release that serves a whole kind cluster of this shape; with three nodes, a release of the case's own.
    Kind(Shape),
}

macro_rules! case {
    ($name:literal, $($run:ident)::+, alone: $alone:literal, $on:expr) => {
        Case { name: $name, run: |test| Box::pin($($run)::+(test)), alone: $alone, on: $on }
    };
}

macro_rules! together {
    ($name:literal, $($run:ident)::+) => { case!($name, $($run)::+, alone: false, On::Any) };
}

macro_rules! vault {
    ($name:literal, $($run:ident)::+) => { case!($name, $($run)::+, alone: false, On::Vault) };
}

macro_rules! openbao {
    ($name:literal, $($run:ident)::+) => { case!($name, $($run)::+, alone: false, On::OpenBao) };
}

macro_rules! loopback {
    ($name:literal, $($run:ident)::+) => { case!($name, $($run)::+, alone: false, On::Loopback) };
}

macro_rules! alone {
    ($name:literal, $($run:ident)::+) => { case!($name, $($run)::+, alone: true, On::Loopback) };
}

macro_rules! deployed {
    ($name:literal, $($run:ident)::+) => { case!($name, $($run)::+, alone: false, On::Kind(Shape::ThreeNodes)) };
}

/// All cases, the slow ones first.
pub(super) const CASES: &[Case] = &[
    together!("login-short", auth::short_login),
    together!("token-periodic", auth::periodic_token),
    together!("limited-uses", roles::limited_uses),
    together!("user-lockout", healing::user_lockout),
    together!("certificate-renewal", certificates::renewal),
    together!("wrong-policy", healing::wrong_policy),
    together!("wrong-role", healing::wrong_role),
    loopback!("no-rights", secrets::no_rights),
    loopback!("quiet", quiet::quiet),
    together!("api-rules", api::rules),
    together!("api-columns", api::columns),
    loopback!("manifests", tools::manifests),
    loopback!("metrics", tools::metrics),
    loopback!("check-and-sign", tools::binary),
    loopback!("check-from-file", auth::check_from_file),
    together!("certificate", certificates::namespaced),
    together!("certificate-cluster-issuer", certificates::cluster),
    loopback!("certificate-denied", certificates::denied),
    together!("login-approle-mounts", auth::approle_mounts),
    together!("login-token", auth::token),
    together!("login-kubernetes-secret", auth::kubernetes_secret),
    together!("login-kubernetes-account", auth::kubernetes_account),
    together!("auth-approle-role-id", auth::approle_role_id),
    loopback!("auth-approle-no-secret-id", auth::approle_no_secret_id),
    loopback!("auth-jwt", auth::jwt),
    loopback!("auth-approle-wrapped", auth::approle_wrapped),
    vault!("auth-aws", aws::keys),
    vault!("auth-aws-pod-identity", aws::pod_identity),
    vault!("auth-aws-service-account", aws::service_account),
    together!("login-client-certificate", auth::client_certificate),
    together!("ca-from-config-map", auth::ca_from_config_map),
    together!("mutual-tls", auth::mutual_tls),
    together!("keys", contents::keys),
    together!("names", contents::names),
    together!("names-as-parameters", contents::names_as_parameters),
    together!("names-no-common-name", contents::names_without_common_name),
    together!("duration", contents::duration),
    together!("certificate-authority", contents::certificate_authority),
    together!("chain-intermediate", contents::intermediate),
    together!("chain-cross-signed", contents::cross_signed),
    loopback!("approval", requests::approval),
    loopback!("approved-and-denied", requests::approved_and_denied),
    loopback!("malformed-csr", requests::malformed),
    together!("allowed-namespaces", requests::allowed_namespaces),
    together!("refused-name", requests::refused_name),
    together!("refused-key", requests::refused_key),
    together!("mismatch", requests::mismatch),
    together!("verification-vault", requests::vault_decides),
    loopback!("foreign-requests", requests::foreign),
    loopback!("fields-of-others", writes::others_fields),
    vault!("poison-requests", isolation::poison),
    loopback!("unknown-kind", isolation::unknown_kind),
    together!("required-parameters", roles::required_parameters),
    together!("allowed-parameters", roles::allowed_parameters),
    loopback!("no-secret-id", roles::no_secret_id),
    together!("role-not-after", roles::not_after),
    together!("wrong-path", healing::wrong_path),
    together!("wrong-secret", healing::wrong_secret),
    together!("wrong-bundle", healing::wrong_bundle),
    loopback!("unreachable", healing::unreachable),
    loopback!("proxy", scope::proxy),
    together!("missing-secret", healing::missing_secret),
    together!("rotated-secret", healing::rotated_secret),
    together!("revoked-token", healing::revoked_token),
    together!("remade-issuer", healing::remade_issuer),
    together!("bad-specs", secrets::bad_specs),
    together!("bad-secrets", secrets::bad),
    together!("watched-secret", secrets::watched),
    together!("bad-bundles", secrets::bad_bundles),
    loopback!("bad-answers", hostile::answers),
    openbao!("openbao-namespaces", openbao::namespaces),
    openbao!("cel-role", openbao::cel_role),
    vault!("fake-vault-conformance", hostile::conformance),
    loopback!("simulated-cluster-conformance", cluster::conformance),
    alone!("odd-objects", isolation::odd_objects),
    alone!("waiting-crowd", isolation::waiting_crowd),
    alone!("leases", roles::leases),
    alone!("vault-sealed", outages::sealed),
    alone!("vault-restarted", outages::restarted),
    alone!("answer-lost", outages::lost_answer),
    alone!("controller-killed", outages::killed),
    alone!("controller-stopped", outages::graceful),
    case!("auth-aws-ambient", aws::ambient, alone: true, On::Vault),
    alone!("proxy-of-environment", scope::proxy_of_environment),
    alone!("csr-certificate", csr::certificate),
    alone!("csr-permission", csr::permission),
    alone!("csr-waiting", csr::waiting),
    alone!("csr-cluster-issuer", csr::cluster),
    // Before other cases leave issuers of cert-manager behind: it reads the whole cluster.
    alone!("migrate", migrate::migrate),
    alone!("csr-drop-in", csr::drop_in),
    alone!("csr-drop-in-beside", csr::beside),
    alone!("drop-in-certificates", drop_in::certificates),
    alone!("drop-in-late-issuer", drop_in::late),
    alone!("drop-in-service-account", drop_in::service_account),
    alone!("drop-in-status", drop_in::status),
    alone!("drop-in-switch", drop_in::switch),
    alone!("drop-in-beside", beside::built_in),
    alone!("drop-in-successor", beside::successor),
    alone!("drop-in-others", crowd::requests),
    alone!("local-servers", permitted::local_servers),
    alone!("http-servers", permitted::http_servers),
    alone!("namespaces", scope::limited),
    alone!("no-selectable-fields", unselectable::requests),
    alone!("chaos", chaos::unclaimed),
    alone!("chaos-claimed", chaos::claimed),
    case!("ipv6", deployed::ipv6::ipv6, alone: false, On::Kind(Shape::Ipv6)),
    case!("kustomization", deployed::release::kustomization, alone: true, On::Kind(Shape::OneNode)),
    deployed!("token-rotation", deployed::token::rotation),
    deployed!("memory-limit", deployed::memory::crowd),
    deployed!("node-frozen", deployed::leader::node_frozen),
    deployed!("helm-upgrade", deployed::release::upgrade),
    deployed!("leader-stopped", deployed::leader::stopped),
    deployed!("leader-killed", deployed::leader::killed),
    deployed!("leader-deleted", deployed::leader::deleted),
    deployed!("no-election", deployed::release::unelected),
    deployed!("helm-reinstall", deployed::release::reinstall),
    deployed!("rollout", deployed::leader::rollout),
    deployed!("network-policy", deployed::policy::enforced),
];
