//! Constants: a time, a server, a token, a CSR.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use fake_vault::{KeyType, key};
use issuer_api::{AppRole, Auth, KubernetesAuth, SecretKeySelector, VaultSpec};
use issuer_core::access::{self, Access, AwaitReply, Held, SecretData};
use issuer_core::target::{IssuerPolicy, SignPath, Target};
use issuer_core::vault::{Lease, Vault};
use issuer_core::{Flow, Now, Request, RequestSpec, Secret, Signatures, SigningRequest, Step};
use rcgen::{CertificateParams, DistinguishedName, DnType, SanType};

use crate::reply;

/// 2026-01-01T00:00:00Z, in a process that has run for eleven days.
pub(crate) const NOW: Now = Now {
    monotonic: Duration::from_secs(1_000_000),
    unix: Duration::from_secs(1_767_225_600),
};

/// Returns a later time.
pub(crate) fn after(wait: Duration) -> Now {
    Now {
        monotonic: NOW.monotonic + wait,
        unix: NOW.unix + wait,
    }
}

/// The access after a login with an AppRole: a token that was made now, for a hundred seconds.
pub(crate) static ACCESS: LazyLock<Access> = LazyLock::new(|| {
    let (_, check) = check(app_role(), None, NOW);
    let (_, check) = asked(check.resume(NOW, reply::healthy()));
    let (_, check) = asked(check.resume(NOW, reply::granted()));
    match check.resume(NOW, reply::wants_csr()) {
        access::Step::Done(outcome) if outcome.verdict.is_ok() => outcome.access.unwrap(),
        other => panic!("{other:?}"),
    }
});

pub(crate) static LEASE: LazyLock<Lease> = LazyLock::new(|| ACCESS.lease.clone());

pub(crate) static VAULT: LazyLock<Vault> = LazyLock::new(|| ACCESS.vault.clone());

pub(crate) static PATH: LazyLock<SignPath> = LazyLock::new(|| SignPath::parse("pki/sign/web").unwrap());

fn selector() -> SecretKeySelector {
    SecretKeySelector {
        name: "vault".to_owned(),
        key: Some("credential".to_owned()),
    }
}

pub(crate) fn app_role() -> Auth {
    Auth {
        app_role: Some(AppRole {
            role_id: Some("web".to_owned()),
            secret_ref: Some(selector()),
            ..AppRole::default()
        }),
        ..Auth::default()
    }
}

pub(crate) fn kubernetes() -> Auth {
    Auth {
        kubernetes: Some(KubernetesAuth {
            mount_path: None,
            role: "web".to_owned(),
            secret_ref: Some(selector()),
            service_account_ref: None,
        }),
        ..Auth::default()
    }
}

pub(crate) fn token() -> Auth {
    Auth {
        token_secret_ref: Some(selector()),
        ..Auth::default()
    }
}

/// Begins to check an issuer whose credential is `canary`; returns the first request, for the server's health.
pub(crate) fn check(auth: Auth, held: Option<Access>, now: Now) -> (Request, AwaitReply) {
    let spec = VaultSpec {
        server: "https://vault.example:8200".to_owned(),
        path: "pki/sign/web".to_owned(),
        namespace: Some("team".to_owned()),
        auth,
        ..VaultSpec::default()
    };
    let target = Target::parse(&spec, &crate::issuer::key(), "team", &IssuerPolicy::default()).unwrap();
    let secret = SecretData {
        resource_version: "1".to_owned(),
        data: BTreeMap::from([("credential".to_owned(), Secret::from("canary"))]),
        servers: None,
    };
    let held = Held {
        access: held,
        ..Held::default()
    };
    match access::begin(target, "team", held, now) {
        access::Step::ReadSecret(_, waits) => asked(waits.resume(now, Ok(secret))),
        step => asked(step),
    }
}

/// Returns the request that a check sends, and the check.
pub(crate) fn asked(step: access::Step) -> (Request, AwaitReply) {
    match step {
        access::Step::Exchange(request, waits) => (request, waits),
        other => panic!("{other:?}"),
    }
}

/// Returns the request of a conversation, and the conversation.
pub(crate) fn sent<F: Flow>(step: Step<F>) -> (Request, F) {
    match step {
        Step::Send(request, flow) => (request, flow),
        Step::Done(_) => panic!("the conversation is over"),
    }
}

/// The requested names, of four kinds.
pub(crate) fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "web.example");
    params.subject_alt_names = vec![
        SanType::DnsName("web.example".try_into().unwrap()),
        SanType::DnsName("www.web.example".try_into().unwrap()),
        SanType::IpAddress([10, 0, 0, 1].into()),
        SanType::Rfc822Name("me@web.example".try_into().unwrap()),
        SanType::URI("spiffe://web/example".try_into().unwrap()),
    ];
    params
}

/// The CSR, DER; the same in every run.
pub(crate) static CSR: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let request = params().serialize_request(&key(KeyType::Ed25519, "fuzz")).unwrap();
    request.der().to_vec()
});

/// Returns the signing request for the CSR: 24 hours, a CA or not.
pub(crate) fn signing_request(is_ca: bool) -> SigningRequest {
    let csr = pem("CERTIFICATE REQUEST", &CSR);
    let spec = RequestSpec {
        csr: csr.as_bytes(),
        duration: Some("24h"),
        is_ca,
        ..RequestSpec::default()
    };
    SigningRequest::parse(spec, &signatures()).unwrap()
}

/// The signature algorithms of the controller.
pub(crate) fn signatures() -> Signatures {
    issuer_tls::signatures()
}

/// Encodes a PEM block with as few lines as possible.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}
