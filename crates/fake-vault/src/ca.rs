//! Certificate authorities with fixed keys: equal names have equal keys in every process.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize, SerialNumber,
};

use crate::dice::Dice;

/// The end of 2049, the last year of `UTCTime`.
pub(crate) const FAR: Duration = Duration::from_secs(2_524_607_999);

/// The end of 9999, the last year of a certificate.
pub(crate) const LAST: Duration = Duration::from_secs(253_402_300_799);

/// A type of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// P-256. Signatures differ between runs.
    Ec,
    /// Ed25519. Signatures are the same in every run.
    Ed25519,
    /// RSA with 2048 bits, generated once per process and label.
    Rsa,
}

impl KeyType {
    /// Returns Vault's name of the type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ec => "ec",
            Self::Ed25519 => "ed25519",
            Self::Rsa => "rsa",
        }
    }
}

/// Returns the key of a label. The keys are not secret: never trust them.
#[expect(clippy::expect_used, reason = "a constant PKCS#8 prefix and 32 bytes always parse")]
pub fn key(kind: KeyType, label: &str) -> KeyPair {
    static RSA: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::new(BTreeMap::new());
    let der = match kind {
        KeyType::Ec => [
            b"\x30\x41\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08".as_slice(),
            b"\x2a\x86\x48\xce\x3d\x03\x01\x07\x04\x27\x30\x25\x02\x01\x01\x04\x20",
            &scalar(label),
        ]
        .concat(),
        KeyType::Ed25519 => [
            b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".as_slice(),
            &scalar(label),
        ]
        .concat(),
        KeyType::Rsa => RSA
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(label.to_owned())
            .or_insert_with(|| {
                KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)
                    .map(|key| key.serialize_der())
                    .expect("an RSA key")
            })
            .clone(),
    };
    KeyPair::try_from(der).expect("a PKCS#8 key")
}

/// Returns 32 bytes that are less than the order of each curve.
fn scalar(label: &str) -> [u8; 32] {
    let mut bytes = Dice::of(label).bytes();
    bytes[0] &= 0x7f;
    bytes
}

/// A CA: a certificate, its key, and the certificates above it.
#[derive(Clone)]
pub struct Authority {
    name: Arc<str>,
    pub(crate) issuer: Arc<Issuer<'static, KeyPair>>,
    certificate: Certificate,
    above: Arc<[Certificate]>,
    pub(crate) not_after: Duration,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("certificates", &(1 + self.above.len()))
            .finish()
    }
}

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate, DER.
    pub der: Arc<[u8]>,
    /// The certificate, PEM without a final newline, as in Vault's replies.
    pub pem: Arc<str>,
    self_signed: bool,
}

impl Certificate {
    fn new(certificate: &rcgen::Certificate, self_signed: bool) -> Self {
        Self {
            der: certificate.der().as_ref().into(),
            pem: certificate.pem().trim_end().into(),
            self_signed,
        }
    }

    /// Returns a certificate that an [`Authority`] has signed.
    pub(crate) fn issued(certificate: &rcgen::Certificate) -> Self {
        Self::new(certificate, false)
    }

    /// Returns `true` for the certificate of a root.
    pub fn is_self_signed(&self) -> bool {
        self.self_signed
    }
}

/// A certificate and its key, both PEM.
#[derive(Clone)]
pub struct Certified {
    /// The certificate and the intermediates above it, PEM.
    pub chain_pem: String,
    /// The private key, PKCS#8 PEM.
    pub key_pem: String,
    /// The certificate itself, DER.
    pub der: Vec<u8>,
}

impl Authority {
    /// Returns a root with an Ed25519 key, valid until the end of 2049.
    pub fn root(name: &str) -> Self {
        Self::root_with(name, KeyType::Ed25519, FAR)
    }

    /// Returns a root with this type of key, valid until `not_after` since the Unix epoch.
    pub fn root_with(name: &str, kind: KeyType, not_after: Duration) -> Self {
        Self::certified(name, key(kind, name), not_after, None)
    }

    /// Returns an intermediate with an Ed25519 key, valid until the end of 2049.
    #[must_use]
    pub fn intermediate(&self, name: &str) -> Self {
        self.intermediate_with(name, KeyType::Ed25519, FAR)
    }

    /// Returns an intermediate with this type of key, valid until `not_after` since the Unix epoch.
    #[must_use]
    pub fn intermediate_with(&self, name: &str, kind: KeyType, not_after: Duration) -> Self {
        Self::certified(name, key(kind, name), not_after, Some(self))
    }

    /// Returns an unrelated root of the same name.
    pub(crate) fn impostor(&self) -> Self {
        Self::certified(&self.name, key(KeyType::Ed25519, "impostor"), self.not_after, None)
    }

    /// Adds a certificate for the same name and key that `other` has signed, and the chain of `other`.
    #[must_use]
    #[expect(clippy::expect_used, reason = "fixed names and keys always sign")]
    pub fn cross_signed_by(&self, other: &Self) -> Self {
        let params = parameters(&self.name, "cross", self.not_after);
        let cross = params
            .signed_by(self.issuer.key(), &other.issuer)
            .expect("a certificate");
        let cross = Certificate::new(&cross, false);
        let above = self.above.iter().cloned().chain([cross]).chain(other.chain());
        Self {
            above: above.collect(),
            ..self.clone()
        }
    }

    /// Removes the roots' certificates from the chain, as if they had not been imported.
    #[must_use]
    pub fn without_root(&self) -> Self {
        let above = self
            .above
            .iter()
            .filter(|certificate| !certificate.self_signed)
            .cloned();
        Self {
            above: above.collect(),
            ..self.clone()
        }
    }

    /// Returns the CA's own certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Returns the CA's own certificate and those above it: the `ca_chain` of a signature.
    pub fn chain(&self) -> impl Iterator<Item = Certificate> {
        [self.certificate.clone()].into_iter().chain(self.above.iter().cloned())
    }

    /// Issues a certificate to a TLS client.
    pub fn client(&self, name: &str) -> Certified {
        self.leaf(name, FAR, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// Issues a certificate to a TLS server for these DNS names and IP addresses.
    pub fn server(&self, names: &[&str]) -> Certified {
        self.server_until(names, FAR)
    }

    /// Issues a certificate to a TLS server, valid until `not_after` since the Unix epoch.
    pub fn server_until(&self, names: &[&str], not_after: Duration) -> Certified {
        self.leaf(&names.join(","), not_after, ExtendedKeyUsagePurpose::ServerAuth)
    }

    #[expect(clippy::expect_used, reason = "a test with invalid names is wrong")]
    fn leaf(&self, names: &str, end: Duration, usage: ExtendedKeyUsagePurpose) -> Certified {
        let key = key(KeyType::Ec, &format!("leaf {names}"));
        let names: Vec<_> = names.split(',').map(str::to_owned).collect();
        let common_name = names.first().cloned().unwrap_or_default();
        let mut params = CertificateParams::new(names).expect("names of ASCII");
        params.distinguished_name = common_name_only(&common_name);
        params.extended_key_usages = vec![usage];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        valid(&mut params, Duration::ZERO, end);
        params.serial_number = Some(serial(&format!("{common_name} leaf")));
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let above = self.chain().filter(|certificate| !certificate.self_signed);
        let above: String = above.map(|certificate| format!("{}\n", certificate.pem)).collect();
        Certified {
            chain_pem: certificate.pem() + &above,
            key_pem: key.serialize_pem(),
            der: certificate.der().to_vec(),
        }
    }

    #[expect(clippy::expect_used, reason = "fixed names and keys always sign")]
    fn certified(name: &str, key: KeyPair, not_after: Duration, by: Option<&Self>) -> Self {
        let params = parameters(name, "own", not_after);
        let certificate = match by {
            Some(by) => params.signed_by(&key, &by.issuer),
            None => params.self_signed(&key),
        };
        Self {
            name: name.into(),
            certificate: Certificate::new(&certificate.expect("a certificate"), by.is_none()),
            issuer: Arc::new(Issuer::new(params, key)),
            above: by.map(|by| by.chain().collect()).unwrap_or_default(),
            not_after,
        }
    }
}

fn parameters(name: &str, role: &str, not_after: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name_only(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    valid(&mut params, Duration::ZERO, not_after);
    params.serial_number = Some(serial(&format!("{name} {role}")));
    params
}

fn common_name_only(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

fn serial(label: &str) -> SerialNumber {
    SerialNumber::from_slice(&serial_bytes(&mut Dice::of(label)))
}

/// Returns a positive serial number of exactly twenty bytes.
pub(crate) fn serial_bytes(dice: &mut Dice) -> [u8; 20] {
    let mut bytes = dice.bytes();
    bytes[0] = bytes[0] & 0x3f | 0x40;
    bytes
}

/// Sets a certificate's validity since the Unix epoch, at most until the end of 9999.
pub(crate) fn valid(params: &mut CertificateParams, not_before: Duration, not_after: Duration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + not_before.min(LAST);
    params.not_after = epoch + not_after.min(LAST);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(authority: &Authority) -> Vec<(String, String)> {
        let parsed = authority.chain().map(|certificate| {
            let (_, parsed) = x509_parser::parse_x509_certificate(&certificate.der).unwrap();
            (parsed.subject().to_string(), parsed.issuer().to_string())
        });
        parsed.collect()
    }

    fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> Vec<(String, String)> {
        pairs
            .map(|(subject, issuer)| (format!("CN={subject}"), format!("CN={issuer}")))
            .to_vec()
    }

    #[test]
    fn chains_have_requested_shape() {
        let (old, new) = (Authority::root("old"), Authority::root("new"));
        let crossed = new.cross_signed_by(&old);
        assert_eq!(names(&old), pairs([("old", "old")]));
        assert_eq!(names(&crossed), pairs([("new", "new"), ("new", "old"), ("old", "old")]));
        let intermediate = crossed.intermediate("int");
        let expected = pairs([("int", "new"), ("new", "new"), ("new", "old"), ("old", "old")]);
        assert_eq!(names(&intermediate), expected);
        let expected = pairs([("int", "new"), ("new", "old")]);
        assert_eq!(names(&intermediate.without_root()), expected);
        let twice = new.intermediate("int").cross_signed_by(&old);
        let expected = pairs([("int", "new"), ("new", "new"), ("int", "old"), ("old", "old")]);
        assert_eq!(names(&twice), expected);
    }

    #[test]
    fn every_link_is_signed() {
        for kind in [KeyType::Ec, KeyType::Ed25519, KeyType::Rsa] {
            let root = Authority::root_with("root", kind, FAR);
            let leaf = root.intermediate_with("int", kind, FAR).client("someone");
            let parse = |der| x509_parser::parse_x509_certificate(der).unwrap().1;
            let chain: Vec<_> = root.intermediate_with("int", kind, FAR).chain().collect();
            let (int, root) = (parse(&chain[0].der), parse(&chain[1].der));
            let leaf = parse(&leaf.der);
            assert_eq!(leaf.verify_signature(Some(int.public_key())), Ok(()), "{kind:?}");
            assert_eq!(int.verify_signature(Some(root.public_key())), Ok(()), "{kind:?}");
            assert_eq!(root.verify_signature(None), Ok(()), "{kind:?}");
        }
    }

    #[test]
    fn ed25519_certificates_are_reproducible() {
        let first = Authority::root("root").intermediate("int");
        assert_eq!(
            first.certificate(),
            Authority::root("root").intermediate("int").certificate()
        );
        assert_ne!(
            first.certificate().der,
            Authority::root("root").intermediate("i").certificate().der
        );
    }
}
