//! The inputs: a CSR, the chain that Vault answers with, and the objects of Kubernetes. Keys are P-256, as most are in
//! clusters.

use std::collections::BTreeMap;
use std::time::Duration;

use fake_vault::{KeyType, key};
use issuer_api::{
    AppRole, Auth, Base64, CertificateRequest, IssuerRef, IssuerStatus, RequestCondition, SecretKeySelector, VaultSpec,
};
use issuer_core::reconcile::{ObservedIssuer, ReadyWriters};
use issuer_core::reference::{IssuerKey, IssuerKind};
use issuer_core::{Issued, Now, RequestSpec, SigningRequest};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, date_time_ymd,
};

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

/// The names of the certificate, of two kinds, and what else is in it.
fn params() -> CertificateParams {
    let names = ["web.example", "www.web.example", "10.0.0.1"].map(String::from);
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = subject("web.example");
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2026, 3, 1);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn subject(common_name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, common_name);
    subject
}

/// Returns the CSR, PEM.
pub(crate) fn csr() -> String {
    params()
        .serialize_request(&key(KeyType::Ec, "leaf"))
        .unwrap()
        .pem()
        .unwrap()
}

/// Returns the CSR, parsed.
pub(crate) fn signing_request() -> SigningRequest {
    let (csr, usages) = (csr(), usages());
    let spec = RequestSpec {
        csr: csr.as_bytes(),
        duration: Some(DURATION),
        is_ca: false,
        usages: &usages,
    };
    SigningRequest::parse(spec, &issuer_tls::signatures()).unwrap()
}

/// Returns Vault's answer: the certificate, the intermediate that signed it, and the root.
pub(crate) fn issued() -> Issued {
    let ca = |name: &str| {
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    };
    let [leaf_key, middle_key, root_key] = ["leaf", "intermediate", "root"].map(|label| key(KeyType::Ec, label));
    let (middle, root) = (ca("Intermediate"), ca("Root"));
    let leaf = params()
        .signed_by(&leaf_key, &Issuer::from_params(&middle, &middle_key))
        .unwrap();
    let middle = middle
        .signed_by(&middle_key, &Issuer::from_params(&root, &root_key))
        .unwrap();
    let root = root.self_signed(&root_key).unwrap();
    Issued {
        certificate: leaf.pem(),
        issuing_ca: Some(middle.pem()),
        ca_chain: vec![middle.pem(), root.pem()],
        is_leased: false,
    }
}

/// Returns the key of the issuer `team/NAME`.
pub(crate) fn issuer_key(name: &str) -> IssuerKey {
    IssuerKey {
        kind: IssuerKind::Namespaced,
        namespace: "team".to_owned(),
        name: name.to_owned(),
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
    request.spec.request = Base64::encode(csr());
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
