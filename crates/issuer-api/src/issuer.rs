//! The kinds `VaultIssuer` and `VaultClusterIssuer`, and their custom resource definitions.

use std::borrow::Cow;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube_core::schema::StructuralSchemaRewriter;
use kube_core::{ClusterResourceScope, NamespaceResourceScope};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{AllowedNamespaces, Auth, Base64, ConfigMapKeySelector, GROUP, IssuerStatus, SecretKeySelector, VERSION};

/// How to reach Vault or OpenBao, how to log in, and where to sign.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "isURL(self.server) && url(self.server).getScheme() in ['https', 'http'] && url(self.server).getHostname() != ''",
        "message": "server must be a URL such as https://vault.example.com:8200",
        "fieldPath": ".server"
    },
    {
        "rule": "self.path.matches('^/*(v1/+)?[^/]+(/+[^/]+)*/+(sign/+[^/]+|sign-verbatim(/+[^/]+)?|sign-intermediate|external-policy/+sign(-intermediate)?(/+[^/]+)?)/*$')",
        "message": "path must name a signing endpoint, such as pki/sign/my-role, with its role, or pki/root/sign-intermediate; an issue endpoint makes its own key and cannot sign a request",
        "fieldPath": ".path"
    },
    {
        "rule": "!self.path.split('/').exists(s, s == '..') && !self.path.matches(r'[?#%\\s]')",
        "message": "path must be plain segments without '..', '?', '#', '%' or spaces",
        "fieldPath": ".path"
    },
    {
        "rule": "[has(self.caBundle), has(self.caBundleSecretRef), has(self.caBundleConfigMapRef)].filter(set, set).size() <= 1",
        "message": "set at most one of caBundle, caBundleSecretRef, caBundleConfigMapRef",
        "fieldPath": ".caBundle"
    },
    {
        "rule": "!has(self.proxy) || (isURL(self.proxy) && url(self.proxy).getScheme() == 'http' && url(self.proxy).getHostname() != '' && !self.proxy.contains('@'))",
        "message": "proxy must be a URL such as http://proxy.example.com:3128, without user and password",
        "fieldPath": ".proxy"
    },
    {
        "rule": "has(self.clientCertSecretRef) == has(self.clientKeySecretRef)",
        "message": "set clientCertSecretRef and clientKeySecretRef together"
    },
    {
        "rule": "!has(self.signTimeout) || (duration(self.signTimeout) >= duration('1s') && duration(self.signTimeout) <= duration('10m'))",
        "message": "signTimeout must be a duration from 1s to 10m",
        "fieldPath": ".signTimeout"
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
    /// The name to verify the server's certificate against, if it is not the host of `server`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub server_name: Option<String>,
    /// The HTTP proxy for connections to the server, such as `http://proxy.example.com:3128`; overrides the
    /// controller's `HTTPS_PROXY`. It tunnels TLS (CONNECT), so it cannot read the token. The operator must allow it,
    /// like a server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub proxy: Option<String>,
    /// CA certificates that the server's certificate must chain to, PEM in base64. Without this, `caBundleSecretRef`
    /// and `caBundleConfigMapRef`, the CA certificates of the controller's image are used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 524_288), extend("format" = "byte"))]
    pub ca_bundle: Option<Base64>,
    /// A Secret that holds the CA certificates; the key defaults to `ca.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle_secret_ref: Option<SecretKeySelector>,
    /// A ConfigMap that holds the CA certificates, such as a bundle of trust-manager; the key defaults to `ca.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle_config_map_ref: Option<ConfigMapKeySelector>,
    /// A Secret that holds the certificate to present if the server asks for one; the key defaults to `tls.crt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert_secret_ref: Option<SecretKeySelector>,
    /// A Secret that holds the key of that certificate; the key defaults to `tls.key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key_secret_ref: Option<SecretKeySelector>,
    /// Whether the signing endpoint is probed with an empty request after changes: `Auto` (the default) or `Never`, for
    /// engines where a probe costs something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("enum" = ["Auto", "Never", null]))]
    pub probe: Option<ProbeMode>,
    /// The timeout of a request to sign, from `1s` to `10m`. Defaults to the controller's `--sign-timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))]
    pub sign_timeout: Option<String>,
    /// How closely an issued certificate must match its request. `strict`, the default: key, names, lifetime
    /// and CA flag. `vault`, for engines that set names and lifetimes themselves: key and CA flag. A certificate must
    /// always be valid now, and signed by the CA that Vault returns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("enum" = ["strict", "vault", null]))]
    pub verification: Option<VerificationMode>,
    /// The namespaces whose requests a VaultClusterIssuer signs. If unset, all namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,
    /// How to log in.
    pub auth: Auth,
}

/// Whether the signing endpoint is probed before the first signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub enum ProbeMode {
    /// After each change of the spec, of a Secret or of the token, and after failures.
    #[default]
    Auto,
    /// Never: an issuer is ready as soon as the login succeeds.
    Never,
}

/// How closely an issued certificate must match its request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum VerificationMode {
    /// Key, names, lifetime and CA flag.
    #[default]
    Strict,
    /// Key and CA flag. The engine sets names and lifetime.
    Vault,
}

// A macro, since `kube::CustomResource` derives one kind from a spec, and two kinds share this one.

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
            /// The state that the controller last observed.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub status: Option<IssuerStatus>,
        }

        impl kube_core::Resource for $kind {
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
///
/// # Errors
///
/// Never fails for the schemas of this crate: they are values that serialize.
pub fn crds() -> serde_json::Result<Vec<CustomResourceDefinition>> {
    Ok(vec![
        crd::<VaultIssuer>("Namespaced", "vi")?,
        crd::<VaultClusterIssuer>("Cluster", "vci")?,
    ])
}

fn crd<K: kube_core::Resource<DynamicType = ()> + JsonSchema>(
    scope: &str,
    short_name: &str,
) -> serde_json::Result<CustomResourceDefinition> {
    let ready = |field: &str| format!(".status.conditions[?(@.type == \"Ready\")].{field}");
    let mut schema = SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            // The API server refuses `$schema` beside a status subresource.
            settings.meta_schema = None;
        })
        .with_transform(StructuralSchemaRewriter)
        .into_generator()
        .into_root_schema_for::<K>();
    if scope == "Namespaced"
        && let Some(fields) = schema
            .pointer_mut("/properties/spec/properties")
            .and_then(Value::as_object_mut)
    {
        fields.remove("allowedNamespaces");
    }
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
                "shortNames": [short_name],
                "categories": ["cert-manager"],
            },
            "scope": scope,
            "versions": [{
                "name": VERSION,
                "served": true,
                "storage": true,
                "subresources": { "status": {} },
                "additionalPrinterColumns": [
                    { "name": "Ready", "type": "string", "jsonPath": ready("status") },
                    { "name": "Reason", "type": "string", "jsonPath": ready("reason") },
                    { "name": "Status", "type": "string", "priority": 1, "jsonPath": ready("message") },
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

    /// Panics unless every text, list and map below a schema has a bound.
    fn assert_bounded(place: &str, schema: &Value) {
        let has = |word: &str| schema.get(word).is_some();
        match schema["type"].as_str().unwrap_or_default() {
            "string" => assert!(has("maxLength") || has("enum"), "{place}"),
            "array" => {
                assert!(has("maxItems"), "{place}");
                assert_bounded(place, &schema["items"]);
            }
            "object" => {
                for (name, field) in schema["properties"].as_object().into_iter().flatten() {
                    assert_bounded(&format!("{place}.{name}"), field);
                }
                if let Some(values) = schema.get("additionalProperties") {
                    assert!(has("maxProperties"), "{place}");
                    assert_bounded(place, values);
                }
            }
            "integer" | "boolean" => {}
            other => panic!("{place}: {other}"),
        }
    }

    #[test]
    fn every_field_is_bounded() {
        for crd in crds().unwrap() {
            let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
            for part in ["spec", "status"] {
                assert_bounded(part, &schema["openAPIV3Schema"]["properties"][part]);
            }
        }
    }

    /// Sets each field of an object that a schema has and the object lacks to `null`; returns the number of these.
    fn add_nulls(schema: &Value, object: &mut Value) -> usize {
        let mut count = 0;
        let (properties, fields) = (schema["properties"].as_object(), object.as_object_mut());
        if let Some((properties, fields)) = properties.zip(fields) {
            for (name, schema) in properties {
                let field = fields.entry(name.clone()).or_insert_with(|| {
                    count += 1;
                    Value::Null
                });
                count += add_nulls(schema, field);
            }
        }
        count
    }

    #[test]
    fn null_is_an_absent_field() {
        let account = json!({ "name": "signer" });
        let schema = serde_json::to_value(&crds().unwrap()[1].spec.versions[0].schema).unwrap();
        let schema = &schema["openAPIV3Schema"]["properties"]["spec"];
        for auth in [
            json!({ "tokenSecretRef": { "name": "token" } }),
            json!({ "appRole": { "roleId": "web" } }),
            json!({ "kubernetes": { "role": "web", "serviceAccountRef": account } }),
            json!({ "jwt": { "role": "web", "serviceAccountRef": account } }),
            json!({ "aws": { "role": "web", "serviceAccountRef": account } }),
            json!({ "clientCertificate": {} }),
        ] {
            let namespaces = json!({ "selector": {} });
            let spec = json!({ "server": "https://vault", "path": "pki/sign/web", "auth": auth, "allowedNamespaces": namespaces });
            let mut with_nulls = spec.clone();
            assert!(add_nulls(schema, &mut with_nulls) > 20, "{with_nulls}");
            let [plain, with_nulls]: [VaultSpec; 2] =
                [spec, with_nulls].map(|spec| serde_json::from_value(spec).unwrap());
            assert_eq!(with_nulls, plain);
        }
    }

    #[test]
    fn schemas_are_structural_and_have_rules() {
        let crds = crds().unwrap();
        for crd in &crds {
            let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
            let spec = &schema["openAPIV3Schema"]["properties"]["spec"];
            assert_eq!(spec["x-kubernetes-validations"].as_array().unwrap().len(), 7);
            assert_eq!(
                spec["properties"]["auth"]["x-kubernetes-validations"]
                    .as_array()
                    .unwrap()
                    .len(),
                1
            );
            assert!(!schema.to_string().contains("$ref"), "{schema}");
            // The API server refuses types and `nullable` within these.
            for word in ["anyOf", "oneOf", "allOf"] {
                assert!(!schema.to_string().contains(word), "{schema}");
            }
        }
    }
}
