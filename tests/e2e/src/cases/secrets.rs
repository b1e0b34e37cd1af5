//! Secrets that do not hold what they should: the issuer says which one, and why.

use anyhow::{Context, ensure};
use issuer_api::VaultIssuer;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::pki::{Csr, Names};
use crate::servers::controller::NAMESPACE;
use crate::test_namespace::{Ask, LATER, SOON, Stage};

/// Credentials that are missing, empty, not PEM, no pair, or unknown to Vault.
pub(super) async fn bad(stage: &Stage<'_>) -> anyhow::Result<()> {
    let path = stage.role(json!({})).await?;
    fill(stage).await?;
    for (name, auth, reason, hint) in [
        ("approle-no-key", approle("no-key"), "SecretInvalid", "secretId"),
        // An empty secret ID is Vault's to judge (`bind_secret_id=false`).
        ("approle-empty", approle("empty"), "LoginDenied", ""),
        ("token-empty", token("empty"), "SecretInvalid", "token"),
        ("token-unknown", token("token"), "LoginDenied", ""),
        ("certificate-text", certificate("text"), "SecretInvalid", "text"),
        ("certificate-none", certificate("none"), "SecretNotFound", "none"),
        ("halves", certificate("halves"), "InvalidConnection", "pair"),
    ] {
        stage.issuer(name, stage.spec(&path, auth)).await?;
        stage.unready(name, reason, SOON).await?;
        says(stage, name, hint).await?;
        stage.event(name, reason).await?;
    }
    Ok(())
}

/// CA bundles that are empty or not PEM, in a Secret and in the spec.
pub(super) async fn bad_bundles(stage: &Stage<'_>) -> anyhow::Result<()> {
    fill(stage).await?;
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
        let mut spec = stage.spec("pki/sign/web", token("token"));
        spec["caBundle"] = Value::Null;
        spec[field] = bundle;
        stage.issuer(name, spec).await?;
        stage.unready(name, reason, SOON).await?;
        let hint = if name == "inline" { "caBundle" } else { "ca.crt" };
        says(stage, name, hint).await?;
        stage.event(name, reason).await?;
    }
    Ok(())
}

/// Makes Secrets of which none is good for anything.
async fn fill(stage: &Stage<'_>) -> anyhow::Result<()> {
    let clients = &stage.env.vault.clients;
    let (one, other) = (clients.client("one")?, clients.client("other")?);
    let halves = [("tls.crt", one.certificate.as_str()), ("tls.key", &other.key)];
    let empty = [("secretId", ""), ("token", ""), ("ca.crt", "")];
    let text = [
        ("ca.crt", "no PEM"),
        ("tls.crt", "no PEM"),
        ("tls.key", "no PEM at all"),
    ];
    stage.secret("no-key", &[("another", "0123456789abcdef")]).await?;
    stage.secret("empty", &empty).await?;
    stage.secret("text", &text).await?;
    stage.secret("halves", &halves).await?;
    stage.secret("token", &[("token", "no such token")]).await
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

/// Specs that no rule of the CRD keeps out.
pub(super) async fn bad_specs(stage: &Stage<'_>) -> anyhow::Result<()> {
    let token = json!({ "tokenSecretRef": { "name": "token" } });
    let good = stage.spec("pki/sign/web", token);
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
        stage.issuer(name, spec).await?;
    }
    for (name, _, hint) in &rows {
        stage.unready(name, "InvalidSpec", SOON).await?;
        says(stage, name, hint).await?;
    }
    Ok(())
}

/// Checks that an issuer's condition has this word.
async fn says(stage: &Stage<'_>, name: &str, hint: &str) -> anyhow::Result<()> {
    let issuer = stage.api::<VaultIssuer>().get(name).await?;
    let status = issuer.status.unwrap_or_default();
    let message = &status.ready().context("no Ready condition")?.message;
    ensure!(message.contains(hint), "{name}: {message:?} does not say {hint}");
    Ok(())
}

/// A namespace where the controller may not read Secrets, and then may.
pub(super) async fn no_rights(stage: &Stage<'_>) -> anyhow::Result<()> {
    let binding = "vault-issuer-credentials";
    stage
        .api::<RoleBinding>()
        .delete(binding, &DeleteParams::default())
        .await?;
    let path = stage.role(json!({})).await?;
    let auth = stage
        .approle("approle", &stage.policy(&[&path]).await?, json!({}))
        .await?;
    stage.issuer("vault", stage.spec(&path, auth)).await?;
    stage.unready("vault", "SecretForbidden", SOON).await?;
    let csr = Csr::new(&Names::common("rights.example.com"))?;
    stage.request("waiting", &csr.pem, Ask::default()).await?;
    let account = json!({ "kind": "ServiceAccount", "name": "vault-issuer", "namespace": NAMESPACE });
    stage.bind(binding, account).await?;
    stage.issued("waiting", &csr, LATER).await?;
    Ok(())
}
