//! Key usages and extended key usages, by cert-manager's names.

use crate::der;

/// A key usage or extended key usage that a `CertificateRequest` may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Usage {
    /// The name in `spec.usages`.
    pub(crate) name: &'static str,
    purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Purpose {
    /// A bit of the `KeyUsage` extension, counted from the first.
    Bit(u8),
    /// The content of an OID of the `ExtendedKeyUsage` extension.
    Oid(&'static [u8]),
}

use Purpose::{Bit, Oid};

/// `anyExtendedKeyUsage`.
const ANY: &[u8] = &[0x55, 0x1d, 0x25, 0];

/// cert-manager's names (its `pkg/apis/certmanager/v1/types.go`) and what they stand for (RFC 5280, sections 4.2.1.3
/// and 4.2.1.12).
const USAGES: [(&str, Purpose); 23] = [
    ("signing", Bit(0)),
    ("digital signature", Bit(0)),
    ("content commitment", Bit(1)),
    ("key encipherment", Bit(2)),
    ("data encipherment", Bit(3)),
    ("key agreement", Bit(4)),
    ("cert sign", Bit(5)),
    ("crl sign", Bit(6)),
    ("encipher only", Bit(7)),
    ("decipher only", Bit(8)),
    ("any", Oid(ANY)),
    ("server auth", Oid(&[0x2b, 6, 1, 5, 5, 7, 3, 1])),
    ("client auth", Oid(&[0x2b, 6, 1, 5, 5, 7, 3, 2])),
    ("code signing", Oid(&[0x2b, 6, 1, 5, 5, 7, 3, 3])),
    ("email protection", Oid(&[0x2b, 6, 1, 5, 5, 7, 3, 4])),
    ("s/mime", Oid(&[0x2b, 6, 1, 5, 5, 7, 3, 4])),
    ("ipsec end system", Oid(&[0x2b, 6, 1, 5, 5, 7, 3, 5])),
    ("ipsec tunnel", Oid(&[0x2b, 6, 1, 5, 5, 7, 3, 6])),
    ("ipsec user", Oid(&[0x2b, 6, 1, 5, 5, 7, 3, 7])),
    ("timestamping", Oid(&[0x2b, 6, 1, 5, 5, 7, 3, 8])),
    ("ocsp signing", Oid(&[0x2b, 6, 1, 5, 5, 7, 3, 9])),
    ("microsoft sgc", Oid(&[0x2b, 6, 1, 4, 1, 0x82, 0x37, 0x0a, 3, 3])),
    ("netscape sgc", Oid(&[0x60, 0x86, 0x48, 1, 0x86, 0xf8, 0x42, 4, 1])),
];

impl Usage {
    /// To sign certificates.
    pub(crate) const CERT_SIGN: Self = Self {
        name: "cert sign",
        purpose: Bit(5),
    };

    /// Returns the usage of a name; `None` for a name that cert-manager does not define.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (name, purpose) = *USAGES.iter().find(|(known, _)| *known == name)?;
        Some(Self { name, purpose })
    }
}

/// The usages that a certificate grants.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Granted<'a> {
    /// The bytes of the `KeyUsage` bit string. A certificate without the extension has every key usage.
    bits: Option<&'a [u8]>,
    /// The purposes of `ExtendedKeyUsage`. A certificate without the extension has every purpose.
    purposes: Option<Vec<&'a [u8]>>,
}

impl<'a> Granted<'a> {
    /// Reads the values of both extensions; `None` if one is not well-formed.
    pub(crate) fn parse(key_usage: Option<&'a [u8]>, extended: Option<&'a [u8]>) -> Option<Self> {
        // The count of unused bits needs no look: DER has them zero.
        let bits = |value| Some(der::only(der::BIT_STRING, value)?.split_first()?.1);
        let purposes = |value| {
            let elements = der::elements(der::only(der::SEQUENCE, value)?)?;
            let oids = elements
                .into_iter()
                .map(|oid| der::only(der::OBJECT_IDENTIFIER, oid.whole));
            oids.collect::<Option<Vec<_>>>()
        };
        Some(Self {
            bits: key_usage.map(bits).map_or(Some(None), |bits| bits.map(Some))?,
            purposes: extended.map(purposes).map_or(Some(None), |oids| oids.map(Some))?,
        })
    }

    /// Returns `true` if the certificate may be used so.
    pub(crate) fn includes(&self, usage: Usage) -> bool {
        match usage.purpose {
            Bit(bit) => self.bits.is_none_or(|bits| {
                // DER leaves out trailing zeros, so a missing byte is zero.
                let byte = bits.get(usize::from(bit / 8)).copied().unwrap_or_default();
                byte & (0x80 >> (bit % 8)) != 0
            }),
            Oid(oid) => self
                .purposes
                .as_ref()
                // `anyExtendedKeyUsage` includes every purpose (RFC 5280, section 4.2.1.12).
                .is_none_or(|purposes| purposes.contains(&oid) || purposes.contains(&ANY)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(key_usage: Option<&[u8]>, extended: Option<&[u8]>) -> Vec<&'static str> {
        let granted = Granted::parse(key_usage, extended).unwrap();
        let all = USAGES.iter().map(|(name, _)| Usage::parse(name).unwrap());
        all.filter(|usage| !granted.includes(*usage))
            .map(|usage| usage.name)
            .collect()
    }

    fn names(kind: fn(&Purpose) -> bool, except: &[&str]) -> Vec<&'static str> {
        let of_kind = USAGES
            .iter()
            .filter(|(name, purpose)| kind(purpose) && !except.contains(name));
        of_kind.map(|(name, _)| *name).collect()
    }

    #[test]
    fn reads_both_extensions() {
        let (bit, oid) = (|p: &Purpose| matches!(p, Bit(_)), |p: &Purpose| matches!(p, Oid(_)));
        assert_eq!(missing(None, None), Vec::<&str>::new());
        // Digital signature, key encipherment; decipher only.
        let with = ["signing", "digital signature", "key encipherment"];
        assert_eq!(missing(Some(&[3, 2, 5, 0xa0]), None), names(bit, &with));
        assert_eq!(missing(Some(&[3, 3, 7, 0, 0x80]), None), names(bit, &["decipher only"]));
        assert_eq!(missing(None, Some(&[0x30, 0])), names(oid, &[]));
        let server = b"\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01";
        assert_eq!(missing(None, Some(server)), names(oid, &["server auth"]));
        assert_eq!(
            missing(None, Some(b"\x30\x06\x06\x04\x55\x1d\x25\0")),
            Vec::<&str>::new()
        );
    }

    #[test]
    fn refuses_malformed_extensions() {
        for broken in [[].as_slice(), &[3, 0], &[4, 1, 0], &[0x30, 1]] {
            assert_eq!(Granted::parse(Some(broken), None), None, "{broken:?}");
        }
        for broken in [[].as_slice(), &[0x30, 1], &[0x30, 2, 5, 0], &[3, 1, 0]] {
            assert_eq!(Granted::parse(None, Some(broken)), None, "{broken:?}");
        }
        assert_eq!(Usage::parse("server"), None);
    }
}
