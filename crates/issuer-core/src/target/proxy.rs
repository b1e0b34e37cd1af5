//! The proxies that issuers are reached through.

use issuer_api::VaultSpec;

use super::{AllowedServers, ServerPattern, SpecError};
use crate::{Origin, Proxy};

/// The proxy that the operator has configured, and the servers that are reached without it: `HTTPS_PROXY` and
/// `NO_PROXY` as Go's `httpproxy` reads them.
/// <https://pkg.go.dev/golang.org/x/net/http/httpproxy#Config>
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProxySettings {
    proxy: Option<Proxy>,
    bypass: Vec<Bypass>,
}

/// Why proxy settings cannot be used. The URL is not quoted, for it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the proxy must be a URL such as http://proxy.example.com:3128 or http://user:password@proxy.example.com:3128; TLS with \
     the proxy itself (https://) and SOCKS are not supported"
)]
pub struct ProxySettingsError;

/// An entry of `NO_PROXY`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Bypass {
    All,
    /// These hosts, at this port or at any.
    Hosts(ServerPattern, Option<u16>),
}

impl ProxySettings {
    /// Reads the values of `HTTPS_PROXY` and `NO_PROXY`, each of which may be empty.
    ///
    /// # Errors
    ///
    /// [`ProxySettingsError`] if `proxy` is not the URL of an HTTP proxy. Entries of `no_proxy` other than hosts,
    /// domains, addresses and networks are ignored.
    pub fn parse(proxy: &str, no_proxy: &str) -> Result<Self, ProxySettingsError> {
        if proxy.trim().is_empty() {
            return Ok(Self::default());
        }
        Ok(Self {
            // What the operator gives needs no permission.
            proxy: Some(Proxy::parse(proxy, AllowedServers::All).ok_or(ProxySettingsError)?),
            bypass: no_proxy.split(',').flat_map(Bypass::parse).collect(),
        })
    }

    /// Returns the proxy, if there is one.
    pub fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    /// Returns the proxy for a server; `None` for one without TLS, and for the machine itself.
    pub(super) fn of(&self, server: &Origin) -> Option<&Proxy> {
        let is_direct = AllowedServers::is_local(server.host()) || self.bypass.iter().any(|bypass| bypass.has(server));
        self.proxy.as_ref().filter(|_| server.is_tls() && !is_direct)
    }
}

impl Bypass {
    fn parse(entry: &str) -> Vec<Self> {
        let entry = entry.trim();
        if entry == "*" {
            return vec![Self::All];
        }
        // The last colon begins a port, unless it is one of an IPv6 address.
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
                Ok(port) => (host, Some(port)),
                Err(_) => return Vec::new(),
            },
            _ => (entry, None),
        };
        let domain = host.trim_start_matches('*').trim_start_matches('.');
        let below = format!("*.{domain}").parse();
        let patterns = match host.parse::<ServerPattern>() {
            // A host stands for those below it too; a domain that begins with a dot does not stand for itself.
            Ok(itself @ ServerPattern::Host(_)) if !host.starts_with('.') => vec![Ok(itself), below],
            Ok(network @ ServerPattern::Network(_)) => vec![Ok(network)],
            _ => vec![below],
        };
        let hosts = |pattern| Self::Hosts(pattern, port);
        patterns.into_iter().flatten().map(hosts).collect()
    }

    fn has(&self, server: &Origin) -> bool {
        match self {
            Self::All => true,
            Self::Hosts(pattern, port) => pattern.has(server.host()) && port.is_none_or(|port| port == server.port()),
        }
    }
}

/// Returns the proxy through which an issuer's server is reached.
///
/// A proxy that the issuer names must be permitted like a server, since the controller connects to it. And as the proxy
/// resolves the server's name, only the name shows whether that server is permitted.
pub(super) fn proxy(
    spec: &VaultSpec,
    server: &Origin,
    allowed: &AllowedServers,
    settings: &ProxySettings,
) -> Result<Option<Proxy>, SpecError> {
    let proxy = match spec.proxy.as_deref() {
        None | Some("") => settings.of(server).cloned(),
        Some(_) if !server.is_tls() => return Err(SpecError::ProxyPlainHttp),
        Some(url) => {
            let proxy = Proxy::parse(url, allowed.clone()).filter(|proxy| !proxy.has_credentials());
            let proxy = proxy.filter(|_| url.contains("://")).ok_or(SpecError::Proxy)?;
            if !allowed.permits_host(proxy.host()) {
                return Err(SpecError::ProxyNotAllowed);
            }
            Some(proxy)
        }
    };
    if proxy.is_some() && !allowed.permits_unresolved(server.host()) {
        return Err(SpecError::ServerNotNamed);
    }
    Ok(proxy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goes_through(no_proxy: &str, server: &str) -> bool {
        let settings = ProxySettings::parse("http://proxy:3128", no_proxy).unwrap();
        settings.of(&Origin::parse(server).unwrap()).is_some()
    }

    #[test]
    fn no_proxy_means_what_go_means() {
        for (no_proxy, server, through) in [
            ("", "https://vault.example.com", true),
            ("", "http://vault.example.com", false),
            ("", "https://localhost:8200", false),
            ("", "https://127.0.0.1:8200", false),
            ("", "https://[::1]:8200", false),
            ("*", "https://vault.example.com", false),
            ("example.com", "https://vault.example.com", false),
            ("example.com", "https://EXAMPLE.com", false),
            ("example.com", "https://badexample.com", true),
            (".example.com", "https://vault.example.com", false),
            (".example.com", "https://example.com", true),
            ("*.example.com", "https://vault.example.com", false),
            ("a.b, .svc ,.cluster.local", "https://vault.vault.svc:8200", false),
            ("vault.example.com:8200", "https://vault.example.com:8200", false),
            ("vault.example.com:8200", "https://vault.example.com", true),
            ("10.0.0.0/8", "https://10.1.2.3:8200", false),
            ("10.0.0.0/8", "https://11.1.2.3:8200", true),
            ("10.1.2.3", "https://10.1.2.3", false),
            ("10.1.2.3:8200", "https://10.1.2.3", true),
            ("fd00::/8", "https://[fd00::1]", false),
            ("[fd00::1]:8200", "https://[fd00::1]:8200", false),
            ("vault.example.com:port,,!", "https://vault.example.com", true),
        ] {
            assert_eq!(goes_through(no_proxy, server), through, "{no_proxy:?} {server}");
        }
    }

    #[test]
    fn no_proxy_alone_is_nothing() {
        assert_eq!(ProxySettings::parse(" ", "example.com"), Ok(ProxySettings::default()));
    }

    #[test]
    fn unsupported_proxies_are_named() {
        for url in ["https://user:canary@proxy", "socks5://user:canary@proxy"] {
            let error = ProxySettings::parse(url, "").unwrap_err().to_string();
            assert!(error.contains("(https://) and SOCKS are not supported"), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }

    /// Returns the result for an issuer of `server` that names this proxy, where the operator lists these servers.
    fn named(spec_proxy: Option<&str>, server: &str, allowed: &[&str]) -> Result<Option<String>, SpecError> {
        let spec = VaultSpec {
            proxy: spec_proxy.map(str::to_owned),
            ..VaultSpec::default()
        };
        let allowed = AllowedServers::Listed(allowed.iter().map(|pattern| pattern.parse().unwrap()).collect());
        let settings = ProxySettings::parse("http://user:pw@127.0.0.1:3128", ".svc").unwrap();
        let found = proxy(&spec, &Origin::parse(server).unwrap(), &allowed, &settings)?;
        Ok(found.map(|proxy| proxy.to_string()))
    }

    #[test]
    fn proxies_of_issuers_must_be_allowed() {
        let vault = "https://vault.example.com";
        let own = |allowed: &[&str]| named(Some("http://proxy.team:3128"), vault, allowed);
        assert_eq!(own(&[]), Ok(Some("proxy.team:3128".to_owned())));
        assert_eq!(own(&["vault.example.com"]), Err(SpecError::ProxyNotAllowed));
        assert!(own(&["vault.example.com", "proxy.team"]).is_ok());
        for url in [
            "http://127.0.0.1:3128",
            "http://localhost:3128",
            "http://169.254.169.254:80",
            "http://[::1]:3128",
        ] {
            assert_eq!(named(Some(url), vault, &[]), Err(SpecError::ProxyNotAllowed), "{url}");
        }
        for url in [
            "https://proxy.team",
            "socks5://proxy.team:1080",
            "http://user:pw@proxy.team",
            "proxy.team:3128",
            "http://a b",
        ] {
            assert_eq!(named(Some(url), vault, &[]), Err(SpecError::Proxy), "{url}");
        }
        let plain = named(Some("http://proxy.team:3128"), "http://vault.example.com", &[]);
        assert_eq!(plain, Err(SpecError::ProxyPlainHttp));
    }

    #[test]
    fn proxy_of_the_operator_is_allowed() {
        let through = Ok(Some("127.0.0.1:3128".to_owned()));
        assert_eq!(named(None, "https://vault.example.com", &["*.example.com"]), through);
        assert_eq!(named(Some(""), "https://vault.example.com", &[]), through);
        assert_eq!(named(None, "https://vault.vault.svc", &[]), Ok(None));
        assert_eq!(named(None, "http://vault.example.com", &[]), Ok(None));
    }

    /// Behind a proxy nobody here sees the address that a name has.
    #[test]
    fn servers_behind_proxies_are_named() {
        for (server, allowed, is_permitted) in [
            ("https://vault.example.com", &[][..], true),
            ("https://vault.example.com", &["10.0.0.0/8"], false),
            ("https://vault.example.com", &["10.0.0.0/8", "*.example.com"], true),
            ("https://10.1.2.3", &["10.0.0.0/8"], true),
            ("https://10.1.2.3", &[], true),
            // Resolvers take these for 127.0.0.1.
            ("https://127.1", &[], false),
            ("https://2130706433", &[], false),
            ("https://0x7f.1", &[], false),
            ("https://vault.0x7f000001", &[], false),
        ] {
            let expected = if is_permitted {
                Ok(())
            } else {
                Err(SpecError::ServerNotNamed)
            };
            assert_eq!(named(None, server, allowed).map(drop), expected, "{server} {allowed:?}");
        }
    }
}
