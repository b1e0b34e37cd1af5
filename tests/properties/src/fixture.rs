//! What is always the same: a time, a server, a token, a CSR.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use fake_vault::{KeyType, key};
use issuer_core::target::{Mount, SignPath};
use issuer_core::vault::{Check, CheckInput, Checked, Credentials, Lease, Vault};
use issuer_core::{
    Connect, Flow, Limits, Now, Origin, Request, RequestSpec, Roots, Secret, Signatures, SigningRequest, Step,
};
use rcgen::{CertificateParams, DistinguishedName, DnType, SanType};

use crate::reply;

/// 2026-01-01T00:00:00Z, by a process that has run for eleven days.
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

pub(crate) static VAULT: LazyLock<Vault> = LazyLock::new(|| {
    let connect = Arc::new(Connect {
        origin: Origin::parse("https://vault.example:8200").unwrap(),
        server_name: None,
        roots: Roots::System,
        identity: None,
        limits: Limits::default(),
    });
    Vault {
        login: Arc::clone(&connect),
        connect,
        namespace: Some("team".parse().unwrap()),
    }
});

pub(crate) static PATH: LazyLock<SignPath> = LazyLock::new(|| SignPath::parse("pki/sign/web").unwrap());

/// A token that was made now, for a hundred seconds.
pub(crate) static LEASE: LazyLock<Lease> = LazyLock::new(|| {
    let (_, check) = sent(Check::begin(terms(app_role()), None, false, NOW));
    let (_, check) = sent(check.resume(NOW, reply::healthy()));
    let (_, check) = sent(check.resume(NOW, reply::granted()));
    match check.resume(NOW, reply::wants_csr()) {
        Step::Done(Checked::Ended {
            lease: Some(lease),
            verdict: Ok(()),
        }) => lease,
        other => panic!("{other:?}"),
    }
});

pub(crate) fn app_role() -> Credentials {
    Credentials::AppRole {
        mount: Mount::parse("approle").unwrap(),
        role_id: "web".to_owned(),
        secret_id: Secret::from("canary"),
    }
}

pub(crate) fn terms(credentials: Credentials) -> CheckInput {
    CheckInput {
        vault: VAULT.clone(),
        path: PATH.clone(),
        credentials,
    }
}

/// Returns the request that a conversation sends, and the conversation.
pub(crate) fn sent<F: Flow>(step: Step<F>) -> (Request, F) {
    match step {
        Step::Send(request, flow) => (request, flow),
        Step::Done(_) => panic!("the conversation is over"),
    }
}

/// What is asked for: names of four kinds.
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

/// Returns the order for the CSR: 24 hours, a CA or not.
pub(crate) fn signing_request(is_ca: bool) -> SigningRequest {
    let csr = pem("CERTIFICATE REQUEST", &CSR);
    let spec = RequestSpec {
        csr: csr.as_bytes(),
        duration: Some("24h"),
        is_ca,
        usages: &[],
    };
    SigningRequest::parse(spec, &signatures()).unwrap()
}

/// The signatures that the controller can check.
pub(crate) fn signatures() -> Signatures {
    issuer_tls::signatures()
}

/// Writes a PEM block on as few lines as there can be.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}
