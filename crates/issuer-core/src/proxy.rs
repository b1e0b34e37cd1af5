//! HTTP proxies: their URLs, the CONNECT request and the reply to it.

use std::fmt;

use issuer_api::Base64;
use zeroize::Zeroizing;

use crate::target::AllowedServers;
use crate::{Origin, ProxyError, Secret};

/// The longest reply to CONNECT, in bytes.
const HEAD_MAX: usize = 16 << 10;

/// A proxy between the driver and a server.
///
/// The driver asks it with CONNECT to forward a connection, and begins TLS with the server inside that connection. So
/// the proxy sees the name of the server, but no request and no token.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Proxy {
    host: String,
    port: u16,
    /// The value of `Proxy-Authorization`.
    authorization: Option<Secret>,
    allowed: AllowedServers,
}

impl Proxy {
    /// Parses a URL such as `http://proxy.example.com:3128`, of a proxy that may have the `allowed` addresses; the
    /// scheme may be left out, and `user:password@` may stand before the host. `None` if it is not the URL of an HTTP
    /// proxy.
    pub fn parse(url: &str, allowed: AllowedServers) -> Option<Self> {
        let url = url.trim();
        let rest = match url.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return None,
            None => url,
        };
        let (user, authority) = match rest.rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, rest),
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.contains('/') {
            return None;
        }
        let origin = Origin::parse(&format!("http://{authority}"))?;
        let authorization = match user {
            Some(user) => Some(basic(user)?),
            None => None,
        };
        Some(Self {
            host: origin.host().to_owned(),
            port: origin.port(),
            authorization,
            allowed,
        })
    }

    /// Returns the host, an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port: 80 where the URL names none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the addresses that it may have.
    pub fn allowed(&self) -> &AllowedServers {
        &self.allowed
    }

    /// Returns `true` if it is sent a user and a password.
    pub fn has_credentials(&self) -> bool {
        self.authorization.is_some()
    }

    /// Returns the request to forward a connection to a server, as it is sent.
    /// <https://www.rfc-editor.org/rfc/rfc9110#name-connect>
    pub fn request(&self, server: &Origin) -> Secret {
        let (host, port) = (server.host(), server.port());
        let head = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
        let value = self.authorization.as_ref().map(Secret::expose).unwrap_or_default();
        // Sized at once: a vector that grows leaves copies behind that are not wiped.
        let mut bytes = Vec::with_capacity(head.len() + value.len() + 64);
        bytes.extend_from_slice(head.as_bytes());
        if !value.is_empty() {
            bytes.extend_from_slice(b"Proxy-Authorization: ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        Secret::from(bytes)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Returns the scheme, host and port of a server, and the proxy through which it is reached: equal texts name one server.
pub(crate) fn server_through(proxy: Option<&Proxy>, server: &Origin) -> String {
    let server = server.server();
    match proxy {
        Some(proxy) => format!("{server} through {}", proxy.to_string().to_ascii_lowercase()),
        None => server,
    }
}

/// Returns the credentials of Basic authentication for the user information of a URL; `None` if that is malformed.
fn basic(user: &str) -> Option<Secret> {
    let mut decoded = Zeroizing::new(Vec::with_capacity(user.len() + 1));
    let mut bytes = user.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let value = digit()? * 16 + digit()?;
            decoded.push(u8::try_from(value).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    if !user.contains(':') {
        decoded.push(b':');
    }
    let encoded = Base64::encode(&*decoded);
    Some(Secret::from(format!("Basic {}", encoded.as_str()).into_bytes()))
}

/// The reply of a proxy to CONNECT, as it arrives.
#[derive(Debug, Default)]
pub struct ConnectReply(Vec<u8>);

impl ConnectReply {
    /// Takes the next bytes, none if the proxy has closed the connection. Returns the result once it is known: whether
    /// the proxy has connected to the server.
    ///
    /// # Errors
    ///
    /// Why the proxy has not connected: its status, or a reply that is not HTTP or ends too soon.
    pub fn take(&mut self, bytes: &[u8]) -> Option<Result<(), ProxyError>> {
        self.0.extend_from_slice(bytes);
        let end = self.0.windows(4).position(|window| window == b"\r\n\r\n");
        match end {
            // In TLS the server speaks second, so nothing may follow yet.
            Some(end) => Some(self.status().and_then(|()| {
                let is_all = self.0.len() == end + 4;
                if is_all { Ok(()) } else { Err(ProxyError::NotHttp) }
            })),
            None if bytes.is_empty() => Some(Err(match self.status() {
                Err(error @ (ProxyError::Authentication | ProxyError::Refused(_) | ProxyError::Unreachable(_))) => {
                    error
                }
                _ => ProxyError::Closed,
            })),
            None if self.0.len() > HEAD_MAX => Some(Err(ProxyError::NotHttp)),
            None => None,
        }
    }

    /// Returns what the status line says.
    fn status(&self) -> Result<(), ProxyError> {
        let line = str::from_utf8(self.0.get(..12).unwrap_or_default()).unwrap_or_default();
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .or_else(|| line.strip_prefix("HTTP/1.0 "));
        match status.and_then(|status| status.parse().ok()) {
            Some(200..=299) => Ok(()),
            Some(407) => Err(ProxyError::Authentication),
            Some(status @ 502..=504) => Err(ProxyError::Unreachable(status)),
            Some(status @ 300..=599) => Err(ProxyError::Refused(status)),
            _ => Err(ProxyError::NotHttp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(url: &str) -> Option<Proxy> {
        Proxy::parse(url, AllowedServers::All)
    }

    fn request(url: &str) -> String {
        let server = Origin::parse("https://vault.example").unwrap();
        let request = proxy(url).unwrap().request(&server);
        request.expose_str().unwrap().to_owned()
    }

    #[test]
    fn takes_proxy_urls() {
        for (url, written) in [
            ("http://proxy.example:3128", "proxy.example:3128"),
            ("HTTP://proxy.example:3128/", "proxy.example:3128"),
            (" proxy.example:3128 ", "proxy.example:3128"),
            ("http://proxy.example", "proxy.example:80"),
            ("http://user:pw@10.0.0.1:8080", "10.0.0.1:8080"),
            ("http://[fd00::1]:8080", "[fd00::1]:8080"),
        ] {
            assert_eq!(proxy(url).unwrap().to_string(), written, "{url}");
        }
        for url in [
            "",
            "https://proxy.example:3128",
            "socks5://proxy.example:1080",
            "http://",
            "http://proxy.example:port",
            "http://proxy.example/path",
            "http://proxy.example?a",
            "http://us%zzer@proxy.example",
            "http://us%4@proxy.example",
            "http://proxy example",
        ] {
            assert_eq!(proxy(url), None, "{url}");
        }
    }

    #[test]
    fn asks_for_the_server_by_name() {
        assert_eq!(
            proxy("http://proxy")
                .unwrap()
                .request(&Origin::parse("https://[::1]:8200/base").unwrap())
                .expose(),
            b"CONNECT [::1]:8200 HTTP/1.1\r\nHost: [::1]:8200\r\n\r\n"
        );
        // `user:p@ss:word`
        let asked = request("http://user:p%40ss:word@proxy");
        assert!(asked.starts_with("CONNECT vault.example:443 HTTP/1.1\r\n"), "{asked}");
        assert!(
            asked.ends_with("\r\nProxy-Authorization: Basic dXNlcjpwQHNzOndvcmQ="),
            "{asked}"
        );
        assert!(request("http://user@proxy").ends_with(" Basic dXNlcjo="));
    }

    #[test]
    fn credentials_are_not_printed() {
        let proxy = proxy("http://user:canary@proxy").unwrap();
        assert!(proxy.has_credentials());
        assert_eq!(format!("{proxy} {proxy:?}"), "proxy:80 Proxy(proxy:80)");
    }

    #[test]
    fn replies_have_their_meaning() {
        for (reply, expected) in [
            ("HTTP/1.1 200 Connection established\r\n\r\n", Ok(())),
            ("HTTP/1.0 200\r\nVia: proxy\r\n\r\n", Ok(())),
            ("HTTP/1.1 200 OK\r\n\r\nmore", Err(ProxyError::NotHttp)),
            (
                "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n<html>",
                Err(ProxyError::Authentication),
            ),
            ("HTTP/1.1 403 Forbidden\r\n\r\n", Err(ProxyError::Refused(403))),
            ("HTTP/1.1 302 Found\r\n\r\n", Err(ProxyError::Refused(302))),
            ("HTTP/1.1 502 Bad Gateway\r\n\r\n", Err(ProxyError::Unreachable(502))),
            ("HTTP/1.1 502 Bad Gateway\r\n", Err(ProxyError::Unreachable(502))),
            ("HTTP/1.1 100 Continue\r\n\r\n", Err(ProxyError::NotHttp)),
            ("HTTP/1.1 20x\r\n\r\n", Err(ProxyError::NotHttp)),
            ("SSH-2.0-OpenSSH\r\n\r\n", Err(ProxyError::NotHttp)),
            ("HTTP/1.1 200 OK\r\n", Err(ProxyError::Closed)),
            ("", Err(ProxyError::Closed)),
        ] {
            // In one piece, and byte by byte.
            let mut whole = ConnectReply::default();
            let known = if reply.is_empty() {
                None
            } else {
                whole.take(reply.as_bytes())
            };
            assert_eq!(known.or_else(|| whole.take(&[])), Some(expected), "{reply:?}");
            if expected == Ok(()) {
                let mut reader = ConnectReply::default();
                let (last, first) = reply.as_bytes().split_last().unwrap();
                assert!(first.iter().all(|byte| reader.take(&[*byte]).is_none()), "{reply:?}");
                assert_eq!(reader.take(&[*last]), Some(Ok(())), "{reply:?}");
            }
        }
    }

    #[test]
    fn endless_reply_is_not_http() {
        let mut reply = ConnectReply::default();
        let ends = (0..HEAD_MAX).find_map(|_| reply.take(b"HTTP/1.1 200 OK and so on ..."));
        assert_eq!(ends, Some(Err(ProxyError::NotHttp)));
    }
}
