//! Shows the certificates of a server that is not trusted.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::config::{PROVIDER, builder};

/// The most characters of a line: the server that answers chooses it.
const LINE: usize = 300;

/// Notes the certificates that a server presents, to show them. It accepts none, so nothing can be sent over its
/// connections.
#[derive(Clone, Debug, Default)]
pub struct PresentedCertificates(Arc<Recorder>);

#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<CertificateDer<'static>>>);

impl PresentedCertificates {
    /// Returns the configuration with which a handshake fails once the certificates are noted.
    pub fn config(&self) -> Arc<ClientConfig> {
        let recorder: Arc<Recorder> = Arc::clone(&self.0);
        let builder = builder().dangerous().with_custom_certificate_verifier(recorder);
        Arc::new(builder.with_no_client_auth())
    }

    /// Returns a line for each certificate, that of the server first: its subject and names, its issuer and its end.
    pub fn describe(&self) -> Vec<String> {
        let presented = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        presented.iter().map(describe).collect()
    }
}

fn describe(certificate: &CertificateDer<'_>) -> String {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return "a certificate that cannot be parsed".to_owned();
    };
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map_or_else(Vec::new, |names| {
        names.value.general_names.iter().filter_map(host).collect()
    });
    let names = if names.is_empty() {
        String::new()
    } else {
        format!(" for {}", names.join(", "))
    };
    let subject = Some(certificate.subject().to_string()).filter(|subject| !subject.is_empty());
    let subject = subject.unwrap_or_else(|| "no subject".to_owned());
    printable(&format!(
        "{subject}{names}, issued by {}, valid until {}",
        certificate.issuer(),
        certificate.validity().not_after
    ))
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(octets) => {
            let v4 = <[u8; 4]>::try_from(*octets).map(std::net::IpAddr::from);
            let v6 = <[u8; 16]>::try_from(*octets).map(std::net::IpAddr::from);
            v4.or(v6).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

/// Keeps the terminal from taking text for commands.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LINE)
        .collect()
}

fn refuse() -> Error {
    CertificateError::ApplicationVerificationFailure.into()
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = [end_entity].into_iter().chain(intermediates);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = chain.map(|one| one.clone().into_owned()).collect();
        Err(refuse())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(refuse())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(refuse())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, SanType, date_time_ymd};

    use super::*;

    fn certificate() -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["vault.example.com".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::IpAddress([10, 0, 0, 1].into()));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Vault \u{1b}[31m");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = date_time_ymd(2030, 1, 2);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn certificates_are_noted_and_refused() {
        let presented = PresentedCertificates::default();
        let name = ServerName::try_from("vault.example.com").unwrap();
        let certificate = certificate();
        let verified = presented.0.verify_server_cert(
            &certificate,
            std::slice::from_ref(&certificate),
            &name,
            &[],
            UnixTime::now(),
        );
        assert!(verified.is_err());
        let lines = presented.describe();
        let expected = "CN=Vault  [31m for vault.example.com, 10.0.0.1, issued by CN=Vault  [31m, valid until Jan  2 ";
        assert!(lines.len() == 2 && lines[0].starts_with(expected), "{lines:?}");
    }
}
