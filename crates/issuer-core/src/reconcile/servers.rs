//! The servers whose health is known, so that many issuers of one server ask for it once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::Now;
use crate::digest::digest;
use crate::vault::Vault;

/// Until when each server that was healthy counts as such, by the digest of the way in which it was reached: the
/// connection itself would keep a bundle and a private key in memory that no issuer has any more.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub(super) struct Servers {
    until: BTreeMap<u64, Duration>,
    /// The same, by time: those that have passed are forgotten first.
    ends: BTreeSet<(Duration, u64)>,
}

impl Servers {
    /// Returns `true` if the server was healthy lately, reached in the same way.
    pub(super) fn is_healthy(&self, vault: &Vault, now: Now) -> bool {
        self.until
            .get(&connection(vault))
            .is_some_and(|until| now.monotonic < *until)
    }

    /// Notes that a server is healthy `until` then, or that it is not.
    pub(super) fn note(&mut self, vault: &Vault, until: Option<Duration>, now: Now) {
        // An issuer may name another server each second.
        while let Some((_, passed)) = self.ends.first().copied().filter(|(until, _)| *until <= now.monotonic) {
            self.forget(passed);
        }
        let server = connection(vault);
        self.forget(server);
        if let Some(until) = until {
            self.until.insert(server, until);
            self.ends.insert((until, server));
        }
    }

    fn forget(&mut self, server: u64) {
        if let Some(until) = self.until.remove(&server) {
            self.ends.remove(&(until, server));
        }
    }
}

/// Returns the digest of a connection: with another CA bundle or client certificate the same server may be out of reach.
fn connection(vault: &Vault) -> u64 {
    digest(&vault.connect)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Roots;
    use crate::fixture::{at, vault};

    #[test]
    fn health_is_shared_for_a_while() {
        let mut servers = Servers::default();
        let (a, b) = (vault("https://a", Roots::System), vault("https://b", Roots::System));
        servers.note(&a, Some(Duration::from_secs(60)), at(0));
        let equal = vault("https://a", Roots::System);
        assert!(servers.is_healthy(&a, at(59)) && servers.is_healthy(&equal, at(59)));
        assert!(!servers.is_healthy(&a, at(60)) && !servers.is_healthy(&b, at(0)));
        let bundle = vault("https://a", Roots::bundle([1]));
        assert!(!servers.is_healthy(&bundle, at(0)));
        servers.note(&bundle, None, at(0));
        assert!(servers.is_healthy(&a, at(0)));
        servers.note(&a, None, at(0));
        assert!(!servers.is_healthy(&a, at(0)));
    }

    #[test]
    fn servers_of_the_past_are_forgotten() {
        let mut servers = Servers::default();
        for second in 0..1000 {
            let server = vault(&format!("https://server-{second}"), Roots::System);
            servers.note(&server, Some(Duration::from_secs(second + 60)), at(second));
            assert!(servers.until.len() <= 60 && servers.ends.len() == servers.until.len());
        }
    }
}
