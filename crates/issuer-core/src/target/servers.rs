//! The servers that the operator permits issuers to name.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::addresses::{is_local, is_special};

/// The servers that issuers may name: hosts and networks.
///
/// By default every server is allowed, except at special addresses: loopback, link-local and others where clouds serve the
/// credentials of machines, multicast, and the IPv6 addresses that are translated to these. With a list, only its servers are
/// allowed, at special addresses too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AllowedServers {
    /// Every server, at special addresses too.
    All,
    /// The servers of this list.
    Listed(Vec<ServerPattern>),
}

impl Default for AllowedServers {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl AllowedServers {
    /// Returns `true` if a server may have this host, a name or an address as in a URL. The addresses of a name are
    /// subject to [`permits_address`](Self::permits_address).
    pub fn permits_host(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse() {
            return self.permits_address(host, address);
        }
        let Self::Listed(patterns) = self else {
            return true;
        };
        if patterns.is_empty() {
            return !is_localhost(host);
        }
        patterns.iter().any(|pattern| match pattern {
            // Whether the name lies in the network shows when it has been resolved.
            ServerPattern::Network(_) => !is_localhost(host),
            ServerPattern::Host(_) | ServerPattern::Domain(_) => pattern.has_host(host),
        })
    }

    /// Returns `true` if a server may have this host although its addresses are never seen, since a proxy resolves it.
    pub(super) fn permits_unresolved(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match self {
            _ if bare.parse::<IpAddr>().is_ok() => self.permits_host(host),
            Self::All => true,
            Self::Listed(patterns) if patterns.is_empty() => !is_localhost(host) && !ends_in_number(host),
            Self::Listed(patterns) => patterns.iter().any(|pattern| pattern.has_host(host)),
        }
    }

    /// Returns `true` if a host, a name or an address as in a URL, is the machine itself or on its link.
    pub(super) fn is_local(host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.parse().map_or_else(|_| is_localhost(host), is_local)
    }

    /// Returns `true` if a server whose URL has the host `host` may have this address.
    pub fn permits_address(&self, host: &str, address: IpAddr) -> bool {
        let Self::Listed(patterns) = self else {
            return true;
        };
        if patterns.is_empty() {
            return !is_special(address);
        }
        patterns.iter().any(|pattern| match pattern {
            ServerPattern::Network(network) => network.contains(address),
            ServerPattern::Host(_) | ServerPattern::Domain(_) => pattern.has_host(host),
        })
    }
}

/// One entry of a list of servers: a host such as `vault.example.com`, the hosts below a domain such as
/// `*.example.com`, or a network such as `10.0.0.0/8`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerPattern {
    /// This host, in lower case.
    Host(String),
    /// The hosts whose names end so, from the dot on.
    Domain(String),
    /// The addresses of this network, and the names that resolve to one.
    Network(Network),
}

impl ServerPattern {
    /// Returns `true` if it names this host, a name or an address as in a URL.
    pub(super) fn has(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match (self, bare.parse()) {
            (Self::Network(network), Ok(address)) => network.contains(address),
            _ => self.has_host(host),
        }
    }

    fn has_host(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        match self {
            Self::Host(name) => host == *name,
            Self::Domain(suffix) => host.strip_suffix(suffix.as_str()).is_some_and(|rest| !rest.is_empty()),
            Self::Network(_) => false,
        }
    }
}

/// Why a text is not a [`ServerPattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a host, a domain such as *.example.com, or a network such as 10.0.0.0/8")]
pub struct ServerPatternError(String);

impl FromStr for ServerPattern {
    type Err = ServerPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ServerPatternError(text.to_owned());
        let text = text.trim().trim_end_matches('.').to_ascii_lowercase();
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        let (address, prefix) = match bare.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse().map_err(|_| error())?)),
            None => (bare, None),
        };
        if let Ok(address) = address.parse::<IpAddr>() {
            return Network::new(address, prefix).map(Self::Network).ok_or_else(error);
        }
        let is_host = |host: &str| {
            let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            !host.is_empty() && host.chars().all(letter)
        };
        match text.strip_prefix('*') {
            Some(suffix) if suffix.len() > 1 && suffix.starts_with('.') && is_host(suffix) => {
                Ok(Self::Domain(suffix.to_owned()))
            }
            None if prefix.is_none() && is_host(&text) => Ok(Self::Host(text)),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for ServerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => f.write_str(host),
            Self::Domain(suffix) => write!(f, "*{suffix}"),
            Self::Network(Network { address, prefix }) => write!(f, "{address}/{prefix}"),
        }
    }
}

/// An IP network in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Returns the network of an address and a prefix length; of the address alone without one.
    fn new(address: IpAddr, prefix: Option<u8>) -> Option<Self> {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(longest);
        (prefix <= longest).then_some(Self { address, prefix })
    }

    fn contains(self, address: IpAddr) -> bool {
        let same = |network: u128, address: u128, width: u32| {
            let host_bits = width - u32::from(self.prefix).min(width);
            // A prefix of 0 shifts everything out, which is `None` on both sides.
            network.checked_shr(host_bits) == address.checked_shr(host_bits)
        };
        // `::ffff:10.0.0.1` is the IPv4 address; written as IPv6 it must not evade a list.
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => same(network.to_bits().into(), address.to_bits().into(), 32),
            (IpAddr::V6(network), IpAddr::V6(address)) => same(network.to_bits(), address.to_bits(), 128),
            _ => false,
        }
    }
}

fn is_localhost(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// Returns `true` if a name that is not an IPv4 address in the usual form may be one in another, such as `127.1` or
/// `0x7f000001`. <https://url.spec.whatwg.org/#ends-in-a-number-checker>
fn ends_in_number(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let hexadecimal = last
        .to_ascii_lowercase()
        .strip_prefix("0x")
        .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    digits(last) || hexadecimal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(patterns: &[&str]) -> AllowedServers {
        AllowedServers::Listed(patterns.iter().map(|pattern| pattern.parse().unwrap()).collect())
    }

    #[test]
    fn special_addresses_must_be_listed() {
        let hosts = [
            "127.0.0.1",
            "127.8.8.8",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "169.254.169.254",
            "[fe80::1]",
            "0.0.0.0",
            "[::]",
            "[::127.0.0.1]",
            "[64:ff9b::169.254.169.254]",
            "[2002:7f00:1::1]",
            "[fd00:ec2::254]",
            "168.63.129.16",
            "255.255.255.255",
            "localhost",
            "LocalHost.",
            "vault.localhost",
        ];
        for host in hosts {
            assert!(!listed(&[]).permits_host(host), "{host}");
            assert!(
                !listed(&["vault.example.com", "10.0.0.0/8"]).permits_host(host),
                "{host}"
            );
            assert!(AllowedServers::All.permits_host(host), "{host}");
        }
        for host in ["vault", "vault.example.com", "10.0.0.1", "[fd00::1]", "169.253.0.1"] {
            assert!(listed(&[]).permits_host(host), "{host}");
        }
        assert!(listed(&["127.0.0.0/8"]).permits_host("127.0.0.1"));
        assert!(listed(&["localhost"]).permits_host("localhost"));
    }

    #[test]
    fn names_are_judged_by_their_addresses_too() {
        let local = "127.0.0.1".parse().unwrap();
        let private = "10.1.2.3".parse().unwrap();
        let cases: [(&[&str], &str, IpAddr, bool); 10] = [
            (&[], "vault", private, true),
            (&[], "vault", local, false),
            (&["vault"], "vault", local, true),
            (&["vault"], "other", private, false),
            (&["10.0.0.0/8"], "vault", private, true),
            (&["10.0.0.0/8"], "vault", local, false),
            (&["10.1.2.3"], "vault", private, true),
            (&["10.1.2.4"], "vault", private, false),
            (&["0.0.0.0/0"], "vault", private, true),
            (&["::/0"], "vault", private, false),
        ];
        for (patterns, host, address, permitted) in cases {
            let servers = listed(patterns);
            assert_eq!(
                servers.permits_address(host, address),
                permitted,
                "{patterns:?} {host} {address}"
            );
        }
    }

    #[test]
    fn hosts_match_whole_labels() {
        let servers = listed(&["Vault.example.com", "*.vaults.example"]);
        for (host, permitted) in [
            ("vault.example.com", true),
            ("VAULT.example.com.", true),
            ("xvault.example.com", false),
            ("vault.example.com.evil", false),
            ("a.vaults.example", true),
            ("a.b.vaults.example", true),
            ("vaults.example", false),
            (".vaults.example", false),
            ("evil-vaults.example", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(servers.permits_host(host), permitted, "{host}");
        }
    }

    #[test]
    fn patterns_are_read_and_written() {
        for (text, written) in [
            ("vault", "vault"),
            ("*.Example.com", "*.example.com"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.1", "10.0.0.1/32"),
            ("[fd00::1]", "fd00::1/128"),
            ("fd00::/8", "fd00::/8"),
        ] {
            assert_eq!(text.parse::<ServerPattern>().unwrap().to_string(), written);
        }
        for text in [
            "",
            "*",
            "*.",
            "*x",
            "a b",
            "https://vault",
            "vault:8200",
            "10.0.0.0/33",
            "10.0.0.0/x",
            "vault/8",
        ] {
            assert!(text.parse::<ServerPattern>().is_err(), "{text}");
        }
    }
}
