//! Certificates of all kinds, verified against a request.

mod budget;
mod chains;
mod hostile;
mod known;
mod leaf;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, PublicKeyData, SanType,
    SerialNumber, date_time_ymd,
};

use super::*;
use crate::RequestSpec;
use crate::fixture::{START, at, signatures};
use crate::usage::Usage;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

fn subject(common_name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, common_name);
    subject
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

/// A CA.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    fn new(common_name: &str) -> Self {
        Self::with_key(common_name, KeyPair::generate().unwrap())
    }

    fn with_key(common_name: &str, key: KeyPair) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.use_authority_key_identifier_extension = true;
        Self { params, key }
    }

    fn root(&self) -> Vec<u8> {
        self.params.self_signed(&self.key).unwrap().der().to_vec()
    }

    fn signed_by(&self, issuer: &Self) -> Vec<u8> {
        issuer.sign(&self.params, &self.key)
    }

    fn sign(&self, params: &CertificateParams, key: &impl PublicKeyData) -> Vec<u8> {
        let issuer = Issuer::from_params(&self.params, &self.key);
        params.signed_by(key, &issuer).unwrap().der().to_vec()
    }
}

/// A request for 90 days, and the key and the parameters of the certificate that matches it.
struct Customer {
    wanted: SigningRequest,
    params: CertificateParams,
    key: KeyPair,
    mode: VerificationMode,
}

impl Customer {
    fn new() -> Self {
        let names = vec![
            dns("www.example.com"),
            SanType::Rfc822Name("me@example.com".try_into().unwrap()),
            SanType::IpAddress([10, 0, 0, 1].into()),
            SanType::URI("spiffe://a/b".try_into().unwrap()),
            SanType::OtherName((vec![1, 2, 3], "x".into())),
        ];
        Self::asking(Some("example.com"), names, false)
    }

    fn asking(common_name: Option<&str>, names: Vec<SanType>, is_ca: bool) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name.map_or_else(DistinguishedName::new, subject);
        params.subject_alt_names = names;
        let csr = params.serialize_request(&key).unwrap().pem().unwrap();
        let spec = RequestSpec {
            csr: csr.as_bytes(),
            is_ca,
            ..RequestSpec::default()
        };
        let wanted = SigningRequest::parse(spec, &signatures()).unwrap();
        params.is_ca = if is_ca {
            IsCa::Ca(BasicConstraints::Unconstrained)
        } else {
            IsCa::NoCa
        };
        params.serial_number = Some(SerialNumber::from_slice(&[0x0a, 0xff, 0x01]));
        params.not_before = date_time_ymd(2026, 1, 1) - Duration::from_secs(30);
        params.not_after = date_time_ymd(2026, 1, 1) + 90 * DAY;
        Self {
            wanted,
            params,
            key,
            mode: VerificationMode::Strict,
        }
    }

    fn leaf(&self, issuer: &Authority) -> Vec<u8> {
        issuer.sign(&self.params, &self.key)
    }

    /// Verifies an answer with the certificate, an issuing CA and a chain.
    fn verify(&self, leaf: &[u8], issuing: Option<&[u8]>, chain: &[&[u8]]) -> Result<Verified, VerifyError> {
        let issued = Issued {
            certificate: pem(&[leaf]),
            issuing_ca: issuing.map(|der| pem(&[der])),
            ca_chain: chain.iter().map(|der| pem(&[der]).trim_end().to_owned()).collect(),
            is_leased: false,
        };
        self.verify_answer(&issued)
    }

    fn verify_answer(&self, issued: &Issued) -> Result<Verified, VerifyError> {
        let options = VerifyOptions {
            mode: self.mode,
            ..signatures().into()
        };
        verify(&self.wanted, issued, at(0), &options)
    }

    /// Leaves names and lifetime to Vault.
    fn trusting(self) -> Self {
        Self {
            mode: VerificationMode::Vault,
            ..self
        }
    }

    /// Verifies a certificate that a CA signed after the parameters were changed.
    fn changed(&self, change: impl FnOnce(&mut CertificateParams)) -> Result<Verified, VerifyError> {
        let authority = Authority::new("CA");
        let root = authority.root();
        let mut params = self.params.clone();
        change(&mut params);
        self.verify(&authority.sign(&params, &self.key), Some(&root), &[&root])
    }
}

fn pem(certificates: &[&[u8]]) -> String {
    certificates.iter().map(|der| pem::encode("CERTIFICATE", der)).collect()
}

fn chain(certificates: &[&[u8]], ca: Option<&[u8]>) -> Result<Verified, VerifyError> {
    let end = |der: &[u8]| timestamp(Certificate::parse(der).unwrap().validity().1);
    let above = certificates.iter().skip(1).copied().chain(ca);
    let chain = Chain {
        ca_not_after: above.filter(|der| *der != certificates[0]).map(end).min(),
        certificate: pem(certificates),
        ca: ca.map(|der| pem(&[der])),
        serial: "0a:ff:01".to_owned(),
        not_after: "2026-04-01T00:00:00Z".parse().unwrap(),
        missing_usages: vec![],
        is_leased: false,
    };
    Ok(Verified {
        chain,
        known: KnownSignatures::default(),
    })
}
