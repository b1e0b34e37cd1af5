//! The commands that `check` proposes for a failure.

use std::iter;

use issuer_core::access::AccessError;
use issuer_core::reference::IssuerKey;
use issuer_core::target::{AwsIdentity, Method, Target};

/// The service account of the controller, as the chart and the plain manifests install it.
const CONTROLLER: &str = "vault-issuer:vault-issuer";

/// The needs of an issuer in Vault and in the cluster, and the commands that provide them.
///
/// Placeholders, for values that are not in the spec, are in capitals.
pub(crate) struct Needs {
    issuer: String,
    /// The namespace of its Secrets and service accounts.
    namespace: String,
    host: String,
    port: u16,
    server_name: String,
    vault: String,
    path: String,
    method: Method,
    audience: String,
}

impl Needs {
    pub(crate) fn of(target: &Target, issuer: &IssuerKey, namespace: &str) -> Self {
        let host = target.origin.host().to_owned();
        let mut vault = format!("export VAULT_ADDR={}", target.origin);
        let vault_namespace = target.namespace.as_ref().and_then(|name| name.to_str().ok());
        if let Some(name) = vault_namespace {
            vault += &format!(" VAULT_NAMESPACE={name}");
        }
        Self {
            issuer: issuer.name.clone(),
            namespace: namespace.to_owned(),
            server_name: target.server_name.clone().unwrap_or_else(|| host.clone()),
            host,
            port: target.origin.port(),
            vault,
            path: target.path.as_str().to_owned(),
            method: target.method.clone(),
            audience: issuer.audience(),
        }
    }

    /// Returns the policy that the token needs, in HCL.
    pub(crate) fn policy(&self) -> String {
        format!(r#"path "{}" {{ capabilities = ["update"] }}"#, self.path)
    }

    /// Returns commands that show or mend the cause of a failure, none where the cause is in the spec or passes by itself.
    pub(crate) fn commands(&self, error: &AccessError) -> Vec<String> {
        let in_vault = match error.reason() {
            "PermissionDenied" => self.grant(),
            "RoleNotFound" => self.role(),
            "PathNotFound" => {
                let mount = self.mount();
                vec![
                    "vault secrets list".to_owned(),
                    format!("vault secrets enable -path={mount} pki"),
                ]
            }
            "CaMissing" => vec![
                format!("vault list {}/issuers", self.mount()),
                format!("vault read {}/config/issuers", self.mount()),
            ],
            "AuthMountNotFound" => self.auth_mount(),
            "LoginDenied" => self.login(),
            "VaultSealed" => vec!["vault operator unseal".to_owned()],
            "VaultUninitialized" => vec!["vault operator init".to_owned()],
            _ => return self.outside_vault(error),
        };
        if in_vault.is_empty() {
            return in_vault;
        }
        iter::once(self.vault.clone()).chain(in_vault).collect()
    }

    fn outside_vault(&self, error: &AccessError) -> Vec<String> {
        let namespace = &self.namespace;
        match error.reason() {
            "TlsFailed" => vec![format!(
                "openssl s_client -connect {}:{} -servername {} -showcerts </dev/null",
                self.host, self.port, self.server_name
            )],
            "SecretForbidden" => vec![format!(
                "kubectl create rolebinding vault-issuer-credentials --namespace {namespace} \
                 --clusterrole=vault-issuer-credentials --serviceaccount={CONTROLLER}"
            )],
            "ServiceAccountNotFound" => {
                let account = self.account();
                vec![format!(
                    "kubectl create serviceaccount {account} --namespace {namespace}"
                )]
            }
            "TokenForbidden" => {
                let account = self.account();
                vec![
                    format!(
                        "kubectl create role vault-issuer-tokens --namespace {namespace} --verb=create \
                         --resource=serviceaccounts/token --resource-name={account}"
                    ),
                    format!(
                        "kubectl create rolebinding vault-issuer-tokens --namespace {namespace} \
                         --role=vault-issuer-tokens --serviceaccount={CONTROLLER}"
                    ),
                ]
            }
            _ => Vec::new(),
        }
    }

    fn account(&self) -> &str {
        match &self.method {
            Method::ServiceAccount { name, .. }
            | Method::Aws {
                identity: AwsIdentity::WebIdentity { name, .. },
                ..
            } => name,
            _ => "ACCOUNT",
        }
    }

    /// Returns the PKI mount of the path.
    fn mount(&self) -> String {
        let ends = ["cel", "external-policy", "issuer", "root", "sign", "sign-verbatim"];
        let (first, rest) = self.path.split_once('/').unwrap_or((&self.path, ""));
        let rest = rest.split('/').take_while(|segment| !ends.contains(segment));
        iter::once(first).chain(rest).collect::<Vec<_>>().join("/")
    }

    /// Returns commands that give the token the right to sign.
    fn grant(&self) -> Vec<String> {
        let policy = format!("vault-issuer-{}", self.issuer);
        let write = format!("echo '{}' | vault policy write {policy} -", self.policy());
        iter::once(write)
            .chain(
                self.auth_role()
                    .map(|role| format!("vault write {role} token_policies={policy}")),
            )
            .collect()
    }

    /// Returns the path of the role to log in as; `None` for a given token.
    fn auth_role(&self) -> Option<String> {
        match &self.method {
            Method::AppRole { mount, .. } => Some(format!("auth/{mount}/role/ROLE")),
            Method::Certificate { mount, role, .. } => {
                let role = role.as_deref().unwrap_or("ROLE");
                Some(format!("auth/{mount}/certs/{role}"))
            }
            Method::Aws { mount, role, .. }
            | Method::Jwt { mount, role, .. }
            | Method::ServiceAccount { mount, role, .. } => Some(format!("auth/{mount}/role/{role}")),
            Method::Token(_) => None,
        }
    }

    fn role(&self) -> Vec<String> {
        let mount = self.mount();
        let role = self.path.rsplit('/').next().unwrap_or_default();
        vec![
            format!("vault list {mount}/roles"),
            format!("vault write {mount}/roles/{role} allowed_domains=DOMAIN allow_subdomains=true max_ttl=2160h"),
        ]
    }

    fn auth_mount(&self) -> Vec<String> {
        let (kind, mount) = match &self.method {
            Method::AppRole { mount, .. } => ("approle", mount),
            Method::Aws { mount, .. } => ("aws", mount),
            Method::Certificate { mount, .. } => ("cert", mount),
            Method::Jwt { mount, .. } | Method::ServiceAccount { mount, .. } => ("kubernetes", mount),
            Method::Token(_) => return Vec::new(),
        };
        vec![
            "vault auth list".to_owned(),
            format!("vault auth enable -path={mount} {kind}"),
        ]
    }

    fn login(&self) -> Vec<String> {
        let read = self.auth_role().map(|role| format!("vault read {role}"));
        let mend = match &self.method {
            Method::AppRole { mount, .. } => Some(format!("vault write -force auth/{mount}/role/ROLE/secret-id")),
            Method::ServiceAccount { mount, role, name, .. } => Some(format!(
                "vault write auth/{mount}/role/{role} bound_service_account_names={name} \
                 bound_service_account_namespaces={} audience={}",
                self.namespace, self.audience
            )),
            Method::Aws { mount, role, .. } => Some(format!(
                "vault write auth/{mount}/role/{role} auth_type=iam bound_iam_principal_arn=ARN"
            )),
            _ => None,
        };
        read.into_iter().chain(mend).collect()
    }
}

#[cfg(test)]
mod tests {
    use issuer_core::reference::IssuerKind;
    use issuer_core::target::{AllowedAudiences, AllowedServers, AmbientAws, IssuerPolicy, ProxySettings};
    use issuer_core::vault::ProbeError;

    use super::*;

    fn needs(path: &str) -> Needs {
        let spec = serde_json::json!({
            "server": "https://vault.example.com:8200",
            "path": path,
            "namespace": "ns1",
            "auth": { "kubernetes": { "role": "web", "serviceAccountRef": { "name": "login" } } },
        });
        let key = IssuerKey {
            kind: IssuerKind::Namespaced,
            namespace: "team-a".into(),
            name: "vault".into(),
        };
        let policy = IssuerPolicy {
            allow_http: false,
            ambient_aws: AmbientAws::default(),
            http_servers: Vec::new(),
            allowed_audiences: AllowedAudiences::All,
            allowed_servers: AllowedServers::All,
            proxies: ProxySettings::default(),
            own_account: None,
        };
        let spec = serde_json::from_value(spec).unwrap();
        let target = Target::parse(&spec, &key, "team-a", &policy).unwrap();
        Needs::of(&target, &key, "team-a")
    }

    #[test]
    fn mount_is_what_the_endpoint_is_below() {
        for (path, mount) in [
            ("pki/sign/web", "pki"),
            ("a/b/sign-verbatim", "a/b"),
            ("pki/issuer/next/sign/web", "pki"),
            ("sign/sign/web", "sign"),
            ("pki/cel/sign/web", "pki"),
        ] {
            assert_eq!(needs(path).mount(), mount, "{path}");
        }
    }

    #[test]
    fn commands_are_complete() {
        let needs = needs("pki/sign/web");
        let denied = ProbeError::Denied {
            path: "pki/sign/web".into(),
        };
        assert_eq!(
            needs.commands(&denied.into()),
            [
                "export VAULT_ADDR=https://vault.example.com:8200 VAULT_NAMESPACE=ns1",
                r#"echo 'path "pki/sign/web" { capabilities = ["update"] }' | vault policy write vault-issuer-vault -"#,
                "vault write auth/kubernetes/role/web token_policies=vault-issuer-vault",
            ]
        );
        assert_eq!(
            needs.login()[1],
            "vault write auth/kubernetes/role/web bound_service_account_names=login \
             bound_service_account_namespaces=team-a audience=vault://team-a/vault"
        );
    }
}
