//! Verifies a server's certificate with a CA bundle, as Go does.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

/// Verifies a server's certificate as [`WebPkiServerVerifier`] does, and also accepts one that is in the bundle itself,
/// byte for byte, as Go does: it is trusted there by name, even if it is a CA certificate or has an unknown issuer. Its
/// name and dates are checked all the same.
#[derive(Debug)]
pub(crate) struct BundleVerifier {
    pub(crate) webpki: Arc<WebPkiServerVerifier>,
    pub(crate) bundle: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for BundleVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .webpki
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        if verified.is_ok() || !self.bundle.contains(end_entity) {
            return verified;
        }
        check_dates(end_entity, now)?;
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

fn check_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), CertificateError> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).ok();
    let now = now.and_then(|now| ASN1Time::from_timestamp(now).ok());
    let is_valid = now.is_some_and(|now| certificate.validity().is_valid_at(now));
    is_valid.then_some(()).ok_or(CertificateError::Expired)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
    use rustls::RootCertStore;
    use rustls::crypto::aws_lc_rs::default_provider;

    use super::*;

    /// Returns a certificate for vault.test, valid in 2026, signed by itself.
    fn certificate(is_ca: bool) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["vault.test".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2027, 1, 1);
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn verify(
        bundle: &[&CertificateDer<'static>],
        shown: &CertificateDer<'_>,
        name: &str,
        day: u64,
    ) -> Result<(), Error> {
        let bundle: Vec<_> = bundle.iter().map(|certificate| (*certificate).clone()).collect();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(bundle.iter().cloned());
        let provider = Arc::new(default_provider());
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let verifier = BundleVerifier {
            webpki: webpki.unwrap(),
            bundle,
        };
        let name = ServerName::try_from(name).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(day * 24 * 60 * 60));
        verifier.verify_server_cert(shown, &[], &name, &[], now).map(drop)
    }

    /// 2026-06-30.
    const DAY: u64 = 20_634;

    #[test]
    fn a_certificate_in_the_bundle_is_accepted() {
        let (leaf, ca, other) = (certificate(false), certificate(true), certificate(true));
        for shown in [&leaf, &ca] {
            assert_eq!(verify(&[&other, shown], shown, "vault.test", DAY), Ok(()));
            let is_refused = |verdict: Result<(), Error>| verdict.is_err();
            assert!(is_refused(verify(&[&other], shown, "vault.test", DAY)));
            assert!(is_refused(verify(&[&other, shown], shown, "other.test", DAY)));
            for day in [DAY - 365, DAY + 365] {
                let expired = Error::InvalidCertificate(CertificateError::Expired);
                assert_eq!(verify(&[&other, shown], shown, "vault.test", day), Err(expired));
            }
        }
    }
}
