//! The kinds and the lists that are watched.

use std::borrow::Cow;
use std::collections::BTreeSet;

use issuer_core::reconcile::{Change, Config, Key};
use issuer_core::reference::{IssuerKind, ListScope, RequestKind};

/// A kind of object that is listed and watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    Issuers(IssuerKind),
    Requests(RequestKind),
}

/// A list that is kept up to date: the objects of one kind in one scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WatchedList {
    pub(crate) watched: Watched,
    pub(crate) scope: ListScope,
}

impl Watched {
    /// Returns `true` if its objects are cert-manager's own issuers.
    pub(crate) fn is_drop_in(self) -> bool {
        matches!(self, Self::Issuers(kind) if kind.is_drop_in())
    }

    /// Returns the kind as Kubernetes writes it.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Issuers(kind) => kind.as_str(),
            Self::Requests(kind) => kind.as_str(),
        }
    }
}

impl WatchedList {
    /// Returns every list of a controller with this configuration.
    pub(crate) fn all_of(config: &Config) -> Vec<Self> {
        let mut lists = Vec::new();
        for scope in config.namespaces.scopes() {
            let requests = config.request_kinds().map(Watched::Requests);
            let kinds = requests.chain(config.kinds().map(Watched::Issuers));
            lists.extend(kinds.map(|watched| Self {
                watched,
                scope: scope.clone(),
            }));
        }
        lists
    }

    /// Returns the list of the same kind in one namespace.
    pub(crate) fn within(&self, namespace: &str) -> Self {
        Self {
            watched: self.watched,
            scope: ListScope::Namespace(namespace.to_owned()),
        }
    }

    /// Returns its name among the checks of the process, such as `VaultIssuer` or `VaultIssuer in team-a`.
    pub(crate) fn name(&self) -> Cow<'static, str> {
        let kind = self.watched.kind();
        match self.scope.namespace() {
            None => kind.into(),
            Some(namespace) => format!("{kind} in {namespace}").into(),
        }
    }

    /// Returns the path of its objects.
    pub(crate) fn path(&self) -> String {
        let namespace = self.scope.namespace();
        let within = namespace.map_or_else(String::new, |namespace| format!("namespaces/{namespace}/"));
        match self.watched {
            Watched::Requests(kind) => format!("/apis/{}/{within}{}", kind.api_version(), kind.plural()),
            Watched::Issuers(kind) => format!("/apis/{}/{within}{}", kind.api_version(), kind.plural()),
        }
    }

    /// Returns the change that these are all its objects.
    pub(crate) fn all(&self, keys: BTreeSet<Key>) -> Change {
        let scope = self.scope.clone();
        match self.watched {
            Watched::Issuers(kind) => {
                let issuer = |key| if let Key::Issuer(key) = key { Some(key) } else { None };
                Change::Issuers(kind, scope, keys.into_iter().filter_map(issuer).collect())
            }
            Watched::Requests(kind) => {
                let request = |key| if let Key::Request(key) = key { Some(key) } else { None };
                Change::Requests(kind, scope, keys.into_iter().filter_map(request).collect())
            }
        }
    }
}
