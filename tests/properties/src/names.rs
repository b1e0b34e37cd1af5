//! Subject alternative names as x509-parser reads them, in a comparable form.

use std::collections::BTreeSet;
use std::net::IpAddr;

use x509_parser::extensions::GeneralName;

/// Normalizes names: DNS names and e-mail domains in lower case, both without spaces around them, IP addresses in the shortest
/// form.
pub(crate) fn of(names: &[GeneralName<'_>]) -> BTreeSet<String> {
    names.iter().map(name).collect()
}

fn name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => format!("dns {}", name.trim().to_ascii_lowercase()),
        GeneralName::RFC822Name(address) => format!("email {}", email(address.trim())),
        GeneralName::URI(uri) => format!("uri {uri}"),
        GeneralName::IPAddress(bytes) => match ip(bytes) {
            Some(address) => format!("ip {address}"),
            None => format!("no ip {bytes:?}"),
        },
        other => format!("other {other:?}"),
    }
}

/// Converts the domain of an e-mail address to lower case.
pub(crate) fn email(address: &str) -> String {
    match address.rfind('@') {
        Some(at) => address[..at].to_owned() + &address[at..].to_ascii_lowercase(),
        None => address.to_owned(),
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).unwrap())),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).unwrap()).to_canonical()),
        _ => None,
    }
}
