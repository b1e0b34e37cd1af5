//! The AWS identity that an issuer logs in with, and where AWS confirms it.

use http::HeaderValue;
use issuer_api::AwsAuth;

use super::ambient::AmbientIdentity;
use super::issuer::Issuer;
use super::{SpecError, filled, object_name};
use crate::{Origin, Proxy};

/// The audience of service account tokens that AWS accepts.
const STS_AUDIENCE: &str = "sts.amazonaws.com";

/// The AWS region if neither the spec nor the pod's environment names one.
const DEFAULT_REGION: &str = "us-east-1";

/// An AWS identity.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum AwsIdentity {
    /// That of the controller's own pod.
    Ambient(AmbientIdentity),
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
    /// Its URL.
    pub origin: Origin,
    /// The endpoint at which IAM roles are assumed.
    pub endpoint: Origin,
    /// The proxy that `endpoint` is reached through.
    pub proxy: Option<Proxy>,
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
        let origin = Origin::parse(&format!("https://sts.{region}.amazonaws.com{suffix}"))?;
        Some(Self {
            endpoint: origin.clone(),
            origin,
            proxy: None,
            region: region.to_owned(),
            server_id: server_id.map(str::to_owned),
        })
    }
}

impl Issuer<'_> {
    /// Parses the identity, and the service that confirms it.
    pub(super) fn aws_identity(self, auth: &AwsAuth) -> Result<(Sts, AwsIdentity), SpecError> {
        let server_id = auth.vault_header_value.as_deref().filter(|value| !value.is_empty());
        if server_id.is_some_and(|value| HeaderValue::from_str(value).is_err()) {
            return Err(SpecError::ServerId);
        }
        let identity = self.identity(auth)?;
        let environment = &self.policy.ambient_aws.environment;
        let pod_region = match &identity {
            // As in cert-manager, whose AWS SDK reads it for both.
            AwsIdentity::Ambient(_) | AwsIdentity::WebIdentity { .. } => environment.region.as_deref(),
            AwsIdentity::Keys(_) => None,
        };
        let region = auth.region.as_deref().filter(|region| !region.is_empty());
        let region = region.or(pod_region).unwrap_or(DEFAULT_REGION);
        let mut sts = Sts::new(region, server_id).ok_or(SpecError::Region)?;
        if let Some(endpoint) = &environment.sts_endpoint {
            sts.endpoint = endpoint.clone();
        }
        sts.proxy = self.policy.proxies.of(&sts.endpoint).cloned();
        Ok((sts, identity))
    }

    fn identity(self, auth: &AwsAuth) -> Result<AwsIdentity, SpecError> {
        match (&auth.secret_name, &auth.service_account_ref, &auth.iam_role_arn) {
            (Some(secret), None, None) => Ok(AwsIdentity::Keys(object_name(secret, "spec.auth.aws.secretName")?)),
            (None, Some(account), Some(arn)) => {
                let name = object_name(&account.name, "spec.auth.aws.serviceAccountRef.name")?;
                self.permit_account(&name, &account.audiences, "spec.auth.aws.serviceAccountRef")?;
                Ok(AwsIdentity::WebIdentity {
                    arn: filled(arn, "spec.auth.aws.iamRoleArn")?,
                    name,
                    audiences: [vec![STS_AUDIENCE.to_owned()], account.audiences.clone()].concat(),
                })
            }
            (None, None, None) => {
                let ambient = &self.policy.ambient_aws;
                let (permitted, flag) = if self.key.kind.is_cluster() {
                    (ambient.cluster_issuers, "--cluster-issuer-ambient-credentials")
                } else {
                    (ambient.issuers, "--issuer-ambient-credentials")
                };
                if !permitted {
                    return Err(SpecError::AmbientAws(flag));
                }
                let identity = ambient.environment.identity.clone();
                identity.map(AwsIdentity::Ambient).ok_or(SpecError::NoAmbientAws)
            }
            _ => Err(SpecError::AwsIdentity),
        }
    }
}

#[cfg(test)]
mod tests {
    use issuer_api::AwsServiceAccountRef;

    use super::*;
    use crate::reference::{IssuerKey, IssuerKind};
    use crate::target::{AmbientAws, AwsEnvironment, IssuerPolicy};

    fn parse_as(kind: IssuerKind, policy: &IssuerPolicy, aws: &AwsAuth) -> Result<(Sts, AwsIdentity), SpecError> {
        let issuer = Issuer {
            key: &IssuerKey {
                kind,
                namespace: "team".into(),
                name: "vault".into(),
            },
            namespace: "team",
            policy,
            server: Some("https://vault.example"),
        };
        issuer.aws_identity(aws)
    }

    fn parse(aws: &AwsAuth) -> Result<(Sts, AwsIdentity), SpecError> {
        parse_as(IssuerKind::Namespaced, &IssuerPolicy::default(), aws)
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
        let (_, keys) = parse(&with_keys()).unwrap();
        assert_eq!(keys, AwsIdentity::Keys("keys".to_owned()));
        let (_, account) = parse(&with_account(&["vault://other"])).unwrap();
        let AwsIdentity::WebIdentity { name, audiences, .. } = account else {
            panic!("{account:?}");
        };
        assert_eq!(name, "signer");
        assert_eq!(audiences, ["sts.amazonaws.com", "vault://other"]);
        let both = AwsAuth {
            secret_name: Some("keys".to_owned()),
            ..with_account(&[])
        };
        let half = AwsAuth {
            iam_role_arn: None,
            ..with_account(&[])
        };
        let other_half = AwsAuth {
            service_account_ref: None,
            ..with_account(&[])
        };
        for aws in [both, half, other_half] {
            assert_eq!(parse(&aws), Err(SpecError::AwsIdentity));
        }
        let audience = SpecError::Audience("spec.auth.aws.serviceAccountRef", 0);
        assert_eq!(parse(&with_account(&["https://kubernetes"])), Err(audience));
    }

    #[test]
    fn ambient_identity_must_be_permitted() {
        let environment = AwsEnvironment::read(|name| match name {
            "AWS_ROLE_ARN" => Some("arn".to_owned()),
            "AWS_WEB_IDENTITY_TOKEN_FILE" => Some("/token".to_owned()),
            "AWS_REGION" => Some("eu-west-1".to_owned()),
            _ => None,
        });
        let ambient = AwsAuth {
            secret_name: None,
            ..with_keys()
        };
        let parse = |kind: IssuerKind, (issuers, cluster_issuers): (bool, bool), environment: &AwsEnvironment| {
            let policy = IssuerPolicy {
                ambient_aws: AmbientAws {
                    issuers,
                    cluster_issuers,
                    environment: environment.clone(),
                },
                ..IssuerPolicy::default()
            };
            parse_as(kind, &policy, &ambient)
        };
        for kind in IssuerKind::ALL {
            let (only_this, only_other, flag) = if kind.is_cluster() {
                ((false, true), (true, false), "--cluster-issuer-ambient-credentials")
            } else {
                ((true, false), (false, true), "--issuer-ambient-credentials")
            };
            let refused = parse(kind, only_other, &environment);
            assert_eq!(refused, Err(SpecError::AmbientAws(flag)));
            let (sts, identity) = parse(kind, only_this, &environment).unwrap();
            assert!(matches!(identity, AwsIdentity::Ambient(_)), "{identity:?}");
            assert_eq!(sts.region, "eu-west-1");
            let none = parse(kind, only_this, &AwsEnvironment::default());
            assert_eq!(none, Err(SpecError::NoAmbientAws));
        }
    }

    #[test]
    fn region_of_the_pod_is_the_default() {
        let environment = AwsEnvironment::read(|name| (name == "AWS_REGION").then(|| "eu-west-1".to_owned()));
        let policy = IssuerPolicy {
            ambient_aws: AmbientAws {
                environment,
                ..AmbientAws::default()
            },
            ..IssuerPolicy::default()
        };
        let region = |aws: &AwsAuth| parse_as(IssuerKind::Namespaced, &policy, aws).unwrap().0.region;
        assert_eq!(region(&with_account(&[])), "eu-west-1");
        assert_eq!(region(&with_keys()), "us-east-1");
        let named = AwsAuth {
            region: Some("eu-central-1".to_owned()),
            ..with_account(&[])
        };
        assert_eq!(region(&named), "eu-central-1");
    }

    #[test]
    fn aws_region_names_no_other_host() {
        let with_region = |region: &str| {
            parse(&AwsAuth {
                region: Some(region.to_owned()),
                ..with_keys()
            })
        };
        for (region, host) in [
            ("", "sts.us-east-1.amazonaws.com"),
            ("eu-central-1", "sts.eu-central-1.amazonaws.com"),
            ("cn-north-1", "sts.cn-north-1.amazonaws.com.cn"),
        ] {
            assert_eq!(with_region(region).unwrap().0.origin.host(), host);
        }
        for region in ["a.b", "evil.example/", "a:1", "EU", "a b", "\u{e9}u"] {
            assert_eq!(with_region(region), Err(SpecError::Region));
        }
        let split = parse(&AwsAuth {
            vault_header_value: Some("a\nb".to_owned()),
            ..with_keys()
        });
        assert_eq!(split, Err(SpecError::ServerId));
    }
}
