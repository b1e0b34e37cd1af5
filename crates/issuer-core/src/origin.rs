//! The URL of a Vault server, parsed and in a form that can be compared.

use std::fmt;
use std::net::Ipv6Addr;

use http::Uri;
use http::uri::{Authority, Scheme};

/// The only destination of an issuer's credentials: scheme, host, port, and the path below which the API is served.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: Scheme,
    authority: Authority,
    base: String,
}

impl Origin {
    /// Parses a server URL such as `https://vault.example.com:8200`; `None` unless it is an http or https URL with a
    /// host and without user information, query or fragment.
    pub fn parse(server: &str) -> Option<Self> {
        // `Uri` would drop the fragment without an error.
        if server.contains('#') {
            return None;
        }
        let uri: Uri = server.trim().parse().ok()?;
        let parts = uri.into_parts();
        let (scheme, authority) = (parts.scheme?, parts.authority?);
        let path = parts.path_and_query.as_ref().map_or("", |path| path.as_str());
        let segments = plain_segments(path)?;
        let base = segments.into_iter().map(|segment| format!("/{segment}")).collect();
        let known = scheme == Scheme::HTTPS || scheme == Scheme::HTTP;
        // An `Authority` may also hold user information, and a port that is not a number.
        let port = authority.as_str().strip_prefix(authority.host())?;
        // `u16` would take a sign.
        let is_port = |port: &str| port.starts_with(':') && !port.contains('+') && authority.port_u16().is_some();
        let dialable = is_host(authority.host()) && (port.is_empty() || is_port(port));
        if !known || !dialable {
            return None;
        }
        Some(Self {
            scheme,
            authority,
            base,
        })
    }

    /// Returns the host, an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        self.authority.host()
    }

    /// Returns the port: 443 for https and 80 for http where the URL names none.
    pub fn port(&self) -> u16 {
        let default = if self.is_tls() { 443 } else { 80 };
        self.authority.port_u16().unwrap_or(default)
    }

    /// Returns `true` if the scheme is https.
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Returns `true` if both have the same scheme, host and port, whatever the path below which the API is served.
    pub(crate) fn has_same_server(&self, other: &Self) -> bool {
        self.server() == other.server()
    }

    /// Returns the scheme, host and port: equal texts name one server, whatever the path below which the API is served.
    pub(crate) fn server(&self) -> String {
        // Host names are equal in upper and lower case (RFC 4343), and IPv6 addresses have many forms.
        let host = match address(self.host()) {
            Some(address) => format!("[{address}]"),
            None => self.host().to_ascii_lowercase(),
        };
        format!("{}://{host}:{}", self.scheme, self.port())
    }

    /// Returns the URL of an API path, which is given without `/v1/`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{self}/v1/{path}")
    }
}

/// Splits a path into its segments. Doubled slashes and `.` mean nothing, as in Go's `path.Join`, which cert-manager applies.
///
/// `None` unless each is sent as it is written, in characters that need no escape in a URL's path (RFC 3986, pchar): any other
/// means one thing here and may mean another to a proxy or to Vault.
pub(crate) fn plain_segments(path: &str) -> Option<Vec<&str>> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@".contains(c);
    let segments = path.split('/').filter(|segment| !matches!(*segment, "" | "."));
    segments
        .map(|segment| (segment != ".." && segment.chars().all(plain)).then_some(segment))
        .collect()
}

/// Returns `true` if a host is an IPv6 address in brackets, or has only characters of names and IPv4 addresses.
fn is_host(host: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    address(host).is_some() || (!host.is_empty() && host.chars().all(letter))
}

/// Returns the IPv6 address of a host in brackets.
fn address(host: &str) -> Option<Ipv6Addr> {
    let address = host.strip_prefix('[')?.strip_suffix(']')?;
    address.parse().ok()
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_server_urls() {
        for (server, url) in [
            ("https://vault:8200", "https://vault:8200/v1/sys/health"),
            (" https://vault/ ", "https://vault/v1/sys/health"),
            ("https://proxy/vault/", "https://proxy/vault/v1/sys/health"),
            ("https://proxy//a/.//b/", "https://proxy/a/b/v1/sys/health"),
            ("HTTPS://vault", "https://vault/v1/sys/health"),
            ("https://[::1]:8200", "https://[::1]:8200/v1/sys/health"),
            ("http://127.0.0.1:8200", "http://127.0.0.1:8200/v1/sys/health"),
        ] {
            assert_eq!(Origin::parse(server).unwrap().url("sys/health"), url, "{server}");
        }
        assert_eq!(Origin::parse("https://vault").unwrap().port(), 443);
        assert_eq!(Origin::parse("http://vault").unwrap().port(), 80);
    }

    #[test]
    fn servers_are_scheme_host_and_port() {
        let is_vault = |server| {
            let vault = Origin::parse("https://vault.example.com").unwrap();
            vault.has_same_server(&Origin::parse(server).unwrap())
        };
        assert!(is_vault("https://Vault.example.com:443/below"));
        for other in [
            "http://vault.example.com:443",
            "https://vault.example.com:8200",
            "https://vault.example.com.evil.example",
        ] {
            assert!(!is_vault(other), "{other}");
        }
    }

    #[test]
    fn forms_of_an_address_are_one_server() {
        let server = |host: &str| Origin::parse(&format!("https://{host}")).unwrap().server();
        for host in [
            "[FD00::1]:443",
            "[fd00:0::1]",
            "[fd00:0:0:0:0:0:0:1]",
            "[fd00::0.0.0.1]",
        ] {
            assert_eq!(server(host), "https://[fd00::1]:443", "{host}");
        }
        assert_ne!(server("[fd00::2]"), server("[fd00::1]"));
    }

    #[test]
    fn refuses_what_is_not_a_server() {
        for server in [
            "",
            "vault:8200",
            "vault",
            "https:/vault",
            "ftp://vault",
            "https://",
            "unix:///run/vault",
            "https://user:pw@vault",
            "https://vault/?a=b",
            "https://vault/#a",
            "https://vault/../x",
            "https://va ult",
            "https://vault/%2e%2e/",
            "https://vault/a\\..\\b",
            "https://vault/\u{fc}",
            "https://vault/a|b",
            "https://v\u{fc}lt",
            "https://user@vault",
            "https://vault:99999",
            "https://vault:+8200",
            "https://vault:",
            "https://vault[::1]:8200",
            "https://[vault]",
            "https://vault$",
        ] {
            assert_eq!(Origin::parse(server), None, "{server}");
        }
    }
}
