//! The key and the CSR of a request.

use rcgen::{CertificateParams, DistinguishedName};

use super::csr::Csr;
use super::role::Role;
use crate::answer::Refusal;
use crate::ca::{KeyType, key};
use crate::dice::Dice;

/// The applicant's side of a certificate.
#[derive(Debug)]
pub(crate) struct Application {
    pub(crate) csr: Csr,
    /// The private key, PEM, if Vault has generated it.
    pub(crate) private_key: Option<(String, KeyType)>,
}

impl Application {
    pub(crate) fn requested(csr: Csr) -> Self {
        Self { csr, private_key: None }
    }

    /// Generates a key and an empty CSR for it.
    pub(crate) fn generated(role: &Role, dice: &mut Dice) -> Result<Self, Refusal> {
        let kind = generated_kind(role)?;
        let pair = key(kind, &dice.text(16));
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let csr = params.serialize_request(&pair).and_then(|csr| csr.pem());
        let csr = csr.map_err(|_| Refusal::internal("unable to generate a key"))?;
        let pem = pair.serialize_pem();
        Ok(Self {
            csr: Csr::parse(&csr)?,
            private_key: Some((pem, kind)),
        })
    }
}

/// Returns the type of the keys that Vault generates for a role.
fn generated_kind(role: &Role) -> Result<KeyType, Refusal> {
    role.key_type
        .ok_or_else(|| Refusal::bad_request("role key type \"any\" not allowed for issuing certificates, only signing"))
}
