//! The parts of cert-manager's own issuers that concern Vault, for drop-in mode.

use serde::Deserialize;

use crate::{Condition, ConditionStatus, IssuerStatus, VaultSpec, null_as_default};

/// The API group of cert-manager, also meant by an empty `issuerRef.group`.
pub const CERT_MANAGER_GROUP: &str = "cert-manager.io";

/// The served version of that group.
pub const CERT_MANAGER_VERSION: &str = "v1";

/// The spec of cert-manager's `Issuer` or `ClusterIssuer`, as far as it concerns Vault.
///
/// The fields of `spec.vault` are those of [`VaultSpec`], which takes them in every form that cert-manager does; the
/// fields that exist only in [`VaultSpec`] are not in cert-manager's schema, so the API server drops them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct CertManagerSpec {
    #[serde(default)]
    vault: Option<VaultSpec>,
}

impl CertManagerSpec {
    /// Returns the spec for Vault; `None` if the issuer is of another type.
    pub fn into_vault(self) -> Option<VaultSpec> {
        let mut spec = self.vault?;
        // Go writes a value that is not set as an empty one.
        spec.ca_bundle = spec.ca_bundle.filter(|bundle| !bundle.is_empty());
        // cert-manager logs in through a client of its own where that presents another certificate, and that client has no
        // namespace (https://github.com/cert-manager/cert-manager/blob/v1.21.2/internal/vault/vault.go#L520-L532).
        let certificate = spec.auth.client_certificate.as_ref();
        let secret = certificate.and_then(|certificate| certificate.secret_name.as_deref());
        let is_set = |value: Option<&str>| value.is_some_and(|value| !value.is_empty());
        if is_set(secret) && is_set(spec.namespace.as_deref()) {
            spec.auth.namespace = Some("root".to_owned());
        }
        Some(spec)
    }
}

/// The status of cert-manager's `Issuer` or `ClusterIssuer`, as far as it concerns Vault.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct CertManagerStatus {
    #[serde(default, deserialize_with = "null_as_default")]
    conditions: Vec<CertManagerCondition>,
}

/// A condition of cert-manager's issuers, of which only type and status are required.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CertManagerCondition {
    #[serde(rename = "type")]
    kind: String,
    status: ConditionStatus,
    #[serde(default)]
    observed_generation: Option<i64>,
    #[serde(default, deserialize_with = "null_as_default")]
    last_transition_time: String,
    #[serde(default, deserialize_with = "null_as_default")]
    reason: String,
    #[serde(default, deserialize_with = "null_as_default")]
    message: String,
}

impl From<CertManagerStatus> for IssuerStatus {
    fn from(status: CertManagerStatus) -> Self {
        let conditions = status.conditions.into_iter().map(|condition| Condition {
            kind: condition.kind,
            status: condition.status,
            observed_generation: condition.observed_generation,
            last_transition_time: condition.last_transition_time,
            reason: condition.reason,
            message: condition.message,
        });
        let mut status = Self {
            observed_generation: None,
            conditions: conditions.collect(),
        };
        status.observed_generation = status.ready().and_then(|ready| ready.observed_generation);
        status
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn decode(spec: serde_json::Value) -> Option<VaultSpec> {
        serde_json::from_value::<CertManagerSpec>(spec).unwrap().into_vault()
    }

    #[test]
    fn only_vault_issuers_have_a_spec() {
        assert_eq!(decode(json!({"acme": {"server": "https://acme.example"}})), None);
        assert_eq!(decode(json!({"selfSigned": {}})), None);
        assert_eq!(decode(json!({"vault": null})), None);
    }

    #[test]
    fn the_block_is_taken_as_written() {
        let vault = json!({
            "server": "https://vault.example.com:8200",
            "serverName": "vault",
            "path": "pki/sign/web",
            "namespace": "team",
            "caBundleSecretRef": {"name": "ca", "key": "tls.crt"},
            "clientCertSecretRef": {"name": "client"},
            "clientKeySecretRef": {"name": "client"},
            "auth": {
                "kubernetes": {
                    "mountPath": "/v1/auth/kubernetes",
                    "role": "web",
                    "secretRef": {"name": ""},
                    "serviceAccountRef": {"name": "signer", "audiences": ["vault://other"]},
                },
            },
        });
        let spec = decode(json!({ "vault": vault })).unwrap();
        assert_eq!(serde_json::to_value(&spec).unwrap(), vault);
    }

    #[test]
    fn the_aws_block_is_taken_as_written() {
        let vault = json!({
            "server": "https://vault.example.com:8200",
            "path": "pki/sign/web",
            "auth": {
                "aws": {
                    "mountPath": "/v1/auth/aws",
                    "role": "web",
                    "region": "eu-central-1",
                    "serviceAccountRef": {"name": "signer", "audiences": ["vault://other"]},
                    "iamRoleArn": "arn:aws:iam::123456789012:role/web",
                    "vaultHeaderValue": "vault.example.com",
                },
            },
        });
        let spec = decode(json!({ "vault": vault })).unwrap();
        assert_eq!(serde_json::to_value(&spec).unwrap(), vault);
    }

    #[test]
    fn an_empty_bundle_is_none() {
        let spec = decode(json!({"vault": {"server": "s", "path": "p", "caBundle": "", "auth": {}}})).unwrap();
        assert_eq!(spec.ca_bundle, None);
    }

    #[test]
    fn own_certificates_log_in_at_the_root() {
        for (namespace, auth, login_namespace) in [
            (
                "team",
                json!({"clientCertificate": {"secretName": "client"}}),
                Some("root"),
            ),
            ("", json!({"clientCertificate": {"secretName": "client"}}), None),
            ("team", json!({"clientCertificate": {"secretName": ""}}), None),
            ("team", json!({"clientCertificate": {}}), None),
            ("team", json!({"tokenSecretRef": {"name": "token"}}), None),
        ] {
            let vault = json!({"server": "s", "path": "p", "namespace": namespace, "auth": auth});
            let spec = decode(json!({ "vault": vault })).unwrap();
            assert_eq!(spec.auth.namespace.as_deref(), login_namespace, "{vault}");
        }
    }

    #[test]
    fn a_status_may_be_sparse() {
        let status: CertManagerStatus = serde_json::from_value(json!({
            "acme": {},
            "conditions": [
                {"type": "Ready", "status": "True", "observedGeneration": 3, "reason": "VaultVerified"},
                {"type": "Other", "status": "Unknown", "message": null},
            ],
        }))
        .unwrap();
        let status = IssuerStatus::from(status);
        assert_eq!(status.observed_generation, Some(3));
        assert_eq!(status.ready().map(|ready| &*ready.reason), Some("VaultVerified"));
        assert_eq!(status.conditions.len(), 2);
        let empty: CertManagerStatus = serde_json::from_value(json!({"conditions": null})).unwrap();
        assert_eq!(IssuerStatus::from(empty), IssuerStatus::default());
    }
}
