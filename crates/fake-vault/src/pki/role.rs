//! PKI roles: the names and keys that they allow.
//!
//! The rules and their order are those of
//! <https://developer.hashicorp.com/vault/api-docs/secret/pki#create-update-role>.

use std::time::Duration;

use serde_json::{Value, json};

use super::csr::{Csr, Names};
use super::name::{is_below, is_hostname, is_label};
use crate::answer::Refusal;
use crate::ca::KeyType;
use crate::glob::glob;

/// A role of a PKI mount, with Vault's parameters and defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "Vault's own parameters, documented there")]
pub struct Role {
    pub allow_any_name: bool,
    pub allow_bare_domains: bool,
    pub allow_glob_domains: bool,
    pub allow_ip_sans: bool,
    pub allow_localhost: bool,
    pub allow_subdomains: bool,
    pub allow_wildcard_certificates: bool,
    pub allowed_domains: Vec<String>,
    pub allowed_serial_numbers: Vec<String>,
    pub allowed_uri_sans: Vec<String>,
    pub basic_constraints_valid_for_non_ca: bool,
    pub client_flag: bool,
    pub enforce_hostnames: bool,
    pub generate_lease: bool,
    pub issuer_ref: String,
    /// The required type of key; `None` for any.
    pub key_type: Option<KeyType>,
    pub max_ttl: Duration,
    /// An RFC 3339 date; empty if unset.
    pub not_after: String,
    pub not_before_duration: Duration,
    pub require_cn: bool,
    pub server_flag: bool,
    pub ttl: Duration,
    pub use_csr_common_name: bool,
    pub use_csr_sans: bool,
}

impl Default for Role {
    fn default() -> Self {
        Self {
            allow_any_name: false,
            allow_bare_domains: false,
            allow_glob_domains: false,
            allow_ip_sans: true,
            allow_localhost: true,
            allow_subdomains: false,
            allow_wildcard_certificates: true,
            allowed_domains: Vec::new(),
            allowed_serial_numbers: Vec::new(),
            allowed_uri_sans: Vec::new(),
            basic_constraints_valid_for_non_ca: false,
            client_flag: true,
            enforce_hostnames: true,
            generate_lease: false,
            issuer_ref: "default".to_owned(),
            key_type: Some(KeyType::Rsa),
            max_ttl: Duration::ZERO,
            not_after: String::new(),
            not_before_duration: Duration::from_secs(30),
            require_cn: true,
            server_flag: true,
            ttl: Duration::ZERO,
            use_csr_common_name: true,
            use_csr_sans: true,
        }
    }
}

impl Role {
    /// Returns a role for a domain and its subdomains, for any key and without a required common name, as one for
    /// cert-manager.
    pub fn domain(domain: &str) -> Self {
        Self {
            allowed_domains: vec![domain.to_owned()],
            allow_bare_domains: true,
            allow_subdomains: true,
            key_type: None,
            require_cn: false,
            ..Self::default()
        }
    }

    /// Returns a role for any name and any key.
    pub fn any_name() -> Self {
        Self {
            allow_any_name: true,
            enforce_hostnames: false,
            allowed_serial_numbers: vec!["*".to_owned()],
            allowed_uri_sans: vec!["*".to_owned()],
            key_type: None,
            require_cn: false,
            ..Self::default()
        }
    }

    /// Returns the role as `<mount>/roles/:name` expects it.
    pub fn parameters(&self) -> Value {
        json!({
            "allow_any_name": self.allow_any_name,
            "allow_bare_domains": self.allow_bare_domains,
            "allow_glob_domains": self.allow_glob_domains,
            "allow_ip_sans": self.allow_ip_sans,
            "allow_localhost": self.allow_localhost,
            "allow_subdomains": self.allow_subdomains,
            "allow_wildcard_certificates": self.allow_wildcard_certificates,
            "allowed_domains": self.allowed_domains,
            "allowed_serial_numbers": self.allowed_serial_numbers,
            "allowed_uri_sans": self.allowed_uri_sans,
            "basic_constraints_valid_for_non_ca": self.basic_constraints_valid_for_non_ca,
            "client_flag": self.client_flag,
            "enforce_hostnames": self.enforce_hostnames,
            "generate_lease": self.generate_lease,
            "issuer_ref": self.issuer_ref,
            "key_type": self.key_type.map_or("any", KeyType::as_str),
            "max_ttl": self.max_ttl.as_secs(),
            "not_after": self.not_after,
            "not_before_duration": self.not_before_duration.as_secs(),
            "require_cn": self.require_cn,
            "server_flag": self.server_flag,
            "ttl": self.ttl.as_secs(),
            "use_csr_common_name": self.use_csr_common_name,
            "use_csr_sans": self.use_csr_sans,
        })
    }

    /// Refuses a key that the role does not allow.
    pub(crate) fn check_key(&self, csr: &Csr) -> Result<(), Refusal> {
        if let Some(required) = self.key_type.filter(|required| *required != csr.key_type) {
            let error = format!("role requires keys of type {}", required.as_str());
            return Err(Refusal::bad_request(error));
        }
        let minimum = match csr.key_type {
            KeyType::Rsa => 2048,
            KeyType::Ec => 224,
            KeyType::Ed25519 => 0,
        };
        if csr.key_bits >= minimum {
            return Ok(());
        }
        Err(Refusal::bad_request(match self.key_type {
            None if csr.key_type == KeyType::Rsa => "RSA keys < 2048 bits are unsafe and not supported".to_owned(),
            _ => format!(
                "role requires a minimum of a {minimum}-bit key, but CSR's key is {} bits",
                csr.key_bits
            ),
        }))
    }

    /// Refuses names that the role does not allow. `from` is the source of the names.
    pub(crate) fn check_names(
        &self,
        common_name: &str,
        serial: &str,
        names: &Names,
        from: Source,
    ) -> Result<(), Refusal> {
        let refuse = |error: String| Err(Refusal::bad_request(error));
        if !common_name.is_empty() && !self.allows(common_name) {
            return refuse(format!("common name {common_name} not allowed by this role"));
        }
        let allowed = |allowed: &String| glob(allowed, serial);
        if !serial.is_empty() && !self.allowed_serial_numbers.iter().any(allowed) {
            return refuse(format!("serial_number {serial} not allowed by this role"));
        }
        if let Some(name) = names.dns.iter().find(|name| !self.allows(name)) {
            return refuse(format!("subject alternate name {name} not allowed by this role"));
        }
        if let Some(name) = names.emails.iter().find(|name| !self.allows(name)) {
            return refuse(format!("email address {name} not allowed by this role"));
        }
        if !names.ips.is_empty() && !self.allow_ip_sans {
            let given = match from {
                Source::Csr => "some via CSR".to_owned(),
                Source::Body => format!("{:?}", names.ips),
            };
            return refuse(format!(
                "IP Subject Alternative Names are not allowed in this role, but was provided {given}"
            ));
        }
        let via = match from {
            Source::Csr => "via CSR",
            Source::Body => "via the API",
        };
        let what = "URI Subject Alternative Names";
        if !names.uris.is_empty() && self.allowed_uri_sans.is_empty() {
            return refuse(format!("{what} are not allowed in this role, but were provided {via}"));
        }
        let allowed = |uri: &String| self.allowed_uri_sans.iter().any(|glob_| glob(glob_, uri));
        if !names.uris.iter().all(allowed) {
            return refuse(format!("{what} were provided {via} which are not valid for this role"));
        }
        Ok(())
    }

    /// Returns `true` if a DNS name or an e-mail address is allowed.
    fn allows(&self, name: &str) -> bool {
        let (host, is_email) = match name.split_once('@') {
            Some((_, host)) if host.contains('@') => return false,
            Some((_, host)) => (host, true),
            None => (name, false),
        };
        let is_wildcard = host.contains('*');
        let (label, reduced) = match host.split_once('.') {
            _ if !is_wildcard => ("", host),
            Some((label, rest)) => (label, rest),
            None => (host, ""),
        };
        if is_wildcard && (is_email || !self.allow_wildcard_certificates) {
            return false;
        }
        if reduced.contains('*') || label.matches('*').count() > 1 {
            return false;
        }
        if self.enforce_hostnames {
            let label = label.replacen('*', "", 1);
            let well_formed = label.is_empty() || is_label(&label);
            if !well_formed || !(reduced.is_empty() || is_hostname(reduced)) {
                return false;
            }
        }
        if self.allow_any_name {
            return true;
        }
        let local = |base: &str| reduced == base || self.allow_subdomains && is_below(reduced, base);
        if self.allow_localhost && (local("localhost") || local("localdomain")) {
            return true;
        }
        self.allowed_domains
            .iter()
            .filter(|domain| !domain.is_empty())
            .any(|domain| {
                let same = |name: &str| name.eq_ignore_ascii_case(domain);
                let bare = self.allow_bare_domains && (same(name) || is_email && same(host));
                let below = self.allow_subdomains && (is_below(reduced, domain) || is_wildcard && same(reduced));
                let globbed = self.allow_glob_domains
                    && domain.contains('*')
                    && glob(&domain.to_lowercase(), &name.to_lowercase());
                bare || below || globbed
            })
    }
}

/// The source of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Body,
    Csr,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allows_names_like_vault() {
        let subdomains = Role {
            allowed_domains: vec!["example.com".to_owned()],
            allow_subdomains: true,
            ..Role::default()
        };
        let bare = Role {
            allow_bare_domains: true,
            allow_subdomains: false,
            ..subdomains.clone()
        };
        let globs = Role {
            allowed_domains: vec!["web-*.example.*".to_owned()],
            allow_glob_domains: true,
            ..Role::default()
        };
        let plain = Role {
            allow_wildcard_certificates: false,
            ..subdomains.clone()
        };
        for (role, name, allowed) in [
            (&subdomains, "www.example.com", true),
            (&subdomains, "a.b.example.com", true),
            (&subdomains, "example.com", false),
            (&subdomains, "*.example.com", true),
            (&subdomains, "a*.example.com", true),
            (&subdomains, "*.*.example.com", false),
            (&subdomains, "a.*.example.com", false),
            (&subdomains, "badexample.com", false),
            (&subdomains, "www.example.com.evil.org", false),
            (&subdomains, "under_score.example.com", false),
            (&subdomains, "-a.example.com", false),
            (&subdomains, "me@mail.example.com", true),
            (&subdomains, "me@example.com", false),
            (&subdomains, "a@b@example.com", false),
            (&subdomains, "localhost", true),
            (&subdomains, "a.localhost", true),
            (&bare, "example.com", true),
            (&bare, "EXAMPLE.com", true),
            (&bare, "me@example.com", true),
            (&bare, "www.example.com", false),
            (&bare, "*.example.com", false),
            (&plain, "*.example.com", false),
            (&globs, "web-1.example.org", true),
            (&globs, "api-1.example.org", false),
            (&Role::any_name(), "any thing_at all", true),
            (
                &Role {
                    enforce_hostnames: true,
                    ..Role::any_name()
                },
                "any thing",
                false,
            ),
        ] {
            assert_eq!(role.allows(name), allowed, "{name}");
        }
    }
}
