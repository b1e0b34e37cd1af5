//! The namespaces that a controller serves, and the lists that cover them.

use std::collections::BTreeSet;

/// The namespaces whose issuers and requests are served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Namespaces {
    /// Every namespace, and cluster issuers.
    #[default]
    All,
    /// The namespaces of this set, and no cluster issuers: to watch those needs rights in the whole cluster.
    Listed(BTreeSet<String>),
}

impl Namespaces {
    /// Returns the namespaces with these names; all if there are none.
    pub fn listed(names: impl IntoIterator<Item = String>) -> Self {
        let names = BTreeSet::from_iter(names);
        if names.is_empty() {
            Self::All
        } else {
            Self::Listed(names)
        }
    }

    /// Returns the lists that cover them, of each kind of object.
    pub fn scopes(&self) -> Vec<ListScope> {
        match self {
            Self::All => vec![ListScope::Cluster],
            Self::Listed(names) => names.iter().cloned().map(ListScope::Namespace).collect(),
        }
    }
}

/// The objects that a list covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListScope {
    /// Those of the whole cluster.
    Cluster,
    /// Those of this namespace.
    Namespace(String),
}

impl ListScope {
    /// Returns `true` if a list covers the objects of a namespace.
    pub fn covers(&self, namespace: &str) -> bool {
        self.namespace().is_none_or(|name| name == namespace)
    }

    /// Returns the namespace, if it is one.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::Cluster => None,
            Self::Namespace(name) => Some(name),
        }
    }
}
