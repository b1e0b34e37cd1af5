//! The certificates of an issued request, checked with a library that the controller does not use.

use anyhow::{Context, ensure};
use issuer_api::CertificateRequest;
use x509_parser::prelude::*;

/// The chain that users get: `tls.crt` and `ca.crt`.
pub(crate) struct Issued {
    /// DER certificates, leaf first.
    pub(crate) chain: Vec<Vec<u8>>,
    /// The CA, DER.
    pub(crate) ca: Vec<u8>,
}

impl Issued {
    /// Reads the status of a request.
    pub(crate) fn of(request: &CertificateRequest) -> anyhow::Result<Self> {
        let status = request.status.as_ref().context("no status")?;
        let certificate = status.certificate.as_ref().context("no certificate")?;
        let ca = status.ca.as_ref().context("no ca")?;
        let decode = |field: &issuer_api::Base64| field.decode().context("not base64");
        Self::parse(&decode(certificate)?, &decode(ca)?)
    }

    /// Reads the two PEM files.
    pub(crate) fn parse(certificate: &[u8], ca: &[u8]) -> anyhow::Result<Self> {
        let chain = pem(certificate)?;
        let mut ca = pem(ca)?;
        ensure!(!chain.is_empty(), "no certificate in tls.crt");
        ensure!(ca.len() == 1, "{} certificates in ca.crt", ca.len());
        Ok(Self {
            chain,
            ca: ca.pop().unwrap_or_default(),
        })
    }

    pub(crate) fn leaf(&self) -> anyhow::Result<X509Certificate<'_>> {
        parse(self.chain.first().context("no leaf")?)
    }

    /// Checks that the leaf is for the key `spki`, that each certificate is signed by the next and the last by
    /// `ca.crt` unless they are the same, and that `tls.crt` has no self-signed certificate.
    pub(crate) fn verify(&self, spki: &[u8]) -> anyhow::Result<()> {
        ensure!(self.leaf()?.public_key().raw == spki, "the leaf is for another key");
        let ca = parse(&self.ca)?;
        for (place, der) in self.chain.iter().enumerate() {
            let certificate = parse(der)?;
            let issuer = match self.chain.get(place + 1) {
                Some(next) => parse(next)?,
                None => ca.clone(),
            };
            ensure!(
                certificate.subject() != certificate.issuer(),
                "self-signed: {}",
                certificate.subject()
            );
            if place > 0 && *der == self.ca {
                ensure!(
                    place + 1 == self.chain.len(),
                    "{} goes on after ca.crt",
                    certificate.subject()
                );
                break;
            }
            ensure!(
                certificate.issuer() == issuer.subject(),
                "{} is issued by {}, followed by {}",
                certificate.subject(),
                certificate.issuer(),
                issuer.subject()
            );
            certificate
                .verify_signature(Some(issuer.public_key()))
                .with_context(|| format!("{} is not signed by {}", certificate.subject(), issuer.subject()))?;
        }
        Ok(())
    }

    /// Checks that `ca.crt` is this root, PEM.
    pub(crate) fn rooted_in(&self, root: &str) -> anyhow::Result<()> {
        let wanted = pem(root.as_bytes())?.pop().context("no root")?;
        ensure!(self.ca == wanted, "ca.crt is {}", parse(&self.ca)?.subject());
        Ok(())
    }

    /// Returns the common names of the chain, leaf first.
    pub(crate) fn subjects(&self) -> anyhow::Result<Vec<String>> {
        let name = |der: &Vec<u8>| anyhow::Ok(common_name(&parse(der)?));
        self.chain.iter().map(name).collect()
    }

    /// Returns the lifetime of the leaf in seconds.
    pub(crate) fn lifetime(&self) -> anyhow::Result<i64> {
        let leaf = self.leaf()?;
        Ok(leaf.validity().not_after.timestamp() - leaf.validity().not_before.timestamp())
    }

    /// Returns the leaf's alternative names, each with its kind, sorted.
    pub(crate) fn names(&self) -> anyhow::Result<Vec<String>> {
        let leaf = self.leaf()?;
        let Some(names) = leaf.subject_alternative_name()? else {
            return Ok(Vec::new());
        };
        let mut names: Vec<String> = names.value.general_names.iter().map(name).collect();
        names.sort();
        Ok(names)
    }
}

/// Returns the subject's common name, or nothing.
pub(crate) fn common_name(certificate: &X509Certificate<'_>) -> String {
    let name = certificate.subject().iter_common_name().next();
    name.and_then(|name| name.as_str().ok()).unwrap_or_default().to_owned()
}

/// Parses a DER certificate.
pub(crate) fn parse(der: &[u8]) -> anyhow::Result<X509Certificate<'_>> {
    Ok(X509Certificate::from_der(der).context("not a certificate")?.1)
}

/// Returns the certificates of a PEM file, DER.
pub(crate) fn pem(text: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut certificates = Vec::new();
    for block in Pem::iter_from_buffer(text) {
        let block = block.context("not PEM")?;
        ensure!(block.label == "CERTIFICATE", "a block of type {}", block.label);
        certificates.push(block.contents);
    }
    Ok(certificates)
}

fn name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => format!("dns:{name}"),
        GeneralName::RFC822Name(name) => format!("email:{name}"),
        GeneralName::URI(name) => format!("uri:{name}"),
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
            (Ok(v4), _) => format!("ip:{}", std::net::Ipv4Addr::from(v4)),
            (_, Ok(v6)) => format!("ip:{}", std::net::Ipv6Addr::from(v6)),
            _ => format!("ip:{bytes:?}"),
        },
        GeneralName::OtherName(oid, value) => format!(
            "other:{oid}:{}",
            String::from_utf8_lossy(value.get(4..).unwrap_or_default())
        ),
        other => format!("{other:?}"),
    }
}
