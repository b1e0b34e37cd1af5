//! Subject alternative names and common names, in a form that can be compared.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::der::{self, Element};
use crate::uri;

/// A subject alternative name, in the form in which names are compared: DNS names and the domains of e-mail addresses
/// in lower case, both without the spaces around them, which Vault trims; IPv4 addresses never as IPv6, URIs as Vault writes
/// them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Name {
    Dns(String),
    Email(String),
    Ip(IpAddr),
    /// An `otherName` whose value is a `UTF8String`.
    Other {
        oid: String,
        value: String,
    },
    Uri(String),
    /// A name of any other kind, as it is encoded. Vault's `sign` endpoint drops it.
    Opaque {
        tag: u8,
        content: Vec<u8>,
    },
}

const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;

impl Name {
    /// Reads a `GeneralNames`, the value of a subject alternative name extension. Empty DNS names and the like, which
    /// name nothing and which Vault drops, are left out. `None` if it is not well-formed.
    pub(crate) fn parse_all(general_names: &[u8]) -> Option<BTreeSet<Self>> {
        let names = der::elements(der::only(der::SEQUENCE, general_names)?)?;
        names
            .into_iter()
            .map(|name| Self::parse(name.tag, name.content))
            .filter(|name| name.as_ref().is_none_or(|name| !name.is_empty()))
            .collect()
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Dns(text) | Self::Email(text) | Self::Uri(text) => text.is_empty(),
            Self::Ip(_) | Self::Other { .. } | Self::Opaque { .. } => false,
        }
    }

    fn parse(tag: u8, content: &[u8]) -> Option<Self> {
        // Go, and so Vault, refuses names that are not ASCII: they belong in an `otherName`.
        let text = || std::str::from_utf8(content).ok().filter(|text| text.is_ascii());
        Some(match tag {
            EMAIL => Self::Email(normal_email(text()?.trim())),
            DNS => Self::Dns(text()?.trim().to_ascii_lowercase()),
            URI => Self::Uri(uri::rewritten(text()?)),
            IP => Self::Ip(match content.len() {
                4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(content).ok()?)),
                // Any other length than 16 is no address, and the extension malformed.
                _ => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(content).ok()?)).to_canonical(),
            }),
            _ => other(tag, content).unwrap_or_else(|| Self::Opaque {
                tag,
                content: content.to_vec(),
            }),
        })
    }

    /// Returns the names that a common name may mean. Both it and the names that it is looked up in may be long, so it is
    /// read once.
    pub(crate) fn meant_by(common_name: &str) -> BTreeSet<Self> {
        let texts = [
            Self::Dns(common_name.to_ascii_lowercase()),
            Self::Email(normal_email(common_name)),
            Self::Uri(uri::rewritten(common_name)),
        ];
        let address = common_name.parse().ok().map(Self::Ip);
        texts.into_iter().chain(address).collect()
    }
}

fn other(tag: u8, content: &[u8]) -> Option<Name> {
    let [oid, value] = der::elements(content)?.try_into().ok()?;
    let value = der::only(der::UTF8_STRING, der::only(der::CONTEXT_0, value.whole)?)?;
    let other = Name::Other {
        oid: dotted(der::only(der::OBJECT_IDENTIFIER, oid.whole)?)?,
        value: std::str::from_utf8(value).ok()?.to_owned(),
    };
    (tag == der::CONTEXT_0).then_some(other)
}

fn normal_email(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((local, domain)) => format!("{local}@{}", domain.to_ascii_lowercase()),
        None => address.to_owned(),
    }
}

/// Returns an object identifier in dotted form; `None` if it is not in its shortest encoding.
fn dotted(content: &[u8]) -> Option<String> {
    let (mut arcs, mut arc, mut open) = (Vec::new(), 0_u64, false);
    for byte in content {
        // A leading zero digit: there is a shorter encoding.
        if !open && *byte == 0x80 {
            return None;
        }
        arc = arc.checked_mul(128)?.checked_add(u64::from(byte & 0x7f))?;
        open = byte & 0x80 != 0;
        if !open {
            arcs.push(std::mem::take(&mut arc));
        }
    }
    let (first, rest) = arcs.split_first().filter(|_| !open)?;
    // The first two arcs are encoded as one number (X.690, section 8.19.4).
    let root = (first / 40).min(2);
    let start = format!("{root}.{}", first - 40 * root);
    Some(rest.iter().fold(start, |text, arc| format!("{text}.{arc}")))
}

impl fmt::Display for Name {
    /// Writes the kind and the name for a condition: in printable ASCII, at most 100 characters of the name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "DNS name {}", Shown(name)),
            Self::Email(address) => write!(f, "e-mail address {}", Shown(address)),
            Self::Ip(address) => write!(f, "IP address {address}"),
            Self::Other { oid, value } => {
                write!(f, "otherName {};UTF8:{}", Shown(oid), Shown(value))
            }
            Self::Uri(uri) => write!(f, "URI {}", Shown(uri)),
            Self::Opaque { tag, .. } => f.write_str(match tag & 0x1f {
                0 => "otherName that is not a UTF8String",
                3 => "x400Address",
                4 => "directoryName",
                5 => "ediPartyName",
                8 => "registeredID",
                _ => "name of an unknown kind",
            }),
        }
    }
}

struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |character: char| {
            // Others could reorder or hide the text of a condition.
            if character.is_ascii_graphic() { character } else { '?' }
        };
        let text: String = self.0.chars().take(100).map(shown).collect();
        let more = if self.0.chars().nth(100).is_some() { ".." } else { "" };
        write!(f, "{text}{more}")
    }
}

/// The common name of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum CommonName {
    /// There is none, or it is empty.
    Absent,
    /// It is of a string type that Go, and so Vault, does not read: a certificate is issued as if there were none, or
    /// with the subject as it is encoded in the CSR.
    Unreadable,
    /// The text.
    Text(String),
}

impl CommonName {
    /// Reads the common name of a DER `Name`: as Go does, the last one that can be read. `None` if the `Name` is not
    /// well-formed.
    pub(crate) fn parse(subject: &[u8]) -> Option<Self> {
        const COMMON_NAME: &[u8] = &[0x55, 4, 3];
        let mut found = Self::Absent;
        for set in der::elements(der::only(der::SEQUENCE, subject)?)? {
            for attribute in der::elements(der::only(der::SET, set.whole)?)? {
                let parts = der::elements(der::only(der::SEQUENCE, attribute.whole)?)?;
                // Go skips what follows.
                let [kind, value, ..] = *parts.as_slice() else {
                    return None;
                };
                if der::only(der::OBJECT_IDENTIFIER, kind.whole)? != COMMON_NAME {
                    continue;
                }
                match string(value) {
                    Some(text) if text.is_empty() => found = Self::Absent,
                    Some(text) => found = Self::Text(text),
                    None if found == Self::Absent => found = Self::Unreadable,
                    None => {}
                }
            }
        }
        Some(found)
    }

    /// Returns the text, if there is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Absent | Self::Unreadable => None,
        }
    }
}

/// Decodes a string of a type that Go reads in a distinguished name.
fn string(value: Element<'_>) -> Option<String> {
    const NUMERIC_STRING: u8 = 0x12;
    const PRINTABLE_STRING: u8 = 0x13;
    const TELETEX_STRING: u8 = 0x14;
    const IA5_STRING: u8 = 0x16;
    const BMP_STRING: u8 = 0x1e;
    match value.tag {
        // Go reads it as Latin-1.
        TELETEX_STRING => Some(value.content.iter().copied().map(char::from).collect()),
        BMP_STRING => {
            let (units, rest) = value.content.as_chunks::<2>();
            // Like Go, without a terminator.
            let units = units.strip_suffix(&[[0, 0]]).unwrap_or(units);
            let units: Vec<u16> = units.iter().copied().map(u16::from_be_bytes).collect();
            String::from_utf16(&units).ok().filter(|_| rest.is_empty())
        }
        NUMERIC_STRING | PRINTABLE_STRING | IA5_STRING | der::UTF8_STRING => {
            std::str::from_utf8(value.content).ok().map(str::to_owned)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn san(names: &[u8]) -> Option<BTreeSet<Name>> {
        Name::parse_all(&[&[0x30, u8::try_from(names.len()).unwrap()], names].concat())
    }

    #[test]
    fn reads_every_kind() {
        let mapped = [&[0x87, 16], [0; 10].as_slice(), &[0xff, 0xff, 10, 0, 0, 1]].concat();
        let upn = b"\xa0\x10\x06\x03\x88\x37\x01\xa0\x09\x0c\x07us\xc3\xa9r@x";
        let table: [(&[u8], Name, &str); 9] = [
            (b"\x82\x03A.b", Name::Dns("a.b".to_owned()), "DNS name a.b"),
            (
                b"\x81\x05Me@EX",
                Name::Email("Me@ex".to_owned()),
                "e-mail address Me@ex",
            ),
            (b"\x86\x03A:b", Name::Uri("a:b".to_owned()), "URI a:b"),
            (
                b"\x87\x04\x0a\0\0\x01",
                Name::Ip([10, 0, 0, 1].into()),
                "IP address 10.0.0.1",
            ),
            (&mapped, Name::Ip([10, 0, 0, 1].into()), "IP address 10.0.0.1"),
            (
                upn,
                Name::Other {
                    oid: "2.999.1".to_owned(),
                    value: "usér@x".to_owned(),
                },
                "otherName 2.999.1;UTF8:us?r@x",
            ),
            (
                b"\xa4\x02\x30\0",
                Name::Opaque {
                    tag: 0xa4,
                    content: vec![0x30, 0],
                },
                "directoryName",
            ),
            (
                b"\x88\x01\x2a",
                Name::Opaque {
                    tag: 0x88,
                    content: vec![0x2a],
                },
                "registeredID",
            ),
            (
                b"\xa0\x07\x06\x01\x2a\xa0\x02\x05\0",
                Name::Opaque {
                    tag: 0xa0,
                    content: b"\x06\x01\x2a\xa0\x02\x05\0".to_vec(),
                },
                "otherName that is not a UTF8String",
            ),
        ];
        for (encoded, name, shown) in table {
            assert_eq!(san(encoded), Some(BTreeSet::from([name.clone()])), "{shown}");
            assert_eq!(name.to_string(), shown);
        }
    }

    #[test]
    fn refuses_malformed_names() {
        let broken: [&[u8]; 5] = [
            b"\x82\x05ab",
            b"\x82\x02\xc3\xa9",
            b"\x87\x05\x0a\0\0\0\0",
            b"\x82",
            b"\x81\x01\xff",
        ];
        for names in broken {
            assert_eq!(san(names), None, "{names:?}");
        }
        assert_eq!(Name::parse_all(b"\x30\0\0"), None);
        assert_eq!(Name::parse_all(b"\x31\0"), None);
        assert_eq!(san(b""), Some(BTreeSet::new()));
    }

    #[test]
    fn empty_names_name_nothing() {
        assert_eq!(san(b"\x82\0\x81\0\x86\0\x82\x01 "), Some(BTreeSet::new()));
        assert_eq!(san(b"\x87\0"), None);
    }

    #[test]
    fn spaces_around_names_mean_nothing() {
        assert_eq!(san(b"\x82\x03 a\n\x81\x04\tm@b"), san(b"\x82\x01a\x81\x03m@b"));
    }

    #[test]
    fn compares_uris_as_vault_writes_them() {
        for (asked, issued) in [
            (&b"\x86\x05URN:a"[..], &b"\x86\x05urn:a"[..]),
            (b"\x86\x07x:/a b#", b"\x86\x08x:/a%20b"),
        ] {
            assert_eq!(san(asked), san(issued));
        }
        assert_ne!(san(b"\x86\x05urn:a"), san(b"\x86\x05urn:A"));
        assert!(Name::meant_by("URN:a").contains(&Name::Uri("urn:a".to_owned())));
    }

    #[test]
    fn shows_only_short_printable_names() {
        let shown = Name::Dns(format!("\u{1b}[31m\n{}", "x".repeat(1000))).to_string();
        assert!(shown.starts_with("DNS name ?[31m?xxx") && shown.ends_with("x..") && shown.len() < 120);
    }

    #[test]
    fn writes_only_shortest_object_identifiers() {
        assert_eq!(dotted(&[0x2a, 0x86, 0x48]).as_deref(), Some("1.2.840"));
        assert_eq!(dotted(&[0x55, 0x1d, 0x11]).as_deref(), Some("2.5.29.17"));
        for broken in [
            [].as_slice(),
            &[0x2a, 0x86],
            &[0x2a, 0x80, 0x01],
            &[0x2a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ] {
            assert_eq!(dotted(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn reads_common_names_as_go_does() {
        let attribute = |value: &[u8]| {
            let inner = [b"\x06\x03\x55\x04\x03".as_slice(), value].concat();
            let length = u8::try_from(inner.len()).unwrap();
            [&[0x31, length + 2, 0x30, length], inner.as_slice()].concat()
        };
        let read = |values: &[&[u8]]| {
            let attributes: Vec<u8> = values.iter().flat_map(|value| attribute(value)).collect();
            let subject = [&[0x30, u8::try_from(attributes.len()).unwrap()], attributes.as_slice()].concat();
            CommonName::parse(&subject).unwrap()
        };
        let text = |text: &str| CommonName::Text(text.to_owned());
        assert_eq!(read(&[]), CommonName::Absent);
        assert_eq!(read(&[b"\x0c\0"]), CommonName::Absent);
        assert_eq!(read(&[b"\x0c\x01a", b"\x13\x01b"]), text("b"));
        assert_eq!(read(&[b"\x14\x02\xe9a"]), text("éa"));
        assert_eq!(read(&[b"\x1e\x04\0a\0b"]), text("ab"));
        assert_eq!(read(&[b"\x1e\x04\0a\0\0"]), text("a"));
        assert_eq!(read(&[b"\x12\x011"]), text("1"));
        assert_eq!(read(&[b"\x16\x01a"]), text("a"));
        // INTEGER, UniversalString, VisibleString, OCTET STRING, broken UTF-8.
        for value in [
            &b"\x02\x01\x05"[..],
            b"\x1c\x04\0\0\0a",
            b"\x1a\x01a",
            b"\x04\x01a",
            b"\x0c\x01\xff",
        ] {
            assert_eq!(read(&[value]), CommonName::Unreadable, "{value:?}");
            assert_eq!(read(&[b"\x0c\x01a", value]), text("a"), "{value:?}");
            assert_eq!(read(&[value, b"\x0c\x01a"]), text("a"), "{value:?}");
        }
    }

    #[test]
    fn refuses_malformed_subjects() {
        for subject in [
            &b""[..],
            b"\x31\0",
            b"\x30\x02\x30\0",
            b"\x30\x04\x31\x02\x30\0",
            b"\x30\0\0",
        ] {
            assert_eq!(CommonName::parse(subject), None, "{subject:?}");
        }
    }
}
