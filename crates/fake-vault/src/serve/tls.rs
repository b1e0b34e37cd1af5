//! The TLS configuration of a server.

use std::io;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
    SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::TlsAcceptor;

use super::options::{ClientCertificates, Options, Protocol};
use crate::ca::Authority;

/// Returns the acceptor of TLS connections; `None` for HTTP without TLS.
pub(super) fn acceptor(authority: &Authority, options: &Options) -> io::Result<Option<TlsAcceptor>> {
    let versions: &[&SupportedProtocolVersion] = match options.protocol {
        Protocol::Plain => return Ok(None),
        Protocol::Tls => &[&TLS13, &TLS12],
        Protocol::Tls12 => &[&TLS12],
        Protocol::Tls13 => &[&TLS13],
    };
    let names: Vec<_> = options.names.iter().map(String::as_str).collect();
    let certified = authority.server_until(&names, options.not_after);
    let certificates = CertificateDer::pem_slice_iter(certified.chain_pem.as_bytes());
    let certificates = certificates.collect::<Result<_, _>>().map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_slice(certified.key_pem.as_bytes());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = verifier(&provider, &options.client_certificates)?;
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(versions).map_err(io::Error::other)?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let config = builder.with_single_cert(certificates, key.map_err(io::Error::other)?);
    let mut config = config.map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

fn verifier(
    provider: &Arc<CryptoProvider>,
    certificates: &ClientCertificates,
) -> io::Result<Option<Arc<dyn ClientCertVerifier>>> {
    match certificates {
        ClientCertificates::Asked => {
            let algorithms = provider.signature_verification_algorithms;
            Ok(Some(Arc::new(AnyCertificate(algorithms))))
        }
        ClientCertificates::NotAsked => Ok(None),
        ClientCertificates::Required(authority) => {
            let mut roots = RootCertStore::empty();
            let root = CertificateDer::from(authority.certificate().der.to_vec());
            roots.add(root).map_err(io::Error::other)?;
            let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(provider));
            builder
                .build()
                .map(|verifier| Some(verifier as _))
                .map_err(io::Error::other)
        }
    }
}

/// Accepts any certificate whose key the client has: like Vault's listener, it leaves the decision to the auth method.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
