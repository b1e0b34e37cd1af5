use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::prelude::FromDer;

use crate::Signatures;
use crate::der::{self, Signed};
use crate::duration;
use crate::name::{self, Name};
use crate::signatures::{SubjectPublicKey, Verdict};

/// The largest CSR that is looked at, in bytes of PEM; cert-manager's webhook admits less.
const PEM_LIMIT: usize = 100_000;

/// cert-manager's default: 90 days.
const DEFAULT_DURATION: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// What a `CertificateRequest` asks for: its CSR, checked and read, and what its spec adds.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct SigningRequest {
    /// The CSR as PEM, encoded anew: nothing that stood beside it goes to Vault.
    pub(crate) csr: String,
    /// The DER `SubjectPublicKeyInfo`.
    pub(crate) key: Vec<u8>,
    pub(crate) common_name: Option<String>,
    /// The subject alternative names, of every kind.
    pub(crate) names: BTreeSet<Name>,
    /// How long the certificate shall be valid; at least a second.
    pub(crate) duration: Duration,
    pub(crate) is_ca: bool,
}

/// Why a `CertificateRequest` cannot be signed by anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum SigningRequestError {
    /// The subject's common name is in an encoding that is not supported.
    #[error("the CSR's common name cannot be read; use a UTF8String")]
    CommonName,
    /// `spec.duration` is no positive duration.
    #[error("spec.duration is not a duration of a second or more, such as 2160h or 1h30m")]
    Duration,
    /// The PEM block holds no PKCS#10 request.
    #[error("spec.request is not a well-formed PKCS#10 certificate signing request")]
    Malformed,
    /// The subject alternative names cannot be read.
    #[error("the CSR's subject alternative names are not well-formed")]
    Names,
    /// There is no PEM block, or the first one is something else.
    #[error("spec.request does not begin with a PEM block CERTIFICATE REQUEST")]
    NoRequest,
    /// The CSR was not signed by the key that it is for.
    #[error("the CSR's signature was not made by the CSR's key")]
    Signature,
    /// The CSR is larger than allowed.
    #[error("spec.request is larger than 100 kB")]
    TooLarge,
}

impl SigningRequest {
    /// Reads a `CertificateRequest`: `spec.request`, `spec.duration` and `spec.isCA`.
    ///
    /// A signature of an algorithm that cannot be checked here, such as one with SHA-1, is left to Vault, which checks
    /// it too. A name of a kind that Vault's `sign` endpoint drops (`directoryName` and the like) is kept all the
    /// same, so that it is missed in the certificate: `sign-verbatim` and `sign-intermediate` can carry it.
    ///
    /// Whether the CSR asks for a CA by itself is not looked at: cert-manager's webhook holds it against `spec.isCA`,
    /// and `sign` and `sign-verbatim` ignore the CSR's basic constraints.
    pub fn parse(
        csr: &[u8],
        duration: Option<&str>,
        is_ca: bool,
        signatures: &Signatures,
    ) -> Result<Self, SigningRequestError> {
        let der = decode(csr)?;
        let signed = Signed::parse(&der).ok_or(SigningRequestError::Malformed)?;
        let (_, request) = X509CertificationRequest::from_der(&der).map_err(|_| SigningRequestError::Malformed)?;
        let info = &request.certification_request_info;
        let key = SubjectPublicKey::parse(info.subject_pki.raw).ok_or(SigningRequestError::Malformed)?;
        let verdict = signatures.verify(key, signed.algorithm, signed.message, signed.signature);
        if verdict == Verdict::Wrong {
            return Err(SigningRequestError::Signature);
        }
        Ok(Self {
            csr: der::pem("CERTIFICATE REQUEST", &der),
            key: info.subject_pki.raw.to_vec(),
            common_name: name::common_name(&info.subject).map_err(|_| SigningRequestError::CommonName)?,
            names: names(&request)?,
            duration: match duration {
                Some(text) => duration::parse(text).ok_or(SigningRequestError::Duration)?,
                None => DEFAULT_DURATION,
            },
            is_ca,
        })
    }

    /// Tells whether a CA certificate is asked for.
    pub fn is_ca(&self) -> bool {
        self.is_ca
    }

    /// Returns the body of Vault's sign call.
    ///
    /// With a role's `use_csr_common_name` and `use_csr_sans`, which are on by default, Vault takes the names from the
    /// CSR and ignores those given here. It would not ignore `other_sans` but add them a second time, so they are not
    /// given: a role without `use_csr_sans` cannot sign them. A CA's subject and extensions are all taken from the CSR.
    pub(crate) fn parameters(&self) -> Value {
        let always = [
            ("csr", Value::from(self.csr.as_str())),
            ("common_name", self.common_name.as_deref().unwrap_or_default().into()),
            ("exclude_cn_from_sans", true.into()),
            ("format", "pem".into()),
            ("ttl", format!("{}s", self.duration.as_secs()).into()),
        ];
        let names = if self.is_ca {
            vec![("use_csr_values", true.into())]
        } else {
            self.lists()
        };
        always.into_iter().chain(names).collect()
    }

    /// Returns the parameters that list names, without the empty ones.
    fn lists(&self) -> Vec<(&'static str, Value)> {
        type Select = fn(&Name) -> Option<String>;
        let parameters: [(_, Select); 3] = [("alt_names", alt_name), ("ip_sans", ip_san), ("uri_sans", uri_san)];
        let list = |(parameter, select)| {
            let values: Vec<String> = self.names.iter().filter_map(select).collect();
            // One string where that is possible: OpenBao limits how many strings a request may hold.
            match values.iter().any(|value| value.contains(',')) {
                true => (parameter, Value::from(values)),
                false => (parameter, values.join(",").into()),
            }
        };
        parameters
            .into_iter()
            .map(list)
            .filter(|(_, value)| *value != "")
            .collect()
    }
}

/// Returns what Vault's `alt_names`, a list with commas and nothing but a string, can tell apart: a DNS name with an `@`
/// would be taken for an e-mail address, one with a comma for two names.
fn alt_name(name: &Name) -> Option<String> {
    let (text, is_email) = match name {
        Name::Dns(name) => (name, false),
        Name::Email(address) => (address, true),
        _ => return None,
    };
    (text.contains('@') == is_email && !text.contains(',')).then(|| text.clone())
}

fn ip_san(name: &Name) -> Option<String> {
    match name {
        Name::Ip(address) => Some(address.to_string()),
        _ => None,
    }
}

fn uri_san(name: &Name) -> Option<String> {
    match name {
        Name::Uri(uri) => Some(uri.clone()),
        _ => None,
    }
}

fn decode(pem: &[u8]) -> Result<Vec<u8>, SigningRequestError> {
    if pem.len() > PEM_LIMIT {
        return Err(SigningRequestError::TooLarge);
    }
    let text = std::str::from_utf8(pem).map_err(|_| SigningRequestError::NoRequest)?;
    let block = der::blocks(text).next().ok_or(SigningRequestError::NoRequest)?;
    if !matches!(block.label, "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST") {
        return Err(SigningRequestError::NoRequest);
    }
    block.der.ok_or(SigningRequestError::Malformed)
}

/// Reads the subject alternative names that the CSR's extension requests ask for.
fn names(request: &X509CertificationRequest<'_>) -> Result<BTreeSet<Name>, SigningRequestError> {
    let mut extensions = request
        .certification_request_info
        .iter_attributes()
        .filter_map(|attribute| match attribute.parsed_attribute() {
            ParsedCriAttribute::ExtensionRequest(requested) => Some(&requested.extensions),
            _ => None,
        })
        .flatten()
        .filter(|extension| extension.oid == OID_X509_EXT_SUBJECT_ALT_NAME);
    match (extensions.next(), extensions.next()) {
        (None, _) => Ok(BTreeSet::new()),
        (Some(extension), None) => Name::parse_all(extension.value).ok_or(SigningRequestError::Names),
        (Some(_), Some(_)) => Err(SigningRequestError::Names),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, CustomExtension, DnType, KeyPair, PublicKeyData, SanType};
    use serde_json::json;

    use super::*;
    use crate::fixture::signatures;

    fn params(common_name: Option<&str>, names: Vec<SanType>) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(common_name) = common_name {
            params.distinguished_name.push(DnType::CommonName, common_name);
        }
        params.subject_alt_names = names;
        params
    }

    fn csr(params: &CertificateParams, key: &KeyPair) -> Vec<u8> {
        params.serialize_request(key).unwrap().der().to_vec()
    }

    fn parse(der: &[u8]) -> Result<SigningRequest, SigningRequestError> {
        SigningRequest::parse(
            der::pem("CERTIFICATE REQUEST", der).as_bytes(),
            None,
            false,
            &signatures(),
        )
    }

    fn names() -> Vec<SanType> {
        let text = |text: &str| text.try_into().unwrap();
        vec![
            SanType::DnsName(text("WWW.Example.com")),
            SanType::DnsName(text("*.example.com")),
            SanType::Rfc822Name(text("Me@Example.com")),
            SanType::IpAddress([10, 0, 0, 1].into()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
            SanType::URI(text("spiffe://a/b")),
            SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], "me@example.com".into())),
        ]
    }

    #[test]
    fn reads_all_that_is_asked_for() {
        let key = KeyPair::generate().unwrap();
        let der = csr(&params(Some("example.com"), names()), &key);
        let pem = der::pem("NEW CERTIFICATE REQUEST", &der);
        let text = format!("comment\n{pem}{}", der::pem("CERTIFICATE REQUEST", b"another"));
        let wanted = SigningRequest::parse(text.as_bytes(), Some("1h30m"), true, &signatures()).unwrap();
        let expected = SigningRequest {
            csr: der::pem("CERTIFICATE REQUEST", &der),
            key: key.subject_public_key_info(),
            common_name: Some("example.com".to_owned()),
            names: BTreeSet::from([
                Name::Dns("www.example.com".to_owned()),
                Name::Dns("*.example.com".to_owned()),
                Name::Email("Me@example.com".to_owned()),
                Name::Ip([10, 0, 0, 1].into()),
                Name::Ip("2001:db8::1".parse().unwrap()),
                Name::Uri("spiffe://a/b".to_owned()),
                Name::Other {
                    oid: "1.3.6.1.4.1.311.20.2.3".to_owned(),
                    value: "me@example.com".to_owned(),
                },
            ]),
            duration: Duration::from_secs(5400),
            is_ca: true,
        };
        assert_eq!(wanted, expected);
    }

    #[test]
    fn a_request_may_name_nothing() {
        let wanted = parse(&csr(&params(None, vec![]), &KeyPair::generate().unwrap())).unwrap();
        assert_eq!((wanted.common_name, wanted.names), (None, BTreeSet::new()));
        assert_eq!(wanted.duration, Duration::from_secs(2160 * 60 * 60));
    }

    #[test]
    fn every_usual_key_is_checked() {
        for algorithm in [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_ECDSA_P521_SHA512,
            &rcgen::PKCS_ED25519,
            &rcgen::PKCS_RSA_SHA256,
        ] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let mut der = csr(&params(Some("a"), names()), &key);
            assert!(parse(&der).is_ok(), "{algorithm:?}");
            *der.last_mut().unwrap() ^= 1;
            assert_eq!(parse(&der), Err(SigningRequestError::Signature), "{algorithm:?}");
        }
    }

    #[test]
    fn leaves_to_vault_what_it_cannot_check() {
        let key = KeyPair::generate().unwrap();
        let mut der = csr(&params(Some("a"), vec![]), &key);
        // ecdsa-with-SHA256 becomes ecdsa-with-SHA224.
        let oid = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
        let at = der.windows(oid.len()).position(|window| window == oid).unwrap();
        der[at + 7] = 1;
        assert_eq!(parse(&der).map(|wanted| wanted.key), Ok(key.subject_public_key_info()));
    }

    #[test]
    fn refuses_what_is_no_request() {
        let key = KeyPair::generate().unwrap();
        let der = csr(&params(Some("a"), names()), &key);
        let pem = der::pem("CERTIFICATE REQUEST", &der);
        let whole = |text: &str| SigningRequest::parse(text.as_bytes(), None, false, &signatures());
        for text in [
            "",
            "<html>",
            &der::pem("CERTIFICATE", &der),
            &format!("{}{pem}", der::pem("PRIVATE KEY", b"k")),
        ] {
            assert_eq!(whole(text), Err(SigningRequestError::NoRequest), "{text}");
        }
        assert_eq!(
            SigningRequest::parse(&[0xff; 9], None, false, &signatures()),
            Err(SigningRequestError::NoRequest)
        );
        assert_eq!(
            whole(&pem.replace("-----END", "*-----END")),
            Err(SigningRequestError::Malformed)
        );
        assert_eq!(whole(&(" ".repeat(100_000) + &pem)), Err(SigningRequestError::TooLarge));
        assert_eq!(
            parse(&[der.as_slice(), &[0]].concat()),
            Err(SigningRequestError::Malformed)
        );
        for length in 0..der.len() {
            assert_eq!(parse(&der[..length]), Err(SigningRequestError::Malformed), "{length}");
        }
    }

    #[test]
    fn refuses_names_that_cannot_be_read() {
        let san = |value: &[u8]| CustomExtension::from_oid_content(&[2, 5, 29, 17], value.to_vec());
        let parse_with = |extensions| {
            let mut params = params(Some("a"), vec![]);
            params.custom_extensions = extensions;
            parse(&csr(&params, &KeyPair::generate().unwrap())).map(|wanted| wanted.names)
        };
        assert_eq!(
            parse_with(vec![san(b"\x30\x04\x82\x02\xc3\xa9")]),
            Err(SigningRequestError::Names)
        );
        assert_eq!(
            parse_with(vec![san(b"\x30\x03\x82\x01a"), san(b"\x30\x03\x82\x01b")]),
            Err(SigningRequestError::Names)
        );
        let directory_name = Name::Opaque {
            tag: 0xa4,
            content: vec![0x30, 0],
        };
        assert_eq!(
            parse_with(vec![san(b"\x30\x04\xa4\x02\x30\0")]),
            Ok(BTreeSet::from([directory_name]))
        );
    }

    #[test]
    fn refuses_what_is_no_duration() {
        let der = csr(&params(None, vec![]), &KeyPair::generate().unwrap());
        let pem = der::pem("CERTIFICATE REQUEST", &der);
        let wanted = SigningRequest::parse(pem.as_bytes(), Some("soon"), false, &signatures());
        assert_eq!(wanted, Err(SigningRequestError::Duration));
    }

    fn wanted(common_name: Option<&str>, names: impl IntoIterator<Item = Name>) -> SigningRequest {
        SigningRequest {
            csr: "PEM".to_owned(),
            key: vec![],
            common_name: common_name.map(str::to_owned),
            names: names.into_iter().collect(),
            duration: Duration::from_millis(5_400_999),
            is_ca: false,
        }
    }

    #[test]
    fn parameters_say_what_vault_can_read() {
        let names = [
            Name::Dns("b.example".to_owned()),
            Name::Dns("a.example".to_owned()),
            Name::Dns("a,evil.example".to_owned()),
            Name::Dns("me@evil.example".to_owned()),
            Name::Email("me@a.example".to_owned()),
            Name::Email("\"a,b\"@a.example".to_owned()),
            Name::Email("evil.example".to_owned()),
            Name::Ip([10, 0, 0, 1].into()),
            Name::Ip("2001:db8::1".parse().unwrap()),
            Name::Uri("spiffe://a/b".to_owned()),
            Name::Other {
                oid: "1.2.3".to_owned(),
                value: "x".to_owned(),
            },
            Name::Opaque {
                tag: 0xa4,
                content: vec![],
            },
        ];
        let mut wanted = wanted(Some("a.example"), names);
        let mut expected = json!({
            "csr": "PEM",
            "common_name": "a.example",
            "alt_names": "a.example,b.example,me@a.example",
            "ip_sans": "10.0.0.1,2001:db8::1",
            "uri_sans": "spiffe://a/b",
            "exclude_cn_from_sans": true,
            "format": "pem",
            "ttl": "5400s",
        });
        assert_eq!(wanted.parameters(), expected);

        wanted.names.insert(Name::Uri("https://a/b,c".to_owned()));
        expected["uri_sans"] = json!(["https://a/b,c", "spiffe://a/b"]);
        assert_eq!(wanted.parameters(), expected);
    }

    #[test]
    fn parameters_leave_out_what_is_not_asked_for() {
        let mut wanted = wanted(None, []);
        let mut expected = json!({
            "csr": "PEM", "common_name": "", "exclude_cn_from_sans": true, "format": "pem", "ttl": "5400s",
        });
        assert_eq!(wanted.parameters(), expected);

        wanted.names.insert(Name::Dns("a.example".to_owned()));
        wanted.is_ca = true;
        expected["use_csr_values"] = true.into();
        assert_eq!(wanted.parameters(), expected);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in ".{0,20}") {
            let _ = SigningRequest::parse(&bytes, Some(&text), false, &signatures());
            let _ = parse(&bytes);
        }
    }
}
