//! How an issuer logs in.

use std::fmt;

use http::HeaderValue;
use issuer_api::{AppRole, Auth, AwsAuth, ClientCertificate, JwtAuth, KubernetesAuth, SecretKeySelector};

use super::{IssuerPolicy, Mount, SpecError, filled, object_name, secret_key};
use crate::Origin;
use crate::reference::{IssuerKey, SecretKey};

/// The lifetime of a service account token in seconds, unless the spec sets another: the least that Kubernetes grants.
const TOKEN_SECONDS: i64 = 600;

/// The longest lifetime of a service account token in seconds.
const TOKEN_SECONDS_LIMIT: i64 = 86_400;

/// The audience of service account tokens that AWS takes.
const STS_AUDIENCE: &str = "sts.amazonaws.com";

/// How an issuer logs in.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Method {
    /// With a role ID, and the secret ID in a Secret.
    AppRole {
        /// The mount of the method.
        mount: Mount,
        /// The role ID.
        role_id: RoleId,
        /// The key that holds the secret ID, if the role needs one.
        secret_id: Option<SecretKey>,
    },
    /// With an AWS identity.
    Aws {
        /// The mount of the method.
        mount: Mount,
        /// The role to log in as.
        role: String,
        /// Where AWS is asked to confirm the identity.
        sts: Sts,
        /// The identity.
        identity: AwsIdentity,
    },
    /// With a TLS client certificate.
    Certificate {
        /// The mount of the method.
        mount: Mount,
        /// The role to log in as, if one is named.
        role: Option<String>,
        /// The Secret of the certificate, if it is not the connection's own.
        secret: Option<String>,
    },
    /// With a JSON Web Token that is kept in a Secret, at a mount of the type `kubernetes` or `jwt`.
    Jwt {
        /// The mount of the method.
        mount: Mount,
        /// The role to log in as.
        role: String,
        /// The key that holds the token.
        token: SecretKey,
    },
    /// With a token requested for a service account, at a mount of the type `kubernetes` or `jwt`.
    ServiceAccount {
        /// The mount of the method.
        mount: Mount,
        /// The role to log in as.
        role: String,
        /// The service account.
        name: String,
        /// The token's audiences.
        audiences: Vec<String>,
        /// The token's lifetime in seconds.
        expiration_seconds: i64,
    },
    /// With a token from a Secret.
    Token(SecretKey),
}

/// The role ID of an AppRole.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum RoleId {
    /// The role ID in the spec.
    Inline(String),
    /// The key that holds the role ID.
    Secret(SecretKey),
}

/// An AWS identity.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum AwsIdentity {
    /// The owner of the access keys in the Secret of this name.
    Keys(String),
    /// An IAM role that a service account assumes.
    WebIdentity {
        /// The ARN of the IAM role.
        arn: String,
        /// The service account.
        name: String,
        /// The audiences of its token.
        audiences: Vec<String>,
    },
}

/// The Security Token Service of AWS, which confirms identities, and the Vault server that asks it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sts {
    /// Where it is.
    pub origin: Origin,
    /// The region.
    pub region: String,
    /// The value of the header `X-Vault-AWS-IAM-Server-ID`, if Vault requires it: the signed request is of no use to
    /// another Vault server then.
    pub server_id: Option<String>,
}

impl Sts {
    /// Returns the service of a region; `None` if a region cannot have such a name.
    pub(crate) fn new(region: &str, server_id: Option<&str>) -> Option<Self> {
        // The region becomes a part of the host that gets the token of a service account.
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if region.is_empty() || region.len() > 63 || !region.bytes().all(letter) {
            return None;
        }
        let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
        Some(Self {
            origin: Origin::parse(&format!("https://sts.{region}.amazonaws.com{suffix}"))?,
            region: region.to_owned(),
            server_id: server_id.map(str::to_owned),
        })
    }
}

impl Method {
    /// Returns the keys of Secrets whose values the login sends.
    pub fn keys(&self) -> Vec<&SecretKey> {
        match self {
            Self::AppRole { role_id, secret_id, .. } => {
                let role_id = match role_id {
                    RoleId::Inline(_) => None,
                    RoleId::Secret(key) => Some(key),
                };
                role_id.into_iter().chain(secret_id).collect()
            }
            Self::Jwt { token: key, .. } | Self::Token(key) => vec![key],
            Self::Aws { .. } | Self::Certificate { .. } | Self::ServiceAccount { .. } => Vec::new(),
        }
    }

    /// Returns the names of the Secrets that the login needs.
    pub(super) fn secrets(&self) -> Vec<&str> {
        match self {
            Self::Aws {
                identity: AwsIdentity::Keys(secret),
                ..
            } => vec![secret.as_str()],
            Self::Certificate { secret, .. } => secret.iter().map(String::as_str).collect(),
            other => other.keys().into_iter().map(|key| key.name.as_str()).collect(),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AppRole { mount, .. } => write!(f, "an AppRole at {mount}"),
            Self::Aws {
                mount, role, identity, ..
            } => match identity {
                AwsIdentity::Keys(_) => write!(f, "AWS access keys from a Secret, as {role} at {mount}"),
                AwsIdentity::WebIdentity { arn, name, .. } => {
                    write!(
                        f,
                        "the AWS identity {arn} of service account {name}, as {role} at {mount}"
                    )
                }
            },
            Self::Certificate { mount, .. } => write!(f, "a client certificate at {mount}"),
            Self::Jwt { mount, role, .. } => write!(f, "a service account token from a Secret, as {role} at {mount}"),
            Self::ServiceAccount { mount, role, name, .. } => {
                write!(f, "a token of service account {name}, as {role} at {mount}")
            }
            Self::Token(_) => f.write_str("a given token"),
        }
    }
}

/// The issuer whose method is parsed.
#[derive(Clone, Copy)]
pub(super) struct Issuer<'a> {
    pub(super) key: &'a IssuerKey,
    /// Where its service accounts are.
    pub(super) namespace: &'a str,
    pub(super) policy: &'a IssuerPolicy,
    /// Its server's URL, as the spec has it.
    pub(super) server: &'a str,
}

/// Where a JSON Web Token comes from.
enum Source {
    Secret(SecretKey),
    Account {
        name: String,
        audiences: Vec<String>,
        expiration_seconds: i64,
    },
}

impl Issuer<'_> {
    /// Parses the one method that is set.
    pub(super) fn method(self, auth: &Auth) -> Result<Method, SpecError> {
        let methods = [
            auth.token_secret_ref.as_ref().map(token),
            auth.app_role.as_ref().map(app_role),
            auth.kubernetes.as_ref().map(|kubernetes| self.kubernetes(kubernetes)),
            auth.jwt.as_ref().map(|jwt| self.jwt(jwt)),
            auth.aws.as_ref().map(|aws| self.aws(aws)),
            auth.client_certificate.as_ref().map(client_certificate),
        ];
        let mut set = methods.into_iter().flatten();
        match (set.next(), set.next()) {
            (Some(method), None) => method,
            _ => Err(SpecError::Method),
        }
    }

    fn kubernetes(self, auth: &KubernetesAuth) -> Result<Method, SpecError> {
        let mount = mount(
            auth.mount_path.as_deref(),
            "kubernetes",
            "spec.auth.kubernetes.mountPath",
        )?;
        let role = filled(&auth.role, "spec.auth.kubernetes.role")?;
        // Go clients write an unset reference as one with an empty name.
        let secret = auth.secret_ref.as_ref().filter(|secret| !secret.name.is_empty());
        let source = match (secret, &auth.service_account_ref) {
            (Some(secret), None) => Source::Secret(secret_key(secret, "token", "spec.auth.kubernetes.secretRef.name")?),
            (None, Some(account)) => {
                let name = object_name(&account.name, "spec.auth.kubernetes.serviceAccountRef.name")?;
                self.permit_account(&name, &account.audiences, "spec.auth.kubernetes.serviceAccountRef")?;
                Source::Account {
                    name,
                    audiences: [account.audiences.clone(), self.audiences()].concat(),
                    expiration_seconds: TOKEN_SECONDS,
                }
            }
            _ => return Err(SpecError::JwtSource("spec.auth.kubernetes")),
        };
        Ok(with_jwt(mount, role, source))
    }

    fn jwt(self, auth: &JwtAuth) -> Result<Method, SpecError> {
        let mount = mount(auth.mount_path.as_deref(), "jwt", "spec.auth.jwt.mountPath")?;
        let role = filled(&auth.role, "spec.auth.jwt.role")?;
        let source = match (&auth.secret_ref, &auth.service_account_ref) {
            (Some(secret), None) => Source::Secret(secret_key(secret, "token", "spec.auth.jwt.secretRef.name")?),
            (None, Some(account)) => {
                let field = "spec.auth.jwt.serviceAccountRef";
                let name = object_name(&account.name, "spec.auth.jwt.serviceAccountRef.name")?;
                self.permit_account(&name, &account.audiences, field)?;
                let expiration_seconds = account.expiration_seconds.unwrap_or(TOKEN_SECONDS);
                if !(TOKEN_SECONDS..=TOKEN_SECONDS_LIMIT).contains(&expiration_seconds) {
                    return Err(SpecError::TokenLifetime(field));
                }
                let listed = Some(account.audiences.clone()).filter(|listed| !listed.is_empty());
                Source::Account {
                    name,
                    audiences: listed.unwrap_or_else(|| self.audiences()),
                    expiration_seconds,
                }
            }
            _ => return Err(SpecError::JwtSource("spec.auth.jwt")),
        };
        Ok(with_jwt(mount, role, source))
    }

    fn aws(self, auth: &AwsAuth) -> Result<Method, SpecError> {
        let region = auth.region.as_deref().filter(|region| !region.is_empty());
        let server_id = auth.vault_header_value.as_deref().filter(|value| !value.is_empty());
        if server_id.is_some_and(|value| HeaderValue::from_str(value).is_err()) {
            return Err(SpecError::ServerId);
        }
        let identity = match (&auth.secret_name, &auth.service_account_ref, &auth.iam_role_arn) {
            (Some(secret), None, None) => AwsIdentity::Keys(object_name(secret, "spec.auth.aws.secretName")?),
            (None, Some(account), Some(arn)) => {
                let name = object_name(&account.name, "spec.auth.aws.serviceAccountRef.name")?;
                self.permit_account(&name, &account.audiences, "spec.auth.aws.serviceAccountRef")?;
                AwsIdentity::WebIdentity {
                    arn: filled(arn, "spec.auth.aws.iamRoleArn")?,
                    name,
                    audiences: [vec![STS_AUDIENCE.to_owned()], account.audiences.clone()].concat(),
                }
            }
            _ => return Err(SpecError::AwsIdentity),
        };
        Ok(Method::Aws {
            mount: mount(auth.mount_path.as_deref(), "aws", "spec.auth.aws.mountPath")?,
            role: filled(&auth.role, "spec.auth.aws.role")?,
            sts: Sts::new(region.unwrap_or("us-east-1"), server_id).ok_or(SpecError::Region)?,
            identity,
        })
    }

    /// Returns the audiences that name the issuer and its server.
    fn audiences(self) -> Vec<String> {
        vec![self.key.audience(), self.server.to_owned()]
    }

    /// Returns an error if the policy forbids to request a token of the service account `name` for these audiences, which
    /// `field` lists.
    fn permit_account(self, name: &str, audiences: &[String], field: &'static str) -> Result<(), SpecError> {
        let own = self.policy.own_account.as_ref();
        if own.is_some_and(|own| own.namespace == self.namespace && own.name == name) {
            return Err(SpecError::OwnAccount(field));
        }
        let forbidden = audiences
            .iter()
            .position(|audience| audience != self.server && !self.policy.permits_audience(audience));
        forbidden.map_or(Ok(()), |place| Err(SpecError::Audience(field, place)))
    }
}

fn with_jwt(mount: Mount, role: String, source: Source) -> Method {
    match source {
        Source::Secret(token) => Method::Jwt { mount, role, token },
        Source::Account {
            name,
            audiences,
            expiration_seconds,
        } => Method::ServiceAccount {
            mount,
            role,
            name,
            audiences,
            expiration_seconds,
        },
    }
}

fn token(key: &SecretKeySelector) -> Result<Method, SpecError> {
    Ok(Method::Token(secret_key(
        key,
        "token",
        "spec.auth.tokenSecretRef.name",
    )?))
}

fn app_role(role: &AppRole) -> Result<Method, SpecError> {
    let role_id = match (&role.role_id, &role.role_id_secret_ref) {
        (Some(id), None) => RoleId::Inline(filled(id, "spec.auth.appRole.roleId")?),
        (None, Some(key)) => RoleId::Secret(secret_key(key, "roleId", "spec.auth.appRole.roleIdSecretRef.name")?),
        _ => return Err(SpecError::RoleIdSource),
    };
    let secret_id = role.secret_ref.as_ref();
    Ok(Method::AppRole {
        mount: mount(role.path.as_deref(), "approle", "spec.auth.appRole.path")?,
        role_id,
        secret_id: secret_id
            .map(|key| secret_key(key, "secretId", "spec.auth.appRole.secretRef.name"))
            .transpose()?,
    })
}

fn client_certificate(certificate: &ClientCertificate) -> Result<Method, SpecError> {
    Ok(Method::Certificate {
        mount: mount(
            certificate.mount_path.as_deref(),
            "cert",
            "spec.auth.clientCertificate.mountPath",
        )?,
        role: certificate.name.clone().filter(|name| !name.is_empty()),
        secret: match certificate.secret_name.as_deref() {
            None | Some("") => None,
            Some(name) => Some(object_name(name, "spec.auth.clientCertificate.secretName")?),
        },
    })
}

fn mount(path: Option<&str>, default: &str, field: &'static str) -> Result<Mount, SpecError> {
    let path = path.map(str::trim).filter(|path| !path.is_empty()).unwrap_or(default);
    Mount::parse(path).ok_or(SpecError::Mount(field))
}

#[cfg(test)]
mod tests {
    use issuer_api::AwsServiceAccountRef;

    use super::*;
    use crate::reference::IssuerKind;

    fn parse(aws: AwsAuth) -> Result<Method, SpecError> {
        let issuer = Issuer {
            key: &IssuerKey {
                kind: IssuerKind::Namespaced,
                namespace: "team".to_owned(),
                name: "vault".to_owned(),
            },
            namespace: "team",
            policy: &IssuerPolicy::default(),
            server: "https://vault.example",
        };
        issuer.method(&Auth {
            aws: Some(aws),
            ..Auth::default()
        })
    }

    fn with_keys() -> AwsAuth {
        AwsAuth {
            role: "web".to_owned(),
            secret_name: Some("keys".to_owned()),
            ..AwsAuth::default()
        }
    }

    fn with_account(audiences: &[&str]) -> AwsAuth {
        AwsAuth {
            secret_name: None,
            service_account_ref: Some(AwsServiceAccountRef {
                name: "signer".to_owned(),
                audiences: audiences.iter().map(|audience| (*audience).to_owned()).collect(),
            }),
            iam_role_arn: Some("arn:aws:iam::123456789012:role/web".to_owned()),
            ..with_keys()
        }
    }

    #[test]
    fn aws_identity_has_one_source() {
        assert_eq!(parse(with_keys()).unwrap().secrets(), ["keys"]);
        assert_eq!(parse(with_account(&[])).unwrap().secrets(), [""; 0]);
        let none = AwsAuth {
            secret_name: None,
            ..with_keys()
        };
        let both = AwsAuth {
            secret_name: Some("keys".to_owned()),
            ..with_account(&[])
        };
        let half = AwsAuth {
            iam_role_arn: None,
            ..with_account(&[])
        };
        for aws in [none, both, half] {
            assert_eq!(parse(aws), Err(SpecError::AwsIdentity));
        }
        let audience = SpecError::Audience("spec.auth.aws.serviceAccountRef", 0);
        assert_eq!(parse(with_account(&["https://kubernetes"])), Err(audience));
    }

    #[test]
    fn aws_region_names_no_other_host() {
        for (region, host) in [
            ("", "sts.us-east-1.amazonaws.com"),
            ("eu-central-1", "sts.eu-central-1.amazonaws.com"),
            ("cn-north-1", "sts.cn-north-1.amazonaws.com.cn"),
        ] {
            let region = Some(region.to_owned());
            let Ok(Method::Aws { sts, .. }) = parse(AwsAuth { region, ..with_keys() }) else {
                panic!("{host} is refused");
            };
            assert_eq!(sts.origin.host(), host);
        }
        for region in ["a.b", "evil.example/", "a:1", "EU", "a b", "\u{e9}u"] {
            let region = Some(region.to_owned());
            assert_eq!(parse(AwsAuth { region, ..with_keys() }), Err(SpecError::Region));
        }
        let vault_header_value = Some("a\nb".to_owned());
        let split = parse(AwsAuth {
            vault_header_value,
            ..with_keys()
        });
        assert_eq!(split, Err(SpecError::ServerId));
    }
}
