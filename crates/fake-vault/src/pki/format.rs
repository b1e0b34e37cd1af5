//! The `format` of the certificates in a reply.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::answer::Refusal;
use crate::ca::Certificate;
use crate::fields::Fields;

/// The `format` of the certificates in a reply.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    Der,
    Pem,
    PemBundle,
}

impl Format {
    pub(crate) fn of(fields: &Fields) -> Result<Self, Refusal> {
        match fields.text("format").as_str() {
            "" | "pem" => Ok(Self::Pem),
            "der" => Ok(Self::Der),
            "pem_bundle" => Ok(Self::PemBundle),
            _ => Err(Refusal::bad_request(
                "the \"format\" path parameter must be \"pem\", \"der\", or \"pem_bundle\"",
            )),
        }
    }

    pub(crate) fn data(
        self,
        certificate: &Certificate,
        issuer: &Certificate,
        chain: &[Certificate],
    ) -> Map<String, Value> {
        let text = |certificate: &Certificate| match self {
            Self::Der => STANDARD.encode(&certificate.der),
            Self::Pem | Self::PemBundle => certificate.pem.to_string(),
        };
        let all: Vec<_> = chain.iter().map(text).collect();
        let own = match self {
            Self::PemBundle => [&[text(certificate)], all.as_slice()].concat().join("\n"),
            Self::Der | Self::Pem => text(certificate),
        };
        let mut data = Map::new();
        data.insert("certificate".to_owned(), json!(own));
        data.insert("issuing_ca".to_owned(), json!(text(issuer)));
        if !all.is_empty() {
            data.insert("ca_chain".to_owned(), json!(all));
        }
        data
    }
}
