//! Properties of logins for any content of a Secret.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use fake_vault::Authority;
use issuer_api::{AppRole, Auth, AwsAuth, ClientCertificate, JwtAuth, KubernetesAuth, SecretKeySelector, VaultSpec};
use issuer_core::access::{self, Held, SecretData, Step};
use issuer_core::reference::{ConfigMapRef, SecretRef, TokenSource};
use issuer_core::target::{IssuerPolicy, Method, Target, Trust};
use issuer_core::{Operation, Request, Secret};

use crate::fixture::NOW;
use crate::issuer::{issuer, key};
use crate::reply;
use crate::text::{assert_hidden, assert_shown};

/// The keys of the Secret, in the order of their values in an input; 0xff separates values.
const KEYS: [&str; 7] = [
    "credential",
    "ca.crt",
    "tls.crt",
    "tls.key",
    "accessKeyID",
    "secretAccessKey",
    "sessionToken",
];

/// The values of a Secret: an issuer either reports what is wrong with them or logs in with exactly their contents, and
/// never prints any of them.
pub fn secret(data: &[u8]) {
    let values = data.split(|byte| *byte == 0xff);
    let data: BTreeMap<String, Secret> = KEYS
        .into_iter()
        .zip(values)
        .map(|(key, value)| (key.to_owned(), Secret::from(value.to_vec())))
        .collect();
    for (name, auth) in methods() {
        for secured in [false, true] {
            let spec = VaultSpec {
                ca_bundle_secret_ref: secured.then(|| selector("ca.crt")),
                client_cert_secret_ref: secured.then(|| selector("tls.crt")),
                client_key_secret_ref: secured.then(|| selector("tls.key")),
                auth: auth.clone(),
                ..issuer()
            };
            let target = Target::parse(&spec, &key(), "team", &IssuerPolicy::default()).expect("a good spec");
            let read = |_: &SecretRef| SecretData {
                resource_version: "1".to_owned(),
                data: data.clone(),
                servers: None,
            };
            match walk(&target, read) {
                Ok(requests) => assert_used(name, &requests, &data),
                Err(message) => assert_shown(&message),
            }
        }
    }
}

fn selector(key: &str) -> SecretKeySelector {
    SecretKeySelector {
        name: "vault".to_owned(),
        key: Some(key.to_owned()),
    }
}

fn methods() -> [(&'static str, Auth); 7] {
    let token = Auth {
        token_secret_ref: Some(selector("credential")),
        ..Auth::default()
    };
    let app_role = Auth {
        app_role: Some(AppRole {
            role_id: Some("web".to_owned()),
            secret_ref: Some(selector("credential")),
            ..AppRole::default()
        }),
        ..Auth::default()
    };
    let role_id = Auth {
        app_role: Some(AppRole {
            role_id_secret_ref: Some(selector("credential")),
            ..AppRole::default()
        }),
        ..Auth::default()
    };
    let kubernetes = Auth {
        kubernetes: Some(KubernetesAuth {
            mount_path: None,
            role: "web".to_owned(),
            secret_ref: Some(selector("credential")),
            service_account_ref: None,
        }),
        ..Auth::default()
    };
    let jwt = Auth {
        jwt: Some(JwtAuth {
            mount_path: None,
            role: "web".to_owned(),
            secret_ref: Some(selector("credential")),
            service_account_ref: None,
        }),
        ..Auth::default()
    };
    let aws = Auth {
        aws: Some(AwsAuth {
            role: "web".to_owned(),
            secret_name: Some("vault".to_owned()),
            ..AwsAuth::default()
        }),
        ..Auth::default()
    };
    let certificate = Auth {
        client_certificate: Some(ClientCertificate {
            secret_name: Some("vault".to_owned()),
            ..ClientCertificate::default()
        }),
        ..Auth::default()
    };
    [
        ("token", token),
        ("secret_id", app_role),
        ("role_id", role_id),
        ("jwt", kubernetes),
        ("jwt", jwt),
        ("aws", aws),
        ("certificate", certificate),
    ]
}

/// Asserts that a login sends the contents of the Secret, and that the rest does not panic.
fn assert_used(name: &str, requests: &[Request], data: &BTreeMap<String, Secret>) {
    let [health, login, ..] = requests else {
        panic!("no login: {requests:?}");
    };
    assert!(health.http.body().as_bytes().is_empty() && health.http.headers().get("x-vault-token").is_none());
    let held = data.get("credential").and_then(Secret::expose_str).unwrap_or_default();
    match name {
        "token" => assert_eq!(
            login.http.headers().get("x-vault-token").expect("a token").as_bytes(),
            held.as_bytes()
        ),
        "aws" => {
            let body: serde_json::Value = serde_json::from_slice(login.http.body().as_bytes()).expect("JSON");
            assert!(body["iam_request_headers"].is_string());
        }
        "certificate" => assert!(login.connect.identity.is_some()),
        field => {
            let body: serde_json::Value = serde_json::from_slice(login.http.body().as_bytes()).expect("JSON");
            assert_eq!(body[field], held);
        }
    }
    for request in requests {
        // Keys that rustls does not take are refused when the connection is made.
        let _config = issuer_tls::client_config(&request.connect);
        let _name = issuer_tls::server_name(&request.connect);
    }
}

/// A certificate and its key.
static CERTIFIED: LazyLock<(String, String)> = LazyLock::new(|| {
    let certified = Authority::root("Fuzz").client("web");
    (certified.chain_pem, certified.key_pem)
});

/// Returns the requests of an issuer's check with these Secrets and a healthy Vault, or the error.
pub(crate) fn requests(target: &Target) -> Result<Vec<Request>, String> {
    let mut data: BTreeMap<String, Secret> = BTreeMap::new();
    let mut hold = |key: &str, value: &str| data.insert(key.to_owned(), Secret::from(value));
    for key in target.method.keys() {
        hold(&key.key, "canary");
    }
    match &target.method {
        Method::Aws { .. } => {
            hold("accessKeyID", "canary");
            hold("secretAccessKey", "canary");
        }
        Method::Certificate { .. } => {
            hold("tls.crt", &CERTIFIED.0);
            hold("tls.key", &CERTIFIED.1);
        }
        _ => {}
    }
    match &target.trust {
        Trust::ConfigMap(key) => drop(hold(&key.key, &CERTIFIED.0)),
        Trust::Secret(key) => drop(hold(&key.key, &CERTIFIED.0)),
        Trust::Inline(_) | Trust::System => {}
    }
    if let Some((certificate, key)) = &target.identity {
        // One key can hold both.
        hold(&certificate.key, &CERTIFIED.0);
        hold(&key.key, &(CERTIFIED.0.clone() + &CERTIFIED.1));
    }
    let read = |_: &SecretRef| SecretData {
        resource_version: "1".to_owned(),
        data: data.clone(),
        servers: None,
    };
    walk(target, read)
}

/// Runs a check against a healthy Vault; returns its requests or the error.
fn walk(target: &Target, read: impl Fn(&SecretRef) -> SecretData) -> Result<Vec<Request>, String> {
    let mut requests = Vec::new();
    let mut step = access::begin(target.clone(), "team", Held::default(), NOW);
    loop {
        assert_hidden(&format!("{step:?}"));
        step = match step {
            Step::ReadConfigMap(ConfigMapRef { namespace, name }, waits) => {
                assert_eq!(namespace, "team");
                waits.resume(NOW, Ok(read(&SecretRef { namespace, name })))
            }
            Step::ReadSecret(name, waits) => {
                assert_eq!(name.namespace, "team");
                waits.resume(NOW, Ok(read(&name)))
            }
            Step::MintToken(source, waits) => {
                let TokenSource::Requested(spec) = source else {
                    panic!("{source:?}");
                };
                assert_eq!(spec.namespace, "team");
                waits.resume(NOW, Ok(Secret::from("canary")))
            }
            Step::Exchange(request, waits) => {
                let reply = match request.operation {
                    Operation::Login if request.http.uri().path().ends_with("/sys/wrapping/lookup") => {
                        reply::wrapped(target)
                    }
                    Operation::Login if request.http.uri().path().ends_with("/sys/wrapping/unwrap") => {
                        Ok(reply::with(200, r#"{"data":{"secret_id":"canary"}}"#))
                    }
                    Operation::Health => reply::healthy(),
                    Operation::Lookup => Ok(reply::with(200, r#"{"data":{"ttl":100,"renewable":true}}"#)),
                    Operation::Probe => reply::wants_csr(),
                    _ if request.connect.origin.host().starts_with("sts.") => reply::aws_keys(),
                    _ => reply::granted(),
                };
                requests.push(request);
                waits.resume(NOW, reply)
            }
            Step::Done(outcome) => {
                return match outcome.verdict {
                    Ok(()) => Ok(requests),
                    Err(error) => Err(error.to_string()),
                };
            }
        };
    }
}
