//! `spec.vault` of cert-manager's issuers, as `deploy/docs/migrate.md` describes it.

use issuer_api::CertManagerSpec;
use issuer_core::reference::{IssuerKey, IssuerKind};
use issuer_core::target::{IssuerPolicy, Method, Target};
use serde_json::{Value, json};

/// Parses a spec that logs in with a token, with these changes, of the Issuer `team/vault`.
fn parse(changes: Value) -> Result<Target, String> {
    parse_of(IssuerKind::DropInNamespaced, changes)
}

fn parse_of(kind: IssuerKind, changes: Value) -> Result<Target, String> {
    let mut vault = json!({
        "server": "https://vault.example.com:8200",
        "path": "pki/sign/web",
        "auth": { "tokenSecretRef": { "name": "token" } },
    });
    let fields = vault.as_object_mut().unwrap();
    for (field, value) in changes.as_object().unwrap() {
        fields.insert(field.clone(), value.clone());
    }
    let spec: CertManagerSpec = serde_json::from_value(json!({ "vault": vault })).unwrap();
    let (namespace, name) = if kind.is_cluster() {
        ("", "vault")
    } else {
        ("team", "vault")
    };
    let key = IssuerKey {
        kind,
        namespace: namespace.into(),
        name: name.into(),
    };
    let target = Target::parse(&spec.into_vault().unwrap(), &key, "team", &IssuerPolicy::default());
    target.map_err(|error| error.to_string())
}

/// Parses a login with a service account, with these changes; returns the audiences.
fn audiences(kind: IssuerKind, account: Value) -> Result<Vec<String>, String> {
    let kubernetes = json!({ "role": "web", "secretRef": { "name": "" }, "serviceAccountRef": account });
    let target = parse_of(kind, json!({ "auth": { "kubernetes": kubernetes } }))?;
    let Method::ServiceAccount {
        audiences,
        expiration_seconds: 600,
        ..
    } = target.method
    else {
        return Err(format!("{:?}", target.method));
    };
    Ok(audiences)
}

#[test]
fn empty_fields_count_as_unset() {
    let empty = parse(json!({
        "serverName": "",
        "namespace": "",
        "caBundle": "",
        "caBundleSecretRef": { "name": "ca", "key": "" },
        "auth": { "tokenSecretRef": { "name": "token", "key": "" } },
    }));
    let unset = parse(json!({ "caBundleSecretRef": { "name": "ca" } }));
    assert_eq!(empty.unwrap(), unset.unwrap());
}

#[test]
fn servers_may_have_a_path() {
    let target = parse(json!({ "server": " https://proxy.example.com/vault/ " })).unwrap();
    assert_eq!(target.origin.to_string(), "https://proxy.example.com/vault");
}

#[test]
fn mount_paths_have_every_form() {
    let certificate = json!({ "name": "client" });
    for (method, field, default) in [
        ("appRole", "path", "approle"),
        ("clientCertificate", "mountPath", "cert"),
        ("kubernetes", "mountPath", "kubernetes"),
    ] {
        let mount = |path: &str| {
            let mut auth = match method {
                "appRole" => json!({ "roleId": "web", "secretRef": { "name": "role" } }),
                "kubernetes" => json!({ "role": "web", "secretRef": { "name": "jwt" } }),
                _ => json!({ "secretName": "client" }),
            };
            auth[field] = json!(path);
            let changes = json!({
                "clientCertSecretRef": certificate,
                "clientKeySecretRef": certificate,
                "auth": { method: auth },
            });
            match parse(changes).unwrap().method {
                Method::AppRole { mount, .. } | Method::Certificate { mount, .. } | Method::Jwt { mount, .. } => {
                    mount.to_string()
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(mount(""), default);
        for form in ["team", "auth/team", "/auth/team/", "/v1/auth/team", "v1/auth/team"] {
            assert_eq!(mount(form), "team", "{method} {form}");
        }
    }
}

#[test]
fn audiences_are_those_of_cert_manager() {
    let server = "https://vault.example.com:8200";
    assert_eq!(
        audiences(IssuerKind::DropInNamespaced, json!({ "name": "signer" })).unwrap(),
        ["vault://team/vault", server]
    );
    assert_eq!(
        audiences(IssuerKind::DropInCluster, json!({ "name": "signer" })).unwrap(),
        ["vault://vault", server]
    );
    let more = json!({ "name": "signer", "audiences": ["vault://other", server] });
    assert_eq!(
        audiences(IssuerKind::DropInNamespaced, more).unwrap(),
        ["vault://other", server, "vault://team/vault", server]
    );
    let foreign = json!({ "name": "signer", "audiences": ["https://kubernetes.default.svc"] });
    let refused = audiences(IssuerKind::DropInNamespaced, foreign).unwrap_err();
    assert!(refused.contains("--allow-audiences"), "{refused}");
}

#[test]
fn differences_are_refusals() {
    for (changes, cause) in [
        (json!({ "server": "http://vault.example.com" }), "--allow-http"),
        (json!({ "server": "https://127.0.0.1:8200" }), "--allowed-servers"),
        (json!({ "server": "unix:///run/vault" }), "spec.server must be a URL"),
        (
            json!({ "path": "pki/issue/web" }),
            "an issue endpoint makes its own key",
        ),
        (
            json!({ "path": "my pki/sign/web" }),
            "mounts with other names are not supported",
        ),
        (
            json!({ "auth": { "clientCertificate": {} } }),
            "spec.auth.clientCertificate needs secretName",
        ),
        (
            json!({ "auth": { "tokenSecretRef": { "name": "a" }, "clientCertificate": { "secretName": "b" } } }),
            "set exactly one of",
        ),
        (json!({ "clientCertSecretRef": { "name": "client" } }), "together"),
    ] {
        let refused = parse(changes.clone()).unwrap_err();
        assert!(refused.contains(cause), "{changes}: {refused}");
    }
}
