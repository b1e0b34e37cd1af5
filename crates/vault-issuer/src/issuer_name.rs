//! Names of issuers on the command line.

use std::str::FromStr;

use issuer_core::reference::IssuerKind;

/// An issuer as kubectl names it: `vaultissuer/NAME`, with the kind in any of its forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerName {
    /// Its kind.
    pub kind: IssuerKind,
    /// Its name.
    pub name: String,
}

impl FromStr for IssuerName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let wrong = "give vaultissuer/NAME, vaultclusterissuer/NAME, issuer/NAME or clusterissuer/NAME";
        let (kind, name) = text.split_once('/').filter(|(_, name)| !name.is_empty()).ok_or(wrong)?;
        let word = kind.to_ascii_lowercase();
        let (word, group) = word
            .split_once('.')
            .map_or((&*word, None), |(word, group)| (word, Some(group)));
        let is_named = |kind: &IssuerKind| {
            let version = kind.api_version();
            let of_group = group.is_none_or(|group| version.split('/').next() == Some(group));
            of_group && (word == kind.plural() || word == kind.as_str().to_ascii_lowercase())
        };
        let kind = IssuerKind::ALL.into_iter().find(is_named).ok_or(wrong)?;
        Ok(Self {
            kind,
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_have_the_names_of_kubectl() {
        for (text, kind) in [
            ("vaultissuer/a", IssuerKind::Namespaced),
            ("VaultIssuer/a", IssuerKind::Namespaced),
            ("vaultissuers.vault-issuer.io/a", IssuerKind::Namespaced),
            ("vaultclusterissuer/a", IssuerKind::Cluster),
            ("vaultclusterissuers.vault-issuer.io/a", IssuerKind::Cluster),
            ("issuer/a", IssuerKind::DropInNamespaced),
            ("issuers.cert-manager.io/a", IssuerKind::DropInNamespaced),
            ("ClusterIssuer/a", IssuerKind::DropInCluster),
        ] {
            let name = "a".to_owned();
            assert_eq!(text.parse(), Ok(IssuerName { kind, name }), "{text}");
        }
        for text in [
            "a",
            "vaultissuer",
            "vaultissuer/",
            "issuers.vault-issuer.io/a",
            "vaultissuers.cert-manager.io/a",
            "certificate/a",
        ] {
            assert!(text.parse::<IssuerName>().is_err(), "{text}");
        }
    }
}
