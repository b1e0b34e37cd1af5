//! The Kubernetes API of vault-issuer, as types and nothing else.
//!
//! Two kinds of issuer, [`VaultIssuer`] and [`VaultClusterIssuer`], share one [`VaultSpec`] whose fields have the
//! names of cert-manager's `spec.vault`, so that block only has to move up one level in a migration.
//! [`CertManagerSpec`] is the spec of cert-manager's own issuers, which holds a [`VaultSpec`] too.
//! [`CertificateRequest`] is the part of cert-manager's resource that an issuer reads, and
//! [`CertificateSigningRequest`] is that of Kubernetes' resource.
//!
//! Architecture invariant: no client, no runtime, no conversation with Vault.

mod auth;
mod base64;
mod cert_manager;
mod certificate_request;
mod certificate_signing_request;
mod condition;
mod issuer;
mod namespaces;

pub use self::base64::Base64;
pub use auth::{
    AppRole, Auth, AwsAuth, AwsServiceAccountRef, ClientCertificate, ConfigMapKeySelector, JwtAuth,
    JwtServiceAccountRef, KubernetesAuth, SecretKeySelector, ServiceAccountRef,
};
pub use cert_manager::{CERT_MANAGER_GROUP, CERT_MANAGER_VERSION, CertManagerSpec, CertManagerStatus};
pub use certificate_request::{
    CertificateRequest, CertificateRequestSpec, CertificateRequestStatus, IssuerRef, RequestCondition,
};
pub use certificate_signing_request::{CertificateSigningRequest, CertificateSigningRequestSpec};
pub use condition::{Condition, ConditionStatus, IssuerStatus};
pub use issuer::{ProbeMode, VaultClusterIssuer, VaultIssuer, VaultSpec, VerificationMode, crds};
pub use namespaces::{AllowedNamespaces, LabelOperator, LabelRequirement, LabelSelector};

use serde::{Deserialize, Deserializer};

/// The API group of both issuer kinds, and the `issuerRef.group` this controller answers to.
pub const GROUP: &str = "vault-issuer.io";

/// The served version of both issuer kinds.
pub const VERSION: &str = "v1alpha1";

/// Reads an explicit `null` as an absent field, as the API server does.
fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}
