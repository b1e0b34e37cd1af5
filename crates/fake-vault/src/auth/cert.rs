//! Logins with a TLS client certificate.

use std::collections::BTreeMap;

use issuer_core::Now;
use x509_parser::certificate::X509Certificate;
use x509_parser::parse_x509_certificate;

use super::admitted::Admitted;
use crate::answer::Refusal;
use crate::ca::Authority;
use crate::call::Call;
use crate::glob::glob;
use crate::token::TokenParams;

/// A role of the TLS certificate method.
#[derive(Clone)]
pub struct CertRole {
    /// The certificates that may log in.
    pub trusted: Trusted,
    /// Globs of which one must match the certificate's common name; none to allow any.
    pub allowed_common_names: Vec<String>,
    /// The tokens that logins get.
    pub token: TokenParams,
}

/// The client certificates that may log in.
#[derive(Clone)]
pub enum Trusted {
    /// Those that this CA has signed.
    Ca(Authority),
    /// Only this one, DER.
    Leaf(Vec<u8>),
}

pub(super) fn login(roles: &BTreeMap<String, CertRole>, now: Now, call: &Call) -> Result<Admitted, Refusal> {
    let der = call.peer.as_deref();
    let der = der.ok_or_else(|| Refusal::bad_request("client certificate must be supplied"))?;
    let mismatch = || Refusal::bad_request("failed to match all constraints for this login certificate");
    let (_, certificate) = parse_x509_certificate(der).map_err(|_| mismatch())?;
    let common_name = certificate.subject().iter_common_name().next();
    let common_name = common_name.and_then(|name| name.as_str().ok()).unwrap_or_default();
    let named = call.fields.text("name");
    let (name, role) = roles
        .iter()
        .filter(|(name, _)| named.is_empty() || named == **name)
        .find(|(_, role)| role.admits(now, der, &certificate, common_name))
        .ok_or_else(mismatch)?;
    let meta = [
        ("cert_name", name.clone()),
        ("common_name", common_name.to_owned()),
        ("serial_number", certificate.serial.to_string()),
    ];
    Ok(Admitted {
        role: name.clone(),
        params: role.token.clone(),
        display_name: name.clone(),
        meta: meta.map(|(key, value)| (key.to_owned(), value)).into(),
    })
}

/// Checks that the certificate of a login is also presented when its token is renewed.
pub(super) fn renew(roles: &BTreeMap<String, CertRole>, role: &str, now: Now, call: &Call) -> Result<(), Refusal> {
    let role = roles.get_key_value(role);
    let roles = role.map(|(name, role)| (name.clone(), role.clone())).into_iter();
    login(&roles.collect(), now, call).map(drop)
}

impl CertRole {
    fn admits(&self, now: Now, der: &[u8], certificate: &X509Certificate<'_>, common_name: &str) -> bool {
        let names = &self.allowed_common_names;
        if !names.is_empty() && !names.iter().any(|allowed| glob(allowed, common_name)) {
            return false;
        }
        let seconds = i64::try_from(now.unix.as_secs()).unwrap_or(i64::MAX);
        let validity = certificate.validity();
        let in_time = (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&seconds);
        in_time
            && match &self.trusted {
                Trusted::Leaf(leaf) => leaf == der,
                Trusted::Ca(ca) => parse_x509_certificate(&ca.certificate().der)
                    .is_ok_and(|(_, ca)| certificate.verify_signature(Some(ca.public_key())).is_ok()),
            }
    }
}
