//! Requests of both kinds, as users create them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use issuer_api::{Base64, CertificateRequest, CertificateSigningRequest, IssuerRef, RequestCondition};
use rcgen::{CertificateParams, KeyPair, SanType};

/// The key of every CSR: keys take time to generate, and no test depends on them.
pub(super) static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate().unwrap());

pub(super) fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
    params.not_before = rcgen::date_time_ymd(2025, 12, 31);
    params.not_after = rcgen::date_time_ymd(2026, 2, 1);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// Builds a request, `team/NAME`, that nobody has approved.
pub(super) fn request(name: &str) -> RequestBuilder {
    let mut request = CertificateRequest::default();
    request.metadata.namespace = Some("team".to_owned());
    request.metadata.name = Some(name.to_owned());
    request.metadata.uid = Some(format!("uid-{name}"));
    request.metadata.resource_version = Some("1".to_owned());
    request.spec.request = Base64::encode(params(name).serialize_request(&*KEY).unwrap().pem().unwrap());
    request.spec.issuer_ref = IssuerRef {
        name: "vault".to_owned(),
        kind: Some("VaultIssuer".to_owned()),
        group: Some(issuer_api::GROUP.to_owned()),
    };
    RequestBuilder(request)
}

pub(super) struct RequestBuilder(CertificateRequest);

impl RequestBuilder {
    pub(super) fn approved(self) -> Self {
        self.condition("Approved", "cert-manager.io", "")
    }

    pub(super) fn denied(self) -> Self {
        self.condition("Denied", "policy", "")
    }

    pub(super) fn condition(mut self, kind: &str, reason: &str, message: &str) -> Self {
        let status = self.0.status.get_or_insert_default();
        status.conditions.push(condition(kind, reason, message));
        self
    }

    /// Names another issuer.
    pub(super) fn of(mut self, kind: &str, name: &str) -> Self {
        self.0.spec.issuer_ref.kind = Some(kind.to_owned());
        self.0.spec.issuer_ref.name = name.to_owned();
        self
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut CertificateRequest)) -> Self {
        change(&mut self.0);
        self
    }

    pub(super) fn in_namespace(mut self, namespace: &str) -> Self {
        self.0.metadata.namespace = Some(namespace.to_owned());
        self
    }

    pub(super) fn with_csr(mut self, csr: &[u8]) -> Self {
        self.0.spec.request = Base64::encode(csr);
        self
    }

    pub(super) fn usages(mut self, usages: &[&str]) -> Self {
        self.0.spec.usages = usages.iter().map(|usage| (*usage).to_owned()).collect();
        self
    }

    /// Gives it another uid: it replaces a request of the same name.
    pub(super) fn uid(mut self, uid: &str) -> Self {
        self.0.metadata.uid = Some(uid.to_owned());
        self
    }

    pub(super) fn build(self) -> CertificateRequest {
        self.0
    }
}

/// Builds a Kubernetes CSR, `NAME`, of the user `alice` for `team/vault`, which is approved.
pub(super) fn csr(name: &str) -> CertificateSigningRequest {
    let mut csr = CertificateSigningRequest::default();
    csr.metadata.name = Some(name.to_owned());
    csr.metadata.uid = Some(format!("uid-{name}"));
    csr.metadata.resource_version = Some("1".to_owned());
    csr.spec.request = Base64::encode(params(name).serialize_request(&*KEY).unwrap().pem().unwrap());
    csr.spec.signer_name = "vaultissuers.vault-issuer.io/team.vault".to_owned();
    csr.spec.usages = ["digital signature", "server auth"].map(str::to_owned).to_vec();
    csr.spec.username = "alice".to_owned();
    csr.status
        .get_or_insert_default()
        .conditions
        .push(condition("Approved", "Policy", ""));
    csr
}

/// Builds a condition as somebody else than the controller sets it.
pub(super) fn condition(kind: &str, reason: &str, message: &str) -> RequestCondition {
    RequestCondition {
        others: BTreeMap::new(),
        kind: kind.to_owned(),
        status: if kind == "Ready" { "False" } else { "True" }.to_owned(),
        last_transition_time: None,
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
    }
}
