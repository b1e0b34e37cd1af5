//! The objects in the cluster: the issuer `team/vault` and requests for it.

use std::time::Duration;

use fake_kube::{FakeKube, Object};
use fake_vault::KeyType;
use issuer_api::{Base64, CertificateRequest, CertificateRequestSpec, IssuerRef, VaultIssuer};
use issuer_core::reconcile::{Config, Key};
use issuer_core::reference::{IssuerKey, IssuerKind, Namespaces, RequestKey};
use issuer_core::target::{AllowedServers, IssuerPolicy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rcgen::{CertificateParams, DistinguishedName, DnType};
use serde_json::json;

use super::{Login, NAMESPACE, Vault};

pub(crate) fn config() -> Config {
    Config {
        claim: None,
        check_interval: Duration::from_secs(60 * 60),
        cluster_resource_namespace: "vault-issuer".to_owned(),
        drop_in: None,
        event_rate: 10,
        kubernetes_csrs: false,
        namespaces: Namespaces::All,
        max_concurrent_reconciles: 8,
        // The Vaults of these tests lose more answers than one that is well would.
        max_lost_answers: u32::MAX,
        policy: IssuerPolicy {
            allowed_servers: AllowedServers::All,
            ..IssuerPolicy::default()
        },
        sign_timeout: Duration::from_secs(30),
        verify: issuer_tls::signatures().into(),
    }
}

/// Creates the issuer `team/vault`.
pub(crate) fn create_issuer(cluster: &mut FakeKube, vault: &Vault, login: Login) {
    let issuer = VaultIssuer {
        metadata: named("vault"),
        spec: vault.spec(login),
        status: None,
    };
    cluster.create(Object::Issuer(issuer)).unwrap();
}

/// Creates an approved request for `<name>.example.com`.
pub(crate) fn create_request(cluster: &mut FakeKube, name: &str) -> RequestKey {
    let request = CertificateRequest {
        metadata: named(name),
        spec: CertificateRequestSpec {
            request: Base64::encode(csr(name)),
            issuer_ref: IssuerRef {
                name: "vault".to_owned(),
                kind: Some("VaultIssuer".to_owned()),
                group: Some(issuer_api::GROUP.to_owned()),
            },
            duration: Some("24h0m0s".to_owned()),
            is_ca: false,
            usages: Vec::new(),
        },
        status: None,
    };
    let key = cluster.create(Object::Request(request)).unwrap().key();
    let approved = json!({ "status": { "conditions": [{ "type": "Approved", "status": "True" }] } });
    cluster.patch_status(&key, &approved).unwrap();
    let Key::Request(key) = key else { panic!("{key:?}") };
    key
}

/// Returns the reason and message of a request's condition `Ready`.
pub(crate) fn ready(cluster: &FakeKube, key: &RequestKey) -> (String, String) {
    let ready = cluster.request(key).unwrap().condition("Ready").cloned();
    let parts = ready.map(|ready| (ready.reason.unwrap(), ready.message.unwrap()));
    parts.unwrap_or_default()
}

/// The issuer's name.
pub(crate) fn issuer() -> Key {
    Key::Issuer(issuer_key())
}

pub(crate) fn issuer_key() -> IssuerKey {
    IssuerKey {
        kind: IssuerKind::Namespaced,
        namespace: NAMESPACE.into(),
        name: "vault".into(),
    }
}

fn named(name: &str) -> ObjectMeta {
    let (name, namespace) = (Some(name.to_owned()), Some(NAMESPACE.to_owned()));
    ObjectMeta {
        name,
        namespace,
        ..ObjectMeta::default()
    }
}

/// Returns a CSR for `<name>.example.com`; equal names share a key.
pub(crate) fn csr(name: &str) -> String {
    let name = format!("{name}.example.com");
    let mut params = CertificateParams::new(vec![name.clone()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, &name);
    let key = fake_vault::key(KeyType::Ed25519, &name);
    params.serialize_request(&key).unwrap().pem().unwrap()
}
