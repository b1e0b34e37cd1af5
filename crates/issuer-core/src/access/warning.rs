//! What a user should change about an issuer that can sign.

/// Something about an issuer that can sign, that its user should change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Warning {
    /// The certificates have leases (`generate_lease`).
    CertificatesLeased,
    /// Vault limits how often the token is used (`token_num_uses`).
    TokenUsesLimited,
    /// The endpoint cannot be probed.
    ProbeInconclusive,
    /// Several requests in a row were not signed although the checks succeed.
    SignaturesFail,
}

impl Warning {
    /// Returns the reason for conditions and events.
    pub fn reason(self) -> &'static str {
        match self {
            Self::CertificatesLeased => "CertificatesLeased",
            Self::TokenUsesLimited => "TokenUsesLimited",
            Self::ProbeInconclusive => "ProbeInconclusive",
            Self::SignaturesFail => "SignaturesFail",
        }
    }

    /// Returns the message for conditions and events.
    pub fn message(self) -> &'static str {
        match self {
            Self::CertificatesLeased => {
                "Vault revokes the certificates when the token expires that signed them, since the role makes a lease for \
                 each: set generate_lease=false on the role"
            }
            Self::TokenUsesLimited => {
                "Vault limits the uses of the token, so the right to sign is not checked in advance: set token_num_uses=0 \
                 on the auth role"
            }
            Self::ProbeInconclusive => {
                "the signing endpoint cannot be probed without a CSR, so it is not known yet whether it signs; set \
                 spec.probe to Never if probes are unwelcome"
            }
            Self::SignaturesFail => {
                "Vault is ready, but has signed none of several requests for some minutes: they are tried again one at a time, \
                 and their status says what Vault answers"
            }
        }
    }
}
