//! The inputs: a CSR, the chain that Vault answers with, and the objects of Kubernetes.
//!
//! The files in `pki/` were made with OpenSSL; the keys, all P-256, were not kept. A program that signs has to seed a random
//! number generator first, which takes 400 million instructions, and never the same number.

use std::collections::BTreeMap;
use std::time::Duration;

use issuer_api::{
    AppRole, Auth, Base64, CertificateRequest, IssuerRef, IssuerStatus, RequestCondition, SecretKeySelector, VaultSpec,
};
use issuer_core::reconcile::{ObservedIssuer, ReadyWriters};
use issuer_core::reference::{IssuerKey, IssuerKind};
use issuer_core::{Issued, Now, RequestSpec, SigningRequest};

/// 2026-01-01T00:00:00Z, in a process that has run for eleven days.
pub(crate) const NOW: Now = Now {
    monotonic: Duration::from_secs(1_000_000),
    unix: Duration::from_secs(1_767_225_600),
};

/// `spec.duration` of every request.
pub(crate) const DURATION: &str = "2160h0m0s";

/// Returns the time a while after [`NOW`].
pub(crate) fn after(wait: Duration) -> Now {
    Now {
        monotonic: NOW.monotonic + wait,
        unix: NOW.unix + wait,
    }
}

/// Returns the usages that a request asks for.
pub(crate) fn usages() -> Vec<String> {
    ["digital signature", "key encipherment", "server auth"]
        .map(Into::into)
        .into()
}

/// The CSR of a server with three names.
pub(crate) const CSR: &str = include_str!("../pki/web.csr");

/// Returns the CSR, parsed.
pub(crate) fn signing_request() -> SigningRequest {
    let usages = usages();
    let spec = RequestSpec {
        csr: CSR.as_bytes(),
        duration: Some(DURATION),
        is_ca: false,
        least_duration: Duration::ZERO,
        usages: &usages,
    };
    SigningRequest::parse(spec, &issuer_tls::signatures()).unwrap()
}

/// Returns the answer to the CSR: the certificate, the CA that signed it, and the root.
pub(crate) fn issued() -> Issued {
    let [middle, root] = [include_str!("../pki/intermediate.pem"), include_str!("../pki/root.pem")];
    Issued {
        certificate: include_str!("../pki/web.pem").to_owned(),
        issuing_ca: Some(middle.to_owned()),
        ca_chain: vec![middle.to_owned(), root.to_owned()],
        is_leased: false,
    }
}

/// Returns the key of the issuer `team/NAME`.
pub(crate) fn issuer_key(name: &str) -> IssuerKey {
    IssuerKey {
        kind: IssuerKind::Namespaced,
        namespace: "team".into(),
        name: name.into(),
    }
}

/// Returns an issuer that logs in with an AppRole.
pub(crate) fn issuer(uid: String) -> ObservedIssuer {
    let selector = SecretKeySelector {
        name: "vault".to_owned(),
        key: Some("token".to_owned()),
    };
    ObservedIssuer {
        uid,
        generation: 1,
        resource_version: "1".to_owned(),
        spec: VaultSpec {
            server: "https://vault.example:8200".to_owned(),
            path: "pki/sign/web".to_owned(),
            ca_bundle: Some(Base64::encode(include_str!("../pki/root.pem"))),
            auth: Auth {
                app_role: Some(AppRole {
                    role_id: Some("web".to_owned()),
                    secret_ref: Some(selector),
                    ..AppRole::default()
                }),
                ..Auth::default()
            },
            ..VaultSpec::default()
        },
        status: IssuerStatus::default(),
        ready_writers: ReadyWriters::default(),
    }
}

/// Returns the request `team/NAME` of the issuer `team/vault`, which nobody has approved.
pub(crate) fn request(name: &str) -> CertificateRequest {
    let mut request = CertificateRequest::default();
    request.metadata.namespace = Some("team".to_owned());
    request.metadata.name = Some(name.to_owned());
    request.metadata.uid = Some(format!("uid-{name}"));
    request.metadata.resource_version = Some("1".to_owned());
    request.spec.request = Base64::encode(CSR);
    request.spec.duration = Some(DURATION.to_owned());
    request.spec.usages = usages();
    request.spec.issuer_ref = IssuerRef {
        name: "vault".to_owned(),
        kind: Some("VaultIssuer".to_owned()),
        group: Some(issuer_api::GROUP.to_owned()),
    };
    request
}

/// Approves a request.
pub(crate) fn approve(request: &mut CertificateRequest) {
    request
        .status
        .get_or_insert_default()
        .conditions
        .push(RequestCondition {
            others: BTreeMap::new(),
            kind: "Approved".to_owned(),
            status: "True".to_owned(),
            last_transition_time: Some("2026-01-01T00:00:00Z".to_owned()),
            reason: Some("cert-manager.io".to_owned()),
            message: Some("Certificate request has been approved by cert-manager.io".to_owned()),
        });
}
