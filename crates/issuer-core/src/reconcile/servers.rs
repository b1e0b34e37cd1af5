//! The servers whose health is known, so that many issuers of one server ask for it once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::vault::Vault;
use crate::{Connect, Now};

/// How each healthy server was reached, and how long to rely on it.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub(super) struct Servers(BTreeMap<String, (Arc<Connect>, Duration)>);

impl Servers {
    /// Returns `true` if the server was healthy lately, reached in the same way.
    pub(super) fn is_healthy(&self, vault: &Vault, now: Now) -> bool {
        let known = self.0.get(&vault.connect.origin.to_string());
        // With another CA bundle or client certificate the same server may be out of reach.
        known.is_some_and(|(connect, until)| *connect == vault.connect && now.monotonic < *until)
    }

    /// Notes that a server is healthy `until` then, or that it is not.
    pub(super) fn note(&mut self, vault: &Vault, until: Option<Duration>) {
        let server = vault.connect.origin.to_string();
        match until {
            Some(until) => self.0.insert(server, (Arc::clone(&vault.connect), until)),
            None => self.0.remove(&server),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Roots;
    use crate::fixture::vault;

    fn at(seconds: u64) -> Now {
        Now {
            monotonic: Duration::from_secs(seconds),
            unix: Duration::ZERO,
        }
    }

    #[test]
    fn health_is_shared_for_a_while() {
        let mut servers = Servers::default();
        let (a, b) = (vault("https://a", Roots::System), vault("https://b", Roots::System));
        servers.note(&a, Some(Duration::from_secs(60)));
        let equal = vault("https://a", Roots::System);
        assert!(servers.is_healthy(&a, at(59)) && servers.is_healthy(&equal, at(59)));
        assert!(!servers.is_healthy(&a, at(60)) && !servers.is_healthy(&b, at(0)));
        assert!(!servers.is_healthy(&vault("https://a", Roots::Bundle(vec![1])), at(0)));
        servers.note(&a, None);
        assert!(!servers.is_healthy(&a, at(0)));
    }
}
