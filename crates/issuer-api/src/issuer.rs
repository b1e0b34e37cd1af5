use std::borrow::Cow;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::schema::StructuralSchemaRewriter;
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Auth, Base64, GROUP, IssuerStatus, VERSION};

/// A key of a Secret in the issuer's namespace, or in the cluster resource namespace for a cluster issuer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeySelector {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key within the Secret; the field that holds the reference says what it defaults to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub key: Option<String>,
}

/// How to reach Vault or OpenBao, how to log in, and where to sign.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "isURL(self.server) && url(self.server).getScheme() in ['https', 'http'] && url(self.server).getHostname() != ''",
        "message": "server must be a URL such as https://vault.example.com:8200"
    },
    {
        "rule": "self.path.split('/').exists(s, s in ['sign', 'sign-verbatim', 'sign-intermediate'])",
        "message": "path must name a signing endpoint, such as pki/sign/my-role or pki/root/sign-intermediate; an issue endpoint makes its own key and cannot sign a request"
    },
    {
        "rule": "!self.path.split('/').exists(s, s == '..') && !self.path.matches('[?#%\\\\s]')",
        "message": "path must be plain segments without '..', '?', '#', '%' or spaces"
    },
    {
        "rule": "!(has(self.caBundle) && has(self.caBundleSecretRef))",
        "message": "set at most one of caBundle, caBundleSecretRef"
    },
    {
        "rule": "has(self.clientCertSecretRef) == has(self.clientKeySecretRef)",
        "message": "set clientCertSecretRef and clientKeySecretRef together"
    }
]))]
pub struct VaultSpec {
    /// The server's URL, such as `https://vault.example.com:8200`.
    #[schemars(length(min = 1, max = 2048))]
    pub server: String,
    /// The signing endpoint, such as `pki/sign/my-role`; `pki/root/sign-intermediate` signs CA certificates.
    #[schemars(length(min = 1, max = 1024))]
    pub path: String,
    /// The Vault namespace (Vault Enterprise, OpenBao), such as `ns1` or `ns1/ns2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub namespace: Option<String>,
    /// The name to verify the server's certificate against, where it is not the host of `server`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub server_name: Option<String>,
    /// CA certificates that the server's certificate must chain to, PEM in base64. Without this and
    /// `caBundleSecretRef`, the system's CA certificates count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "byte"))]
    pub ca_bundle: Option<Base64>,
    /// A Secret that holds the CA certificates; the key defaults to `ca.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle_secret_ref: Option<SecretKeySelector>,
    /// A Secret that holds the certificate to present where the server asks for one; the key defaults to `tls.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert_secret_ref: Option<SecretKeySelector>,
    /// A Secret that holds the key of that certificate; the key defaults to `tls.key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key_secret_ref: Option<SecretKeySelector>,
    /// How to log in.
    pub auth: Auth,
}

macro_rules! issuer_kind {
    ($(#[$doc:meta])* $kind:ident, $plural:literal, $scope:ty) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
        pub struct $kind {
            /// Standard metadata.
            #[schemars(skip)]
            pub metadata: ObjectMeta,
            /// How to reach Vault or OpenBao, how to log in, and where to sign.
            pub spec: VaultSpec,
            /// What the controller found.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub status: Option<IssuerStatus>,
        }

        impl kube::Resource for $kind {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> Cow<'_, str> {
                stringify!($kind).into()
            }

            fn group((): &()) -> Cow<'_, str> {
                GROUP.into()
            }

            fn version((): &()) -> Cow<'_, str> {
                VERSION.into()
            }

            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

issuer_kind!(
    /// Signs the CertificateRequests of its own namespace with Vault or OpenBao.
    VaultIssuer,
    "vaultissuers",
    NamespaceResourceScope
);

issuer_kind!(
    /// Signs the CertificateRequests of every namespace with Vault or OpenBao.
    VaultClusterIssuer,
    "vaultclusterissuers",
    ClusterResourceScope
);

/// Returns the definitions of both kinds, as `deploy/crds/` holds them.
pub fn crds() -> serde_json::Result<Vec<CustomResourceDefinition>> {
    Ok(vec![
        crd::<VaultIssuer>("Namespaced")?,
        crd::<VaultClusterIssuer>("Cluster")?,
    ])
}

fn crd<K: kube::Resource<DynamicType = ()> + JsonSchema>(scope: &str) -> serde_json::Result<CustomResourceDefinition> {
    let schema = SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            // The API server refuses `$schema` beside a status subresource.
            settings.meta_schema = None;
        })
        .with_transform(StructuralSchemaRewriter)
        .into_generator()
        .into_root_schema_for::<K>();
    let (kind, plural) = (K::kind(&()), K::plural(&()));
    serde_json::from_value(json!({
        "metadata": { "name": format!("{plural}.{GROUP}") },
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind,
                "listKind": format!("{kind}List"),
                "plural": plural,
                "singular": kind.to_lowercase(),
                "categories": ["cert-manager"],
            },
            "scope": scope,
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "subresources": { "status": {} },
                "additionalPrinterColumns": [
                    { "name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type == \"Ready\")].status" },
                    { "name": "Status", "type": "string", "jsonPath": ".status.conditions[?(@.type == \"Ready\")].message" },
                    { "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" },
                ],
                "schema": { "openAPIV3Schema": schema },
            }],
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_have_a_structural_schema_with_their_rules() {
        let crds = crds().unwrap();
        for crd in &crds {
            let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
            let spec = &schema["openAPIV3Schema"]["properties"]["spec"];
            assert_eq!(spec["x-kubernetes-validations"].as_array().unwrap().len(), 5);
            assert_eq!(
                spec["properties"]["auth"]["x-kubernetes-validations"]
                    .as_array()
                    .unwrap()
                    .len(),
                1
            );
            assert!(!schema.to_string().contains("$ref"), "{schema}");
        }
    }
}
