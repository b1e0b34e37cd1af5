//! The AWS identity of the controller's own pod.

use crate::Origin;

/// The hosts, beside loopback, that may serve credentials in clear text: the addresses of the agent of EKS Pod Identity
/// and of Amazon ECS, which AWS's own clients accept.
const CREDENTIAL_HOSTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];

/// The AWS identity of the controller's own pod, and which issuers may log in with it.
///
/// It belongs to the operator: a user who may create an issuer that uses it can log in to every Vault role that is
/// bound to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AmbientAws {
    /// Whether issuers of one namespace may use it.
    pub issuers: bool,
    /// Whether cluster issuers may use it.
    pub cluster_issuers: bool,
    /// The identity.
    pub environment: AwsEnvironment,
}

/// The AWS settings in the environment of the controller's pod, as EKS sets them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AwsEnvironment {
    /// The identity, if there is one.
    pub(super) identity: Option<AmbientIdentity>,
    /// The region, if it is known.
    pub(super) region: Option<String>,
    /// The endpoint at which IAM roles are assumed, if it is not the public one of the region.
    pub(super) sts_endpoint: Option<Origin>,
}

/// An AWS identity whose keys are obtained with a service account token that the kubelet keeps in a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AmbientIdentity {
    /// The identity that EKS Pod Identity associates with the pod's service account.
    Pod {
        /// Where the keys are served, a URL with a path.
        endpoint: Origin,
        /// The file.
        token_file: String,
    },
    /// An IAM role that the pod's service account assumes.
    Role {
        /// The ARN of the IAM role.
        arn: String,
        /// The file.
        token_file: String,
    },
}

impl AwsEnvironment {
    /// Reads the variables that EKS sets for a pod with an IAM role or a Pod Identity association, in the order of
    /// AWS's own clients: <https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>; and
    /// `AWS_ENDPOINT_URL_STS`, which names a VPC endpoint:
    /// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>.
    ///
    /// Access keys in variables and the identity of the node are not read: neither belongs to the pod alone.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let role = || {
            Some(AmbientIdentity::Role {
                arn: variable("AWS_ROLE_ARN")?,
                token_file: variable("AWS_WEB_IDENTITY_TOKEN_FILE")?,
            })
        };
        let pod = || {
            Some(AmbientIdentity::Pod {
                endpoint: token_endpoint(&variable("AWS_CONTAINER_CREDENTIALS_FULL_URI")?)?,
                token_file: variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")?,
            })
        };
        Self {
            identity: role().or_else(pod),
            region: variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")),
            sts_endpoint: variable("AWS_ENDPOINT_URL_STS").and_then(|url| token_endpoint(&url)),
        }
    }
}

/// Returns the endpoint that a URL names, unless the token would go over the network in clear text.
fn token_endpoint(url: &str) -> Option<Origin> {
    let endpoint = Origin::parse(url)?;
    let host = endpoint.host();
    let is_loopback = matches!(host, "127.0.0.1" | "[::1]" | "localhost");
    (endpoint.is_tls() || is_loopback || CREDENTIAL_HOSTS.contains(&host)).then_some(endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "/var/run/secrets/token";
    const POD_IDENTITY: &str = "http://169.254.170.23/v1/credentials";

    fn read(variables: &[(&str, &str)]) -> AwsEnvironment {
        AwsEnvironment::read(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn sts(url: &str) -> Option<Origin> {
        read(&[("AWS_ENDPOINT_URL_STS", url)]).sts_endpoint
    }

    fn pod(url: &str) -> Option<AmbientIdentity> {
        let variables = [
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", TOKEN),
        ];
        read(&variables).identity
    }

    #[test]
    fn the_role_precedes_pod_identity() {
        let role = [("AWS_ROLE_ARN", "arn"), ("AWS_WEB_IDENTITY_TOKEN_FILE", TOKEN)];
        let pod = [
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", POD_IDENTITY),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", TOKEN),
        ];
        let expected = AmbientIdentity::Role {
            arn: "arn".to_owned(),
            token_file: TOKEN.to_owned(),
        };
        assert_eq!(read(&[role, pod].concat()).identity, Some(expected));
        let endpoint = Origin::parse(POD_IDENTITY).unwrap();
        let expected = AmbientIdentity::Pod {
            endpoint,
            token_file: TOKEN.to_owned(),
        };
        assert_eq!(read(&pod).identity, Some(expected));
    }

    #[test]
    fn half_an_identity_is_none() {
        let halves: [&[(&str, &str)]; 4] = [
            &[],
            &[("AWS_ROLE_ARN", "arn"), ("AWS_WEB_IDENTITY_TOKEN_FILE", " ")],
            &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", POD_IDENTITY)],
            &[("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "x")],
        ];
        for variables in halves {
            assert_eq!(read(variables).identity, None, "{variables:?}");
        }
    }

    #[test]
    fn tokens_stay_off_the_network() {
        for url in [
            POD_IDENTITY,
            "http://[fd00:ec2::23]/v1/credentials",
            "http://127.0.0.1:8080/credentials",
            "https://credentials.example/v1",
        ] {
            assert!(pod(url).is_some() && sts(url).is_some(), "{url}");
        }
        for url in [
            "http://169.254.169.254/latest",
            "http://169.254.170.23.example/v1",
            "http://credentials.example/v1",
            "/v1/credentials",
        ] {
            assert!(pod(url).is_none() && sts(url).is_none(), "{url}");
        }
    }

    #[test]
    fn region_has_two_names() {
        assert_eq!(read(&[("AWS_DEFAULT_REGION", "a")]).region.as_deref(), Some("a"));
        let both = [("AWS_DEFAULT_REGION", "a"), ("AWS_REGION", "b")];
        assert_eq!(read(&both).region.as_deref(), Some("b"));
    }
}
