//! Secrets with wrong content: the issuer's condition names the Secret and the cause.

use anyhow::{Context, ensure};
use issuer_api::VaultIssuer;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::pki::{Csr, Names};
use crate::servers::controller::NAMESPACE;
use crate::servers::process::eventually;
use crate::test_namespace::{Ask, LATER, SOON, TestNamespace};

/// Credentials that are missing, empty, not PEM, not a pair, unknown to Vault, or for another server.
pub(super) async fn bad(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let path = test.role(json!({})).await?;
    fill(test).await?;
    for (name, auth, reason, hint) in [
        ("approle-no-key", approle("no-key"), "SecretInvalid", "secretId"),
        // An empty secret ID is Vault's to judge (`bind_secret_id=false`).
        ("approle-empty", approle("empty"), "LoginDenied", ""),
        ("token-empty", token("empty"), "SecretInvalid", "token"),
        ("token-unknown", token("token"), "LoginDenied", ""),
        (
            "elsewhere",
            token("elsewhere"),
            "SecretNotAllowed",
            "vault-issuer.io/servers",
        ),
        ("certificate-text", certificate("text"), "SecretInvalid", "text"),
        ("certificate-none", certificate("none"), "SecretNotFound", "none"),
        ("halves", certificate("halves"), "InvalidConnection", "pair"),
    ] {
        test.issuer(name, test.spec(&path, auth)).await?;
        test.unready(name, reason, SOON).await?;
        says(test, name, hint).await?;
        test.event(name, reason).await?;
    }
    Ok(())
}

/// CA bundles that are empty or not PEM, in a Secret and in the spec.
pub(super) async fn bad_bundles(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    fill(test).await?;
    for (name, field, bundle, reason) in [
        (
            "empty",
            "caBundleSecretRef",
            json!({ "name": "empty" }),
            "SecretInvalid",
        ),
        ("text", "caBundleSecretRef", json!({ "name": "text" }), "SecretInvalid"),
        ("inline", "caBundle", json!("bm8gUEVN"), "InvalidSpec"),
    ] {
        let mut spec = test.spec("pki/sign/web", token("token"));
        spec["caBundle"] = Value::Null;
        spec[field] = bundle;
        test.issuer(name, spec).await?;
        test.unready(name, reason, SOON).await?;
        let hint = if name == "inline" { "caBundle" } else { "ca.crt" };
        says(test, name, hint).await?;
        test.event(name, reason).await?;
    }
    Ok(())
}

/// Creates Secrets that are all invalid.
async fn fill(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let clients = &test.env.vault.clients;
    let (one, other) = (clients.client("one")?, clients.client("other")?);
    let halves = [("tls.crt", one.certificate.as_str()), ("tls.key", &other.key)];
    let empty = [("secretId", ""), ("token", ""), ("ca.crt", "")];
    let text = [
        ("ca.crt", "no PEM"),
        ("tls.crt", "no PEM"),
        ("tls.key", "no PEM at all"),
    ];
    test.secret("no-key", &[("another", "0123456789abcdef")]).await?;
    test.secret("empty", &empty).await?;
    test.secret("text", &text).await?;
    test.secret("halves", &halves).await?;
    test.secret("token", &[("token", "no such token")]).await?;
    test.secret("elsewhere", &[("token", "for another server")]).await?;
    let servers = json!({ "metadata": { "annotations": { "vault-issuer.io/servers": "https://vault.example.com" } } });
    let secrets = test.api::<Secret>();
    secrets
        .patch("elsewhere", &PatchParams::default(), &Patch::Merge(servers))
        .await?;
    Ok(())
}

fn approle(secret: &str) -> Value {
    json!({ "appRole": { "roleId": "r", "secretRef": { "name": secret } } })
}

fn token(secret: &str) -> Value {
    json!({ "tokenSecretRef": { "name": secret } })
}

fn certificate(secret: &str) -> Value {
    json!({ "clientCertificate": { "secretName": secret } })
}

/// Invalid specs that pass the rules of the CRD.
pub(super) async fn bad_specs(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let token = json!({ "tokenSecretRef": { "name": "token" } });
    let good = test.spec("pki/sign/web", token);
    let rows = [
        ("plain-http", json!({ "server": "http://127.0.0.1:8200" }), "https"),
        ("namespace", json!({ "namespace": "t\u{7}am" }), "namespace"),
        (
            "no-certificate",
            json!({ "auth": { "clientCertificate": {} } }),
            "secretName",
        ),
        ("user", json!({ "server": "https://user@127.0.0.1:8200" }), "server"),
    ];
    for (name, change, _) in &rows {
        let mut spec = good.clone();
        if let (Value::Object(spec), Value::Object(change)) = (&mut spec, change.clone()) {
            spec.extend(change);
        }
        test.issuer(name, spec).await?;
    }
    for (name, _, hint) in &rows {
        test.unready(name, "InvalidSpec", SOON).await?;
        says(test, name, hint).await?;
    }
    Ok(())
}

/// Checks that an issuer's condition mentions `word`.
async fn says(test: &TestNamespace<'_>, name: &str, hint: &str) -> anyhow::Result<()> {
    let issuer = test.api::<VaultIssuer>().get(name).await?;
    let status = issuer.status.unwrap_or_default();
    let message = &status.ready().context("no Ready condition")?.message;
    ensure!(message.contains(hint), "{name}: {message:?} does not say {hint}");
    Ok(())
}

/// A Secret that the controller may watch: it logs in anew when the Secret changes, though the old token works.
pub(super) async fn watched(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    test.permit_watch("approle").await?;
    let path = test.role(json!({})).await?;
    let mount = test.approle_mount().await?;
    let auth = test.approle(&mount, &test.policy(&[&path]).await?, json!({})).await?;
    test.issuer("vault", test.spec(&path, auth)).await?;
    test.ready("vault", SOON).await?;
    let login = format!("auth/{mount}/login");
    for logins in 1..4 {
        if logins > 1 {
            let changed = test.secret_id(&mount).await?;
            test.secret("approle", &[("secretId", &changed)]).await?;
        }
        // Without the watch it would take up to ten minutes.
        eventually(LATER, async || {
            let seen = test.signatures(&login)?;
            ensure!(seen == logins, "{seen} logins, not {logins}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// A namespace in which the controller is not allowed to read Secrets at first.
pub(super) async fn no_rights(test: &TestNamespace<'_>) -> anyhow::Result<()> {
    let binding = "vault-issuer-credentials";
    test.api::<RoleBinding>()
        .delete(binding, &DeleteParams::default())
        .await?;
    let path = test.role(json!({})).await?;
    let auth = test
        .approle("approle", &test.policy(&[&path]).await?, json!({}))
        .await?;
    test.issuer("vault", test.spec(&path, auth)).await?;
    test.unready("vault", "SecretForbidden", SOON).await?;
    let csr = Csr::new(&Names::common("rights.example.com"))?;
    test.request("waiting", &csr.pem, Ask::default()).await?;
    let account = json!({ "kind": "ServiceAccount", "name": "vault-issuer", "namespace": NAMESPACE });
    test.bind(binding, account).await?;
    test.issued("waiting", &csr, LATER).await?;
    Ok(())
}
