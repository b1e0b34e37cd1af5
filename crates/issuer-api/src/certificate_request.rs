//! The parts of cert-manager's `CertificateRequest` that an issuer reads and writes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube_core::NamespaceResourceScope;
use serde::{Deserialize, Serialize};

use crate::Base64;

/// cert-manager's `CertificateRequest`, as far as an issuer reads it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct CertificateRequest {
    /// Standard metadata.
    pub metadata: ObjectMeta,
    /// The spec; immutable once created.
    pub spec: CertificateRequestSpec,
    /// The status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<CertificateRequestStatus>,
}

/// The spec of a `CertificateRequest`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRequestSpec {
    /// The certificate signing request, PEM.
    pub request: Base64,
    /// The issuer that is to sign it.
    pub issuer_ref: IssuerRef,
    /// The requested lifetime of the certificate, as Go prints a duration (`2160h0m0s`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Whether a CA certificate is requested.
    #[serde(rename = "isCA", default)]
    pub is_ca: bool,
    /// The requested key usages and extended key usages, by cert-manager's names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usages: Vec<String>,
}

/// Names an issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct IssuerRef {
    /// The issuer's name.
    pub name: String,
    /// The issuer's kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The issuer's API group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// The status of a `CertificateRequest`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRequestStatus {
    /// Conditions by type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<RequestCondition>,
    /// The signed certificate and its intermediates, PEM, leaf first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Base64>,
    /// The highest CA known, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<Base64>,
    /// When the request failed permanently, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_time: Option<String>,
    /// Fields that a later version of cert-manager may add. A status is replaced as a whole, so they must be kept.
    #[serde(flatten)]
    pub others: BTreeMap<String, serde_json::Value>,
}

/// A condition of a `CertificateRequest`, in cert-manager's shape.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestCondition {
    /// `Approved`, `Denied`, `InvalidRequest` or `Ready`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// When the status last changed, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<String>,
    /// The reason, in CamelCase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A message for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Fields that a later version of cert-manager may add. A status is replaced as a whole, so they must be kept.
    #[serde(flatten)]
    pub others: BTreeMap<String, serde_json::Value>,
}

impl CertificateRequest {
    /// Returns the condition of the given type.
    pub fn condition(&self, kind: &str) -> Option<&RequestCondition> {
        let status = self.status.as_ref()?;
        status.conditions.iter().find(|c| c.kind == kind)
    }

    /// Returns `true` if the condition of the given type is `True`.
    pub fn is(&self, kind: &str) -> bool {
        self.condition(kind).is_some_and(|c| c.status == "True")
    }

    /// Returns `true` if the request has finished: it was issued, denied or has failed, and is never written again.
    pub fn is_terminal(&self) -> bool {
        let reason = self.condition("Ready").and_then(|ready| ready.reason.as_deref());
        let certificate = self.status.as_ref().and_then(|status| status.certificate.as_ref());
        matches!(reason, Some("Denied" | "Failed" | "Issued")) || certificate.is_some_and(|pem| !pem.is_empty())
    }

    /// Returns `metadata.uid`, empty if there is none.
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Returns `metadata.resourceVersion`, empty if there is none.
    pub fn version(&self) -> &str {
        self.metadata.resource_version.as_deref().unwrap_or_default()
    }
}

impl kube_core::Resource for CertificateRequest {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "CertificateRequest".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "cert-manager.io".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "certificaterequests".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
