//! Issuers: their kinds, and how requests refer to them.

use std::fmt;
use std::sync::Arc;

use issuer_api::IssuerRef;

use super::is_object_name;

/// Which kind of issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IssuerKind {
    /// `VaultClusterIssuer`, for all namespaces.
    Cluster,
    /// `VaultIssuer`, for its own namespace.
    Namespaced,
    /// cert-manager's `ClusterIssuer` with `spec.vault`, for all namespaces.
    DropInCluster,
    /// cert-manager's `Issuer` with `spec.vault`, for its own namespace.
    DropInNamespaced,
}

impl IssuerKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [
        Self::Cluster,
        Self::Namespaced,
        Self::DropInCluster,
        Self::DropInNamespaced,
    ];

    /// Returns the kind as Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "VaultClusterIssuer",
            Self::Namespaced => "VaultIssuer",
            Self::DropInCluster => "ClusterIssuer",
            Self::DropInNamespaced => "Issuer",
        }
    }

    /// Returns the kind in the plural, as it is in a URL.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Cluster => "vaultclusterissuers",
            Self::Namespaced => "vaultissuers",
            Self::DropInCluster => "clusterissuers",
            Self::DropInNamespaced => "issuers",
        }
    }

    /// Returns its API group.
    pub fn group(self) -> &'static str {
        if self.is_drop_in() {
            issuer_api::CERT_MANAGER_GROUP
        } else {
            issuer_api::GROUP
        }
    }

    /// Returns plural and group, such as `vaultissuers.vault-issuer.io`.
    fn resource(self) -> String {
        format!("{}.{}", self.plural(), self.group())
    }

    /// Returns its API group and version, such as `vault-issuer.io/v1alpha1`.
    pub fn api_version(self) -> String {
        let version = if self.is_drop_in() {
            issuer_api::CERT_MANAGER_VERSION
        } else {
            issuer_api::VERSION
        };
        format!("{}/{version}", self.group())
    }

    /// Returns `true` if its issuers are for all namespaces.
    pub fn is_cluster(self) -> bool {
        matches!(self, Self::Cluster | Self::DropInCluster)
    }

    /// Returns the kind that a request refers to; `None` if it is none of these.
    ///
    /// An empty group means `cert-manager.io` and an empty kind `Issuer`, as cert-manager reads them.
    pub(crate) fn of(reference: &IssuerRef) -> Option<Self> {
        let [group, kind] = [&reference.group, &reference.kind].map(|word| word.as_deref().unwrap_or_default());
        match (group, kind) {
            (issuer_api::GROUP, "VaultIssuer") => Some(Self::Namespaced),
            (issuer_api::GROUP, "VaultClusterIssuer") => Some(Self::Cluster),
            ("" | issuer_api::CERT_MANAGER_GROUP, "" | "Issuer") => Some(Self::DropInNamespaced),
            ("" | issuer_api::CERT_MANAGER_GROUP, "ClusterIssuer") => Some(Self::DropInCluster),
            _ => None,
        }
    }

    /// Returns `true` if it is cert-manager's own.
    pub fn is_drop_in(self) -> bool {
        matches!(self, Self::DropInCluster | Self::DropInNamespaced)
    }
}

/// Names an issuer. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuerKey {
    /// Its kind.
    pub kind: IssuerKind,
    /// Its namespace; empty for a cluster issuer.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl IssuerKey {
    /// Creates the key of an issuer; one for all namespaces has none of its own.
    pub fn new(kind: IssuerKind, namespace: &str, name: &str) -> Self {
        let namespace = if kind.is_cluster() { "" } else { namespace };
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// Returns the issuer that a request in `namespace` refers to; `None` if its kind is unknown or no object can have
    /// its name.
    pub fn of(reference: &IssuerRef, namespace: &str) -> Option<Self> {
        let kind = IssuerKind::of(reference).filter(|_| is_object_name(&reference.name))?;
        Some(Self::new(kind, namespace, &reference.name))
    }

    /// Returns the issuer that a Kubernetes `CertificateSigningRequest` refers to by its signer name, such as
    /// `vaultissuers.vault-issuer.io/team.vault`; `None` if it is not the name of one of our kinds.
    ///
    /// A namespace has no dots, so the first dot ends it; the name may have dots.
    pub fn of_signer(signer_name: &str) -> Option<Self> {
        let (resource, path) = signer_name.split_once('/')?;
        let kind = IssuerKind::ALL.into_iter().find(|kind| kind.resource() == resource)?;
        let (namespace, name) = if kind.is_cluster() {
            ("", path)
        } else {
            path.split_once('.')?
        };
        // Both become segments of URLs of the API server.
        let is_valid = is_object_name(name) && (kind.is_cluster() || is_object_name(namespace));
        is_valid.then(|| Self::new(kind, namespace, name))
    }

    /// Returns the signer name that refers to this issuer in a Kubernetes `CertificateSigningRequest`.
    pub fn signer_name(&self) -> String {
        let (resource, name) = (self.kind.resource(), &self.name);
        if self.kind.is_cluster() {
            format!("{resource}/{name}")
        } else {
            format!("{resource}/{}.{name}", self.namespace)
        }
    }

    /// Returns the audience that every token requested for this issuer has, as cert-manager forms it.
    pub fn audience(&self) -> String {
        // The kind and the group are left out, so that Vault roles that were written for cert-manager accept the tokens.
        if self.kind.is_cluster() {
            format!("vault://{}", self.name)
        } else {
            format!("vault://{}/{}", self.namespace, self.name)
        }
    }
}

impl fmt::Display for IssuerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.as_str();
        if self.kind.is_cluster() {
            write!(f, "{kind} {}", self.name)
        } else {
            write!(f, "{kind} {}/{}", self.namespace, self.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_its_group_and_kind() {
        let of = |group: Option<&str>, kind: Option<&str>| {
            let reference = IssuerRef {
                name: "vault".to_owned(),
                kind: kind.map(str::to_owned),
                group: group.map(str::to_owned),
            };
            IssuerKey::of(&reference, "team").map(|key| key.to_string())
        };
        let ours = Some("vault-issuer.io");
        let theirs = Some("cert-manager.io");
        for (group, kind, expected) in [
            (ours, Some("VaultIssuer"), Some("VaultIssuer team/vault")),
            (ours, Some("VaultClusterIssuer"), Some("VaultClusterIssuer vault")),
            (ours, Some("Issuer"), None),
            (ours, None, None),
            (theirs, Some("Issuer"), Some("Issuer team/vault")),
            (theirs, Some("ClusterIssuer"), Some("ClusterIssuer vault")),
            (theirs, None, Some("Issuer team/vault")),
            (theirs, Some("VaultIssuer"), None),
            (None, None, Some("Issuer team/vault")),
            (Some(""), Some(""), Some("Issuer team/vault")),
            (None, Some("ClusterIssuer"), Some("ClusterIssuer vault")),
            (Some("example.com"), Some("Issuer"), None),
        ] {
            assert_eq!(of(group, kind).as_deref(), expected, "{group:?} {kind:?}");
        }
    }

    #[test]
    fn signer_name_names_an_issuer() {
        for (name, expected) in [
            ("vaultissuers.vault-issuer.io/team.vault", "VaultIssuer team/vault"),
            (
                "vaultissuers.vault-issuer.io/team.vault.eu",
                "VaultIssuer team/vault.eu",
            ),
            ("vaultclusterissuers.vault-issuer.io/vault", "VaultClusterIssuer vault"),
            (
                "vaultclusterissuers.vault-issuer.io/vault.eu",
                "VaultClusterIssuer vault.eu",
            ),
            ("issuers.cert-manager.io/team.vault", "Issuer team/vault"),
            ("clusterissuers.cert-manager.io/vault.eu", "ClusterIssuer vault.eu"),
        ] {
            let key = IssuerKey::of_signer(name).unwrap();
            assert_eq!(key.to_string(), expected, "{name}");
            assert_eq!(key.signer_name(), name);
        }
    }

    #[test]
    fn odd_signer_names_name_nothing() {
        for name in [
            "",
            "/",
            "vaultissuers.vault-issuer.io",
            "vaultissuers.vault-issuer.io/",
            "vaultissuers.vault-issuer.io/vault",
            "vaultissuers.vault-issuer.io/.vault",
            "vaultissuers.vault-issuer.io/team.",
            "vaultissuers.vault-issuer.io/team.vault/other",
            "vaultissuers.vault-issuer.io/team/vault",
            "vaultissuers.vault-issuer.io/Team.vault",
            "vaultclusterissuers.vault-issuer.io/",
            "vaultclusterissuers.vault-issuer.io/..",
            "VaultIssuers.vault-issuer.io/team.vault",
            "vaultissuers.cert-manager.io/team.vault",
            "issuers.vault-issuer.io/team.vault",
            "kubernetes.io/kube-apiserver-client-kubelet",
        ] {
            assert_eq!(IssuerKey::of_signer(name), None, "{name}");
        }
    }
}
