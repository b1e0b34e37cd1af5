//! The commands that `check` proposes for a failure.

use std::iter;

use issuer_core::access::AccessError;
use issuer_core::target::{Method, Target};

use crate::manifest::Issuer;

/// The service account of the controller, as the chart and the plain manifests install it.
const CONTROLLER: &str = "vault-issuer:vault-issuer";

/// The needs of an issuer in Vault and in the cluster, and the commands that provide them.
///
/// Placeholders, for values that are not in the spec, are in capitals; `PRESENT` is what a role has already, for other issuers
/// may use it too.
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
    /// Whether the auth mount is of the type `jwt`.
    is_jwt: bool,
    /// The Vault namespace of the auth method, if it is not that of the PKI mount; `root` is the root namespace.
    login_namespace: Option<String>,
    /// The path from the namespace of the auth method to that of the PKI mount, if it is below.
    below: Option<String>,
}

impl Needs {
    pub(crate) fn of(target: &Target, issuer: &Issuer, namespace: &str) -> Self {
        let host = target.origin.host().to_owned();
        let mut vault = format!("export VAULT_ADDR={}", target.origin);
        let pki_namespace = target.namespace.as_ref().and_then(|name| name.to_str().ok());
        let pki_namespace = pki_namespace.unwrap_or_default();
        if !pki_namespace.is_empty() {
            vault += &format!(" VAULT_NAMESPACE={pki_namespace}");
        }
        let login_namespace = target.login_namespace.as_ref().and_then(|name| name.to_str().ok());
        let login_namespace = login_namespace.unwrap_or_default();
        let is_elsewhere = login_namespace != pki_namespace;
        let below = match login_namespace {
            "" => Some(pki_namespace),
            parent => pki_namespace
                .strip_prefix(parent)
                .and_then(|rest| rest.strip_prefix('/')),
        };
        Self {
            issuer: issuer.key.name.to_string(),
            namespace: namespace.to_owned(),
            server_name: target.server_name.clone().unwrap_or_else(|| host.clone()),
            host,
            port: target.origin.port(),
            vault,
            path: target.path.as_str().to_owned(),
            method: target.method.clone(),
            is_jwt: issuer.spec.auth.jwt.is_some(),
            below: below.filter(|_| is_elsewhere).map(str::to_owned),
            login_namespace: is_elsewhere.then(|| match login_namespace {
                "" => "root".to_owned(),
                name => name.to_owned(),
            }),
        }
    }

    /// Returns the policy that the token needs, in HCL. Its path is relative to the token's namespace.
    pub(crate) fn policy(&self) -> String {
        let below = self.below.as_ref().map(|name| format!("{name}/")).unwrap_or_default();
        format!(r#"path "{below}{}" {{ capabilities = ["update"] }}"#, self.path)
    }

    /// Returns a command of Vault in the namespace of the auth method.
    fn at_login(&self, verb: &str, arguments: &str) -> String {
        let flag = self.login_namespace.as_ref();
        let flag = flag.map(|name| format!(" -namespace={name}")).unwrap_or_default();
        format!("vault {verb}{flag} {arguments}")
    }

    /// Returns commands that show or repair the cause of a failure; none if the cause is in the spec or passes by itself.
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
                        "kubectl create role vault-issuer-tokens-{account} --namespace {namespace} --verb=create \
                         --resource=serviceaccounts/token --resource-name={account}"
                    ),
                    format!(
                        "kubectl create rolebinding vault-issuer-tokens-{account} --namespace {namespace} \
                         --role=vault-issuer-tokens-{account} --serviceaccount={CONTROLLER}"
                    ),
                ]
            }
            _ => Vec::new(),
        }
    }

    fn account(&self) -> &str {
        self.method.service_account().unwrap_or("ACCOUNT")
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
        let write = self.at_login("policy write", &format!("{policy} -"));
        let write = format!("echo '{}' | {write}", self.policy());
        let role = self.auth_role().map(|role| {
            let read = self.at_login("read", &role);
            [
                read,
                self.role_write(&role, &format!("token_policies=PRESENT,{policy}")),
            ]
        });
        iter::once(write).chain(role.into_iter().flatten()).collect()
    }

    /// Returns the command that changes a role, with the fields that the auth method would reset if they were left out.
    fn role_write(&self, role: &str, fields: &str) -> String {
        let kept = match &self.method {
            Method::Jwt { .. } | Method::ServiceAccount { .. } if self.is_jwt => {
                " role_type=jwt user_claim=PRESENT bound_audiences=PRESENT bound_subject=PRESENT"
            }
            Method::Jwt { .. } | Method::ServiceAccount { .. } => " bound_service_account_namespace_selector=PRESENT",
            _ => "",
        };
        self.at_login("write", &format!("{role} {fields}{kept}"))
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
            Method::Jwt { mount, .. } | Method::ServiceAccount { mount, .. } if self.is_jwt => ("jwt", mount),
            Method::Jwt { mount, .. } | Method::ServiceAccount { mount, .. } => ("kubernetes", mount),
            Method::Token(_) => return Vec::new(),
        };
        vec![
            self.at_login("auth list", "").trim_end().to_owned(),
            self.at_login("auth enable", &format!("-path={mount} {kind}")),
        ]
    }

    fn login(&self) -> Vec<String> {
        let read = self.auth_role().map(|role| self.at_login("read", &role));
        let namespace = &self.namespace;
        let repair = match &self.method {
            Method::AppRole { mount, .. } => {
                Some(self.at_login("write", &format!("-force auth/{mount}/role/ROLE/secret-id")))
            }
            Method::ServiceAccount {
                mount,
                role,
                name,
                audiences,
                ..
            } => {
                let audience = audiences.first().map_or("AUDIENCE", String::as_str);
                let role = format!("auth/{mount}/role/{role}");
                let fields = if self.is_jwt {
                    format!(
                        "role_type=jwt user_claim=sub bound_audiences=PRESENT,{audience} \
                         bound_subject=system:serviceaccount:{namespace}:{name} token_policies=PRESENT"
                    )
                } else {
                    format!(
                        "bound_service_account_names=PRESENT,{name} bound_service_account_namespaces=PRESENT,{namespace} \
                         bound_service_account_namespace_selector=PRESENT audience={audience}"
                    )
                };
                Some(self.at_login("write", &format!("{role} {fields}")))
            }
            Method::Aws { mount, role, .. } => Some(self.at_login(
                "write",
                &format!("auth/{mount}/role/{role} auth_type=iam bound_iam_principal_arn=PRESENT,ARN"),
            )),
            _ => None,
        };
        read.into_iter().chain(repair).collect()
    }
}

#[cfg(test)]
mod tests {
    use issuer_core::reference::{IssuerKey, IssuerKind};
    use issuer_core::target::{AllowedAudiences, AllowedServers, AmbientAws, IssuerPolicy, ProxySettings};
    use issuer_core::vault::ProbeError;
    use serde_json::{Value, json};

    use super::*;

    fn needs(path: &str) -> Needs {
        let kubernetes = json!({ "role": "web", "serviceAccountRef": { "name": "login" } });
        needs_with(path, json!({ "kubernetes": kubernetes }))
    }

    fn needs_with(path: &str, auth: Value) -> Needs {
        let spec = json!({
            "server": "https://vault.example.com:8200",
            "path": path,
            "namespace": "ns1",
            "auth": auth,
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
        let spec: issuer_api::VaultSpec = serde_json::from_value(spec).unwrap();
        let target = Target::parse(&spec, &key, "team-a", &policy).unwrap();
        Needs::of(&target, &Issuer { key, spec }, "team-a")
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
                "vault read auth/kubernetes/role/web",
                "vault write auth/kubernetes/role/web token_policies=PRESENT,vault-issuer-vault \
                 bound_service_account_namespace_selector=PRESENT",
            ]
        );
        assert_eq!(
            needs.login()[1],
            "vault write auth/kubernetes/role/web bound_service_account_names=PRESENT,login \
             bound_service_account_namespaces=PRESENT,team-a bound_service_account_namespace_selector=PRESENT \
             audience=vault://team-a/vault"
        );
    }

    #[test]
    fn jwt_mounts_have_commands_of_their_own() {
        let account = json!({ "name": "login", "audiences": ["vault"] });
        let needs = needs_with(
            "pki/sign/web",
            json!({ "jwt": { "role": "web", "serviceAccountRef": account } }),
        );
        assert_eq!(needs.auth_mount()[1], "vault auth enable -path=jwt jwt");
        assert_eq!(
            needs.login()[1],
            "vault write auth/jwt/role/web role_type=jwt user_claim=sub bound_audiences=PRESENT,vault \
             bound_subject=system:serviceaccount:team-a:login token_policies=PRESENT"
        );
        assert!(needs.grant()[2].contains(" role_type=jwt "), "{:?}", needs.grant());
    }

    #[test]
    fn auth_commands_have_the_login_namespace() {
        for (namespace, flag, path) in [
            ("root", " -namespace=root", "ns1/pki/sign/web"),
            ("other", " -namespace=other", "pki/sign/web"),
            ("ns1", "", "pki/sign/web"),
        ] {
            let app_role = json!({ "roleId": "r", "secretRef": { "name": "s" } });
            let needs = needs_with("pki/sign/web", json!({ "namespace": namespace, "appRole": app_role }));
            assert!(needs.policy().contains(&format!(r#""{path}""#)), "{}", needs.policy());
            let commands = [needs.grant(), needs.auth_mount(), needs.login()].concat();
            for command in &commands {
                assert_eq!(command.contains(" -namespace="), !flag.is_empty(), "{command}");
                assert!(command.contains(flag), "{command}");
            }
            // The PKI mount is where it was.
            assert_eq!(needs.role()[0], "vault list pki/roles");
        }
    }
}
