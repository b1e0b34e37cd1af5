//! The rights in the cluster that an issuer needs.

use std::fmt;

use issuer_core::reference::{ConfigMapRef, SecretRef, TokenSpec};
#[cfg(feature = "cluster")]
use issuer_core::target::ServiceAccount;
#[cfg(feature = "cluster")]
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
#[cfg(feature = "cluster")]
use kube::api::PostParams;
#[cfg(feature = "cluster")]
use kube::{Api, Client};

/// A right that the controller needs for an issuer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Right {
    kind: Kind,
    namespace: String,
    name: String,
}

/// The kind of right.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    ConfigMap,
    Secret,
    Token,
}

impl Right {
    /// Returns the right to read a ConfigMap.
    pub(crate) fn of_config_map(config_map: &ConfigMapRef) -> Self {
        Self {
            kind: Kind::ConfigMap,
            namespace: config_map.namespace.clone(),
            name: config_map.name.clone(),
        }
    }

    /// Returns the right to read a Secret.
    pub(crate) fn of_secret(secret: &SecretRef) -> Self {
        Self {
            kind: Kind::Secret,
            namespace: secret.namespace.clone(),
            name: secret.name.clone(),
        }
    }

    /// Returns the right to request tokens of a service account.
    pub(crate) fn of_token(token: &TokenSpec) -> Self {
        Self {
            kind: Kind::Token,
            namespace: token.namespace.clone(),
            name: token.service_account.clone(),
        }
    }

    /// Returns the object, such as `Secret team-a/vault-approle`.
    pub(crate) fn object(&self) -> String {
        let kind = match self.kind {
            Kind::ConfigMap => "ConfigMap",
            Kind::Secret => "Secret",
            Kind::Token => "ServiceAccount",
        };
        format!("{kind} {}/{}", self.namespace, self.name)
    }

    /// Asks whether a service account lacks this right; `false` if there is no answer, for example because the user may not
    /// ask.
    #[cfg(feature = "cluster")]
    pub(super) async fn is_denied(&self, client: Client, account: &ServiceAccount) -> bool {
        let reviews: Api<SubjectAccessReview> = Api::all(client);
        let answer = reviews.create(&PostParams::default(), &self.review(account)).await;
        let status = answer.ok().and_then(|review| review.status);
        status.is_some_and(|status| !status.allowed && status.evaluation_error.is_none())
    }

    #[cfg(feature = "cluster")]
    fn review(&self, account: &ServiceAccount) -> SubjectAccessReview {
        let ServiceAccount { namespace, name } = account;
        let (verb, resource, subresource) = match self.kind {
            Kind::ConfigMap => ("get", "configmaps", None),
            Kind::Secret => ("get", "secrets", None),
            Kind::Token => ("create", "serviceaccounts", Some("token")),
        };
        let groups = [
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ];
        SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(format!("system:serviceaccount:{namespace}:{name}")),
                groups: Some(groups.to_vec()),
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(self.namespace.clone()),
                    name: Some(self.name.clone()),
                    verb: Some(verb.to_owned()),
                    resource: Some(resource.to_owned()),
                    subresource: subresource.map(str::to_owned),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        }
    }
}

/// Says what may be done with it, and which value of the chart grants it.
impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (action, value) = match self.kind {
            Kind::ConfigMap | Kind::Secret => ("read", "namespaces"),
            Kind::Token => ("request tokens of", "serviceAccounts"),
        };
        write!(
            f,
            "{action} {}; the chart's credentials.{value} grants it",
            self.object()
        )
    }
}

#[cfg(all(test, feature = "cluster"))]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn right_is_asked_for_by_name() {
        let account = ServiceAccount {
            namespace: "vault-issuer".to_owned(),
            name: "controller".to_owned(),
        };
        for (kind, verb, resource, subresource) in [
            (Kind::ConfigMap, "get", "configmaps", None),
            (Kind::Secret, "get", "secrets", None),
            (Kind::Token, "create", "serviceaccounts", Some("token")),
        ] {
            let right = Right {
                kind,
                namespace: "team-a".to_owned(),
                name: "login".to_owned(),
            };
            let spec = serde_json::to_value(right.review(&account).spec).unwrap();
            assert_eq!(spec["user"], "system:serviceaccount:vault-issuer:controller");
            let groups = [
                "system:serviceaccounts",
                "system:serviceaccounts:vault-issuer",
                "system:authenticated",
            ];
            assert_eq!(spec["groups"], json!(groups));
            let asked = &spec["resourceAttributes"];
            let place = (&asked["namespace"], &asked["name"]);
            assert_eq!(place, (&json!("team-a"), &json!("login")));
            let action = (&asked["verb"], &asked["resource"], &asked["subresource"]);
            assert_eq!(action, (&json!(verb), &json!(resource), &json!(subresource)));
        }
    }

    #[test]
    fn lacking_right_names_value_of_chart() {
        let right = Right {
            kind: Kind::Token,
            namespace: "team-a".to_owned(),
            name: "login".to_owned(),
        };
        assert_eq!(
            right.to_string(),
            "request tokens of ServiceAccount team-a/login; the chart's credentials.serviceAccounts grants it"
        );
    }
}
