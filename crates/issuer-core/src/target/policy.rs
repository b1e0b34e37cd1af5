//! The operator's policy for all issuers: permitted servers, proxies, audiences and identities.

use std::collections::BTreeSet;

use super::{AllowedServers, AmbientAws, ProxySettings, ServerPattern};

/// The operator's policy for the issuers of a cluster.
///
/// A user who may create issuers is trusted with their own namespace, but not with the controller's place in the
/// network or its rights at the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct IssuerPolicy {
    /// Whether `http://` servers are allowed.
    pub allow_http: bool,
    /// The AWS identity of the controller's own pod, and which issuers may log in with it.
    pub ambient_aws: AmbientAws,
    /// The only servers that issuers may name with `http://`, unless all are allowed.
    pub http_servers: Vec<ServerPattern>,
    /// The audiences that service account tokens may have.
    pub allowed_audiences: AllowedAudiences,
    /// The servers that issuers may name.
    pub allowed_servers: AllowedServers,
    /// The proxy that the operator has configured.
    pub proxies: ProxySettings,
    /// The controller's own service account, for which it never requests a token.
    pub own_account: Option<ServiceAccount>,
}

impl IssuerPolicy {
    /// Returns `true` if an issuer may name this host with `http://`.
    pub(super) fn permits_http(&self, host: &str) -> bool {
        self.allow_http || self.http_servers.iter().any(|pattern| pattern.has(host))
    }

    /// Returns `true` if only an issuer's server can use a token for this audience.
    pub(super) fn permits_audience(&self, audience: &str) -> bool {
        let listed = match &self.allowed_audiences {
            AllowedAudiences::All => true,
            AllowedAudiences::Listed(audiences) => audiences.contains(audience),
        };
        listed || audience.starts_with("vault://")
    }
}

/// The audiences that service account tokens may have besides those that name an issuer (`vault://..`) or the issuer's
/// server. An audience of the API server would let the issuer's server act as the service account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AllowedAudiences {
    /// Every audience.
    All,
    /// The audiences of this set.
    Listed(BTreeSet<String>),
}

impl Default for AllowedAudiences {
    fn default() -> Self {
        Self::Listed(BTreeSet::new())
    }
}

/// Names a service account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceAccount {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}
