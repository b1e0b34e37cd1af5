//! The parts of Kubernetes' `CertificateSigningRequest` that a signer reads and writes.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{Base64, CertificateRequestStatus};

/// Kubernetes' `CertificateSigningRequest`, as far as a signer reads it.
///
/// Its status is that of a [`CertificateRequest`](crate::CertificateRequest), of which it has the conditions and the
/// certificate
/// (<https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/certificate-signing-request-v1/>).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct CertificateSigningRequest {
    /// Standard metadata.
    pub metadata: ObjectMeta,
    /// The spec; immutable once created.
    pub spec: CertificateSigningRequestSpec,
    /// The status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<CertificateRequestStatus>,
}

/// The spec of a `CertificateSigningRequest`.
///
/// The API server sets the fields about the requester, so they can be trusted.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateSigningRequestSpec {
    /// The certificate signing request, PEM.
    pub request: Base64,
    /// The signer that is to sign it.
    pub signer_name: String,
    /// The requested lifetime of the certificate, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_seconds: Option<i32>,
    /// The requested key usages and extended key usages, by the names that cert-manager uses too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usages: Vec<String>,
    /// The name of the requester.
    #[serde(default)]
    pub username: String,
    /// The uid of the requester.
    #[serde(default)]
    pub uid: String,
    /// The groups of the requester.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Further attributes of the requester.
    #[serde(default, deserialize_with = "attributes")]
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Reads attributes, of which one without values is `null`.
fn attributes<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Vec<String>>, D::Error> {
    let attributes = BTreeMap::<String, Option<Vec<String>>>::deserialize(from)?;
    let values = |(name, values): (String, Option<_>)| (name, values.unwrap_or_default());
    Ok(attributes.into_iter().map(values).collect())
}

impl CertificateSigningRequest {
    /// cert-manager's annotation for the duration of the certificate
    /// (<https://cert-manager.io/docs/usage/kube-csr/#certificate-signing-request-annotations>).
    pub const DURATION: &str = "experimental.cert-manager.io/request-duration";

    /// The shortest duration that may be requested. The API server refuses less in `spec.expirationSeconds`, and
    /// cert-manager's controllers in the annotation too.
    pub const LEAST_DURATION: Duration = Duration::from_secs(600);

    /// cert-manager's annotation that requests a CA certificate if its value is `true`.
    pub const IS_CA: &str = "experimental.cert-manager.io/request-is-ca";

    /// Returns the duration of the annotation, as Go prints one.
    pub fn annotated_duration(&self) -> Option<&str> {
        self.annotation(Self::DURATION)
    }

    /// Returns `true` if a CA certificate is requested.
    pub fn is_ca(&self) -> bool {
        self.annotation(Self::IS_CA) == Some("true")
    }

    /// Returns `true` if the request has finished: it was issued, denied or has failed.
    pub fn is_terminal(&self) -> bool {
        self.status.as_ref().is_some_and(|status| {
            let is_issued = status.certificate.as_ref().is_some_and(|pem| !pem.is_empty());
            let ends = |kind: &str| matches!(kind, "Denied" | "Failed");
            is_issued || status.conditions.iter().any(|condition| ends(&condition.kind))
        })
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(name).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const IS_CA: &str = CertificateSigningRequest::IS_CA;

    fn request(annotations: Value, status: Value) -> CertificateSigningRequest {
        let spec = json!({ "request": "QQ==", "signerName": "example.com/a" });
        let object = json!({ "metadata": { "annotations": annotations }, "spec": spec, "status": status });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn only_true_asks_for_ca() {
        for (value, expected) in [("true", true), ("True", false), ("false", false), ("", false)] {
            let request = request(json!({ IS_CA: value }), json!({}));
            assert_eq!(request.is_ca(), expected, "{value}");
        }
        assert!(!request(json!({}), json!({})).is_ca());
    }

    /// Go writes an attribute without values so.
    #[test]
    fn attribute_of_requester_may_be_null() {
        let spec = json!({ "request": "", "signerName": "", "extra": { "a": null, "b": ["c"] } });
        let spec: CertificateSigningRequestSpec = serde_json::from_value(spec).unwrap();
        let values: Vec<_> = spec.extra.values().map(Vec::len).collect();
        assert_eq!(values, [0, 1]);
    }

    #[test]
    fn denial_failure_and_certificate_end_it() {
        let conditions = |kinds: &[&str]| {
            let condition = |kind: &&str| json!({ "type": kind, "status": "True", "lastUpdateTime": null });
            json!({ "conditions": kinds.iter().map(condition).collect::<Vec<_>>() })
        };
        for (status, expected) in [
            (json!({}), false),
            (conditions(&["Approved"]), false),
            (json!({ "certificate": "" }), false),
            (conditions(&["Approved", "Denied"]), true),
            (conditions(&["Approved", "Failed"]), true),
            (json!({ "certificate": "QQ==" }), true),
        ] {
            assert_eq!(request(json!({}), status.clone()).is_terminal(), expected, "{status}");
        }
    }
}
