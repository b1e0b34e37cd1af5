//! rustls configurations, made from the parameters of a connection.

use std::sync::{Arc, LazyLock};

use issuer_core::{CaBundle, Connect, DialError, Identity, Roots};
use rustls::client::Resumption;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

use crate::verifier::BundleVerifier;

pub(crate) static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

static SYSTEM: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(store)
});

/// Builds the TLS configuration for a server: TLS 1.2 and 1.3, HTTP/1.1 only, no session resumption, so that every
/// connection verifies the server's certificate anew.
///
/// The system's CA certificates are read once per process, from where OpenSSL looks for them (`SSL_CERT_FILE` and
/// `SSL_CERT_DIR` included).
///
/// # Errors
///
/// [`DialError::Roots`] if the bundle has no usable certificate (others in it are skipped, as Go does),
/// [`DialError::SystemRoots`] if the system has none, [`DialError::Identity`] if the client certificate or its key
/// cannot be parsed or they do not belong together.
pub fn client_config(connect: &Connect) -> Result<Arc<ClientConfig>, DialError> {
    let builder = match &connect.roots {
        Roots::Bundle(bundle) => {
            let verifier = bundle_verifier(bundle).ok_or(DialError::Roots)?;
            builder()
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
        }
        Roots::System if SYSTEM.is_empty() => return Err(DialError::SystemRoots),
        Roots::System => builder().with_root_certificates(SYSTEM.clone()),
    };
    let mut config = match &connect.identity {
        Some(identity) => {
            let (chain, key) = parse(identity).ok_or(DialError::Identity)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|_| DialError::Identity)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Returns the beginning of a configuration: TLS 1.2 and 1.3.
pub(crate) fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    #[expect(clippy::expect_used, reason = "the provider is fixed and has suites for both")]
    ClientConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("aws-lc-rs speaks TLS 1.2 and 1.3")
}

/// Returns the name to send as SNI and to find in the server's certificate: the given one, else the origin's host.
///
/// # Errors
///
/// [`DialError::ServerName`] if it is neither a DNS name nor an IP address.
pub fn server_name(connect: &Connect) -> Result<ServerName<'static>, DialError> {
    let name = connect.server_name.as_deref().unwrap_or_else(|| connect.origin.host());
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    ServerName::try_from(address.unwrap_or(name).to_owned()).map_err(|_| DialError::ServerName)
}

/// Returns the verifier for a bundle, unless it has no usable certificate.
fn bundle_verifier(bundle: &CaBundle) -> Option<BundleVerifier> {
    let bundle: Vec<_> = bundle.certificates().into_iter().map(CertificateDer::from).collect();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(bundle.iter().cloned());
    let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), PROVIDER.clone()).build();
    Some(BundleVerifier {
        webpki: webpki.ok()?,
        bundle,
    })
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn parse(identity: &Identity) -> Option<Pair> {
    let chain = identity.chain().into_iter().map(CertificateDer::from);
    Some((chain.collect(), identity.private_key()?))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use issuer_core::target::AllowedServers;
    use issuer_core::{Limits, Origin, Secret};
    use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize, SigningKey};

    use super::*;

    fn connect(roots: Roots, identity: Option<Identity>) -> Connect {
        Connect {
            origin: Origin::parse("https://vault.example.com:8200").unwrap(),
            allowed_servers: AllowedServers::All,
            proxy: None,
            server_name: None,
            roots,
            identity,
            limits: Limits::default(),
        }
    }

    fn certificate(key: &impl SigningKey) -> String {
        CertificateParams::default().self_signed(key).unwrap().pem()
    }

    fn ca() -> Roots {
        Roots::bundle(certificate(&KeyPair::generate().unwrap()))
    }

    fn dial(roots: Roots) -> Result<(), DialError> {
        client_config(&connect(roots, None)).map(drop)
    }

    fn present(certificate: &str, key: &str) -> Result<(), DialError> {
        let identity = Identity {
            certificate: certificate.into(),
            key: Secret::from(key),
        };
        client_config(&connect(ca(), Some(identity))).map(drop)
    }

    fn pem(label: &str, der: &[u8]) -> String {
        let text = BASE64_STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    }

    #[test]
    fn one_good_certificate_makes_a_bundle() {
        let good = certificate(&KeyPair::generate().unwrap());
        let bad = pem("CERTIFICATE", b"no certificate");
        let torn = "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n";
        for bundle in [
            good.clone(),
            bad.clone() + &good,
            good.clone() + &bad,
            torn.to_owned() + &good,
        ] {
            assert_eq!(dial(Roots::bundle(bundle)), Ok(()));
        }
        for bundle in ["", "garbage", &bad, torn] {
            assert_eq!(dial(Roots::bundle(bundle)), Err(DialError::Roots));
        }
    }

    #[test]
    fn common_key_formats_are_read() {
        let ec = KeyPair::generate().unwrap();
        let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        // PKCS#8 wraps the SEC1 or PKCS#1 form of an EC or RSA key behind a header of fixed length.
        let sec1 = pem("EC PRIVATE KEY", &ec.serialized_der()[29..]);
        let pkcs1 = pem("RSA PRIVATE KEY", &rsa.serialized_der()[26..]);
        let parameters = pem("EC PARAMETERS", &[6, 8, 42, 134, 72, 206, 61, 3, 1, 7]);
        assert_eq!(present(&certificate(&ec), &ec.serialize_pem()), Ok(()));
        assert_eq!(present(&certificate(&ec), &sec1), Ok(()));
        assert_eq!(present(&certificate(&ec), &(parameters + &sec1)), Ok(()));
        assert_eq!(present(&certificate(&rsa), &pkcs1), Ok(()));
        // As for Go, the label says nothing of the format.
        for key in [
            pem("EC PRIVATE KEY", ec.serialized_der()),
            sec1.replace("EC PRIVATE", "PRIVATE"),
        ] {
            assert_eq!(present(&certificate(&ec), &key), Ok(()), "{key}");
        }
    }

    #[test]
    fn a_mismatched_pair_is_refused() {
        let key = KeyPair::generate().unwrap();
        let good = certificate(&key);
        let other = KeyPair::generate().unwrap().serialize_pem();
        let cases = [
            (good.as_str(), other.as_str()),
            (&good, ""),
            (&good, &good),
            ("", &key.serialize_pem()),
            ("garbage", &key.serialize_pem()),
            (&pem("CERTIFICATE", b"no certificate"), &key.serialize_pem()),
            (&good, &pem("PRIVATE KEY", b"no key")),
        ];
        for (certificate, key) in cases {
            assert_eq!(present(certificate, key), Err(DialError::Identity));
        }
    }

    #[test]
    fn server_name_defaults_to_the_host() {
        let name = |server: &str, name: Option<&str>| {
            let origin = Origin::parse(server).unwrap();
            let connect = connect(Roots::System, None);
            let name = server_name(&Connect {
                origin,
                server_name: name.map(Into::into),
                ..connect
            });
            name.map(|name| name.to_str().into_owned())
        };
        assert_eq!(
            name("https://vault.example.com:8200", None).as_deref(),
            Ok("vault.example.com")
        );
        assert_eq!(name("https://10.0.0.1:8200", None).as_deref(), Ok("10.0.0.1"));
        assert_eq!(name("https://[fd00::1]:8200", None).as_deref(), Ok("fd00::1"));
        assert_eq!(name("https://vault.svc.", None).as_deref(), Ok("vault.svc"));
        assert_eq!(name("https://10.0.0.1", Some("vault.svc")).as_deref(), Ok("vault.svc"));
        assert_eq!(name("https://10.0.0.1", Some("no name")), Err(DialError::ServerName));
    }
}
