//! The `auth` section of an issuer's spec: the login methods, and their references to Secrets and service accounts.

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::null_as_default;

/// A key of a Secret in the issuer's namespace, or in the cluster resource namespace for a cluster issuer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct SecretKeySelector {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key within the Secret. The default depends on the field that holds the reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub key: Option<String>,
}

/// A key of a ConfigMap in the issuer's namespace, or in the cluster resource namespace for a cluster issuer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct ConfigMapKeySelector {
    /// The name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key within the ConfigMap. The default depends on the field that holds the reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub key: Option<String>,
}

/// How the issuer logs in to Vault. Exactly one method is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.tokenSecretRef), has(self.appRole), has(self.kubernetes), has(self.jwt), has(self.aws), has(self.clientCertificate)].filter(set, set).size() == 1",
    "message": "set exactly one of tokenSecretRef, appRole, kubernetes, jwt, aws, clientCertificate"
}]))]
pub struct Auth {
    /// The Vault namespace of the auth method, if it is not that of the PKI mount (`spec.namespace`); `root` is the
    /// root namespace. The token belongs to this namespace: it is renewed and revoked there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub namespace: Option<String>,
    /// A Vault token kept in a Secret; the key defaults to `token`. Renewed while Vault allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretKeySelector>,
    /// Login with an AppRole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_role: Option<AppRole>,
    /// Login with a Kubernetes service account token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesAuth>,
    /// Login with a JSON Web Token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<JwtAuth>,
    /// Login with an AWS identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsAuth>,
    /// Login with a TLS client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
}

/// Login with an AppRole: its role ID, and its secret ID if the role needs one. Exactly one of `roleId` and
/// `roleIdSecretRef` is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.roleId) != has(self.roleIdSecretRef)",
        "message": "set exactly one of roleId, roleIdSecretRef"
    },
    {
        "rule": "!has(self.secretIdWrappingPath) || has(self.secretRef)",
        "message": "secretIdWrappingPath needs a secretRef, which holds the wrapping token"
    },
    {
        "rule": "!has(self.path) || !self.path.split('/').exists(s, s == '..')",
        "message": "path must not contain '..'",
        "fieldPath": ".path"
    }
]))]
pub struct AppRole {
    /// Where the method is mounted, such as `approle`, `auth/approle` or `/v1/auth/approle`. Defaults to `approle`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub path: Option<String>,
    /// The role ID of the AppRole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub role_id: Option<String>,
    /// A Secret that holds the role ID; the key defaults to `roleId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_id_secret_ref: Option<SecretKeySelector>,
    /// The Secret that holds the secret ID; the key defaults to `secretId`. Not needed for a role with
    /// `bind_secret_id=false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeySelector>,
    /// The path at which the secret ID was wrapped, such as `auth/approle/role/my-role/secret-id`. With it, the Secret
    /// holds a response-wrapping token in place of the secret ID. The controller unwraps it once and keeps the secret
    /// ID in memory: after its next start it needs a new wrapping token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub secret_id_wrapping_path: Option<String>,
}

/// Login with a Kubernetes service account token. Exactly one of `secretRef` and `serviceAccountRef` is set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "(has(self.secretRef) && self.secretRef.name != '') != has(self.serviceAccountRef)",
        "message": "set exactly one of secretRef, serviceAccountRef"
    },
    {
        "rule": "!has(self.mountPath) || !self.mountPath.split('/').exists(s, s == '..')",
        "message": "mountPath must not contain '..'",
        "fieldPath": ".mountPath"
    }
]))]
pub struct KubernetesAuth {
    /// Where the method is mounted, such as `kubernetes`, `auth/kubernetes` or `/v1/auth/kubernetes`. Defaults to
    /// `kubernetes`. A mount of the type `jwt` also works, for specs that were written for cert-manager; `auth.jwt`
    /// has more options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub mount_path: Option<String>,
    /// The Vault role to log in as.
    #[schemars(length(min = 1, max = 512))]
    pub role: String,
    /// A Secret that holds a service account token; the key defaults to `token`. A reference with an empty name
    /// counts as unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = allow_empty_name)]
    pub secret_ref: Option<SecretKeySelector>,
    /// A service account for which the controller requests a token that is valid for ten minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_ref: Option<ServiceAccountRef>,
}

/// Go clients serialize an unset reference as one with an empty name.
fn allow_empty_name(schema: &mut Schema) {
    if let Some(name) = schema.pointer_mut("/properties/name").and_then(Value::as_object_mut) {
        name.remove("minLength");
    }
}

/// A service account in the issuer's namespace, or in the cluster resource namespace for a cluster issuer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct ServiceAccountRef {
    /// The name of the service account.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Further audiences of the token. It always has `vault://<namespace>/<issuer>` (`vault://<issuer>` for a cluster
    /// issuer) and the server's URL. An audience that does not begin with `vault://` must be allowed by the operator
    /// (`--allow-audiences`).
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 2048)), extend("x-kubernetes-list-type" = "atomic"))]
    pub audiences: Vec<String>,
}

/// Login with a JSON Web Token. Exactly one of `secretRef` and `serviceAccountRef` is set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.secretRef) != has(self.serviceAccountRef)",
        "message": "set exactly one of secretRef, serviceAccountRef"
    },
    {
        "rule": "!has(self.mountPath) || !self.mountPath.split('/').exists(s, s == '..')",
        "message": "mountPath must not contain '..'",
        "fieldPath": ".mountPath"
    }
]))]
pub struct JwtAuth {
    /// Where the method is mounted, such as `jwt`, `auth/jwt` or `/v1/auth/jwt`. Defaults to `jwt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub mount_path: Option<String>,
    /// The Vault role to log in as.
    #[schemars(length(min = 1, max = 512))]
    pub role: String,
    /// A Secret that holds the token; the key defaults to `token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeySelector>,
    /// A service account for which the controller requests the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_ref: Option<JwtServiceAccountRef>,
}

/// A service account in the issuer's namespace, or in the cluster resource namespace for a cluster issuer, and the
/// token that is requested for it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct JwtServiceAccountRef {
    /// The name of the service account.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The audiences of the token, and no others. Defaults to `vault://<namespace>/<issuer>` (`vault://<issuer>` for a
    /// cluster issuer) and the server's URL. Any other audience that does not begin with `vault://` must be allowed by
    /// the operator (`--allow-audiences`).
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 2048)), extend("x-kubernetes-list-type" = "atomic"))]
    pub audiences: Vec<String>,
    /// The lifetime of the token in seconds, from 600 to 86400. Defaults to 600: it is used once, to log in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 600, max = 86400))]
    pub expiration_seconds: Option<i64>,
}

/// Login with an AWS identity (the `iam` type of the auth method `aws`): with the access keys in `secretName`, or as
/// the role `iamRoleArn` that `serviceAccountRef` assumes. If neither is set, the identity of the controller's own
/// pod is used, if the operator allows that (`--issuer-ambient-credentials`; for cluster issuers the default).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!(has(self.secretName) && has(self.serviceAccountRef))",
        "message": "set at most one of secretName, serviceAccountRef"
    },
    {
        "rule": "has(self.serviceAccountRef) == has(self.iamRoleArn)",
        "message": "set serviceAccountRef and iamRoleArn together"
    },
    {
        "rule": "!has(self.mountPath) || !self.mountPath.split('/').exists(s, s == '..')",
        "message": "mountPath must not contain '..'",
        "fieldPath": ".mountPath"
    }
]))]
pub struct AwsAuth {
    /// Where the method is mounted, such as `aws`, `auth/aws` or `/v1/auth/aws`. Defaults to `aws`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub mount_path: Option<String>,
    /// The Vault role to log in as.
    #[schemars(length(min = 1, max = 512))]
    pub role: String,
    /// The AWS region of the STS endpoint, which must be the one that Vault is configured for. Defaults to the
    /// region of the controller's pod, or to `us-east-1`; with `secretName`, always to `us-east-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = r"^[a-z0-9-]*$"))]
    pub region: Option<String>,
    /// A Secret that holds access keys: `accessKeyID`, `secretAccessKey` and, for temporary keys, `sessionToken`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
    /// A service account that may assume the role `iamRoleArn` (IAM roles for service accounts, IRSA).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_ref: Option<AwsServiceAccountRef>,
    /// The IAM role that the service account assumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^arn:[a-z0-9-]+:iam::[0-9]{12}:role/[!-~]+$"))]
    pub iam_role_arn: Option<String>,
    /// The value of the header `X-Vault-AWS-IAM-Server-ID`, if Vault is configured to require it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub vault_header_value: Option<String>,
}

/// A service account in the issuer's namespace, or in the cluster resource namespace for a cluster issuer, that
/// assumes an IAM role.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-map-type" = "atomic"))]
pub struct AwsServiceAccountRef {
    /// The name of the service account.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Further audiences of the token for AWS. It always has `sts.amazonaws.com`. An audience that does not begin
    /// with `vault://` must be allowed by the operator (`--allow-audiences`).
    #[serde(default, deserialize_with = "null_as_default", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 2048)), extend("x-kubernetes-list-type" = "atomic"))]
    pub audiences: Vec<String>,
}

/// Login with a TLS client certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.mountPath) || !self.mountPath.split('/').exists(s, s == '..')",
    "message": "mountPath must not contain '..'",
    "fieldPath": ".mountPath"
}]))]
pub struct ClientCertificate {
    /// Where the method is mounted, such as `cert`, `auth/cert` or `/v1/auth/cert`. Defaults to `cert`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub mount_path: Option<String>,
    /// A Secret of type `kubernetes.io/tls` with the certificate to log in with. Defaults to the certificate of
    /// `spec.clientCertSecretRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
    /// The certificate role to log in as. If unset, Vault tries every role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub name: Option<String>,
}
