//! The conversations alone, with a Vault without sockets and a CA with deterministic signatures.

use std::collections::BTreeMap;

use fake_vault::{Authority, FakeVault, KeyType, Pki, Role};
use issuer_api::{Auth, SecretKeySelector, VaultSpec};
use issuer_core::access::{self, Access, AccessError, Held, SecretData};
use issuer_core::reference::{IssuerKey, IssuerKind};
use issuer_core::target::{IssuerPolicy, Target};
use issuer_core::vault::Sign;
use issuer_core::{Flow, Limits, Operation, Reply, RequestSpec, Secret, SigningRequest, Step};

use crate::world::{self, BEGIN};

/// The end of the validity of all CAs.
const END: std::time::Duration = std::time::Duration::from_secs(2_500_000_000);

/// A Vault whose root token signs at `pki/sign/web`.
pub(crate) fn vault() -> FakeVault {
    let mut vault = FakeVault::default();
    let root = Authority::root_with("Root", KeyType::Ed25519, END);
    let pki = Pki::new(root.intermediate_with("Issuing", KeyType::Ed25519, END));
    let role = Role {
        allow_subdomains: true,
        key_type: None,
        ..Role::domain("example.com")
    };
    vault.enable_pki("pki", pki.role("web", role));
    vault
}

/// Checks an issuer; requests of this kind get this reply.
pub(crate) fn check(vault: &mut FakeVault, spoilt: Option<(Operation, Reply)>) -> Result<Access, AccessError> {
    let app_role = issuer_api::AppRole {
        role_id: Some("web-id".to_owned()),
        secret_ref: Some(SecretKeySelector {
            name: "vault".to_owned(),
            key: Some("token".to_owned()),
        }),
        ..issuer_api::AppRole::default()
    };
    let token = SecretKeySelector {
        name: "vault".to_owned(),
        key: None,
    };
    let auth = match &spoilt {
        Some((Operation::Login, _)) => Auth {
            app_role: Some(app_role),
            ..Auth::default()
        },
        _ => Auth {
            token_secret_ref: Some(token),
            ..Auth::default()
        },
    };
    let spec = VaultSpec {
        server: "https://vault.test:8200".to_owned(),
        path: "pki/sign/web".to_owned(),
        auth,
        ..VaultSpec::default()
    };
    let (kind, namespace, name) = (IssuerKind::Namespaced, "team".into(), "vault".into());
    let target = Target::parse(
        &spec,
        &IssuerKey { kind, namespace, name },
        "team",
        &IssuerPolicy::default(),
    )
    .unwrap();
    let mut step = access::begin(target, "team", Held::default(), BEGIN);
    loop {
        step = match step {
            access::Step::Exchange(request, waits) => {
                let reply = match &spoilt {
                    Some((operation, reply)) if *operation == request.operation => reply.clone(),
                    _ => vault.exchange(BEGIN, request.http).reply(Limits::default()),
                };
                waits.resume(BEGIN, reply)
            }
            access::Step::MintToken(..) => panic!("no service account is named"),
            access::Step::ReadConfigMap(..) => panic!("no ConfigMap is named"),
            access::Step::ReadSecret(_, waits) => {
                let data = BTreeMap::from([("token".to_owned(), Secret::from(FakeVault::ROOT_TOKEN))]);
                waits.resume(
                    BEGIN,
                    Ok(SecretData {
                        resource_version: "1".to_owned(),
                        data,
                        servers: None,
                    }),
                )
            }
            access::Step::Done(outcome) => return outcome.verdict.map(|()| outcome.access.unwrap()),
        }
    }
}

/// Requests a certificate for `<name>.example.com`; returns the waiting conversation and the reply.
pub(super) fn sign(vault: &mut FakeVault, access: &Access, name: &str) -> (Sign, Reply) {
    let signatures = issuer_tls::signatures();
    let csr = world::csr(name);
    let spec = RequestSpec {
        csr: csr.as_bytes(),
        duration: Some("24h"),
        ..RequestSpec::default()
    };
    let wanted = SigningRequest::parse(spec, &signatures).unwrap();
    match Sign::begin(&access.vault, &access.path, &access.lease, wanted, signatures) {
        Step::Send(request, sign) => (sign, vault.exchange(BEGIN, request.http).reply(Limits::default())),
        Step::Done(result) => panic!("{result:?}"),
    }
}

/// Returns the result of a reply to a signing request.
pub(super) fn resume(sign: Sign, reply: Reply) -> <Sign as Flow>::Output {
    match sign.resume(BEGIN, reply) {
        Step::Send(..) => panic!("signing is one request"),
        Step::Done(result) => result,
    }
}
