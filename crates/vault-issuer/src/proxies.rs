//! The proxy settings of the environment.

use std::env;

use anyhow::Context;
use issuer_core::target::ProxySettings;

/// Reads the proxy to Vault from the environment. Like Go, it takes the name in upper case first.
pub(crate) fn proxies() -> anyhow::Result<ProxySettings> {
    let proxy = first(["HTTPS_PROXY", "https_proxy"]);
    let no_proxy = first(["NO_PROXY", "no_proxy"]);
    parse(&proxy, &no_proxy)
}

fn parse(proxy: &str, no_proxy: &str) -> anyhow::Result<ProxySettings> {
    ProxySettings::parse(proxy, no_proxy).context("HTTPS_PROXY cannot be used")
}

/// Returns the first of these variables that is not empty.
fn first(names: [&str; 2]) -> String {
    let mut values = names.into_iter().filter_map(|name| env::var(name).ok());
    values.find(|value| !value.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsupported_proxy_names_its_variable() {
        for url in ["https://user:canary@proxy:3129", "socks5://user:canary@proxy:1080"] {
            let error = format!("{:#}", parse(url, "").unwrap_err());
            assert!(
                error.starts_with("HTTPS_PROXY cannot be used: the proxy must be a URL"),
                "{error}"
            );
            assert!(error.ends_with("(https://) and SOCKS are not supported"), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
