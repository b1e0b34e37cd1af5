//! Signatures, and those of a broken CA.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, IsCa, PublicKeyData, SanType, SerialNumber,
    SubjectPublicKeyInfo,
};

use super::application::Application;
use super::csr::Csr;
use super::template::{Template, subject};
use crate::answer::Refusal;
use crate::ca::{self, Authority, Certificate, KeyType};
use crate::dice::Dice;
use crate::fault::CaDefect;

/// A signed certificate.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) certificate: Certificate,
    pub(crate) serial: String,
    pub(crate) not_after: Duration,
}

/// Signs a certificate, with a defect if the CA is broken.
pub(crate) fn sign(
    template: Template,
    application: &mut Application,
    authority: &Authority,
    dice: &mut Dice,
    defect: Option<CaDefect>,
) -> Result<Signed, Refusal> {
    let Template {
        mut params,
        not_before,
        mut not_after,
        ..
    } = template;
    let broken = |_| Refusal::internal("unable to create certificate");
    let mut issuer = authority.clone();
    match defect {
        Some(CaDefect::AnotherIssuer) => issuer = authority.impostor(),
        Some(CaDefect::AnotherKey) => {
            let key = ca::key(KeyType::Ec, "somebody else");
            let spki = key.subject_public_key_info();
            application.csr.key = SubjectPublicKeyInfo::from_der(&spki).map_err(broken)?;
        }
        Some(CaDefect::AnotherName) => {
            let name = "somebody-else.invalid";
            params.distinguished_name = subject(name, "");
            params
                .custom_extensions
                .retain(|e| !e.oid_components().eq([2, 5, 29, 17]));
            params.subject_alt_names = vec![SanType::DnsName(name.try_into().map_err(broken)?)];
        }
        Some(CaDefect::CaCertificate) => params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
        Some(CaDefect::FarExpiry) => not_after = ca::LAST,
        None => {}
    }
    let serial = ca::serial_bytes(dice);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.use_authority_key_identifier_extension = true;
    ca::valid(&mut params, not_before, not_after);
    if params.is_ca == IsCa::NoCa {
        params.custom_extensions.push(key_identifier(&params, &application.csr));
    }
    let certificate = params.signed_by(&application.csr.key, &issuer.issuer).map_err(broken)?;
    let serial: Vec<_> = serial.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Signed {
        certificate: Certificate::issued(&certificate),
        serial: serial.join(":"),
        not_after,
    })
}

/// Returns the subject key identifier, which rcgen adds only beside basic constraints.
fn key_identifier(params: &CertificateParams, csr: &Csr) -> CustomExtension {
    let identifier = params.key_identifier(&csr.key);
    let length = u8::try_from(identifier.len()).unwrap_or_default();
    let content = [&[0x04, length], identifier.as_slice()].concat();
    CustomExtension::from_oid_content(&[2, 5, 29, 14], content)
}
