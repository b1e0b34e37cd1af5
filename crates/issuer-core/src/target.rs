//! An issuer's spec, parsed once: the newtypes here cannot hold what Vault would refuse.

use std::fmt;

use http::Uri;
use http::uri::{Authority, Scheme};

/// A scheme, host and port, with the path below which the API lies: the one place an issuer's credentials may go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    authority: Authority,
    base: String,
}

impl Origin {
    /// Parses a server URL such as `https://vault.example.com:8200`; `None` if it is no http or https URL with a host,
    /// or if it carries user information, a query or a fragment.
    pub fn parse(server: &str) -> Option<Self> {
        if server.contains('#') {
            return None;
        }
        let uri: Uri = server.trim().parse().ok()?;
        let parts = uri.into_parts();
        let (scheme, authority) = (parts.scheme?, parts.authority?);
        let base = parts.path_and_query.map_or(String::new(), |path| path.as_str().to_owned());
        let plain = !base.contains(['?', '%']) && !base.split('/').any(|s| s == "." || s == "..");
        let known = scheme == Scheme::HTTPS || scheme == Scheme::HTTP;
        if !known || !plain || authority.as_str().contains('@') || authority.host().is_empty() {
            return None;
        }
        let base = base.trim_end_matches('/').to_owned();
        Some(Self { scheme, authority, base })
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

    /// Tells whether the scheme is https.
    pub fn is_tls(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Returns the URL of an API path, which is without `/v1/`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{}/v1/{path}", self.scheme, self.authority, self.base)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.base)
    }
}
