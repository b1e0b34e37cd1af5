//! Keys and certificates of the servers themselves, and the CSRs of cases.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, OtherNameValue, SanType,
};

/// A certification authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, PEM.
    pub(crate) pem: String,
}

/// A certificate and its key, PEM.
pub(crate) struct Pair {
    /// The certificate.
    pub(crate) certificate: String,
    /// The key, PKCS#8.
    pub(crate) key: String,
}

impl Authority {
    /// Creates a self-signed authority.
    pub(crate) fn new(name: &str) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            pem,
        })
    }

    /// Issues a certificate for servers of these names and addresses.
    pub(crate) fn server(&self, name: &str, names: &[&str]) -> anyhow::Result<Pair> {
        let mut params = named(name);
        params.subject_alt_names = CertificateParams::new(owned(names))?.subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params)
    }

    /// Issues a certificate for a client.
    pub(crate) fn client(&self, name: &str) -> anyhow::Result<Pair> {
        let mut params = named(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params)
    }

    fn issue(&self, mut params: CertificateParams) -> anyhow::Result<Pair> {
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        Ok(Pair {
            certificate: params.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// A certificate signing request and its key.
pub(crate) struct Csr {
    /// The request, PEM.
    pub(crate) pem: String,
    /// The key's `SubjectPublicKeyInfo`, DER.
    pub(crate) spki: Vec<u8>,
}

/// The names in a CSR.
#[derive(Clone, Copy, Default)]
pub(crate) struct Names<'a> {
    /// The subject's common name.
    pub(crate) common_name: &'a str,
    /// The subject's organization, if there is one.
    pub(crate) organization: &'a str,
    /// DNS names.
    pub(crate) dns: &'a [&'a str],
    /// IP addresses.
    pub(crate) ip: &'a [IpAddr],
    /// URIs.
    pub(crate) uri: &'a [&'a str],
    /// E-mail addresses.
    pub(crate) email: &'a [&'a str],
    /// User principal names, an other name of type UTF8.
    pub(crate) upn: &'a [&'a str],
}

impl<'a> Names<'a> {
    /// Returns a common name without alternative names.
    pub(crate) fn common(common_name: &'a str) -> Self {
        Self {
            common_name,
            ..Self::default()
        }
    }
}

/// The object identifier of a user principal name.
pub(crate) const UPN: &[u64] = &[1, 3, 6, 1, 4, 1, 311, 20, 2, 3];

impl Csr {
    /// Creates a CSR for these names with a new ECDSA P-256 key.
    pub(crate) fn new(names: &Names<'_>) -> anyhow::Result<Self> {
        Self::with_key(names, &KeyPair::generate()?, false)
    }

    /// Creates a CSR for these names with the given key; for a CA certificate if `ca` is set.
    pub(crate) fn with_key(names: &Names<'_>, key: &KeyPair, ca: bool) -> anyhow::Result<Self> {
        let mut params = named(names.common_name);
        if names.common_name.is_empty() {
            params.distinguished_name = DistinguishedName::new();
        }
        if !names.organization.is_empty() {
            let subject = &mut params.distinguished_name;
            subject.push(DnType::OrganizationName, names.organization);
        }
        let sans = &mut params.subject_alt_names;
        for name in names.dns {
            sans.push(SanType::DnsName((*name).try_into()?));
        }
        sans.extend(names.ip.iter().map(|address| SanType::IpAddress(*address)));
        for name in names.uri {
            sans.push(SanType::URI((*name).try_into()?));
        }
        for name in names.email {
            sans.push(SanType::Rfc822Name((*name).try_into()?));
        }
        for name in names.upn {
            sans.push(SanType::OtherName((
                UPN.to_vec(),
                OtherNameValue::Utf8String((*name).into()),
            )));
        }
        if ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        Self::of(params, key)
    }

    /// Creates a CSR with a critical extension that no server knows.
    pub(crate) fn with_unknown_critical_extension(common_name: &str) -> anyhow::Result<Self> {
        let mut params = named(common_name);
        // A NULL.
        let mut extension = CustomExtension::from_oid_content(UNKNOWN_EXTENSION, vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
        Self::of(params, &KeyPair::generate()?)
    }

    fn of(params: CertificateParams, key: &KeyPair) -> anyhow::Result<Self> {
        Ok(Self {
            pem: params.serialize_request(key)?.pem()?,
            spki: spki(key),
        })
    }
}

/// The object identifier of an extension that no server knows.
const UNKNOWN_EXTENSION: &[u64] = &[1, 2, 3, 4, 5, 6];

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn spki(key: &KeyPair) -> Vec<u8> {
    rcgen::PublicKeyData::subject_public_key_info(key)
}

/// Returns the `SubjectPublicKeyInfo` of a private key, DER.
pub(crate) fn public_key(key: &str) -> anyhow::Result<Vec<u8>> {
    Ok(spki(&KeyPair::from_pem(key)?))
}
