//! The part of a request that is decoded first.

use issuer_api::IssuerRef;
use issuer_core::reconcile::NamedIssuer;
use issuer_core::reference::{RequestKey, RequestKind};
use serde::Deserialize;

use super::Json;

/// The part of a request that decides whether anything depends on the rest.
#[derive(Debug, PartialEq)]
pub(crate) struct RequestHeader {
    kind: RequestKind,
    names: Names,
    issuer: Named,
}

/// How a request names its issuer.
#[derive(Debug, PartialEq)]
enum Named {
    Reference(IssuerRef),
    Signer(String),
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Names {
    name: String,
    #[serde(default)]
    namespace: String,
    uid: String,
    resource_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    issuer_ref: IssuerRef,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Signer {
    pub(super) signer_name: String,
}

impl RequestHeader {
    /// Decodes the header of a request, and nothing else of it.
    pub(crate) fn read(kind: RequestKind, json: Json<'_>) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Header<Spec> {
            metadata: Names,
            spec: Spec,
        }
        let (names, issuer) = match kind {
            RequestKind::CertificateRequest => {
                let Header { metadata, spec } = json.decode::<Header<Reference>>()?;
                (metadata, Named::Reference(spec.issuer_ref))
            }
            RequestKind::CertificateSigningRequest => {
                let Header { metadata, spec } = json.decode::<Header<Signer>>()?;
                (metadata, Named::Signer(spec.signer_name))
            }
        };
        Ok(Self { kind, names, issuer })
    }

    /// Returns the kind and name of the request.
    pub(crate) fn key(&self) -> RequestKey {
        RequestKey {
            kind: self.kind,
            namespace: self.names.namespace.as_str().into(),
            name: self.names.name.as_str().into(),
        }
    }

    /// Returns `metadata.uid`.
    pub(crate) fn uid(&self) -> &str {
        &self.names.uid
    }

    /// Returns the issuer that the request names.
    pub(crate) fn issuer(&self) -> NamedIssuer<'_> {
        match &self.issuer {
            Named::Reference(reference) => NamedIssuer::Reference(reference),
            Named::Signer(signer) => NamedIssuer::Signer(signer),
        }
    }

    /// Returns `metadata.resourceVersion`.
    pub(crate) fn into_version(self) -> String {
        self.names.resource_version
    }
}
